//! Mutual TLS between Calico's Felix (the client, on every node) and Typha (the server), on rustls and tokio.
//!
//! The promise: the peer of every stream that this crate returns is **authenticated**. Its chain leads to a configured
//! CA, and is valid now and for the peer's role. Its Common Name or one of its URI SANs is the required one. Another
//! server than a Typha is valid for the host that was dialled instead. A connector, acceptor, verifier or stream
//! without these checks can not be built. With this crate on both ends, the promise holds in both directions.
//!
//! Where to begin:
//! - [`config::TyphaConfig`] and [`config::FelixConfig`] read Calico's parameters and build what a daemon needs: a
//!   [`TyphaListener`], which accepts many Felixes, or a [`FelixDialer`], which finds a Typha and stays connected.
//! - [`TyphaAcceptor`] and [`FelixConnector`] are the TLS ends alone, for connections that your own code opens or
//!   accepts.
//! - Without Calico's parameters: build a [`TlsConfig`] from [`material`] (CAs, chain, key), a [`RequiredIdentity`] and
//!   a [`policy::TlsPolicy`]; build an acceptor or a connector from it. [`TlsConfig::from_files`] reads the files.
//! - [`TyphaAcceptor::follow`] and [`FelixConnector::follow`] follow a [source](reload), such as the files, and put
//!   each new configuration in force. [`TyphaAcceptor::replace`] and [`FelixConnector::replace`] replace it once.
//! - [`verifier::PeerVerifier`] is the one place that verifies peers; you can call it without a handshake.
//! - [`HostConnector`] connects to other servers, such as etcd and kube-apiserver, which must be valid for the host
//!   that was dialled.
//! - [`HandshakeError`] and [`verifier::Rejection`] are the reasons why a connection failed.
//!
//! Each acceptor and connector emits one [tracing](https://docs.rs/tracing) event for each connection, inside a span
//! `handshake` with the fields `local` and `peer_address`:
//!
//! | event | level | fields |
//! | --- | --- | --- |
//! | `connection accepted` | info | `peer_address`, `matched_by`, `host` (host rule), `common_name`, `uri_sans`, `ca`, `serial`, `sha256`, `tls_version`, `cipher_suite`, `group`, `alpn` |
//! | `connection refused` | warn | `peer_address`, `reason` ([`HandshakeError::label`]), `detail` |
//!
//! Text that the peer controls is escaped and shortened, as in every error text. The names of fields and reasons are
//! stable.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod acceptor;
mod certificate;
mod client;
pub mod config;
mod config_parts;
mod connection;
mod connector;
mod der;
mod detached;
pub mod dialer;
pub mod error;
mod events;
mod file;
mod handshake;
pub mod host;
mod host_config;
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
pub use certificate::{CertificateFacts, MalformedCertificate};
pub use client::AcceptanceMode;
pub use connection::Connection;
pub use connector::{FelixConnector, FirstMessageTooLong};
pub use dialer::FelixDialer;
pub use error::HandshakeError;
pub use host::HostConnector;
pub use identity::{RequiredIdentity, ServerHost};
pub use listener::TyphaListener;
pub use role::Role;
pub use stream::AuthenticatedStream;
pub use tls_config::TlsConfig;
/// A token that stops a [`FelixDialer`], and that asks the owner of a [`Connection`] to close it.
#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;

/// Compiles the code of the README and of the guides.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/other-connections.md")]
#[doc = include_str!("../docs/parameters.md")]
struct Guides;
