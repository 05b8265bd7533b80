//! Mutual TLS between Calico's Felix and Typha, on rustls.

mod acceptor;
mod certificate;
pub mod config;
mod connector;
mod der;
pub mod error;
mod events;
mod file;
mod handshake;
pub mod identity;
pub mod material;
pub mod policy;
mod role;
pub mod snapshot;
pub mod stream;
mod tcp;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod time;
pub mod verifier;

pub use acceptor::TyphaAcceptor;
pub use certificate::MalformedCertificate;
pub use connector::{AcceptanceMode, FelixConnector};
pub use error::HandshakeError;
pub use identity::RequiredIdentity;
pub use role::Role;
pub use snapshot::{FelixSnapshot, TyphaSnapshot};
pub use stream::AuthenticatedStream;
pub use tcp::TcpKeepalive;
