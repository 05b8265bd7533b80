//! The current configuration: its files, and our own certificate.

use rustls_pki_types::UnixTime;
use typha_tls::config::{ConfigError, FelixConfig, Sources, TlsSettings, TyphaConfig};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{
    Credentials, Material, MaterialWarning, RevocationLists, RevocationPolicy, TrustBundle,
};
use typha_tls::verifier::{PeerVerifier, Rejection};
use typha_tls::{Role, TlsConfig};

use super::report::Report;

/// The usable parts of one end's configuration.
pub(super) struct Current {
    pub(super) local: Role,
    pub(super) settings: TlsSettings,
    pub(super) bundle: Option<TrustBundle>,
    pub(super) lists: Option<RevocationLists>,
    pub(super) credentials: Option<Credentials>,
}

impl Current {
    /// Checks all files, even if one of them can not be used.
    pub(super) fn check(report: &mut Report, local: Role, settings: TlsSettings, now: UnixTime) -> Self {
        let (files, provider) = (&settings.files, settings.policy.provider());
        report.info("required_peer", &format!("{} must present {}", local.peer(), settings.required_peer));

        let bundle = report.usable(TrustBundle::from_file(&files.ca_file), "ca_file");
        if let Some(bundle) = &bundle {
            for subject in bundle.subjects() {
                report.info("trusted_ca", subject);
            }
            report.warnings("", bundle.warnings(now));
        }
        let lists = bundle.as_ref().and_then(|bundle| revocation_lists(report, bundle, &settings, now));

        let credentials = Credentials::from_files(&files.cert_file, &files.key_file, provider);
        let credentials = report.usable(credentials, "cert_file_and_key_file");
        let current = Self { local, settings, bundle, lists, credentials };
        if let Some(credentials) = &current.credentials {
            report.warnings("", current.own_warnings(now));
            current.own_leaf(report, credentials, now);
            current.own_chain(report, now);
        }
        current
    }

    /// The warnings about our own chain and the required identity. Those of the bundle and the lists are reported with
    /// them.
    pub(super) fn own_warnings(&self, at: UnixTime) -> Vec<MaterialWarning> {
        let (Some(bundle), Some(credentials)) = (&self.bundle, &self.credentials) else { return Vec::new() };
        let lists = self.own_lists();
        let mut reported = bundle.warnings(at);
        reported.extend(lists.warnings(at));
        let mut material = Material::new(bundle.clone(), credentials.clone());
        material.revocation_lists = lists;
        let (required, policy) = (self.settings.required_peer.clone(), self.settings.policy.clone());
        let mut warnings = TlsConfig::new(material, required, policy).warnings(self.local, at);
        warnings.retain(|warning| !reported.contains(warning));
        warnings
    }

    fn own_leaf(&self, report: &mut Report, credentials: &Credentials, now: UnixTime) {
        let days = credentials.not_after().as_secs().saturating_sub(now.as_secs()) / 86_400;
        report.info("days_left", &format!("our certificate expires in {days} days"));
        match own_identity(credentials) {
            Some(_) => report.info(
                "own_identity",
                &format!(
                    "{} would have to require one of what we present: {}",
                    self.local.peer(),
                    credentials.identity()
                ),
            ),
            None => report.error(
                "no_identity",
                "our certificate has neither a Common Name nor a URI SAN, so that no peer can accept it: issue one \
                 that has",
            ),
        }
    }

    /// Whether our own chain leads to our own CA file. It need not, but most clusters have one CA.
    fn own_chain(&self, report: &mut Report, now: UnixTime) {
        let Some(bundle) = &self.bundle else { return };
        match self.own_verdict(bundle, &self.own_lists(), now) {
            None => {}
            Some(Ok(())) => report.info("own_chain", "our chain leads to a CA of our own CA file"),
            Some(Err(Rejection::UnknownCa { issuer, .. } | Rejection::CaKeyMismatch { issuer, .. })) => {
                let peer = self.local.peer();
                report.info(
                    "own_chain",
                    &format!(
                        "our chain does not lead to our own CA file: the CA file of {peer} needs {issuer}"
                    ),
                );
            }
            Some(Err(rejection)) => {
                report.error("own_chain", &format!("our own chain would be refused: {rejection}"));
            }
        }
    }

    /// How a peer with this CA file judges our chain; `None` if there is no usable chain.
    pub(super) fn own_verdict(
        &self,
        bundle: &TrustBundle,
        lists: &RevocationLists,
        at: UnixTime,
    ) -> Option<Result<(), Rejection>> {
        let credentials = self.credentials.as_ref()?;
        let lists = for_own_chain(lists);
        let required = own_identity(credentials)?;
        let verifier = PeerVerifier::new(bundle.clone(), lists, required, &self.settings.policy);
        Some(verifier.verify(credentials.chain(), self.local, at).map(drop))
    }

    /// The lists for judging our own chain. They are meant for the other end's certificates; if both ends have one CA,
    /// they cover ours, too.
    pub(super) fn own_lists(&self) -> RevocationLists {
        self.lists.as_ref().map(for_own_chain).unwrap_or_default()
    }

    /// The verifier for peers now; `None` if the configuration can not be loaded.
    pub(super) fn verifier(&self) -> Option<PeerVerifier> {
        let (bundle, lists) = (self.bundle.clone()?, self.lists.clone()?);
        let required = self.settings.required_peer.clone();
        Some(PeerVerifier::new(bundle, lists, required, &self.settings.policy))
    }
}

/// Only proof of revocation counts here. An unknown status of our own certificate is for the other end to judge.
fn for_own_chain(lists: &RevocationLists) -> RevocationLists {
    lists.clone().with_policy(RevocationPolicy::default())
}

fn revocation_lists(
    report: &mut Report,
    bundle: &TrustBundle,
    settings: &TlsSettings,
    now: UnixTime,
) -> Option<RevocationLists> {
    let files = &settings.files;
    let lists = RevocationLists::from_files(&files.crl_files, bundle, settings.policy.provider());
    let lists = report.usable(lists, "crl_file")?.with_policy(files.revocation);
    for list in lists.iter() {
        report.info("revocation_list", &list.to_string());
    }
    report.warnings("", lists.warnings(now));
    Some(lists)
}

/// The TLS parameters of one end.
pub(super) fn load(end: Role, sources: &Sources) -> Result<Option<TlsSettings>, ConfigError> {
    Ok(match end {
        Role::Felix => FelixConfig::load(sources)?.tls,
        Role::Typha => TyphaConfig::load(sources)?.tls,
    })
}

/// Returns the settings, or reports the problem as a finding.
pub(super) fn usable(
    report: &mut Report,
    settings: Result<Option<TlsSettings>, ConfigError>,
    finding: &str,
) -> Option<TlsSettings> {
    let settings = report.usable(settings, finding)?;
    if settings.is_none() {
        let detail = "TLS is not configured: set CAFile, ServerCertFile, ServerKeyFile and ClientCN or ClientURISAN on \
                      Typha; TyphaCAFile, TyphaCertFile, TyphaKeyFile and TyphaCN or TyphaURISAN on Felix";
        report.error(finding, detail);
    }
    settings
}

/// The identities in our leaf, one of which the other end must require.
fn own_identity(credentials: &Credentials) -> Option<RequiredIdentity> {
    let identity = credentials.identity();
    let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
    RequiredIdentity::new(identity.common_name(), uri_san).ok()
}
