//! Connections to servers that are verified for the host that was dialled: etcd, kube-apiserver.
//!
//! Felix and Typha accept each other by identity, whatever the address. Other servers follow the host rule. The chain
//! leads to a configured CA, and the certificate allows server authentication. The host that was dialled is among the
//! DNS names or IP addresses of its subject alternative names. The chain is checked by the same code, with the same
//! revocation lists, errors, reload and review of live connections.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use typha_tls::host::{HostConnector, HostTlsConfig};
//! use typha_tls::material::HostTlsFiles;
//! use typha_tls::policy::TlsPolicy;
//! use typha_tls::reload::{FileSource, ReloadOptions};
//!
//! let files = HostTlsFiles::new("ca.pem").with_own_files("client.pem", "client.key");
//! let policy = TlsPolicy::builder().alpn(["h2"]).build()?;
//! let connector = HostConnector::new(HostTlsConfig::from_files(&files, policy.clone())?);
//! let reloader = connector.follow(FileSource::of_host(files, policy), ReloadOptions::default());
//! let connection = connector.dial(&"etcd-1.example".parse()?, 2379).await?;
//! println!("connected to {}", connection.peer());
//! # Ok(())
//! # }
//! ```

mod connector;
mod dial;
mod error;
#[cfg(feature = "hyper")]
mod https;

pub use connector::HostConnector;
pub use error::{AddressAttempt, HostDialError};
#[cfg(feature = "hyper")]
pub use https::{HttpsConnection, HttpsConnector, HttpsError};

pub use crate::host_config::HostTlsConfig;
