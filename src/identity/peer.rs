//! The identity that a peer's certificate claims.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::certificate::{Certificate, MalformedCertificate};
use crate::text::{Quoted, QuotedList};

/// The names that a leaf certificate presents: its Common Name and its URI SANs, read strictly.
///
/// # Security
///
/// A `PeerIdentity` is what a certificate **claims**. Only the identity of a
/// [`VerifiedPeer`](crate::verifier::VerifiedPeer) is authenticated.
#[derive(Clone, Eq, PartialEq)]
pub struct PeerIdentity {
    pub(crate) common_name: Option<Box<str>>,
    pub(crate) uri_sans: Box<[Box<str>]>,
    /// The first DNS name, if there is no Common Name. It never counts, but people expect that it does.
    pub(crate) dns_name: Option<Box<str>>,
}

impl PeerIdentity {
    /// Reads the names out of a DER certificate. It is not verified in any way.
    ///
    /// # Errors
    ///
    /// [`MalformedCertificate`] if any part of the certificate, its subject or its extensions is not strictly valid:
    /// one bad name makes the whole leaf unusable, even if another name would match.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        Self::read(&Certificate::parse(certificate)?)
    }

    pub(crate) fn read(certificate: &Certificate<'_>) -> Result<Self, MalformedCertificate> {
        let (common_name, sans) = (certificate.common_name()?, certificate.sans()?);
        let dns_name = sans.dns_name.filter(|_| common_name.is_none()).map(Into::into);
        Ok(Self { common_name, uri_sans: sans.uris.into(), dns_name })
    }

    /// The last Common Name attribute of the subject in DER order, or `None` if there is none or it is empty.
    ///
    /// The last one is the most specific one. Go, and so Calico, reads it, too.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// All URI SANs in the order of the certificate, byte for byte.
    pub fn uri_sans(&self) -> impl ExactSizeIterator<Item = &str> {
        self.uri_sans.iter().map(AsRef::as_ref)
    }

    /// The bytes of memory that the names take.
    pub(crate) fn size(&self) -> usize {
        let names = self.common_name.iter().chain(&self.uri_sans).chain(&self.dns_name);
        names.map(|name| name.len() + size_of_val(name)).sum()
    }
}

/// Escapes and cuts the names, as all texts of this crate do.
impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerIdentity")
            .field("common_name", &self.common_name.as_deref().map(Quoted))
            .field("uri_sans", &QuotedList(&self.uri_sans))
            .field("dns_name", &self.dns_name.as_deref().map(Quoted))
            .finish()
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.common_name {
            Some(name) => write!(f, "CN {}, ", Quoted(name))?,
            None => f.write_str("no CN, ")?,
        }
        match &*self.uri_sans {
            [] => f.write_str("no URI SAN")?,
            uris => write!(f, "URI SANs {}", QuotedList(uris))?,
        }
        match &self.dns_name {
            Some(name) => write!(f, " (its DNS name {} does not count)", Quoted(name)),
            None => Ok(()),
        }
    }
}
