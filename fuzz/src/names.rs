//! Reads the names of a leaf by another parser, to compare with.

use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What a leaf presents, as x509-cert reads it.
#[derive(Debug, Eq, PartialEq)]
pub struct Names {
    pub common_name: Option<String>,
    pub uri_sans: Vec<String>,
}

impl Names {
    /// `None` where x509-cert does not accept the certificate, or does not keep what it read apart.
    pub fn read(der: &[u8]) -> Option<Self> {
        let tbs = Certificate::from_der(der).ok()?.tbs_certificate;
        let mut common_name = None;
        for set in &tbs.subject.0 {
            let mut values = set.0.iter().filter(|attribute| attribute.oid == COMMON_NAME);
            if let Some(attribute) = values.next() {
                common_name = Some(text(attribute.value.tag(), attribute.value.value())?);
            }
            // x509-cert sorts the members of a set, so that the order in the certificate is lost.
            if values.next().is_some() {
                return None;
            }
        }
        let uri_sans = match tbs.get::<SubjectAltName>().ok()? {
            Some((_, names)) => names.0.iter().filter_map(uri).collect(),
            None => Vec::new(),
        };
        Some(Self { common_name: common_name.filter(|name| !name.is_empty()), uri_sans })
    }
}

fn uri(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    }
}

fn text(tag: Tag, value: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(value.to_vec()).ok(),
        Tag::TeletexString => Some(value.iter().map(|&byte| char::from(byte)).collect()),
        Tag::BmpString => {
            let units: Vec<_> = value
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |unit, &b| unit << 8 | u16::from(b)))
                .collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}
