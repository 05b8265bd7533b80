//! Both ends without TLS: the backend behind a proxy, and a Felix that connects to it directly.

use tokio::net::TcpStream;

use super::ends::{Connected, Failure, FelixEnd, Io, Purpose, TyphaEnd};
use crate::protocol::Chains;

pub(super) fn version() -> String {
    "TCP without TLS".to_owned()
}

pub(super) struct Backend;

pub(super) struct Felix;

impl TyphaEnd for Backend {
    type Stream<IO: Io> = IO;

    async fn accept<IO: Io>(&self, io: IO) -> Result<Connected<IO>, Failure> {
        Ok(connected(io))
    }

    async fn accept_tcp(&self, tcp: TcpStream) -> Result<Connected<TcpStream>, Failure> {
        tcp.set_nodelay(true)?;
        Ok(connected(tcp))
    }
}

impl FelixEnd for Felix {
    type Stream<IO: Io> = IO;

    async fn connect<IO: Io>(&self, io: IO) -> Result<Connected<IO>, Failure> {
        Ok(connected(io))
    }

    async fn connect_tcp(
        &self,
        mut tcp: TcpStream,
        purpose: Purpose,
    ) -> Result<Connected<TcpStream>, Failure> {
        tcp.set_nodelay(true)?;
        purpose.send(&mut tcp).await?;
        Ok(connected(tcp))
    }

    fn with_chains(&self, _: &Chains) -> Result<Vec<Self>, Failure> {
        Err("there are no leaves without TLS".into())
    }
}

fn connected<IO>(stream: IO) -> Connected<IO> {
    Connected { stream, resumed: false, negotiated: None }
}
