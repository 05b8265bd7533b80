//! The files of a directory, and the peers' chains among them.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::EndEntityCert;

use super::regular_file::{self, Contents};

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
                format!("it has more than {MAX_ENTRIES} entries: divide them among several directories");
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
            Ok(metadata) if !metadata.is_file() => return Self::Other("it is a pipe, a socket or a device"),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                return Self::Unusable("it is a symbolic link to a file that does not exist".to_owned());
            }
            // If the metadata can not be read, opening the file fails as well and gives the reason.
            _ => {}
        }
        match regular_file::read(path, MAX_SIZE) {
            Ok(Contents::Whole(bytes)) => Self::parse(&bytes),
            Ok(Contents::Beginning(bytes)) if announced(&bytes) == 0 => {
                Self::Other("it is larger than 1 MiB, and its first MiB has no PEM block CERTIFICATE")
            }
            Ok(Contents::Beginning(_)) => {
                Self::Unusable("it is larger than 1 MiB: leave only one chain in it".to_owned())
            }
            Err(error) => Self::Unusable(format!("it can not be read: {error}")),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let announced = announced(bytes);
        if announced == 0 {
            return match EndEntityCert::try_from(&CertificateDer::from(bytes)) {
                _ if bytes.is_empty() => Self::Other("it is empty"),
                Ok(_) => Self::Unusable(
                    "it is a certificate in DER: make PEM of it by openssl x509 -inform DER -in FILE -out FILE.pem"
                        .to_owned(),
                ),
                Err(_) => Self::Other("there is no PEM block CERTIFICATE in it"),
            };
        }
        // The decoder's error may show the block's contents, such as a key. The number of blocks shows whether one was
        // skipped.
        match CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if chain.len() == announced => Self::Chain(chain),
            _ => Self::Unusable(
                "a PEM block in it is damaged, so this peer was not judged; copy the file again".to_owned(),
            ),
        }
    }
}

/// The number of blocks that begin, or were meant to.
fn announced(bytes: &[u8]) -> usize {
    const LABEL: &[u8] = b"BEGIN CERTIFICATE";
    let after = bytes.windows(LABEL.len()).zip(LABEL.len()..).filter(|(window, _)| *window == LABEL);
    let is_request = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(b" REQUEST"));
    after.filter(|(_, at)| !is_request(*at)).count()
}
