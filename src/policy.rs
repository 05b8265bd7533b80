//! TLS versions, cipher suites, key exchange, application protocols, and the crypto provider of both ends.
//!
//! ```
//! use typha_tls::policy::TlsPolicy;
//!
//! let policy = TlsPolicy::builder()
//!     .min_version("1.3")
//!     .cipher_suites("TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384")
//!     .build()?;
//! # Ok::<(), typha_tls::policy::PolicyError>(())
//! ```

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::crypto::hash::{Hash, HashAlgorithm};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CipherSuite, ClientConfig, ConfigBuilder, NamedGroup, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion, WantsVerifier, version,
};
use thiserror::Error;

use crate::text::Quoted;

/// The default capacity of the chain cache: about the number of Felixes in a large cluster.
pub(crate) const DEFAULT_CHAIN_CACHE_CAPACITY: usize = 16_384;

/// The most bytes of all application protocols together, encoded as in the ClientHello.
const MAX_ALPN_SIZE: usize = 4096;

/// The TLS settings of one end. Cheap to clone.
#[derive(Clone)]
pub struct TlsPolicy {
    provider: Arc<CryptoProvider>,
    sha256: Sha256,
    versions: Vec<&'static SupportedProtocolVersion>,
    // Shared, because they are large.
    server: Arc<ConfigBuilder<ServerConfig, WantsVerifier>>,
    client: Arc<ConfigBuilder<ClientConfig, WantsVerifier>>,
    acceptance_ticket: bool,
    /// Each protocol is shared with the connections that agreed on it.
    alpn: Vec<Arc<[u8]>>,
    chain_cache_capacity: usize,
    time_provider: Arc<dyn TimeProvider>,
}

/// One value for all policies, so that policies can be compared.
static SYSTEM_CLOCK: LazyLock<Arc<dyn TimeProvider>> = LazyLock::new(|| Arc::new(DefaultTimeProvider));

/// SHA-256 of a crypto provider.
#[derive(Clone, Copy)]
pub(crate) struct Sha256(&'static dyn Hash);

impl Sha256 {
    /// Every provider has it in a cipher suite, because TLS requires it (RFC 8446 section 9.1), unless suites were
    /// removed.
    fn of_provider(provider: &CryptoProvider) -> Option<Self> {
        let mut hashes = provider.cipher_suites.iter().map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        });
        hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256).map(Self)
    }

    pub(crate) fn of(self, bytes: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(self.0.hash(bytes).as_ref()) {
            *to = *from;
        }
        digest
    }
}

/// Builds a [`TlsPolicy`] from names as operators write them.
#[derive(Clone, Debug)]
pub struct TlsPolicyBuilder {
    provider: Option<Arc<CryptoProvider>>,
    min_version: Option<String>,
    cipher_suites: Option<String>,
    key_exchange_groups: Option<String>,
    acceptance_ticket: bool,
    alpn: Vec<Vec<u8>>,
    chain_cache_capacity: usize,
    time_provider: Arc<dyn TimeProvider>,
}

/// Why a policy can not be built.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The lists leave no usable TLS: no cipher suite for any allowed version, or no key-exchange group.
    #[error("no TLS version is left that has both a cipher suite and a key-exchange group")]
    NothingLeft,
    /// No crypto provider is compiled in, and the program gave none.
    #[error("no crypto provider: enable the feature aws-lc-rs, fips or ring, or give one to the builder")]
    NoProvider,
    /// The crypto provider gives no random numbers. For example, the system has no source of entropy.
    #[error("the crypto provider gives no random numbers, which TLS needs")]
    NoRandomNumbers,
    /// No cipher suite with SHA-256 exists in the given provider or a compiled-in one. TLS requires it (RFC 8446
    /// section 9.1), and this crate hashes certificates with it. The list of cipher suites need not contain one.
    #[error(
        "the crypto provider has no cipher suite with SHA-256: give it one, or enable the feature aws-lc-rs, fips or \
         ring"
    )]
    NoSha256,
    /// A cipher suite is unknown or not in the provider. rustls only has suites with forward secrecy and authenticated
    /// encryption. So Go's CBC and RSA key-transport suites are not supported.
    #[error("the cipher suite {} is not supported; supported are {supported}", Quoted(name))]
    UnknownCipherSuite {
        /// The name as given.
        name: String,
        /// The names that are supported.
        supported: String,
    },
    /// A key-exchange group is unknown or not in the provider.
    #[error("the key-exchange group {} is not supported; supported are {supported}", Quoted(name))]
    UnknownGroup {
        /// The name as given.
        name: String,
        /// The names that are supported.
        supported: String,
    },
    /// An application protocol can not be in an ALPN list.
    #[error("the application protocol {} can not be in a list for ALPN: {problem}", Quoted(name))]
    UnusableApplicationProtocol {
        /// The name as given. Bytes that are not UTF-8 are replaced.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// rustls can not use the suites and groups of the crypto provider.
    #[error("rustls can not use the crypto provider: {0}")]
    UnusableProvider(String),
    /// The text is not a TLS version, or the version is not secure.
    #[error("the TLS version {} is not supported; supported are \"1.2\" and \"1.3\"", Quoted(.0))]
    UnknownVersion(String),
}

impl TlsPolicy {
    /// Starts a builder with the defaults:
    /// - TLS 1.2 and 1.3, as in Calico;
    /// - AES-128-GCM first, as in Go: most processors accelerate its SHA-256, but hardly any the SHA-384 of AES-256,
    ///   which costs a tenth of a handshake; then AES-256-GCM and ChaCha20-Poly1305;
    /// - the hybrid post-quantum group X25519MLKEM768 first where the provider has it, then x25519 and the NIST curves;
    /// - aws-lc-rs as the provider.
    ///
    /// If the two ends prefer different suites, Typha's order decides.
    pub fn builder() -> TlsPolicyBuilder {
        TlsPolicyBuilder {
            provider: None,
            min_version: None,
            cipher_suites: None,
            key_exchange_groups: None,
            acceptance_ticket: true,
            alpn: Vec::new(),
            chain_cache_capacity: DEFAULT_CHAIN_CACHE_CAPACITY,
            time_provider: SYSTEM_CLOCK.clone(),
        }
    }

    /// The crypto provider, restricted to the suites and groups of this policy.
    pub fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// The IANA names of the cipher suites, most preferred first.
    pub fn cipher_suites(&self) -> impl Iterator<Item = String> {
        self.provider.cipher_suites.iter().map(|suite| suite_name(suite.suite()))
    }

    /// The IANA names of the key-exchange groups, most preferred first.
    pub fn key_exchange_groups(&self) -> impl Iterator<Item = String> {
        self.provider.kx_groups.iter().map(|group| group_name(group.name()))
    }

    /// The application protocols, most preferred first; see [`TlsPolicyBuilder::alpn`].
    pub fn alpn(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.alpn.iter().map(AsRef::as_ref)
    }

    /// Returns this policy with other application protocols. It is for policies built elsewhere, such as from Calico's
    /// parameters ([`TlsSettings::policy`](crate::config::TlsSettings::policy)). Otherwise it is the same as
    /// [`TlsPolicyBuilder::alpn`].
    ///
    /// # Errors
    ///
    /// [`PolicyError::UnusableApplicationProtocol`].
    pub fn with_alpn(
        mut self,
        protocols: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Self, PolicyError> {
        self.alpn.clear();
        let mut size = 0;
        for name in protocols {
            let name = name.as_ref();
            size += name.len() + 1;
            let problem = if !(1..=255).contains(&name.len()) {
                "it must have 1 to 255 bytes"
            } else if self.alpn().any(|earlier| earlier == name) {
                "it is there twice"
            } else if size > MAX_ALPN_SIZE {
                "all together have more than 4,096 bytes"
            } else {
                self.alpn.push(name.into());
                continue;
            };
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(PolicyError::UnusableApplicationProtocol { name, problem });
        }
        Ok(self)
    }

    /// The shared value of an application protocol of this policy.
    pub(crate) fn shared_protocol(&self, name: &[u8]) -> Option<Arc<[u8]>> {
        self.alpn.iter().find(|protocol| ***protocol == *name).cloned()
    }

    /// The clock that decides about validity; see [`TlsPolicyBuilder::time_provider`].
    pub fn time_provider(&self) -> &Arc<dyn TimeProvider> {
        &self.time_provider
    }

    /// The TLS versions that are offered and accepted, as rustls takes them.
    pub fn versions(&self) -> &[&'static SupportedProtocolVersion] {
        &self.versions
    }

    pub(crate) fn acceptance_ticket(&self) -> bool {
        self.acceptance_ticket
    }

    pub(crate) fn chain_cache_capacity(&self) -> usize {
        self.chain_cache_capacity
    }

    /// Starts a rustls configuration for Typha's end.
    pub(crate) fn server(&self) -> ConfigBuilder<ServerConfig, WantsVerifier> {
        ConfigBuilder::clone(&self.server)
    }

    /// Starts a rustls configuration for Felix's end.
    pub(crate) fn client(&self) -> ConfigBuilder<ClientConfig, WantsVerifier> {
        ConfigBuilder::clone(&self.client)
    }

    pub(crate) fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Whether both policies behave the same.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let versions =
            |policy: &Self| policy.versions.iter().map(|version| version.version).collect::<Vec<_>>();
        versions(self) == versions(other)
            && is_same_provider(&self.provider, &other.provider)
            && Arc::ptr_eq(&self.time_provider, &other.time_provider)
            && self.acceptance_ticket == other.acceptance_ticket
            && self.alpn == other.alpn
            && self.chain_cache_capacity == other.chain_cache_capacity
    }
}

impl TlsPolicyBuilder {
    /// Sets the lowest TLS version: `1.2` (the default, and Calico's) or `1.3`. Calico's `TLS_MIN_VERSION`.
    #[must_use]
    pub fn min_version(mut self, version: &str) -> Self {
        self.min_version = Some(version.to_owned());
        self
    }

    /// Sets the cipher suites, by IANA name, separated by commas, most preferred first. Calico's `TLS_CIPHER_SUITES`.
    ///
    /// As in Go, a list without TLS 1.3 suites restricts TLS 1.2 only: all TLS 1.3 suites stay. A list with TLS 1.3
    /// suites restricts both versions. An empty list means the defaults.
    #[must_use]
    pub fn cipher_suites(mut self, names: &str) -> Self {
        self.cipher_suites = Some(names.to_owned());
        self
    }

    /// Sets the key-exchange groups, by IANA name (`X25519MLKEM768`, `x25519`, `secp256r1`, `secp384r1`), separated by
    /// commas, most preferred first. Case does not matter.
    ///
    /// `x25519` alone saves each end about a seventh of the work. But it is classical key exchange only: a future
    /// quantum computer can decrypt traffic recorded today.
    #[must_use]
    pub fn key_exchange_groups(mut self, names: &str) -> Self {
        self.key_exchange_groups = Some(names.to_owned());
        self
    }

    /// Sets whether Typha sends one TLS 1.3 session ticket to each accepted Felix; the default is `true`. The ticket is
    /// the sign of acceptance that Felix waits for ([`AcceptanceMode`](crate::AcceptanceMode)); it resumes nothing.
    /// Without it, Typha saves about 6 % of a handshake, but every Felix must be configured not to wait.
    #[must_use]
    pub fn acceptance_ticket(mut self, send: bool) -> Self {
        self.acceptance_ticket = send;
        self
    }

    /// Sets the application protocols (ALPN, RFC 7301), most preferred first, such as `["h2"]`. Each has 1 to 255
    /// bytes; all together have at most 4,096, so that a ClientHello stays small. The default is none, as in Calico:
    /// neither end sends the extension.
    ///
    /// Typha's order decides. [`TlsFacts::alpn`](crate::stream::TlsFacts::alpn) returns the agreed protocol.
    ///
    /// # Security
    ///
    /// An end with a list refuses every peer with no protocol in common, as
    /// [`NoApplicationProtocol`](crate::HandshakeError::NoApplicationProtocol). It also refuses a peer without ALPN,
    /// which RFC 7301 would accept: such a peer may speak any protocol. So set the list on both ends at the same time,
    /// or use a separate port.
    #[must_use]
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.alpn = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Sets how many verified chains a configuration remembers; the default is 16,384, and 0 means none. A returning
    /// peer then needs no signature checks of certificates. See
    /// [`PeerVerifier::with_chain_cache_capacity`](crate::verifier::PeerVerifier::with_chain_cache_capacity).
    #[must_use]
    pub fn chain_cache_capacity(mut self, chains: usize) -> Self {
        self.chain_cache_capacity = chains;
        self
    }

    /// Sets the clock that decides about validity and expiry of peers, our own certificate, CAs and revocation lists.
    /// The default is the system's. A policy with another clock counts as changed, so a reloader puts it in force. A
    /// program that builds a policy for each load must use the same `Arc` each time.
    ///
    /// # Security
    ///
    /// The owner of this clock decides whether expired certificates are accepted. It is meant for tests, and for
    /// machines with a better clock than the system's.
    #[must_use]
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.time_provider = clock;
        self
    }

    /// Uses this crypto provider instead of the one compiled in. It is used as given, in its own order, and never
    /// becomes the default of the process.
    #[must_use]
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Builds the policy.
    ///
    /// It takes one random number from the provider, so that the first handshake does not wait for the seed. With
    /// aws-lc-rs that takes up to 0.2 s, once per process.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] for an unknown name, for a combination that leaves no usable TLS, for an application protocol
    /// that can not be in a list, and for a provider without random numbers. No default replaces a value that can not
    /// be used.
    pub fn build(self) -> Result<TlsPolicy, PolicyError> {
        let mut provider = match self.provider {
            Some(provider) => CryptoProvider::clone(&provider),
            None => {
                let mut provider = default_provider().ok_or(PolicyError::NoProvider)?;
                // The sort is stable: TLS 1.3 stays before 1.2, and ECDSA before RSA.
                provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !is_aes_128(*suite)));
                provider
            }
        };
        // The list of cipher suites may remove SHA-256, so it is taken first.
        let sha256 = Sha256::of_provider(&provider)
            .or_else(|| Sha256::of_provider(&default_provider()?))
            .ok_or(PolicyError::NoSha256)?;
        let mut versions = match self.min_version.as_deref() {
            None | Some("1.2") => vec![&version::TLS13, &version::TLS12],
            Some("1.3") => vec![&version::TLS13],
            Some(other) => return Err(PolicyError::UnknownVersion(other.to_owned())),
        };
        if let Some(names) = self.cipher_suites.as_deref().filter(|names| split(names).next().is_some()) {
            provider.cipher_suites = select_suites(names, &provider.cipher_suites)?;
        }
        if let Some(names) = &self.key_exchange_groups {
            provider.kx_groups = select_groups(names, &provider.kx_groups)?;
        }
        // rustls does not accept a version without a suite.
        versions.retain(|version| {
            provider.cipher_suites.iter().any(|suite| suite.version().version == version.version)
                && provider.kx_groups.iter().any(|group| group.usable_for_version(version.version))
        });
        if versions.is_empty() {
            return Err(PolicyError::NothingLeft);
        }
        // The first random number of a process is slow, because aws-lc gathers entropy for it. Here it delays the
        // start; in the first handshake it would delay a peer.
        provider.secure_random.fill(&mut [0]).map_err(|_| PolicyError::NoRandomNumbers)?;
        let (provider, clock) = (Arc::new(provider), self.time_provider);
        let unusable = |error: rustls::Error| PolicyError::UnusableProvider(error.to_string());
        let server = ServerConfig::builder_with_details(provider.clone(), clock.clone())
            .with_protocol_versions(&versions)
            .map_err(unusable)?;
        let client = ClientConfig::builder_with_details(provider.clone(), clock.clone())
            .with_protocol_versions(&versions)
            .map_err(unusable)?;
        let policy = TlsPolicy {
            provider,
            sha256,
            versions,
            server: server.into(),
            client: client.into(),
            acceptance_ticket: self.acceptance_ticket,
            alpn: Vec::new(),
            chain_cache_capacity: self.chain_cache_capacity,
            time_provider: clock,
        };
        policy.with_alpn(self.alpn)
    }
}

/// The most suitable provider that is compiled in. It is never the default of the process, which any code may change.
#[allow(unreachable_code, reason = "features are additive: the first one that is enabled wins")]
pub(crate) fn default_provider() -> Option<CryptoProvider> {
    #[cfg(feature = "fips")]
    return Some(rustls::crypto::default_fips_provider());
    #[cfg(feature = "aws-lc-rs")]
    return Some(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(feature = "ring")]
    return Some(rustls::crypto::ring::default_provider());
    None
}

/// Whether two providers have the same parts. Names do not suffice: implementations of one signature algorithm may
/// accept different keys, and one of a cipher suite may be validated.
fn is_same_provider(one: &CryptoProvider, other: &CryptoProvider) -> bool {
    let suite = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => std::ptr::from_ref(*suite).cast::<()>(),
        SupportedCipherSuite::Tls13(suite) => std::ptr::from_ref(*suite).cast::<()>(),
    };
    let (algorithms, other_algorithms) =
        (&one.signature_verification_algorithms, &other.signature_verification_algorithms);
    let mapping = |algorithms: &WebPkiSupportedAlgorithms| {
        let of_schemes = algorithms.mapping.iter();
        of_schemes
            .map(|(scheme, all)| (*scheme, all.iter().map(address).collect()))
            .collect::<Vec<(_, Vec<_>)>>()
    };
    one.cipher_suites.iter().map(suite).eq(other.cipher_suites.iter().map(suite))
        && one
            .kx_groups
            .iter()
            .map(|group| (group.name(), address(group)))
            .eq(other.kx_groups.iter().map(|group| (group.name(), address(group))))
        && algorithms.all.iter().map(address).eq(other_algorithms.all.iter().map(address))
        && mapping(algorithms) == mapping(other_algorithms)
        && std::ptr::eq(one.key_provider, other.key_provider)
        && std::ptr::eq(one.secure_random, other.secure_random)
}

/// The address and the vtable of an implementation, because types without a size may share one address.
fn address<T: ?Sized>(part: &&'static T) -> *const T {
    std::ptr::from_ref(*part)
}

fn is_aes_128(suite: SupportedCipherSuite) -> bool {
    suite_name(suite.suite()).contains("_AES_128_")
}

fn select_suites(
    names: &str,
    supported: &[SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, PolicyError> {
    let mut selected: Vec<SupportedCipherSuite> = split(names)
        .map(|name| {
            supported.iter().find(|suite| suite_name(suite.suite()) == name).copied().ok_or_else(|| {
                PolicyError::UnknownCipherSuite {
                    name: name.to_owned(),
                    supported: join(supported.iter().map(|suite| suite_name(suite.suite()))),
                }
            })
        })
        .collect::<Result<_, _>>()?;
    if selected.iter().all(|suite| suite.tls13().is_none()) {
        let tls13 = supported.iter().filter(|suite| suite.tls13().is_some());
        selected = tls13.chain(&selected).copied().collect();
    }
    Ok(selected)
}

fn select_groups(
    names: &str,
    supported: &[&'static dyn SupportedKxGroup],
) -> Result<Vec<&'static dyn SupportedKxGroup>, PolicyError> {
    split(names)
        .map(|name| {
            let is_named =
                |group: &&&'static dyn SupportedKxGroup| group_name(group.name()).eq_ignore_ascii_case(name);
            supported.iter().find(is_named).copied().ok_or_else(|| PolicyError::UnknownGroup {
                name: name.to_owned(),
                supported: join(supported.iter().map(|group| group_name(group.name()))),
            })
        })
        .collect()
}

fn split(names: &str) -> impl Iterator<Item = &str> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// The IANA name; rustls writes `TLS13_AES_...` for what IANA calls `TLS_AES_...`.
pub(crate) fn suite_name(suite: CipherSuite) -> String {
    suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replacen("TLS13_", "TLS_", 1))
}

/// The IANA name, spelled as in the registry of TLS supported groups.
pub(crate) fn group_name(group: NamedGroup) -> String {
    match group {
        NamedGroup::X25519 => "x25519".to_owned(),
        group => group.as_str().map_or_else(|| format!("{group:?}"), str::to_owned),
    }
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPolicy")
            .field("versions", &self.versions.iter().map(|version| version.version).collect::<Vec<_>>())
            .field("cipher_suites", &self.cipher_suites().collect::<Vec<_>>())
            .field("key_exchange_groups", &self.key_exchange_groups().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::crypto::{GetRandomFailed, SecureRandom};

    use super::*;

    fn names(policy: &TlsPolicy) -> Vec<String> {
        policy.cipher_suites().collect()
    }

    fn versions(policy: &TlsPolicy) -> Vec<u16> {
        policy.versions().iter().map(|version| u16::from(version.version)).collect()
    }

    #[test]
    fn defaults() {
        let policy = TlsPolicy::builder().build().unwrap();
        assert_eq!(versions(&policy), [0x0304, 0x0303]);
        assert_eq!(
            policy.key_exchange_groups().collect::<Vec<_>>(),
            ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]
        );
        assert_eq!(
            names(&policy),
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            ]
        );
        assert!(policy.acceptance_ticket());
        assert_eq!(policy.chain_cache_capacity(), 16_384);
    }

    #[test]
    fn the_same_and_not_the_same() {
        let build = || TlsPolicy::builder().build().unwrap();
        assert!(build().is_same_as(&build()));

        let clock: Arc<dyn TimeProvider> = Arc::new(DefaultTimeProvider);
        let with_clock = || TlsPolicy::builder().time_provider(clock.clone()).build().unwrap();
        assert!(with_clock().is_same_as(&with_clock()));
        assert!(!with_clock().is_same_as(&build()));

        let provider = CryptoProvider::clone(build().provider());
        let given = |provider: &CryptoProvider| {
            TlsPolicy::builder().provider(Arc::new(provider.clone())).build().unwrap()
        };
        assert!(given(&provider).is_same_as(&build()));
        let algorithms = provider.signature_verification_algorithms;
        let mut fewer = provider.clone();
        fewer.signature_verification_algorithms.all = algorithms.all.split_last().unwrap().1;
        let mut mapped = provider.clone();
        mapped.signature_verification_algorithms.mapping = algorithms.mapping.split_last().unwrap().1;
        let mut groups = provider.clone();
        groups.kx_groups.reverse();
        for other in [fewer, mapped, groups] {
            assert!(!given(&other).is_same_as(&build()));
            assert!(given(&other).is_same_as(&given(&other)));
        }
    }

    #[test]
    fn application_protocols() {
        let build = |names: &[&[u8]]| TlsPolicy::builder().alpn(names).build();
        assert_eq!(build(&[]).unwrap().alpn().len(), 0);
        let longest = [b'x'; 255];
        let names: [&[u8]; 3] = [b"h2", &longest, b"\xff"];
        let policy = build(&names).unwrap();
        assert!(policy.alpn().eq(names));
        assert!(policy.is_same_as(&build(&names).unwrap()));
        assert!(policy.is_same_as(&build(&[]).unwrap().with_alpn(names).unwrap()));
        for other in [&[][..], &names[..2], &[names[1], names[0], names[2]]] {
            assert!(!policy.is_same_as(&build(other).unwrap()));
            assert!(!build(other).unwrap().is_same_as(&policy));
        }

        let long = vec![b'x'; 256];
        let full: Vec<_> = (0..16).map(|first| [&[first; 1][..], &longest[1..]].concat()).collect();
        let mut full: Vec<&[u8]> = full.iter().map(Vec::as_slice).collect();
        assert_eq!(build(&full).unwrap().alpn().len(), 16);
        full.push(b"h2");
        for (names, name, problem) in [
            (&[&b"h2"[..], b""][..], "", "it must have 1 to 255 bytes"),
            (&[&long], str::from_utf8(&long).unwrap(), "it must have 1 to 255 bytes"),
            (&[b"h2", b"\xff", b"h2"], "h2", "it is there twice"),
            (&[b"\xff", b"\xff"], "\u{fffd}", "it is there twice"),
            (&full, "h2", "all together have more than 4,096 bytes"),
        ] {
            let expected = PolicyError::UnusableApplicationProtocol { name: name.to_owned(), problem };
            assert_eq!(build(names).unwrap_err(), expected);
            assert_eq!(build(&[]).unwrap().with_alpn(names).unwrap_err(), expected);
        }
        assert_eq!(
            build(&[b"a\n", b"a\n"]).unwrap_err().to_string(),
            "the application protocol \"a\\n\" can not be in a list for ALPN: it is there twice"
        );
    }

    /// The start must be slow rather than a later handshake, and must report a source of entropy that fails.
    #[test]
    fn building_a_policy_draws_the_first_random_number() {
        static DRAWN: AtomicUsize = AtomicUsize::new(0);
        #[derive(Debug)]
        struct Counting;
        impl SecureRandom for Counting {
            fn fill(&self, _: &mut [u8]) -> Result<(), GetRandomFailed> {
                match DRAWN.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(()),
                    _ => Err(GetRandomFailed),
                }
            }
        }
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random = &Counting;
        let builder = || TlsPolicy::builder().provider(Arc::new(provider.clone()));
        builder().build().unwrap();
        assert_eq!(DRAWN.load(Ordering::Relaxed), 1);
        let error = builder().build().unwrap_err();
        assert!(matches!(error, PolicyError::NoRandomNumbers));
        assert_eq!(error.to_string(), "the crypto provider gives no random numbers, which TLS needs");
    }

    /// Two values without a size may share one address.
    #[test]
    fn parts_without_a_size_are_told_apart() {
        macro_rules! key_provider {
            ($name:ident) => {
                #[derive(Debug)]
                struct $name;
                impl rustls::crypto::KeyProvider for $name {
                    fn load_private_key(
                        &self,
                        _: rustls_pki_types::PrivateKeyDer<'static>,
                    ) -> Result<Arc<dyn rustls::sign::SigningKey>, rustls::Error> {
                        Err(rustls::Error::General(stringify!($name).to_owned()))
                    }
                }
            };
        }
        key_provider!(One);
        key_provider!(Other);
        let given = |key_provider: &'static dyn rustls::crypto::KeyProvider| {
            let provider = CryptoProvider { key_provider, ..default_provider().unwrap() };
            TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap()
        };
        let (one, other) = (&One, &Other);
        assert!(!given(one).is_same_as(&given(other)));
        assert!(given(one).is_same_as(&given(one)));
    }

    /// It works with any cipher suites of the policy, even if the given provider has none with SHA-256.
    #[test]
    fn sha256_is_always_there() {
        let of_abc =
            |builder: TlsPolicyBuilder| crate::text::hex(&builder.build().unwrap().sha256().of(b"abc"));
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for suites in ["", "TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"] {
            assert_eq!(of_abc(TlsPolicy::builder().cipher_suites(suites)), sha256, "{suites}");
        }
        let mut provider = default_provider().unwrap();
        provider.cipher_suites.retain(|suite| suite_name(suite.suite()).ends_with("SHA384"));
        assert!(Sha256::of_provider(&provider).is_none());
        assert_eq!(of_abc(TlsPolicy::builder().provider(Arc::new(provider))), sha256);
    }

    #[test]
    fn versions_by_name() {
        let build = |version| TlsPolicy::builder().min_version(version).build();
        assert_eq!(versions(&build("1.2").unwrap()), [0x0304, 0x0303]);
        assert_eq!(versions(&build("1.3").unwrap()), [0x0304]);
        for unknown in ["1.1", "1.0", "TLS1.3", "", "1.30"] {
            assert_eq!(build(unknown).unwrap_err(), PolicyError::UnknownVersion(unknown.to_owned()));
        }
    }

    #[test]
    fn a_list_without_tls13_suites_restricts_tls12_only() {
        let policy = TlsPolicy::builder()
            .cipher_suites(" TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,")
            .build()
            .unwrap();
        assert_eq!(
            names(&policy),
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            ]
        );
        assert_eq!(versions(&policy), [0x0304, 0x0303]);
    }

    #[test]
    fn a_list_of_tls13_suites_leaves_no_tls12() {
        let policy = TlsPolicy::builder().cipher_suites("TLS_AES_128_GCM_SHA256").build().unwrap();
        assert_eq!(names(&policy), ["TLS_AES_128_GCM_SHA256"]);
        assert_eq!(versions(&policy), [0x0304]);
    }

    #[test]
    fn suites_that_rustls_does_not_have_are_named() {
        let error = TlsPolicy::builder()
            .cipher_suites("TLS_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA")
            .build()
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(r#"the cipher suite "TLS_RSA_WITH_AES_128_CBC_SHA" is not supported"#),
            "{text}"
        );
        assert!(text.contains("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), "{text}");
    }

    #[test]
    fn groups_by_name() {
        let policy = TlsPolicy::builder().key_exchange_groups("SECP384R1, X25519").build().unwrap();
        assert_eq!(policy.key_exchange_groups().collect::<Vec<_>>(), ["secp384r1", "x25519"]);
        let error = TlsPolicy::builder().key_exchange_groups("x25519,sect163k1").build().unwrap_err();
        assert!(matches!(error, PolicyError::UnknownGroup { name, .. } if name == "sect163k1"));
        assert_eq!(
            TlsPolicy::builder().key_exchange_groups(",").build().unwrap_err(),
            PolicyError::NothingLeft
        );
        // The hybrid group exists in TLS 1.3 only.
        let policy = TlsPolicy::builder().key_exchange_groups("X25519MLKEM768").build().unwrap();
        assert_eq!(versions(&policy), [0x0304]);
    }
}
