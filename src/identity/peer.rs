//! What a peer's certificate says who it is.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::certificate::{Certificate, MalformedCertificate, is_name};
use crate::der::{DerReader, OBJECT_IDENTIFIER, SEQUENCE, is_object_identifier};
use crate::text::{Quoted, QuotedList};

/// The names that a leaf certificate presents: its Common Name and its URI SANs, read strictly.
///
/// # Security
///
/// A `PeerIdentity` says what a certificate **claims**. Only one from a [`VerifiedPeer`](crate::verifier::VerifiedPeer)
/// has been authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerIdentity {
    pub(crate) common_name: Option<Box<str>>,
    pub(crate) uri_sans: Box<[Box<str>]>,
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
        Ok(Self { common_name: common_name(certificate)?, uri_sans: uri_sans(certificate)? })
    }

    /// The last Common Name attribute of the subject in DER order, or `None` if there is none or it is empty.
    ///
    /// The last, because that is the most specific one and the one that Go, and so Calico, reads.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// All URI SANs in the order of the certificate, byte for byte.
    pub fn uri_sans(&self) -> impl ExactSizeIterator<Item = &str> {
        self.uri_sans.iter().map(AsRef::as_ref)
    }

    /// The bytes of memory that the names take, as far as they are this one's own.
    pub(crate) fn size(&self) -> usize {
        let names = self.common_name.iter().chain(&self.uri_sans);
        names.map(|name| name.len() + size_of_val(name)).sum()
    }

    pub(crate) fn uri_san_list(&self) -> &[Box<str>] {
        &self.uri_sans
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.common_name {
            Some(name) => write!(f, "CN {}, ", Quoted(name))?,
            None => f.write_str("no CN, ")?,
        }
        match &*self.uri_sans {
            [] => f.write_str("no URI SAN"),
            uris => write!(f, "URI SANs {}", QuotedList(uris)),
        }
    }
}

fn common_name(certificate: &Certificate<'_>) -> Result<Option<Box<str>>, MalformedCertificate> {
    let mut last = None;
    // Every attribute is decoded, so that one that is not valid in its type is never passed over.
    for attribute in certificate.subject()? {
        let text = attribute.text()?;
        if attribute.is_common_name() {
            attribute.check_common_name_type()?;
            last = Some(text);
        }
    }
    Ok(last.filter(|name| !name.is_empty()).map(|name| name.into_owned().into_boxed_str()))
}

// Identifier octets of the choices of GeneralName (RFC 5280 section 4.2.1.6).
const OTHER_NAME: u8 = 0xa0;
const RFC822_NAME: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const X400_ADDRESS: u8 = 0xa3;
const DIRECTORY_NAME: u8 = 0xa4;
const EDI_PARTY_NAME: u8 = 0xa5;
const UNIFORM_RESOURCE_IDENTIFIER: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
const REGISTERED_ID: u8 = 0x88;

fn uri_sans(certificate: &Certificate<'_>) -> Result<Box<[Box<str>]>, MalformedCertificate> {
    let malformed = |_| MalformedCertificate::new("the subject alternative name is not valid DER");
    let Some(extension) = certificate.subject_alternative_name() else { return Ok(Box::default()) };
    let mut names = DerReader::new(DerReader::single(extension, SEQUENCE).map_err(malformed)?);
    let mut uris = Vec::new();
    while let Some((tag, value)) = names.next_element().map_err(malformed)? {
        match tag {
            UNIFORM_RESOURCE_IDENTIFIER => uris.push(uri(value)?),
            RFC822_NAME | DNS_NAME if !value.is_ascii() => {
                return Err(MalformedCertificate::new("a DNS or e-mail SAN is not ASCII"));
            }
            IP_ADDRESS if !matches!(value.len(), 4 | 16) => {
                return Err(MalformedCertificate::new("an IP address SAN has neither 4 nor 16 octets"));
            }
            DIRECTORY_NAME if !is_name(value) => {
                return Err(MalformedCertificate::new("a directory name SAN is not valid DER"));
            }
            OTHER_NAME if DerReader::new(value).expect(OBJECT_IDENTIFIER).is_err() => {
                return Err(MalformedCertificate::new("an other-name SAN does not begin with its type"));
            }
            REGISTERED_ID if !is_object_identifier(value) => {
                return Err(MalformedCertificate::new("a registered-id SAN is not an object identifier"));
            }
            RFC822_NAME | DNS_NAME | IP_ADDRESS | OTHER_NAME | X400_ADDRESS | DIRECTORY_NAME
            | EDI_PARTY_NAME | REGISTERED_ID => {}
            _ => {
                return Err(MalformedCertificate::new(
                    "the subject alternative name has an unknown kind of name",
                ));
            }
        }
    }
    Ok(uris.into())
}

fn uri(value: &[u8]) -> Result<Box<str>, MalformedCertificate> {
    match std::str::from_utf8(value) {
        Ok(uri) if !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic()) => Ok(uri.into()),
        _ => Err(MalformedCertificate::new(
            "a URI SAN is empty or has white space, a control character or a byte outside ASCII",
        )),
    }
}
