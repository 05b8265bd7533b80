//! Names the form of a file that is no usable PEM, and the command that converts it. It never shows what is in the
//! file.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::der::{BIT_STRING, DerReader, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};

/// What a file is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FileKind {
    /// The trusted CAs.
    Bundle,
    /// A certificate chain.
    Chain,
    /// A private key.
    Key,
    /// Revocation lists.
    Lists,
}

/// The form of a file, and how to convert it.
pub(super) struct Diagnosis {
    /// What the file is.
    pub(super) form: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Diagnosis {
    /// The form of a file without a usable PEM block; `None` if it is no known one.
    pub(super) fn of(bytes: &[u8], kind: FileKind) -> Option<Self> {
        let found =
            |form: &str, remedy: &str| Some(Self { form: form.to_owned(), remedy: remedy.to_owned() });
        let umask = kind.umask();
        if let Some(encoding) = utf16(bytes) {
            let remedy = format!("convert it: {umask}iconv -f {encoding} -t UTF-8 FILE > NEW");
            return found("it is text in UTF-16", &remedy);
        }
        if let Some(binary) = Binary::of(bytes) {
            return found(&format!("it is {}, and not PEM", binary.name()), &binary.remedy(kind, ""));
        }
        let has = |text: &str| contains(bytes, text.as_bytes());
        if is_manifest(bytes) {
            let entry = match kind {
                FileKind::Bundle => "ca\\.crt",
                FileKind::Chain => "tls\\.crt",
                FileKind::Key => "tls\\.key",
                FileKind::Lists => "ca\\.crl",
            };
            let remedy = format!(
                "put only the PEM here. Of a Secret, often: {umask}kubectl get secret NAME -n NAMESPACE -o \
                 jsonpath='{{.data.{entry}}}' | base64 -d > NEW (of a ConfigMap, without base64 -d)"
            );
            return found("it is JSON or YAML, and not PEM", &remedy);
        }
        if has("-----\\n") || has("-----\\r\\n") {
            return found(
                "its line breaks are written as a backslash and an n (\\n)",
                &format!(
                    "make line breaks of them: {umask}sed 's/\\\\r//g; s/\\\\n/\\n/g; s/\"//g' FILE > NEW"
                ),
            );
        }
        if has("-----BEGIN ") && contains(bytes.trim_ascii_end(), b"\r") && !has("\n") {
            return found(
                "its lines end in carriage returns alone (CR)",
                &format!("convert them: {umask}tr '\\r' '\\n' < FILE > NEW"),
            );
        }
        if let Some(decoded) = from_base64(bytes) {
            if contains(&decoded, b"-----BEGIN ") {
                return found(
                    "it is PEM that was encoded in base64 once more, as in the manifest of a Kubernetes Secret",
                    &format!("decode it: {umask}base64 -d FILE > NEW"),
                );
            }
            if let Some(binary) = Binary::of(&decoded) {
                let form = format!("it is base64 of {}, without BEGIN and END lines", binary.name());
                return found(&form, &binary.remedy(kind, "base64 -d FILE | "));
            }
        }
        if bytes.starts_with(b"ssh-") || bytes.starts_with(b"ecdsa-sha2-") {
            return found("it is a public key of OpenSSH, and not PEM", kind.put_here());
        }
        None
    }
}

impl FileKind {
    /// The blocks that are allowed in such a file.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Bundle => "only CERTIFICATE blocks (the trusted CAs) are read",
            Self::Chain => "only CERTIFICATE blocks (the chain, leaf first) are read",
            Self::Key => "only a block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY is read",
            Self::Lists => {
                "only X509 CRL blocks (the lists) and CERTIFICATE blocks (intermediate CAs that signed them) are \
                 read"
            }
        }
    }

    /// The beginning of a command whose output the shell writes to a file: only the owner may read a key.
    pub(super) fn umask(self) -> &'static str {
        if self == Self::Key { "umask 077; " } else { "" }
    }

    /// The advice for a file that has something else.
    pub(super) fn put_here(self) -> &'static str {
        match self {
            Self::Bundle => "put the certificates of the CAs here, in PEM",
            Self::Chain => "put the certificate chain here, leaf first, in PEM",
            Self::Key => "put the private key here, in PEM",
            Self::Lists => "put the revocation lists here, in PEM or DER",
        }
    }
}

/// The encoding, as a name for `iconv`. Text of ASCII characters in UTF-16 has a NUL in every second octet.
fn utf16(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some("UTF-16"),
        _ => {}
    }
    let pairs = || bytes.chunks_exact(2).take(32);
    if pairs().len() < 8 {
        None
    } else if pairs().all(|pair| matches!(pair, [1..=0x7f, 0])) {
        Some("UTF-16LE")
    } else if pairs().all(|pair| matches!(pair, [0, 1..=0x7f])) {
        Some("UTF-16BE")
    } else {
        None
    }
}

fn is_manifest(bytes: &[u8]) -> bool {
    let is_yaml = |line: &[u8]| line.starts_with(b"apiVersion:") || line.starts_with(b"kind:");
    bytes.trim_ascii_start().starts_with(b"{") || bytes.split(|&b| b == b'\n').any(is_yaml)
}

/// The contents of a file that is base64 and nothing else.
fn from_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b) || b.is_ascii_whitespace();
    let text: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    if text.is_empty() || !bytes.iter().all(is_base64) {
        return None;
    }
    let pem = [b"-----BEGIN CERTIFICATE-----\n", &*text, b"\n-----END CERTIFICATE-----\n"].concat();
    CertificateDer::from_pem_slice(&pem).ok().map(|der| der.to_vec())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A binary file, by the beginning of its structure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Binary {
    Certificate,
    CertificateRequest,
    EncryptedKey,
    Pkcs12,
    Pkcs7,
    PrivateKey,
    PublicKey,
    RevocationList,
}

/// The object identifiers of the content types of PKCS#7 begin with this (1.2.840.113549.1.7).
const PKCS7_TYPE: &[u8] = &[OBJECT_IDENTIFIER, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];

impl Binary {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        // PKCS#7 and PKCS#12 may have an indefinite length, so only their first elements are read.
        let contents = match bytes {
            [SEQUENCE, 0..=0x80, rest @ ..] => rest,
            [SEQUENCE, length, rest @ ..] => rest.get(usize::from(length & 0x7f)..)?,
            _ => return None,
        };
        if contents.starts_with(PKCS7_TYPE) {
            return Some(Self::Pkcs7);
        }
        if contents.starts_with(&[INTEGER, 1, 3, SEQUENCE]) {
            return Some(Self::Pkcs12);
        }
        let contents = DerReader::new(bytes).expect(SEQUENCE).ok()?;
        let mut elements = DerReader::new(contents);
        let (first, second) = (elements.next_element().ok()??, elements.next_element().ok()??);
        match (first, second) {
            ((INTEGER, [0 | 1]), (SEQUENCE | OCTET_STRING, _)) | ((INTEGER, [0]), (INTEGER, _)) => {
                Some(Self::PrivateKey)
            }
            ((SEQUENCE, _), (OCTET_STRING, _)) => Some(Self::EncryptedKey),
            ((SEQUENCE, _), (BIT_STRING, _)) => Some(Self::PublicKey),
            ((SEQUENCE, signed), (SEQUENCE, _)) => Self::of_signed(signed),
            _ => None,
        }
    }

    /// By the elements of the part that is signed: RFC 5280 sections 4.1 and 5.1, RFC 2986 section 4.1.
    fn of_signed(contents: &[u8]) -> Option<Self> {
        const CONTEXT_0: u8 = 0xa0;
        const UTC_TIME: u8 = 0x17;
        const GENERALIZED_TIME: u8 = 0x18;
        let mut elements = DerReader::new(contents);
        let mut tags = std::iter::from_fn(|| elements.next_element().ok().flatten().map(|(tag, _)| tag));
        let tags: [u8; 4] = std::array::from_fn(|_| tags.next().unwrap_or_default());
        match tags {
            [CONTEXT_0, INTEGER, SEQUENCE, SEQUENCE] | [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] => {
                Some(Self::Certificate)
            }
            [INTEGER, SEQUENCE, SEQUENCE, CONTEXT_0] => Some(Self::CertificateRequest),
            [INTEGER, SEQUENCE, SEQUENCE, UTC_TIME | GENERALIZED_TIME]
            | [SEQUENCE, SEQUENCE, UTC_TIME | GENERALIZED_TIME, _] => Some(Self::RevocationList),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate in DER",
            Self::CertificateRequest => "a certificate request (CSR) in DER",
            Self::EncryptedKey => "an encrypted private key in DER",
            Self::Pkcs12 => "a PKCS#12 file",
            Self::Pkcs7 => "a PKCS#7 file in DER",
            Self::PrivateKey => "a private key in DER",
            Self::PublicKey => "a public key in DER",
            Self::RevocationList => "a revocation list in DER",
        }
    }

    /// The command that makes PEM of it, or what to put into the file instead. `decoder` is a command whose output the
    /// command reads; without one, it reads the file.
    fn remedy(self, kind: FileKind, decoder: &str) -> String {
        let command = match (self, kind) {
            (Self::Certificate, FileKind::Bundle | FileKind::Chain) => "openssl x509 -inform DER",
            (Self::Pkcs12, FileKind::Bundle) => "openssl pkcs12 -nokeys -cacerts",
            (Self::Pkcs12, FileKind::Chain) => "openssl pkcs12 -nokeys",
            (Self::Pkcs12, FileKind::Key) => "openssl pkcs12 -nocerts -nodes",
            (Self::Pkcs7, FileKind::Bundle | FileKind::Chain) => "openssl pkcs7 -inform DER -print_certs",
            (Self::PrivateKey | Self::EncryptedKey, FileKind::Key) => "openssl pkey -inform DER",
            (Self::RevocationList, FileKind::Lists) => "openssl crl -inform DER",
            (Self::CertificateRequest, FileKind::Bundle | FileKind::Chain) => return SIGN_REQUEST.to_owned(),
            _ => return kind.put_here().to_owned(),
        };
        let input = if decoder.is_empty() { " -in FILE" } else { "" };
        let legacy = if self == Self::Pkcs12 { " (with -legacy, if it is of an old program)" } else { "" };
        format!("convert it: {decoder}{command}{input} -out NEW{legacy}")
    }
}

/// The advice for a certificate request in the place of a certificate.
pub(super) const SIGN_REQUEST: &str = "have the CA sign the request, and put the certificate here";
