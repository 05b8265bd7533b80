//! Mutual TLS between Calico's Felix (the client, on every node) and Typha (the server), on rustls and tokio.
//!
//! The promise: the peer of a stream that this crate hands out is **authenticated**. Its chain leads to a configured
//! CA, it is valid now and for that peer's role, and its Common Name or one of its URI SANs is the one required. No
//! connector, acceptor, verifier or stream for which this does not hold can be built; with one on each end, it holds in
//! both directions.
//!
//! Where to begin:
//! - [`config::TyphaConfig`] and [`config::FelixConfig`] read Calico's parameters and make what a daemon needs: a
//!   [`TyphaListener`], which accepts Felixes at scale, or a [`FelixDialer`], which finds a Typha and stays connected
//!   to one.
//! - [`TyphaAcceptor`] and [`FelixConnector`] are the two ends alone, for connections that come from elsewhere.
//! - Without Calico's parameters: [`material`] (CAs, chain, key), a [`RequiredIdentity`] and a [`policy::TlsPolicy`]
//!   make a [`TlsConfig`], and that makes an acceptor or a connector. [`TlsConfig::from_files`] reads the files.
//! - [`TyphaAcceptor::follow`] and [`FelixConnector::follow`] follow a [source](reload), such as the files, and put
//!   what is new in force; [`TyphaAcceptor::replace`] and [`FelixConnector::replace`] do so once.
//! - [`verifier::PeerVerifier`] is the one function that judges peers, usable without a handshake.
//! - [`HandshakeError`] and [`verifier::Rejection`] say why a connection did not come about.
//!
//! Each acceptor and connector emits one [tracing](https://docs.rs/tracing) event for each connection, inside a span
//! `handshake` with the fields `local` and `peer_address`:
//!
//! | event | level | fields |
//! | --- | --- | --- |
//! | `connection accepted` | info | `peer_address`, `matched_by`, `common_name`, `uri_sans`, `ca`, `serial`, `sha256`, `tls_version`, `cipher_suite`, `group`, `alpn` |
//! | `connection refused` | warn | `peer_address`, `reason` ([`HandshakeError::label`]), `detail` |
//!
//! What a peer controls is escaped and cut in them, as in every error text. The names of fields and reasons are stable.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod acceptor;
mod certificate;
pub mod config;
mod connection;
mod connector;
mod der;
mod detached;
pub mod dialer;
pub mod error;
mod events;
mod file;
mod handshake;
pub mod identity;
pub mod lifetime;
pub mod listener;
pub mod material;
pub mod policy;
pub mod reload;
mod role;
pub mod stream;
mod tcp;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod time;
mod tls_config;
mod tls_context;
pub mod verifier;

pub use acceptor::TyphaAcceptor;
pub use certificate::MalformedCertificate;
pub use connection::Connection;
pub use connector::{AcceptanceMode, FelixConnector, FirstMessageTooLong};
pub use dialer::FelixDialer;
pub use error::HandshakeError;
pub use identity::RequiredIdentity;
pub use listener::TyphaListener;
pub use role::Role;
pub use stream::AuthenticatedStream;
pub use tls_config::TlsConfig;
/// What stops a [`FelixDialer`], and tells the owner of a [`Connection`] to close it.
#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;

/// Compiles the code of the README and of the guides.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/parameters.md")]
struct Guides;
