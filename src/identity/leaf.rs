//! Turns a leaf certificate into the names it presents.

use rustls_pki_types::CertificateDer;

use super::peer::PeerIdentity;
use crate::certificate::{Certificate, MalformedCertificate, is_name};
use crate::der::{DerReader, OBJECT_IDENTIFIER, SEQUENCE, is_object_identifier};

/// A leaf certificate, wholly parsed.
pub(crate) struct Leaf<'a> {
    pub(crate) certificate: Certificate<'a>,
    pub(crate) identity: PeerIdentity,
}

impl<'a> Leaf<'a> {
    pub(crate) fn parse(der: &'a CertificateDer<'_>) -> Result<Self, MalformedCertificate> {
        let certificate = Certificate::parse(der)?;
        let identity =
            PeerIdentity { common_name: common_name(&certificate)?, uri_sans: uri_sans(&certificate)? };
        Ok(Self { certificate, identity })
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
