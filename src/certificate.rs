//! The reader of DER certificates: names, validity, extensions. Only this module uses x509-parser.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use thiserror::Error;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{BasicConstraints, GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::nom::Parser;
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

use crate::der::{DerError, DerReader, OBJECT_IDENTIFIER, SEQUENCE, SET, check_nested, is_object_identifier};
use crate::text::Quoted;

/// A certificate is not strictly valid DER, or a name or an extension in it is not valid in its type.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("malformed certificate: {0}")]
pub struct MalformedCertificate(Cow<'static, str>);

impl MalformedCertificate {
    pub(crate) fn new(problem: impl Into<Cow<'static, str>>) -> Self {
        Self(problem.into())
    }
}

/// A parsed certificate. Every extension in it is well-formed, and none occurs twice.
pub(crate) struct Certificate<'a> {
    x509: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, MalformedCertificate> {
        let malformed = || MalformedCertificate::new("it is not a DER-encoded X.509 certificate");
        // Checks that nothing follows the certificate and that its structure is strict DER; the parser below checks
        // neither.
        check_nested(der).map_err(|_| malformed())?;
        let (_, x509) = X509CertificateParser::new()
            .with_deep_parse_extensions(true)
            .parse(der)
            .map_err(|_| malformed())?;
        check_extensions(x509.extensions())?;
        Ok(Self { x509 })
    }

    /// The DER of the public key with its algorithm: SubjectPublicKeyInfo.
    pub(crate) fn public_key_info(&self) -> &'a [u8] {
        self.x509.tbs_certificate.subject_pki.raw
    }

    /// The last Common Name of the subject in DER order; `None` if there is none or it is empty.
    pub(crate) fn common_name(&self) -> Result<Option<Box<str>>, MalformedCertificate> {
        let attributes = read_name(self.subject_der())
            .map_err(|_| MalformedCertificate::new("the subject is not valid DER"))?;
        let mut last = None;
        // Decodes every attribute, so that one that is not valid in its type is never ignored.
        for attribute in attributes {
            let text = attribute.text().map_err(MalformedCertificate::new)?;
            if attribute.oid == COMMON_NAME {
                // The types that carry text: RFC 5280's DirectoryString without UniversalString, and IA5String.
                if !matches!(attribute.tag, 0x0c | 0x13 | 0x14 | 0x16 | 0x1e) {
                    return Err(MalformedCertificate::new(
                        "the Common Name is of an unsupported string type",
                    ));
                }
                last = Some(text);
            }
        }
        Ok(last.filter(|name| !name.is_empty()).map(|name| name.into_owned().into_boxed_str()))
    }

    /// The URI SANs in the order of the certificate; all names of the extension are checked.
    pub(crate) fn uri_sans(&self) -> Result<Box<[Box<str>]>, MalformedCertificate> {
        let mut extensions = self.x509.extensions().iter();
        let extension = extensions.find(|found| found.oid == oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME);
        let Some(extension) = extension else { return Ok(Box::default()) };
        let malformed = |_| MalformedCertificate::new("the subject alternative name is not valid DER");
        let mut names = DerReader::new(DerReader::single(extension.value, SEQUENCE).map_err(malformed)?);
        let mut uris: Vec<Box<str>> = Vec::new();
        while let Some((tag, value)) = names.next_element().map_err(malformed)? {
            let problem = match tag {
                UNIFORM_RESOURCE_IDENTIFIER => match std::str::from_utf8(value) {
                    Ok(uri) if !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic()) => {
                        uris.push(uri.into());
                        continue;
                    }
                    _ => "a URI SAN is empty or has white space, a control character or a byte outside ASCII",
                },
                RFC822_NAME | DNS_NAME if !value.is_ascii() => "a DNS or e-mail SAN is not ASCII",
                IP_ADDRESS if !matches!(value.len(), 4 | 16) => {
                    "an IP address SAN has neither 4 nor 16 octets"
                }
                DIRECTORY_NAME if read_name(value).is_err() => "a directory name SAN is not valid DER",
                OTHER_NAME if DerReader::new(value).expect(OBJECT_IDENTIFIER).is_err() => {
                    "an other-name SAN does not begin with its type"
                }
                REGISTERED_ID if !is_object_identifier(value) => {
                    "a registered-id SAN is not an object identifier"
                }
                RFC822_NAME | DNS_NAME | IP_ADDRESS | OTHER_NAME | X400_ADDRESS | DIRECTORY_NAME
                | EDI_PARTY_NAME | REGISTERED_ID => continue,
                _ => "the subject alternative name has an unknown kind of name",
            };
            return Err(MalformedCertificate::new(problem));
        }
        Ok(uris.into())
    }

    /// The subject as text: `O="example", CN="typha-server"`; escaped and cut.
    pub(crate) fn subject_text(&self) -> String {
        name_text(self.x509.subject().as_raw())
    }

    /// The issuer as text.
    pub(crate) fn issuer_text(&self) -> String {
        name_text(self.x509.issuer().as_raw())
    }

    pub(crate) fn subject_der(&self) -> &'a [u8] {
        self.x509.tbs_certificate.subject.as_raw()
    }

    pub(crate) fn issuer_der(&self) -> &'a [u8] {
        self.x509.tbs_certificate.issuer.as_raw()
    }

    /// The octets of the serial number without leading zeros.
    pub(crate) fn serial_number(&self) -> &'a [u8] {
        without_leading_zeros(self.x509.tbs_certificate.raw_serial())
    }

    /// The contents of the DER integer of the serial number.
    pub(crate) fn serial(&self) -> &[u8] {
        self.x509.tbs_certificate.raw_serial()
    }

    pub(crate) fn not_before(&self) -> UnixTime {
        unix_time(self.x509.validity().not_before.timestamp())
    }

    pub(crate) fn not_after(&self) -> UnixTime {
        unix_time(self.x509.validity().not_after.timestamp())
    }

    /// Whether the certificate may issue others: the cA flag and, where there is a key usage, keyCertSign.
    /// The error says what is missing.
    pub(crate) fn can_issue(&self) -> Result<(), &'static str> {
        match self.basic_constraints() {
            Some(constraints) if constraints.ca => {}
            // An X.509 v1 certificate has no extensions. Go and webpki accept it as a CA if it is configured as one.
            None if self.x509.version() == X509Version::V1 => {}
            _ => return Err(NO_CA_FLAG),
        }
        if self.key_usage().is_none_or(KeyUsage::key_cert_sign) {
            Ok(())
        } else {
            Err("its key usage does not include keyCertSign")
        }
    }

    /// Whether the key may sign revocation lists: cRLSign, where there is a key usage (RFC 5280 section 4.2.1.3).
    pub(crate) fn can_sign_lists(&self) -> bool {
        self.key_usage().is_none_or(KeyUsage::crl_sign)
    }

    // The accessors of x509-parser below fail only if an extension occurs twice, which `parse` has refused.

    fn key_usage(&self) -> Option<&KeyUsage> {
        self.x509.key_usage().ok().flatten().map(|extension| extension.value)
    }

    fn basic_constraints(&self) -> Option<&BasicConstraints> {
        self.x509.basic_constraints().ok().flatten().map(|extension| extension.value)
    }

    /// Whether the basic constraints mark it as a CA.
    pub(crate) fn is_ca(&self) -> bool {
        self.basic_constraints().is_some_and(|constraints| constraints.ca)
    }

    /// The pathLenConstraint: how many CA certificates may stand between this one and a leaf.
    pub(crate) fn path_length(&self) -> Option<u32> {
        self.basic_constraints()?.path_len_constraint
    }

    /// Whether the extended key usage allows `purpose`; without the extension, or with anyExtendedKeyUsage, it does.
    pub(crate) fn allows(&self, purpose: KeyPurpose) -> bool {
        self.x509.extended_key_usage().ok().flatten().is_none_or(|extension| {
            let usage = extension.value;
            usage.any
                || match purpose {
                    KeyPurpose::ClientAuth => usage.client_auth,
                    KeyPurpose::ServerAuth => usage.server_auth,
                }
        })
    }

    /// Whether name constraints on URIs are among the extensions.
    pub(crate) fn constrains_uris(&self) -> bool {
        self.x509.name_constraints().ok().flatten().is_some_and(|extension| {
            let subtrees = [&extension.value.permitted_subtrees, &extension.value.excluded_subtrees];
            let mut subtrees = subtrees.into_iter().flatten().flatten();
            subtrees.any(|subtree| matches!(subtree.base, GeneralName::URI(_)))
        })
    }

    /// The object identifier of the first critical extension that `handled` does not know.
    pub(crate) fn unhandled_critical_extension(&self, handled: &[&[u8]]) -> Option<String> {
        self.x509
            .extensions()
            .iter()
            .find(|extension| extension.critical && !handled.contains(&extension.oid.as_bytes()))
            .map(|extension| oid_text(&extension.oid))
    }

    pub(crate) fn subject_key_identifier(&self) -> Option<&'a [u8]> {
        self.extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
    }

    pub(crate) fn authority_key_identifier(&self) -> Option<&'a [u8]> {
        self.extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().map(|identifier| identifier.0)
            }
            _ => None,
        })
    }

    /// The size in bits of an RSA key; `None` for a key of another kind.
    pub(crate) fn rsa_key_bits(&self) -> Option<usize> {
        match self.x509.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => {
                // x509-parser counts whole octets.
                let modulus = without_leading_zeros(key.modulus);
                let unused = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
                Some(modulus.len() * 8 - unused)
            }
            _ => None,
        }
    }

    /// The DER of the algorithm identifier of the public key, without its SEQUENCE header.
    pub(crate) fn public_key_algorithm(&self) -> Option<&'a [u8]> {
        let spki = DerReader::single(self.public_key_info(), SEQUENCE).ok()?;
        DerReader::new(spki).expect(SEQUENCE).ok()
    }

    /// The public key's algorithm as text, such as `1.2.840.10040.4.1`.
    pub(crate) fn public_key_algorithm_text(&self) -> String {
        oid_text(&self.x509.public_key().algorithm.algorithm)
    }

    fn extensions(&self) -> impl Iterator<Item = &X509Extension<'a>> {
        self.x509.extensions().iter()
    }
}

/// The octets of a number from the first one that is not zero, or else the last one.
fn without_leading_zeros(mut octets: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = octets
        && !rest.is_empty()
    {
        octets = rest;
    }
    octets
}

/// The subject of a DER certificate as text, or [`UNREADABLE`].
pub(crate) fn subject_text(der: &[u8]) -> String {
    Certificate::parse(der).map_or_else(|_| UNREADABLE.to_owned(), |certificate| certificate.subject_text())
}

/// The text for a name in a certificate that can not be parsed.
pub(crate) const UNREADABLE: &str = "(unreadable)";

/// The object identifier of a DER algorithm identifier (without its SEQUENCE header) as text.
pub(crate) fn algorithm_text(algorithm: &[u8]) -> String {
    match DerReader::new(algorithm).expect(OBJECT_IDENTIFIER) {
        Ok(oid) => oid_text(&Oid::new(oid.into())),
        Err(_) => "unknown".to_owned(),
    }
}

/// The purpose of a certificate (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyPurpose {
    ClientAuth,
    ServerAuth,
}

/// The problem of a certificate without the cA flag.
pub(crate) const NO_CA_FLAG: &str = "basic constraints do not mark it as a CA";

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

/// One attribute of a distinguished name.
struct NameAttribute<'a> {
    oid: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

impl<'a> NameAttribute<'a> {
    /// The value, if it is valid in its string type.
    fn text(&self) -> Result<Cow<'a, str>, &'static str> {
        string_value(self.tag, self.value)
    }

    fn label(&self) -> &'static str {
        match self.oid {
            COMMON_NAME => "CN",
            [0x55, 0x04, 0x06] => "C",
            [0x55, 0x04, 0x07] => "L",
            [0x55, 0x04, 0x08] => "ST",
            [0x55, 0x04, 0x0a] => "O",
            [0x55, 0x04, 0x0b] => "OU",
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
            _ => "other",
        }
    }
}

/// Decodes an ASN.1 character string by its identifier octet (X.680 section 41; RFC 5280 section 4.1.2.4).
fn string_value(tag: u8, value: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    let ascii = || std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| "a name is not ASCII");
    match tag {
        // UTF8String
        0x0c => std::str::from_utf8(value)
            .map(Cow::Borrowed)
            .map_err(|_| "a UTF8String in a name is not valid UTF-8"),
        // NumericString
        0x12 if value.iter().all(|b| matches!(b, b'0'..=b'9' | b' ')) => ascii(),
        0x12 => Err("a NumericString in a name has a character outside its set"),
        // PrintableString. Like Go, this accepts `*` and `&`, too, which real CAs use.
        0x13 if value.iter().all(|&b| b.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&b)) => ascii(),
        0x13 => Err("a PrintableString in a name has a character outside its set"),
        // TeletexString, which in practice is Latin-1.
        0x14 => Ok(value.iter().copied().map(char::from).collect::<String>().into()),
        // IA5String
        0x16 if value.is_ascii() => ascii(),
        0x16 => Err("an IA5String in a name is not ASCII"),
        // BMPString: UTF-16BE.
        0x1e => {
            let (pairs, rest) = value.as_chunks::<2>();
            if !rest.is_empty() {
                return Err("a BMPString in a name has an odd number of octets");
            }
            char::decode_utf16(pairs.iter().map(|&pair| u16::from_be_bytes(pair)))
                .collect::<Result<String, _>>()
                .map(Cow::Owned)
                .map_err(|_| "a BMPString in a name is not valid UTF-16")
        }
        _ => Err("a name has a value of an unsupported string type"),
    }
}

/// Name ::= SEQUENCE OF SET OF SEQUENCE { type, value }
fn read_name(der: &[u8]) -> Result<Vec<NameAttribute<'_>>, DerError> {
    let mut attributes = Vec::new();
    let mut names = DerReader::new(DerReader::single(der, SEQUENCE)?);
    while let Some((tag, name)) = names.next_element()? {
        let mut members = DerReader::new(name);
        if tag != SET || name.is_empty() {
            return Err(DerError::Tag);
        }
        while let Some((tag, attribute)) = members.next_element()? {
            if tag != SEQUENCE {
                return Err(DerError::Tag);
            }
            let mut attribute = DerReader::new(attribute);
            let oid = attribute.expect(OBJECT_IDENTIFIER)?;
            let (tag, value) = attribute.next_element()?.ok_or(DerError::Length)?;
            attribute.end()?;
            attributes.push(NameAttribute { oid, tag, value });
        }
    }
    Ok(attributes)
}

/// The number of attributes of a name that are shown; enough to distinguish the CAs of a cluster.
const SHOWN_ATTRIBUTES: usize = 4;

/// A DER name as text, escaped and cut.
pub(crate) fn name_text(der: &[u8]) -> String {
    let Ok(attributes) = read_name(der) else { return "(unreadable name)".to_owned() };
    let mut text = String::new();
    // The last attributes are the most specific ones.
    let hidden = attributes.len().saturating_sub(SHOWN_ATTRIBUTES);
    for attribute in attributes.iter().skip(hidden) {
        let separator = if text.is_empty() { "" } else { ", " };
        let value = attribute.text().unwrap_or(Cow::Borrowed("?"));
        let value: String = value.chars().take(64).collect();
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}{}={}", attribute.label(), Quoted(&value));
    }
    if text.is_empty() { "(empty name)".to_owned() } else { cut(text, MAX_NAME_LENGTH) }
}

/// An error text with two names of this length stays below 1 KiB.
const MAX_NAME_LENGTH: usize = 300;
/// Far longer than any object identifier that is in use.
const MAX_OID_LENGTH: usize = 64;

fn oid_text(oid: &Oid<'_>) -> String {
    // Checked before it is formatted: an identifier can be as long as its certificate.
    if oid.as_bytes().len() > MAX_OID_LENGTH {
        return "with a very long identifier".to_owned();
    }
    cut(oid.to_id_string(), MAX_OID_LENGTH)
}

/// Cuts a text that is ASCII.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(limit);
        text.push_str("...");
    }
    text
}

/// The thisUpdate and, if there is one, the nextUpdate of a DER revocation list, which `webpki` does not return.
pub(crate) fn revocation_list_times(der: &[u8]) -> Option<(UnixTime, Option<UnixTime>)> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let next_update = list.next_update().map(|time| unix_time(time.timestamp()));
    Some((unix_time(list.last_update().timestamp()), next_update))
}

fn unix_time(seconds: i64) -> UnixTime {
    // A time before 1970 counts as 1970: both are before every time that matters here.
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn check_extensions(extensions: &[X509Extension<'_>]) -> Result<(), MalformedCertificate> {
    let mut identifiers: Vec<&[u8]> = extensions.iter().map(|extension| extension.oid.as_bytes()).collect();
    identifiers.sort_unstable();
    if identifiers.is_sorted_by(|a, b| a < b) {
        extensions.iter().try_for_each(check_extension)
    } else {
        Err(MalformedCertificate::new("an extension occurs twice"))
    }
}

fn check_extension(extension: &X509Extension<'_>) -> Result<(), MalformedCertificate> {
    let malformed =
        || MalformedCertificate::new(format!("the extension {} is malformed", oid_text(&extension.oid)));
    match extension.parsed_extension() {
        // The contents of an unknown extension are not checked.
        ParsedExtension::UnsupportedExtension { .. } => Ok(()),
        ParsedExtension::ParseError { .. } => Err(malformed()),
        // x509-parser stops without an error at the first part of an extension that it does not understand.
        ParsedExtension::ExtendedKeyUsage(_) => {
            check_elements(extension.value, &[OBJECT_IDENTIFIER]).map_err(|_| malformed())
        }
        ParsedExtension::AuthorityKeyIdentifier(_) => {
            // keyIdentifier [0], authorityCertIssuer [1], authorityCertSerialNumber [2]
            check_elements(extension.value, &[0x80, 0xa1, 0x82]).map_err(|_| malformed())
        }
        _ => check_nested(extension.value).map_err(|_| malformed()),
    }
}

/// Checks that an extension is a SEQUENCE of elements with these tags.
fn check_elements(extension: &[u8], tags: &[u8]) -> Result<(), DerError> {
    check_nested(extension)?;
    let mut elements = DerReader::new(DerReader::single(extension, SEQUENCE)?);
    while let Some((tag, _)) = elements.next_element()? {
        if !tags.contains(&tag) {
            return Err(DerError::Tag);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_types() {
        for (tag, value, text) in [
            (0x0c, "täst".as_bytes(), "täst"),
            (0x13, b"typha-client *&".as_slice(), "typha-client *&"),
            (0x14, b"caf\xe9", "café"),
            (0x16, b"typha@client", "typha@client"),
            (0x1e, b"\0t\0y\xd8\x3d\xde\x00", "ty\u{1f600}"),
            (0x12, b"12 3", "12 3"),
        ] {
            assert_eq!(string_value(tag, value).as_deref(), Ok(text), "{tag:#x}");
        }
        for (tag, value) in [
            (0x0c, b"\xff".as_slice()),
            (0x12, b"12a"),
            (0x13, b"a_b"),
            (0x13, b"a\0"),
            (0x16, b"caf\xe9"),
            (0x1e, b"\0t\0"),
            (0x1e, b"\xd8\x3d\0a"),
            (0x1c, b"\0\0\0a"),
            (0x03, b"\0a"),
        ] {
            assert!(string_value(tag, value).is_err(), "{tag:#x} {value:x?}");
        }
    }

    #[test]
    fn names_are_read_strictly() {
        let cn = |value: &[u8]| {
            let mut attribute = vec![0x06, 3, 0x55, 4, 3, 0x0c, value.len() as u8];
            attribute.extend(value);
            let wrap = |tag, inner: Vec<u8>| [vec![tag, inner.len() as u8], inner].concat();
            wrap(SET, wrap(SEQUENCE, attribute))
        };
        let name = |members: &[Vec<u8>]| {
            let inner = members.concat();
            [vec![SEQUENCE, inner.len() as u8], inner].concat()
        };
        let two = name(&[cn(b"Users"), cn(b"typha-client")]);
        let read = read_name(&two).unwrap();
        assert_eq!(read.iter().map(|a| a.text().unwrap()).collect::<Vec<_>>(), ["Users", "typha-client"]);
        assert!(read.iter().all(|attribute| attribute.oid == COMMON_NAME));
        assert_eq!(name_text(&two), r#"CN="Users", CN="typha-client""#);

        assert!(read_name(&name(&[])).unwrap().is_empty());
        assert_eq!(read_name(&name(&[vec![SET, 0]])).err(), Some(DerError::Tag));
        assert_eq!(read_name(&[two, vec![0]].concat()).err(), Some(DerError::Length));
    }
}
