//! Both ends of tokio-rustls, as its documentation sets up mutual TLS: chains only, no identities, all defaults.
//! Accepting has no time limit, which favours this implementation.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    ClientConfig, CommonState, DEFAULT_VERSIONS, HandshakeKind, RootCertStore, ServerConfig,
    SupportedProtocolVersion, version,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use typha_tls::policy::TlsPolicy;

use super::ends::{Connected, Failure, FelixEnd, Io, Negotiated, Purpose, TyphaEnd, versions};
use crate::protocol::{Chains, Implementation, Setup, Version};

/// The DNS SAN of Typha's leaf: this Felix checks names, as rustls does by default.
const TYPHA_NAME: &str = "typha";

static UP_TO_TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];

pub(super) fn version() -> String {
    versions(&["tokio-rustls", "rustls", "aws-lc-rs"])
}

pub(super) struct Typha(TlsAcceptor);

pub(super) struct Felix {
    connector: TlsConnector,
    name: ServerName<'static>,
    parts: Arc<Parts>,
}

/// What the configurations of one Felix share.
struct Parts {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    roots: Arc<RootCertStore>,
    key: Arc<dyn SigningKey>,
    resumption: bool,
}

impl Typha {
    pub(super) fn new(setup: &Setup) -> Result<Self, Failure> {
        let provider = Arc::new(provider(setup));
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots(setup)?, provider.clone()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&setup.files.chain)?, private_key(setup)?)?;
        // The Felix that loads all Typhas prefers AES-256.
        config.ignore_client_order = setup.implementation == Implementation::BareAes128;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl TyphaEnd for Typha {
    type Stream<IO: Io> = server::TlsStream<IO>;

    async fn accept<IO: Io>(&self, io: IO) -> Result<Connected<Self::Stream<IO>>, Failure> {
        let stream = self.0.accept(io).await?;
        let (resumed, negotiated) = facts(stream.get_ref().1);
        Ok(Connected { stream, resumed, negotiated })
    }

    async fn accept_tcp(&self, tcp: TcpStream) -> Result<Connected<Self::Stream<TcpStream>>, Failure> {
        tcp.set_nodelay(true)?;
        self.accept(tcp).await
    }
}

impl Felix {
    pub(super) fn new(setup: &Setup) -> Result<Self, Failure> {
        let mut provider = provider(setup);
        if !setup.groups.is_empty() {
            // The policy knows the groups by their names.
            let named = TlsPolicy::builder()
                .provider(Arc::new(provider.clone()))
                .key_exchange_groups(&setup.groups.join(","))
                .build()?;
            provider.kx_groups.clone_from(&named.provider().kx_groups);
        }
        let parts = Parts {
            versions: match setup.max_version {
                Version::Tls12 => UP_TO_TLS12,
                Version::Tls13 => DEFAULT_VERSIONS,
            },
            roots: roots(setup)?,
            key: provider.key_provider.load_private_key(private_key(setup)?)?,
            provider: Arc::new(provider),
            resumption: setup.resumption,
        };
        Self::with_chain(&Arc::new(parts), certificates(&setup.files.chain)?)
    }

    fn with_chain(parts: &Arc<Parts>, chain: Vec<CertificateDer<'static>>) -> Result<Self, Failure> {
        let credentials = SingleCertAndKey::from(CertifiedKey::new(chain, parts.key.clone()));
        let mut config = ClientConfig::builder_with_provider(parts.provider.clone())
            .with_protocol_versions(parts.versions)?
            .with_root_certificates(parts.roots.clone())
            .with_client_cert_resolver(Arc::new(credentials));
        if !parts.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(TYPHA_NAME)?,
            parts: parts.clone(),
        })
    }
}

impl FelixEnd for Felix {
    type Stream<IO: Io> = client::TlsStream<IO>;

    async fn connect<IO: Io>(&self, io: IO) -> Result<Connected<Self::Stream<IO>>, Failure> {
        let stream = self.connector.connect(self.name.clone(), io).await?;
        let (resumed, negotiated) = facts(stream.get_ref().1);
        Ok(Connected { stream, resumed, negotiated })
    }

    async fn connect_tcp(
        &self,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> Result<Connected<Self::Stream<TcpStream>>, Failure> {
        tcp.set_nodelay(true)?;
        let mut connected = self.connect(tcp).await?;
        purpose.send(&mut connected.stream).await?;
        Ok(connected)
    }

    fn with_chains(&self, chains: &Chains) -> Result<Vec<Self>, Failure> {
        let Chains { file: path, chain_length: length } = chains;
        let certificates = certificates(path)?;
        let chains = certificates.chunks_exact((*length).max(1));
        if certificates.is_empty() || !chains.remainder().is_empty() {
            let count = certificates.len();
            return Err(format!("{path} has {count} certificates: no chains of {length} each").into());
        }
        chains.map(|chain| Self::with_chain(&self.parts, chain.to_vec())).collect()
    }
}

/// The default one; for `BareAes128` with AES-128 first.
fn provider(setup: &Setup) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if setup.implementation == Implementation::BareAes128 {
        // Stable: all else stays in its order.
        provider.cipher_suites.sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    }
    provider
}

/// Whether a session was resumed, and what was negotiated.
fn facts(connection: &CommonState) -> (bool, Option<Negotiated>) {
    let negotiated = || {
        let suite = connection.negotiated_cipher_suite()?.suite();
        let group = connection.negotiated_key_exchange_group()?.name();
        Some(Negotiated::Rustls(connection.protocol_version()?, suite, group))
    };
    // A session of TLS 1.2 that is resumed has no key exchange.
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    (resumed, negotiated())
}

fn roots(setup: &Setup) -> Result<Arc<RootCertStore>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&setup.files.ca)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let unreadable = |error| format!("{path}: {error}");
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    Ok(certificates.collect::<Result<_, _>>().map_err(unreadable)?)
}

fn private_key(setup: &Setup) -> Result<PrivateKeyDer<'static>, Failure> {
    let path = &setup.files.key;
    Ok(PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{path}: {error}"))?)
}
