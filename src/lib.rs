//! Mutual TLS between Calico's Felix and Typha, on rustls.

mod certificate;
mod der;
mod file;
pub mod identity;
pub mod material;
pub mod policy;
mod role;
mod text;
pub mod verifier;

pub use certificate::MalformedCertificate;
pub use identity::RequiredIdentity;
pub use role::Role;
