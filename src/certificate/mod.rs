//! The reader of DER certificates: names, validity, extensions. Only this module uses x509-parser.

mod algorithms;
mod facts;
mod fields;
mod name_constraints;
mod names;
pub(crate) mod signed;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use thiserror::Error;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{BasicConstraints, GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::nom::Parser;
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

pub(crate) use algorithms::{RSA_KEY_BITS, UNREADABLE_ALGORITHM, key_text, signature_text};
pub use facts::CertificateFacts;
pub(crate) use names::name_text;
use names::{COMMON_NAME, oid_text, read_name};

use crate::der::{DerError, DerReader, OBJECT_IDENTIFIER, SEQUENCE, check_nested, is_object_identifier};

/// A certificate is not strictly valid DER, or a name or an extension in it is not valid in its type.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("malformed certificate{}: {problem}", position.map(position_text).unwrap_or_default())]
pub struct MalformedCertificate {
    problem: Cow<'static, str>,
    position: Option<usize>,
}

impl MalformedCertificate {
    pub(crate) fn new(problem: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: problem.into(), position: None }
    }

    /// The same problem, of the certificate at this position of a peer's chain, counted from 1.
    pub(crate) fn in_chain(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }
}

fn position_text(position: usize) -> String {
    match position {
        1 => " (the leaf)".to_owned(),
        _ => format!(" (certificate {position} of the chain)"),
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
        fields::check(der).map_err(|problem| problem.map_or_else(malformed, MalformedCertificate::new))?;
        let (_, x509) = X509CertificateParser::new()
            .with_deep_parse_extensions(true)
            .parse(der)
            .map_err(|_| malformed())?;
        check_extensions(x509.extensions())?;
        Ok(Self { x509 })
    }

    /// The whole certificate.
    pub(crate) fn der(&self) -> &'a [u8] {
        self.x509.as_raw()
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

    /// The subject alternative names; all names of the extension are checked.
    pub(crate) fn sans(&self) -> Result<Sans<'a>, MalformedCertificate> {
        let mut extensions = self.x509.extensions().iter();
        let extension = extensions.find(|found| found.oid == oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME);
        let Some(extension) = extension else { return Ok(Sans::default()) };
        let malformed = |_| MalformedCertificate::new("the subject alternative name is not valid DER");
        let mut names = DerReader::new(DerReader::single(extension.value, SEQUENCE).map_err(malformed)?);
        let mut sans = Sans::default();
        while let Some((tag, value)) = names.next_element().map_err(malformed)? {
            let problem = match tag {
                UNIFORM_RESOURCE_IDENTIFIER => match std::str::from_utf8(value) {
                    Ok(uri) if !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic()) => {
                        sans.uris.push(uri.into());
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
                DNS_NAME => {
                    sans.dns_name = sans.dns_name.or(std::str::from_utf8(value).ok());
                    continue;
                }
                RFC822_NAME | IP_ADDRESS | OTHER_NAME | X400_ADDRESS | DIRECTORY_NAME | EDI_PARTY_NAME
                | REGISTERED_ID => continue,
                _ => "the subject alternative name has an unknown kind of name",
            };
            return Err(MalformedCertificate::new(problem));
        }
        Ok(sans)
    }

    /// The DNS names and the IP addresses among the subject alternative names.
    pub(crate) fn hosts(&self) -> (Vec<String>, Vec<IpAddr>) {
        let extension = self.x509.subject_alternative_name().ok().flatten();
        let (mut dns_names, mut ip_addresses) = (Vec::new(), Vec::new());
        for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => {
                    let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                    ip_addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)));
                }
                _ => {}
            }
        }
        (dns_names, ip_addresses)
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

    /// Whether the extended key usage names serverAuth itself.
    pub(crate) fn names_server_auth(&self) -> bool {
        self.x509.extended_key_usage().ok().flatten().is_some_and(|extension| extension.value.server_auth)
    }

    /// Whether the key may sign a handshake: digitalSignature, where there is a key usage.
    pub(crate) fn allows_signatures(&self) -> bool {
        self.key_usage().is_none_or(KeyUsage::digital_signature)
    }

    /// The first critical extension that `handled` does not have: its object identifier, and the name of a common one.
    pub(crate) fn unhandled_critical_extension(&self, handled: &[&[u8]]) -> Option<String> {
        self.x509
            .extensions()
            .iter()
            .find(|extension| extension.critical && !handled.contains(&extension.oid.as_bytes()))
            .map(|extension| match &*oid_text(&extension.oid) {
                oid @ "2.5.29.32" => format!("certificate policies, {oid}"),
                oid @ "2.5.29.33" => format!("policy mappings, {oid}"),
                oid @ "2.5.29.36" => format!("policy constraints, {oid}"),
                oid @ "2.5.29.54" => format!("inhibit anyPolicy, {oid}"),
                oid => oid.to_owned(),
            })
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

    /// The X.509 version: 1, 2 or 3.
    pub(crate) fn version(&self) -> u32 {
        self.x509.version().0 + 1
    }

    /// The contents of the AlgorithmIdentifier of the signature.
    pub(crate) fn signature_algorithm(&self) -> Option<&'a [u8]> {
        let mut fields = DerReader::new(DerReader::single(self.der(), SEQUENCE).ok()?);
        let _signed = fields.expect(SEQUENCE).ok()?;
        fields.expect(SEQUENCE).ok()
    }

    /// The DER of the algorithm identifier of the public key, without its SEQUENCE header.
    pub(crate) fn public_key_algorithm(&self) -> Option<&'a [u8]> {
        let spki = DerReader::single(self.public_key_info(), SEQUENCE).ok()?;
        DerReader::new(spki).expect(SEQUENCE).ok()
    }

    fn extensions(&self) -> impl Iterator<Item = &X509Extension<'a>> {
        self.x509.extensions().iter()
    }
}

/// The subject alternative names that this crate uses.
#[derive(Default)]
pub(crate) struct Sans<'a> {
    /// The URIs in the order of the certificate.
    pub(crate) uris: Vec<Box<str>>,
    /// The first DNS name.
    pub(crate) dns_name: Option<&'a str>,
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
