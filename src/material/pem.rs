//! Decodes PEM (RFC 7468) strictly: a damaged or unexpected block fails the whole file.

use rustls_pki_types::pem::{PemObject as _, SectionKind};

use super::error::MaterialError;
use crate::file::ReadFile;

/// Which blocks a file may hold.
pub(super) struct Expected {
    pub(super) labels: &'static [&'static str],
    /// The end of the message "found a PEM block X, but".
    pub(super) description: &'static str,
}

/// The contents of a file, and where they come from.
pub(super) fn contents(file: ReadFile) -> Result<(Vec<u8>, String), MaterialError> {
    match file.bytes {
        Ok(bytes) => Ok((bytes, file.path.display().to_string())),
        Err(source) => Err(MaterialError::Read { path: file.path, source }),
    }
}

/// Decodes all PEM blocks. Text outside of them is skipped, as RFC 7468 section 2 allows.
pub(super) fn decode(
    bytes: &[u8],
    origin: &str,
    expected: &Expected,
) -> Result<Vec<(SectionKind, Vec<u8>)>, MaterialError> {
    check_structure(bytes, origin, expected)?;
    <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| MaterialError::BadPem { origin: origin.to_owned(), problem: error.to_string() })
}

/// Checks what the decoder does not: that every block ends correctly and is of an expected kind.
fn check_structure(bytes: &[u8], origin: &str, expected: &Expected) -> Result<(), MaterialError> {
    let bad = |problem: String| MaterialError::BadPem { origin: origin.to_owned(), problem };
    let mut open: Option<(String, usize)> = None;
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let number = index + 1;
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("-----BEGIN ") {
            if let Some((label, start)) = open {
                return Err(bad(format!("the block {label} that begins in line {start} has no END line")));
            }
            let label = rest
                .strip_suffix("-----")
                .filter(|label| is_label(label))
                .ok_or_else(|| bad(format!("line {number} is a damaged BEGIN line")))?;
            if label == "ENCRYPTED PRIVATE KEY" {
                return Err(MaterialError::EncryptedKey(origin.to_owned()));
            }
            if !expected.labels.contains(&label) {
                let (origin, label) = (origin.to_owned(), label.to_owned());
                return Err(MaterialError::UnexpectedBlock { origin, label, expected: expected.description });
            }
            open = Some((label.to_owned(), number));
        } else if let Some(rest) = line.strip_prefix("-----END ") {
            match open.take() {
                Some((label, _)) if rest.strip_suffix("-----") == Some(&*label) => {}
                _ => return Err(bad(format!("line {number} is an END line without its BEGIN line"))),
            }
        } else if line.contains("-----BEGIN") || line.contains("-----END") {
            return Err(bad(format!(
                "the BEGIN or END in line {number} is damaged or not at the start of its line"
            )));
        } else if open.is_some() && line.starts_with("Proc-Type:") && line.contains("ENCRYPTED") {
            return Err(MaterialError::EncryptedKey(origin.to_owned()));
        }
    }
    match open {
        Some((label, start)) => {
            Err(bad(format!("the block {label} that begins in line {start} has no END line")))
        }
        None => Ok(()),
    }
}

/// Whether the text is a label as in RFC 7468 section 3, in capitals. Other text must not be shown: it may be anything,
/// such as a private key on one line.
fn is_label(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
}
