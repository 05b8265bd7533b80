//! Certificates of any shape, also malformed ones.

use super::der::{
    BIT_STRING, BOOLEAN, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, element, sequence,
};
use super::keys::{Hash, Key, KeyType, key};

pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
pub(super) const ORGANIZATION: &[u8] = &[0x55, 4, 10];

pub(super) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
pub(super) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
pub(super) const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 17];
pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
pub(super) const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1d, 32];
pub(super) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
pub(super) const POLICY_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 36];
pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
/// 1.2.3.4, which nobody knows.
pub(super) const UNKNOWN_EXTENSION: &[u8] = &[0x2a, 3, 4];

pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const NUMERIC_STRING: u8 = 0x12;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const TELETEX_STRING: u8 = 0x14;
pub(super) const IA5_STRING: u8 = 0x16;
pub(super) const UNIVERSAL_STRING: u8 = 0x1c;
pub(super) const BMP_STRING: u8 = 0x1e;

pub(super) const OTHER_NAME: u8 = 0xa0;
pub(super) const RFC822_NAME: u8 = 0x81;
pub(super) const DNS_NAME: u8 = 0x82;
pub(super) const DIRECTORY_NAME: u8 = 0xa4;
pub(super) const URI: u8 = 0x86;
pub(super) const IP_ADDRESS: u8 = 0x87;
pub(super) const REGISTERED_ID: u8 = 0x88;
/// There is no such kind of name.
pub(super) const UNKNOWN_NAME: u8 = 0x89;

pub(super) const KEY_CERT_SIGN: &[u8] = &[2, 0x04];
pub(super) const DIGITAL_SIGNATURE: &[u8] = &[7, 0x80];
pub(super) const NO_USAGE: &[u8] = &[0];

/// The contents of a certificate to make.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) version: u8,
    /// The contents of the INTEGER.
    pub(super) serial: Vec<u8>,
    pub(super) hash: Option<Hash>,
    /// The index of the issuer among the certificates of a case; its own index if it is self-signed.
    pub(super) issuer: usize,
    pub(super) subject: Vec<Attribute>,
    /// DER that follows the attributes.
    pub(super) subject_end: &'static [u8],
    pub(super) not_before: Time,
    pub(super) not_after: Time,
    pub(super) key: (KeyType, usize),
    pub(super) has_unique_identifiers: bool,
    pub(super) extensions: Vec<Extension>,
    pub(super) damage: Option<Damage>,
}

/// A part of a name, in a relative distinguished name of its own.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) oid: &'static [u8],
    pub(super) tag: u8,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Time {
    Utc(&'static str),
    Generalized(&'static str),
}

#[derive(Clone, Debug)]
pub(super) struct Extension {
    pub(super) oid: &'static [u8],
    pub(super) critical: bool,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Damage {
    /// The algorithm outside of the signed part is another one than inside.
    Algorithms,
    /// Not a certificate at all.
    NoCertificate,
    /// One bit of the signature is wrong.
    Signature,
    /// A byte follows the certificate.
    TrailingData,
}

impl Spec {
    pub(super) fn new(common_name: &str, issuer: usize, key: (KeyType, usize)) -> Self {
        let attribute =
            |oid, value: &str| Attribute { oid, tag: UTF8_STRING, value: value.as_bytes().to_vec() };
        Self {
            version: 3,
            serial: vec![0x11, key.1 as u8 + 1],
            hash: None,
            issuer,
            subject: vec![attribute(ORGANIZATION, "calico"), attribute(COMMON_NAME, common_name)],
            subject_end: &[],
            not_before: Time::Utc("260101000000Z"),
            not_after: Time::Utc("270101000000Z"),
            key,
            has_unique_identifiers: false,
            extensions: Vec::new(),
            damage: None,
        }
    }

    pub(super) fn key(&self) -> &'static Key {
        key(self.key.0, self.key.1)
    }

    pub(super) fn extension(&self, oid: &[u8]) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.oid == oid)
    }

    /// Replaces an extension, or adds it.
    pub(super) fn set(&mut self, oid: &'static [u8], critical: bool, value: Vec<u8>) {
        self.remove(oid);
        self.extensions.push(Extension { oid, critical, value });
    }

    pub(super) fn remove(&mut self, oid: &[u8]) {
        self.extensions.retain(|extension| extension.oid != oid);
    }

    /// Whether the basic constraints mark it as a CA.
    pub(super) fn is_ca(&self) -> bool {
        let mut constraints = self.extension(BASIC_CONSTRAINTS).into_iter();
        self.version == 3
            && constraints.any(|extension| extension.value.get(2..5) == Some(&[BOOLEAN, 1, 0xff]))
    }

    pub(super) fn common_names(&self) -> impl DoubleEndedIterator<Item = &Attribute> {
        self.subject.iter().filter(|attribute| attribute.oid == COMMON_NAME)
    }

    /// The DER of the subject.
    pub(super) fn name(&self) -> Vec<u8> {
        let mut parts: Vec<_> = self.subject.iter().map(Attribute::relative_name).collect();
        parts.push(self.subject_end.to_vec());
        sequence(&parts)
    }

    pub(super) fn to_der(&self, issuer: &Self) -> Vec<u8> {
        if self.damage == Some(Damage::NoCertificate) {
            return b"\x30\x03not a certificate".to_vec();
        }
        let issuer_key = issuer.key();
        let hash = self.hash.unwrap_or(issuer_key.usual_hash());
        let algorithm = issuer_key.signature_algorithm(hash);
        let mut parts = Vec::new();
        if self.version > 1 {
            parts.push(element(0xa0, &element(INTEGER, &[self.version - 1])));
        }
        parts.push(element(INTEGER, &self.serial));
        parts.push(algorithm.clone());
        parts.push(issuer.name());
        parts.push(sequence(&[self.not_before.to_der(), self.not_after.to_der()]));
        parts.push(self.name());
        parts.push(self.key().public_key_info.clone());
        if self.has_unique_identifiers {
            parts.push(element(0x81, &[0, 7]));
            parts.push(element(0x82, &[0, 7]));
        }
        if self.version == 3 && !self.extensions.is_empty() {
            let extensions: Vec<_> = self.extensions.iter().map(Extension::to_der).collect();
            parts.push(element(0xa3, &sequence(&extensions)));
        }
        let to_be_signed = sequence(&parts);
        let mut signature = issuer_key.sign(hash, &to_be_signed);
        if self.damage == Some(Damage::Signature) {
            *signature.last_mut().unwrap() ^= 1;
        }
        let outer_algorithm = match self.damage {
            Some(Damage::Algorithms) => key(KeyType::P384, 0).signature_algorithm(Hash::Sha512),
            _ => algorithm,
        };
        let signature = element(BIT_STRING, &[&[0], &*signature].concat());
        let mut der = sequence(&[to_be_signed, outer_algorithm, signature]);
        if self.damage == Some(Damage::TrailingData) {
            der.push(0);
        }
        der
    }
}

impl Attribute {
    fn relative_name(&self) -> Vec<u8> {
        let attribute = sequence(&[element(OBJECT_IDENTIFIER, self.oid), element(self.tag, &self.value)]);
        element(SET, &attribute)
    }
}

impl Time {
    fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Utc(text) => element(0x17, text.as_bytes()),
            Self::Generalized(text) => element(0x18, text.as_bytes()),
        }
    }
}

impl Extension {
    fn to_der(&self) -> Vec<u8> {
        let critical = if self.critical { element(BOOLEAN, &[0xff]) } else { Vec::new() };
        sequence(&[element(OBJECT_IDENTIFIER, self.oid), critical, element(OCTET_STRING, &self.value)])
    }
}

// The values of extensions.

/// `ca` is `None` for the default, which is false.
pub(super) fn basic_constraints(ca: Option<bool>, path_length: Option<u16>) -> Vec<u8> {
    let ca = ca.map(|ca| element(BOOLEAN, &[if ca { 0xff } else { 0 }]));
    let path_length = path_length.map(|length| match length.to_be_bytes() {
        [0, low @ 0..0x80] => element(INTEGER, &[low]),
        octets => element(INTEGER, &octets),
    });
    sequence(&[ca.unwrap_or_default(), path_length.unwrap_or_default()])
}

/// `bits` are the contents of the BIT STRING.
pub(super) fn key_usage(bits: &[u8]) -> Vec<u8> {
    element(BIT_STRING, bits)
}

/// A purpose for an extended key usage.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Any,
    ClientAuth,
    CodeSigning,
    ServerAuth,
    Unknown,
}

pub(super) fn extended_key_usage(purposes: &[Purpose]) -> Vec<u8> {
    let key_purpose = |last| [0x2b, 6, 1, 5, 5, 7, 3, last].to_vec();
    let oid = |purpose: &Purpose| match purpose {
        Purpose::Any => vec![0x55, 0x1d, 37, 0],
        Purpose::ServerAuth => key_purpose(1),
        Purpose::ClientAuth => key_purpose(2),
        Purpose::CodeSigning => key_purpose(3),
        Purpose::Unknown => vec![0x2a, 3, 4, 5],
    };
    sequence(&purposes.iter().map(|purpose| element(OBJECT_IDENTIFIER, &oid(purpose))).collect::<Vec<_>>())
}

pub(super) fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    sequence(&names.iter().map(|(tag, value)| element(*tag, value)).collect::<Vec<_>>())
}

/// Name constraints with the subtrees of one name each.
pub(super) fn name_constraints(permitted: &[(u8, &[u8])], excluded: &[(u8, &[u8])]) -> Vec<u8> {
    let subtrees = |tag, names: &[(u8, &[u8])]| {
        let subtrees: Vec<_> =
            names.iter().map(|(tag, base)| element(SEQUENCE, &element(*tag, base))).collect();
        if subtrees.is_empty() { Vec::new() } else { element(tag, &subtrees.concat()) }
    };
    sequence(&[subtrees(0xa0, permitted), subtrees(0xa1, excluded)])
}

/// The policy 1.2.3.5.
pub(super) fn certificate_policies() -> Vec<u8> {
    sequence(&[sequence(&[element(OBJECT_IDENTIFIER, &[0x2a, 3, 5])])])
}

/// A policy is required in every certificate below.
pub(super) fn policy_constraints() -> Vec<u8> {
    sequence(&[element(0x80, &[0])])
}
