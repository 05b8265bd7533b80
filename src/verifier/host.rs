//! The verifier of the host rule.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::cache::Accepted;
use super::chain::TrustPeriod;
use super::{ChainVerifier, Rejection, Requirement, Rule, VerifiedChain};
use crate::identity::ServerHost;
use crate::material::{RevocationLists, TrustBundle};
use crate::policy::TlsPolicy;
use crate::role::Role;

/// Verifies servers for the host that was dialled, with the CAs and the revocation lists that it was built with.
///
/// It caches the chains that it has accepted, as a [`PeerVerifier`](super::PeerVerifier) does; the host is checked each
/// time. Clones share the cache.
///
/// ```no_run
/// use rustls_pki_types::UnixTime;
/// use typha_tls::ServerHost;
/// use typha_tls::material::{RevocationLists, TrustBundle, read_chain};
/// use typha_tls::policy::TlsPolicy;
/// use typha_tls::verifier::HostVerifier;
///
/// let cas = TrustBundle::from_file("/etc/etcd/ca.pem")?;
/// let verifier = HostVerifier::new(cas, RevocationLists::none(), &TlsPolicy::builder().build()?);
/// let chain = read_chain("/etc/etcd/server.pem")?;
/// let server = verifier.verify(&chain, &ServerHost::new("etcd-1.example")?, UnixTime::now())?;
/// println!("{server} is accepted until {:?}", server.trusted_until());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HostVerifier(ChainVerifier);

impl HostVerifier {
    /// A verifier that accepts servers whose chain leads into `trust_bundle`.
    ///
    /// From `policy` it takes the capacity of the cache and the crypto provider. The provider verifies the signatures;
    /// all algorithms that it supports are accepted.
    pub fn new(trust_bundle: TrustBundle, revocation_lists: RevocationLists, policy: &TlsPolicy) -> Self {
        Self(ChainVerifier::new(trust_bundle, revocation_lists, policy))
    }

    /// Verifies a chain, leaf first, as the server that was dialled as `host` sent it, at the time `now`.
    ///
    /// The chain is checked before the host: a [`Rejection::HostMismatch`] means that the chain is good.
    ///
    /// # Errors
    ///
    /// [`Rejection`], with what was expected and what the server presented.
    ///
    /// # Security
    ///
    /// This does not prove that the server holds the leaf's private key. A TLS handshake proves it, and returns a
    /// [`VerifiedPeer`](super::VerifiedPeer).
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        host: &ServerHost,
        now: UnixTime,
    ) -> Result<VerifiedChain, Rejection> {
        self.0.verify(chain, Role::Server, Requirement::Host(host), now)
    }

    pub(super) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerHost,
        now: UnixTime,
    ) -> Result<Accepted, Rejection> {
        self.0.judge(leaf, intermediates, Role::Server, Requirement::Host(host), now, TrustPeriod::Checked)
    }
}

impl Rule for HostVerifier {
    fn chains(&self) -> &ChainVerifier {
        &self.0
    }

    fn requirement<'a>(&'a self, accepted: &'a VerifiedChain) -> Option<Requirement<'a>> {
        accepted.matched_host().map(Requirement::Host)
    }
}
