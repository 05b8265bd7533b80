//! Certificates around an arbitrary subject and arbitrary extensions. All lengths outside of these are right and, where
//! asked for, the signature is good, so that a fuzzer reaches what stands behind the parser and behind the signature.

use std::sync::{Arc, LazyLock};

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_cert::der::{Decode as _, Encode as _};

use crate::fixtures::{CERTIFICATES, SIGNER_KEY};
use crate::input::Input;

const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const ED25519: &[u8] = &[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70];
const VERSION_3: &[u8] = &[0xa0, 3, 0x02, 1, 2];
const SERIAL: &[u8] = &[0x02, 1, 7];
const VALIDITY: &[u8] = b"\x30\x1e\x17\x0d200101000000Z\x17\x0d490101000000Z";
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x06, 3, 0x55, 0x1d, 17];

/// Object identifiers of attributes; the first is the Common Name.
const ATTRIBUTES: [&[u8]; 5] = [
    &[0x55, 4, 3],
    &[0x55, 4, 10],
    &[0x55, 4, 6],
    &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 0x19],
    &[0x2a, 3, 4],
];

/// An element with its length in the shortest form.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let [.., high, middle, low] = length.to_be_bytes();
    let header = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        0x100..0x1_0000 => vec![tag, 0x82, middle, low],
        _ => vec![tag, 0x83, high, middle, low],
    };
    [header, contents.to_vec()].concat()
}

/// The parts of a leaf that decide who a peer is.
#[derive(Debug)]
pub struct Parts {
    /// Whether the issuer has the name of the subject, and not that of the fixture `signer`.
    is_self_issued: bool,
    /// The contents of the subject.
    subject: Vec<u8>,
    extensions: Vec<u8>,
}

impl Parts {
    /// Either as lists of names, whose elements are all well-formed, or as raw bytes.
    pub fn read(mut input: Input<'_>) -> Self {
        let selector = input.byte();
        let (is_structured, is_self_issued) = (selector & 1 != 0, selector & 2 != 0);
        let (subject, names) = (input.counted(), input.counted());
        let (subject, names) = if is_structured {
            (subject_of(Input::new(subject)), names_of(Input::new(names)))
        } else {
            (subject.to_vec(), names.to_vec())
        };
        let mut extensions = Vec::new();
        if !names.is_empty() {
            let value = element(OCTET_STRING, &element(SEQUENCE, &names));
            extensions = element(SEQUENCE, &[SUBJECT_ALTERNATIVE_NAME, &value].concat());
        }
        extensions.extend(input.rest());
        Self { is_self_issued, subject, extensions }
    }

    /// A certificate with a signature of the fixture `signer`.
    pub fn signed(&self) -> CertificateDer<'static> {
        let tbs = self.to_be_signed();
        signed(&tbs).into()
    }

    /// A certificate whose signature is not good, and which costs less.
    pub fn unsigned(&self) -> CertificateDer<'static> {
        let signature = element(BIT_STRING, &[0; 65]);
        element(SEQUENCE, &[&self.to_be_signed(), ED25519, &signature].concat()).into()
    }

    fn to_be_signed(&self) -> Vec<u8> {
        let subject = element(SEQUENCE, &self.subject);
        let extensions = match &*self.extensions {
            [] => Vec::new(),
            extensions => element(0xa3, &element(SEQUENCE, extensions)),
        };
        let issuer = if self.is_self_issued { &subject } else { &SIGNER.name };
        let key = &SIGNER.public_key;
        let parts = [VERSION_3, SERIAL, ED25519, issuer, VALIDITY, &subject, key, &extensions];
        element(SEQUENCE, &parts.concat())
    }
}

/// The contents of a Name: each attribute is a byte that selects its type and whether it begins a new set, a tag, and a
/// value after its length.
fn subject_of(mut input: Input<'_>) -> Vec<u8> {
    let mut sets: Vec<Vec<u8>> = Vec::new();
    while !input.is_empty() {
        let (selector, tag, length) = (input.byte(), input.byte(), input.byte());
        let oid = element(0x06, ATTRIBUTES[usize::from(selector & 0x7f) % ATTRIBUTES.len()]);
        let value = element(tag, input.bytes(length.into()));
        let attribute = element(SEQUENCE, &[oid, value].concat());
        match sets.last_mut() {
            Some(set) if selector & 0x80 != 0 => set.extend(attribute),
            _ => sets.push(attribute),
        }
    }
    sets.iter().flat_map(|set| element(SET, set)).collect()
}

/// The contents of a GeneralNames: each is a tag, and a value after its length.
fn names_of(mut input: Input<'_>) -> Vec<u8> {
    let mut names = Vec::new();
    while !input.is_empty() {
        let (tag, length) = (input.byte(), input.byte());
        names.extend(element(tag, input.bytes(length.into())));
    }
    names
}

struct Signer {
    key: Arc<dyn SigningKey>,
    name: Vec<u8>,
    public_key: Vec<u8>,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = PrivatePkcs8KeyDer::from_pem_slice(SIGNER_KEY).expect("the fixtures are usable");
    let certificate = CERTIFICATES.last().expect("the signer is the last fixture");
    let certificate = x509_cert::Certificate::from_der(certificate).expect("the fixtures are usable");
    let tbs = certificate.tbs_certificate;
    Signer {
        key: any_eddsa_type(&key).expect("the signer has an Ed25519 key"),
        name: tbs.subject.to_der().expect("it was read from DER"),
        public_key: tbs.subject_public_key_info.to_der().expect("it was read from DER"),
    }
});

/// What the fixture `signer` signs: a certificate or a revocation list.
fn signed(tbs: &[u8]) -> Vec<u8> {
    let signer = SIGNER.key.choose_scheme(&[SignatureScheme::ED25519]).expect("the key is Ed25519");
    let signature = signer.sign(tbs).expect("Ed25519 signs anything");
    let signature = element(BIT_STRING, &[&[0][..], &signature].concat());
    element(SEQUENCE, &[tbs, ED25519, &signature].concat())
}

/// A revocation list of the fixture `signer` without entries, valid as long as the certificates are.
pub fn revocation_list() -> Vec<u8> {
    let times = &VALIDITY[2..];
    let number = [0x06, 3, 0x55, 0x1d, 20, OCTET_STRING, 3, 0x02, 1, 1];
    let extensions = element(0xa0, &element(SEQUENCE, &element(SEQUENCE, &number)));
    let version_2 = &[0x02, 1, 1];
    signed(&element(SEQUENCE, &[version_2, ED25519, &SIGNER.name, times, &extensions].concat()))
}
