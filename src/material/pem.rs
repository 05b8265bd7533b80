//! The PEM reader (RFC 7468) for all files. It takes the blocks that the file is for, and skips blocks that are
//! harmless there, as Go does. It is strict otherwise: a damaged block, or one that may matter, fails the whole file.

use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::diagnosis::{Diagnosis, FileKind, SIGN_REQUEST};
use super::error::MaterialError;
use crate::file::ReadFile;

/// The blocks that a file is for.
pub(super) struct Blocks {
    pub(super) blocks: Vec<(SectionKind, Vec<u8>)>,
    /// Whether the file also has a private key, which was skipped.
    pub(super) has_private_key: bool,
}

/// The contents of a file, and where they come from.
pub(super) fn contents(file: ReadFile) -> Result<(Vec<u8>, String), MaterialError> {
    match file.bytes {
        Ok(bytes) => Ok((bytes, file.path.display().to_string())),
        Err(source) => Err(MaterialError::Read { path: file.path, source }),
    }
}

/// Decodes the PEM blocks that a file of this kind is for; there is at least one. Text outside of blocks is skipped, as
/// RFC 7468 section 2 allows.
pub(super) fn decode(bytes: &[u8], origin: &str, kind: FileKind) -> Result<Blocks, MaterialError> {
    let (problem, labels) = match read(bytes, origin, kind) {
        Ok((found, labels)) => {
            if found.blocks.iter().any(|(block, _)| is_for(kind, *block)) {
                return Ok(found);
            }
            (None, labels)
        }
        Err(error @ MaterialError::BadPem { .. }) => (Some(error), Vec::new()),
        Err(error) => return Err(error),
    };
    let origin = origin.to_owned();
    if labels.is_empty()
        && let Some(Diagnosis { form, remedy }) = Diagnosis::of(bytes, kind)
    {
        return Err(MaterialError::WrongForm { origin, form, remedy });
    }
    let found = || found_instead(bytes, &labels, kind);
    Err(problem.unwrap_or_else(|| match kind {
        FileKind::Bundle | FileKind::Chain => MaterialError::NoCertificate { origin, found: found() },
        FileKind::Key => MaterialError::NoPrivateKey { origin, found: found() },
        FileKind::Lists => MaterialError::NoRevocationList { origin, found: found() },
    }))
}

/// Whether a file of this kind is for these blocks. List files may also have certificates.
fn is_for(kind: FileKind, block: SectionKind) -> bool {
    match kind {
        FileKind::Bundle | FileKind::Chain => block == SectionKind::Certificate,
        FileKind::Key => {
            matches!(block, SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey)
        }
        FileKind::Lists => block == SectionKind::Crl,
    }
}

/// What a file has that has none of the blocks it is for, and what to do.
fn found_instead(bytes: &[u8], labels: &[String], kind: FileKind) -> String {
    let has = |end: &str| labels.iter().any(|label| label.ends_with(end));
    let (what, remedy) = match kind {
        _ if bytes.trim_ascii().is_empty() => ("it is empty", kind.put_here()),
        FileKind::Key if has("CERTIFICATE") => {
            ("it has a certificate, so this file and the certificate file may be swapped", kind.put_here())
        }
        FileKind::Bundle | FileKind::Chain if has("PRIVATE KEY") => {
            ("it has a private key, so this file and the key file may be swapped", kind.put_here())
        }
        FileKind::Bundle | FileKind::Chain if has("CERTIFICATE REQUEST") => {
            ("it has a certificate request (CSR)", SIGN_REQUEST)
        }
        _ if has("CERTIFICATE REQUEST") => ("it has a certificate request (CSR)", kind.put_here()),
        _ if has("CERTIFICATE") => ("it has a certificate", kind.put_here()),
        _ if has("PUBLIC KEY") => ("it has a public key", kind.put_here()),
        _ if has("PARAMETERS") => ("it has the parameters of a key", kind.put_here()),
        _ => ("it has no PEM block", kind.put_here()),
    };
    format!("{what}; {remedy}")
}

/// What is done with a block.
enum Use {
    Decode,
    /// It is refused, with this advice.
    Refuse(&'static str),
    Skip,
}

impl Use {
    fn of(label: &str, kind: FileKind) -> Self {
        match (kind, label) {
            (FileKind::Key, "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY") => Self::Decode,
            (FileKind::Bundle | FileKind::Chain | FileKind::Lists, "CERTIFICATE") => Self::Decode,
            (FileKind::Lists, "X509 CRL") => Self::Decode,
            (FileKind::Lists, _) => Self::Refuse("remove it"),
            // ssh-keygen does not convert Ed25519 keys, but says that it did.
            (FileKind::Key, "OPENSSH PRIVATE KEY") => Self::Refuse(
                "convert a copy of an RSA or ECDSA key: ssh-keygen -p -N '' -m PKCS8 -f COPY; for an Ed25519 key, make \
                 another key, and have a certificate issued for it: openssl genpkey -algorithm EC -pkeyopt \
                 ec_paramgen_curve:P-256 -out NEW",
            ),
            (FileKind::Key, "CERTIFICATE") => Self::Skip,
            (FileKind::Bundle | FileKind::Chain, label) if is_private_key(label) => Self::Skip,
            (
                _,
                "CERTIFICATE REQUEST"
                | "DH PARAMETERS"
                | "DSA PARAMETERS"
                | "EC PARAMETERS"
                | "NEW CERTIFICATE REQUEST"
                | "PUBLIC KEY"
                | "RSA PUBLIC KEY"
                | "X9.42 DH PARAMETERS",
            ) => Self::Skip,
            (FileKind::Key, label) if is_private_key(label) => Self::Refuse(
                "this kind of key is not supported: make another key, and have a certificate issued for it: openssl \
                 genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW",
            ),
            (FileKind::Bundle | FileKind::Chain, "PKCS7") => {
                Self::Refuse("make certificates of it: openssl pkcs7 -print_certs -in FILE -out NEW")
            }
            (FileKind::Bundle | FileKind::Chain, "CMS") => Self::Refuse(
                "make certificates of it: sed 's/ CMS-----/ PKCS7-----/' FILE | openssl pkcs7 -print_certs -out NEW",
            ),
            // openssl reads only the first block of a file.
            (FileKind::Bundle | FileKind::Chain, "TRUSTED CERTIFICATE" | "X509 CERTIFICATE") => Self::Refuse(
                "make a plain certificate of each such block, one by one: openssl x509 -in BLOCK -out NEW",
            ),
            (FileKind::Bundle | FileKind::Chain, "X509 CRL") => Self::Refuse(
                "revocation lists are files of their own: move each X509 CRL block, with its BEGIN and END lines, into \
                 one",
            ),
            _ => Self::Refuse("remove it"),
        }
    }
}

fn is_private_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

/// A block whose END line is still to come.
struct Open {
    label: String,
    /// The number of its BEGIN line, and the offset of that.
    line: usize,
    start: usize,
    is_decoded: bool,
}

/// Reads all blocks. Also returns the labels of those that were skipped or decoded.
fn read(bytes: &[u8], origin: &str, kind: FileKind) -> Result<(Blocks, Vec<String>), MaterialError> {
    let bad = |problem: String| MaterialError::BadPem { origin: origin.to_owned(), problem };
    let without_end = |open: &Open| {
        bad(format!("the block {} that begins in line {} has no END line", open.label, open.line))
    };
    let mut found = Blocks { blocks: Vec::new(), has_private_key: false };
    let mut labels = Vec::new();
    let mut open: Option<Open> = None;
    let mut end = 0;
    for (index, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        let (number, start) = (index + 1, end);
        end += line.len();
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("-----BEGIN ") {
            if let Some(open) = &open {
                return Err(without_end(open));
            }
            let label = rest.strip_suffix("-----").filter(|label| is_label(label));
            let label = label.ok_or_else(|| bad(damaged(line, number, kind)))?.to_owned();
            if kind == FileKind::Key && label == "ENCRYPTED PRIVATE KEY" {
                return Err(MaterialError::EncryptedKey(origin.to_owned()));
            }
            let is_decoded = match Use::of(&label, kind) {
                Use::Decode => true,
                Use::Skip => false,
                Use::Refuse(remedy) => {
                    let (origin, expected) = (origin.to_owned(), kind.expected());
                    return Err(MaterialError::UnexpectedBlock { origin, label, expected, remedy });
                }
            };
            open = Some(Open { label, line: number, start, is_decoded });
        } else if let Some(rest) = line.strip_prefix("-----END ") {
            let open = match open.take() {
                Some(open) if rest.strip_suffix("-----") == Some(&*open.label) => open,
                _ => return Err(bad(damaged(line, number, kind))),
            };
            if open.is_decoded {
                // The decoder's error may show the contents, such as a key.
                let block =
                    <(SectionKind, Vec<u8>)>::from_pem_slice(bytes.get(open.start..end).unwrap_or_default());
                let problem = || {
                    let Open { label, line, .. } = &open;
                    bad(format!(
                        "the block {label} that begins in line {line} is not valid base64; copy it again"
                    ))
                };
                found.blocks.push(block.map_err(|_| problem())?);
            } else {
                found.has_private_key |= is_private_key(&open.label);
            }
            labels.push(open.label);
        } else if line.contains("-----BEGIN") || line.contains("-----END") {
            return Err(bad(damaged(line, number, kind)));
        } else if kind == FileKind::Key
            && open.as_ref().is_some_and(|open| open.is_decoded)
            && line.starts_with("Proc-Type:")
            && line.contains("ENCRYPTED")
        {
            return Err(MaterialError::EncryptedKey(origin.to_owned()));
        }
    }
    match open {
        Some(open) => Err(without_end(&open)),
        None => Ok((found, labels)),
    }
}

/// What is wrong with a line that has BEGIN or END, and the remedy.
fn damaged(line: &str, number: usize, kind: FileKind) -> String {
    let umask = kind.umask();
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let begin = line.find("-----BEGIN");
    let ends_before = |end: usize| begin.is_some_and(|begin| end < begin);
    match line.find("-----END") {
        Some(end) if ends_before(end) => format!(
            "line {number} has the END of a block and the BEGIN of the next one; put a line break between them: \
             {umask}sed 's/-----BEGIN/\\n&/' FILE > NEW"
        ),
        Some(_) if begin.is_some() => format!(
            "line {number} has the BEGIN and the END of a block, so its line breaks are lost; copy the file again (in \
             a shell, put quotes around the variable: echo \"$PEM\")"
        ),
        _ if line.starts_with(BYTE_ORDER_MARK) => format!(
            "line {number} begins with a byte order mark (BOM); remove it: {umask}sed 's/^\\xEF\\xBB\\xBF//' FILE > NEW"
        ),
        _ if line.trim_start().starts_with("-----") && !line.starts_with("-----") => format!(
            "the BEGIN or END in line {number} is not at the start of its line; remove the white space: {umask}sed \
             's/^[ \\t]*//' FILE > NEW"
        ),
        Some(0) => format!("line {number} is an END line without its BEGIN line"),
        None if begin == Some(0) => format!("line {number} is a damaged BEGIN line"),
        _ => format!("the BEGIN or END in line {number} is damaged or not at the start of its line"),
    }
}

/// Whether the text is a label as in RFC 7468 section 3, in capitals. Other text must not be shown: it may be anything,
/// such as a private key on one line.
fn is_label(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'.'))
}
