//! The identity rule: which Common Name or URI SAN a peer must present. Pure functions; no I/O, no TLS.
//!
//! Calico accepts a peer whose certificate has the required Common Name **or** the required URI SAN. If both are
//! required, one of them suffices. This lets a cluster move from Common Names to SPIFFE IDs without an interruption.
//!
//! ```
//! use typha_tls::identity::RequiredIdentity;
//!
//! let required = RequiredIdentity::either("typha-client", "spiffe://cluster.local/ns/calico-system/sa/calico-node")?;
//! assert_eq!(
//!     required.to_string(),
//!     r#"CN "typha-client" or URI SAN "spiffe://cluster.local/ns/calico-system/sa/calico-node""#
//! );
//! assert!(RequiredIdentity::new(None, None).is_err(), "a requirement that anyone meets can not be built");
//! # Ok::<(), typha_tls::identity::InvalidIdentity>(())
//! ```

mod host;
mod peer;
mod required;
mod spiffe;

pub use host::{HostCheckError, HostMismatch, InvalidHost, ServerHost};
pub use peer::PeerIdentity;
pub use required::{IdentityDoubt, IdentityMismatch, InvalidIdentity, MatchedBy, RequiredIdentity};
