//! Both ends of this crate, as in its documentation: all defaults.

use tokio::net::TcpStream;
use typha_tls::material::TlsFiles;
use typha_tls::policy::TlsPolicy;
use typha_tls::{AuthenticatedStream, FelixConnector, RequiredIdentity, TlsConfig, TyphaAcceptor};

use super::ends::{Connected, Failure, FelixEnd, Io, Negotiated, Purpose, TyphaEnd, versions};
use crate::protocol::{Chains, Setup, Version};

pub(super) fn version() -> String {
    versions(&["typha-tls", "rustls", "aws-lc-rs"])
}

pub(super) struct Typha(TyphaAcceptor);

pub(super) struct Felix(FelixConnector);

impl Typha {
    pub(super) fn new(setup: &Setup) -> Result<Self, Failure> {
        Ok(Self(TyphaAcceptor::new(config(setup, TlsPolicy::builder().build()?)?)))
    }
}

impl TyphaEnd for Typha {
    type Stream<IO: Io> = AuthenticatedStream<IO>;

    async fn accept<IO: Io>(&self, io: IO) -> Result<Connected<Self::Stream<IO>>, Failure> {
        Ok(connected(self.0.accept(io).await?))
    }

    async fn accept_tcp(&self, tcp: TcpStream) -> Result<Connected<Self::Stream<TcpStream>>, Failure> {
        Ok(connected(self.0.accept_tcp(tcp).await?))
    }
}

impl Felix {
    pub(super) fn new(setup: &Setup) -> Result<Self, Failure> {
        if setup.max_version == Version::Tls12 {
            return Err("this crate's Felix has no maximum version: measure TLS 1.2 with the bare one".into());
        }
        let mut policy = TlsPolicy::builder();
        if !setup.groups.is_empty() {
            policy = policy.key_exchange_groups(&setup.groups.join(","));
        }
        Ok(Self(FelixConnector::new(config(setup, policy.build()?)?)))
    }
}

impl FelixEnd for Felix {
    type Stream<IO: Io> = AuthenticatedStream<IO>;

    async fn connect<IO: Io>(&self, io: IO) -> Result<Connected<Self::Stream<IO>>, Failure> {
        Ok(connected(self.0.connect(io).await?))
    }

    async fn connect_tcp(
        &self,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> Result<Connected<Self::Stream<TcpStream>>, Failure> {
        if purpose.rides {
            let connector = self.0.clone().with_first_message([purpose.byte])?;
            return Ok(connected(connector.connect_tcp(tcp).await?));
        }
        let mut connected = connected(self.0.connect_tcp(tcp).await?);
        purpose.send(&mut connected.stream).await?;
        Ok(connected)
    }

    fn with_chains(&self, _: &Chains) -> Result<Vec<Self>, Failure> {
        Err("other leaves are for the bare Felix only".into())
    }
}

/// The stream does not report whether its session was resumed. This crate's Felix never offers to resume; with a Typha
/// of this crate, the bare Felix reports it.
fn connected<IO>(stream: AuthenticatedStream<IO>) -> Connected<AuthenticatedStream<IO>> {
    let negotiated = Some(Negotiated::Ours(stream.tls().clone()));
    Connected { stream, resumed: false, negotiated }
}

fn config(setup: &Setup, policy: TlsPolicy) -> Result<TlsConfig, Failure> {
    let (files, required) = (&setup.files, &setup.required);
    let files = TlsFiles::new(&files.ca, &files.chain, &files.key);
    let required = RequiredIdentity::new(required.common_name.as_deref(), required.uri_san.as_deref())?;
    Ok(TlsConfig::from_files(&files, required, policy)?)
}
