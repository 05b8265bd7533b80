//! Mutual TLS between Calico's Felix and Typha, on rustls.

mod certificate;
mod der;
pub mod identity;
mod text;

pub use certificate::MalformedCertificate;
pub use identity::RequiredIdentity;
