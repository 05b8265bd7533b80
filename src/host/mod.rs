//! Connections to servers that are verified for the host that was dialled: etcd, kube-apiserver.
//!
//! Felix and Typha accept each other by identity, whatever the address. Other servers are accepted by the host rule:
//!
//! - The chain leads to a configured CA, and the certificate allows server authentication.
//! - The subject alternative names have the host that was dialled, as a DNS name or as an IP address.
//!
//! The chain check, the revocation lists, the errors, the reload and the review of live connections are the same as
//! between Felix and Typha. Keep the value of `follow` as long as the files are to be followed:
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
