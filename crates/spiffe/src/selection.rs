//! Selects the parts of the agent's answer that become a configuration.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use spiffe::{SpiffeId, TrustDomain, X509Context, X509Svid};

use crate::error::SpiffeError;
use typha_tls::TlsConfig;
use typha_tls::error::Quoted;
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Credentials, Material, MaterialError, TrustBundle};
use typha_tls::policy::TlsPolicy;

/// Which SVID to use, if there are several.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    First,
    Hint(String),
    Id(String),
}

/// Which SVID and bundle to use, and the rest of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) choice: Choice,
    pub(crate) federated: bool,
    pub(crate) required_peer: RequiredIdentity,
    pub(crate) policy: TlsPolicy,
}

impl Selection {
    /// Checks that the settings can ever lead to a configuration.
    pub(crate) fn check(&self) -> Result<(), SpiffeError> {
        let names_a_trust_domain =
            self.required_peer.required_common_name().is_none() && self.peer_trust_domain().is_some();
        if self.federated && !names_a_trust_domain {
            return Err(SpiffeError::FederationNeedsSpiffeId { required: self.required_peer.clone() });
        }
        Ok(())
    }

    pub(crate) fn config(&self, context: &X509Context) -> Result<TlsConfig, SpiffeError> {
        let svid = self.svid(context.svids())?;
        let trust_domain = self.bundle_trust_domain(svid)?;
        let bundle = context.bundle_set().get(&trust_domain).ok_or_else(|| SpiffeError::NoBundle {
            trust_domain: trust_domain.to_string(),
            known: context.bundle_set().iter().map(|(known, _)| known.to_string()).collect(),
        })?;
        let trust_bundle = TrustBundle::from_der(bundle.authorities().iter().map(der)).map_err(unusable)?;
        let chain = svid.cert_chain().iter().map(der).collect();
        let key = PrivatePkcs8KeyDer::from(svid.private_key().as_bytes().to_vec());
        let credentials =
            Credentials::from_der(chain, key.into(), self.policy.provider()).map_err(unusable)?;
        let material = Material::new(trust_bundle, credentials);
        Ok(TlsConfig::new(material, self.required_peer.clone(), self.policy.clone()))
    }

    fn svid<'a>(&self, svids: &'a [Arc<X509Svid>]) -> Result<&'a X509Svid, SpiffeError> {
        let is_chosen = |svid: &&Arc<X509Svid>| match &self.choice {
            Choice::First => true,
            Choice::Hint(hint) => svid.hint() == Some(hint),
            Choice::Id(id) => svid.spiffe_id().to_string() == *id,
        };
        let chosen = svids.iter().find(is_chosen).map(AsRef::as_ref);
        chosen.ok_or_else(|| SpiffeError::NoSuchSvid {
            wanted: match &self.choice {
                Choice::First => "any SPIFFE ID".to_owned(),
                Choice::Hint(hint) => format!("the hint {}", Quoted(hint)),
                Choice::Id(id) => format!("the SPIFFE ID {}", Quoted(id)),
            },
            offered: svids.iter().map(|svid| described(svid)).collect(),
        })
    }

    /// The one trust domain whose CAs may vouch for the peer. In SPIFFE a bundle vouches only for its own trust domain.
    /// The verifier does not know trust domains, so it never gets the bundles of two.
    fn bundle_trust_domain(&self, svid: &X509Svid) -> Result<TrustDomain, SpiffeError> {
        let own = svid.spiffe_id().trust_domain();
        match self.peer_trust_domain() {
            Some(peer) if peer != *own && !self.federated => Err(SpiffeError::ForeignTrustDomain {
                required: self.required_peer.clone(),
                own: own.to_string(),
            }),
            Some(peer) => Ok(peer),
            None => Ok(own.clone()),
        }
    }

    /// The trust domain of the required SPIFFE ID, if one is required.
    fn peer_trust_domain(&self) -> Option<TrustDomain> {
        let id = SpiffeId::new(self.required_peer.required_uri_san()?).ok()?;
        Some(id.trust_domain().clone())
    }
}

fn described(svid: &X509Svid) -> String {
    match svid.hint() {
        Some(hint) => format!("{} (hint {hint})", svid.spiffe_id()),
        None => svid.spiffe_id().to_string(),
    }
}

fn der(certificate: &::spiffe::Certificate) -> CertificateDer<'static> {
    certificate.as_bytes().to_vec().into()
}

fn unusable(error: MaterialError) -> SpiffeError {
    SpiffeError::Material(Arc::new(error))
}
