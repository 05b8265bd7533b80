//! The files of a directory, and the peers' chains among them.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use typha_tls::error::WithCauses;
use typha_tls::material::{MaterialError, read_chain};

use super::regular_file;

/// The most entries of a directory that are read: twice the connections that a Typha takes by default.
const MAX_ENTRIES: usize = 20_000;

/// Much larger than any chain in a handshake.
const MAX_SIZE: u64 = 1024 * 1024;

pub(super) enum ChainFile {
    /// The chain as in the file, leaf first.
    Chain(Vec<CertificateDer<'static>>),
    /// The file is not a chain, for this reason.
    Other(&'static str),
    /// The file is or may be a chain, but can not be read, for this reason.
    Unusable(String),
}

/// The names of the entries, sorted.
pub(super) fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name());
        if names.len() > MAX_ENTRIES {
            let problem =
                format!("it has more than {MAX_ENTRIES} entries; divide them among several directories");
            return Err(io::Error::other(problem));
        }
    }
    names.sort();
    Ok(names)
}

impl ChainFile {
    /// Reads a file. It follows symbolic links to files, as in a Kubernetes volume, but no others.
    pub(super) fn read(path: &Path) -> Self {
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                return Self::Other("it is a directory, which is not followed");
            }
            Ok(metadata) if !metadata.is_file() => {
                return Self::Other("it is a pipe, a socket or a device");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                return Self::Unusable("it is a symbolic link to a file that does not exist".to_owned());
            }
            // If the metadata can not be read, opening the file fails as well and gives the reason.
            _ => {}
        }
        let has = |rule: fn(u64) -> bool| path.metadata().is_ok_and(|metadata| rule(metadata.len()));
        if has(|size| size > MAX_SIZE) {
            return match regular_file::beginning(path, MAX_SIZE) {
                Ok(bytes) if !announces_certificate(&bytes) => {
                    Self::Other("it is larger than 1 MiB, and its first MiB has no PEM block CERTIFICATE")
                }
                Ok(_) => Self::Unusable("it is larger than 1 MiB; leave only one chain in it".to_owned()),
                Err(error) => Self::Unusable(format!("it can not be read: {error}")),
            };
        }
        match read_chain(path) {
            Ok(chain) => Self::Chain(chain),
            Err(MaterialError::NoCertificate { .. }) if has(|size| size == 0) => Self::Other("it is empty"),
            Err(MaterialError::NoCertificate { .. }) => {
                Self::Other("there is no PEM block CERTIFICATE in it")
            }
            Err(error) => {
                let text = WithCauses(&error).to_string();
                let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
                Self::Unusable(format!("this peer was not judged: {text}"))
            }
        }
    }
}

/// Whether a PEM block CERTIFICATE begins, or was meant to.
fn announces_certificate(bytes: &[u8]) -> bool {
    const LABEL: &[u8] = b"BEGIN CERTIFICATE";
    let rest = bytes.windows(LABEL.len()).zip(LABEL.len()..).filter(|(window, _)| *window == LABEL);
    let is_request = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(b" REQUEST"));
    rest.into_iter().any(|(_, at)| !is_request(at))
}
