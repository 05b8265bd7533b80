//! The files of a directory, and the peers' chains among them.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use typha_tls::error::WithCauses;
use typha_tls::material::{MaterialError, read_chain};

use crate::verify::is_about_an_empty_file;

/// The most entries of a directory that are read: twice the connections that a Typha takes by default.
const MAX_ENTRIES: usize = 20_000;

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
        match read_chain(path) {
            Ok(chain) => Self::Chain(chain),
            Err(error) if is_about_an_empty_file(&error) => Self::Other("it is empty"),
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
