//! What stands under the name of a file but is none.

use std::path::PathBuf;

use typha_tls::error::WithCauses;
use typha_tls::material::read_chain;

use super::*;

fn assert_unreadable(error: MaterialError, file: &Path, kind: ErrorKind) {
    assert_eq!(error.to_string(), format!("{}: it can not be read", file.display()));
    let MaterialError::Read { path, source, .. } = error else { panic!("{error:?}") };
    assert_eq!((&*path, source.kind()), (file, kind));
}

/// Reads `bad` in the place of each of the files.
fn assert_unreadable_everywhere(dir: &Dir, pki: &TestPki, bad: &Path, kind: ErrorKind) {
    dir.write_material(&pki.ca, &pki.typha);
    let (ca, cert, key) = (&*dir.path("ca.pem"), &*dir.path("cert.pem"), &*dir.path("key.pem"));
    let mut lists = TlsFiles::new(ca, cert, key);
    lists.load(&provider()).unwrap();
    lists.crl_files = vec![bad.to_owned()];
    for files in
        [TlsFiles::new(bad, cert, key), TlsFiles::new(ca, bad, key), TlsFiles::new(ca, cert, bad), lists]
    {
        assert_unreadable(files.load(&provider()).unwrap_err(), bad, kind);
    }
}

#[test]
fn what_is_no_readable_file() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    std::fs::create_dir(dir.path("directory")).unwrap();
    dir.write("file", "");
    large(&dir, &pki);
    for (name, kind) in [
        ("missing", ErrorKind::NotFound),
        ("file/ca.pem", ErrorKind::NotADirectory),
        ("directory", ErrorKind::InvalidInput),
        ("large", ErrorKind::FileTooLarge),
    ] {
        assert_unreadable_everywhere(&dir, &pki, &dir.path(name), kind);
    }
}

/// A good chain, and so much after it that the file is too large.
fn large(dir: &Dir, pki: &TestPki) -> PathBuf {
    let path = dir.write("large", pki.felix.chain_pem());
    std::fs::File::options().append(true).open(&path).unwrap().set_len(16 * 1024 * 1024 + 1).unwrap();
    path
}

#[test]
fn no_part_of_a_file_that_is_too_large_is_a_chain() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let large = large(&dir, &pki);
    let error = read_chain(&large).unwrap_err();
    let text = "it can not be read: it is larger than 16 MiB; leave only what is needed in it";
    assert_eq!(WithCauses(&error).to_string(), format!("{}: {text}", large.display()));
    assert_unreadable(error, &large, ErrorKind::FileTooLarge);
    std::fs::File::options().append(true).open(&large).unwrap().set_len(16 * 1024 * 1024).unwrap();
    assert_eq!(read_chain(&large).unwrap(), pki.felix.chain());
}

#[test]
fn a_large_file_is_read() {
    let dir = Dir::new();
    let pem = ca("ca").root_pem();
    let filler = "x".repeat(16 * 1024 * 1024 - pem.len() - 1);
    let bundle = TrustBundle::from_file(dir.write("ca.pem", format!("{filler}\n{pem}"))).unwrap();
    assert_eq!(bundle.subjects().len(), 1);
}

#[cfg(unix)]
#[test]
fn a_file_without_permission() {
    use std::os::unix::fs::PermissionsExt as _;

    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let file = dir.write("secret.pem", "");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is unreadable to root.
    if std::fs::File::open(&file).is_err() {
        assert_unreadable_everywhere(&dir, &pki, &file, ErrorKind::PermissionDenied);
    }
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_do_not_block() {
    let (dir, pki) = (Dir::new(), TestPki::new().unwrap());
    let fifo = dir.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success());
    let (done, finished) = std::sync::mpsc::channel();
    // In a thread of its own, which a test that fails leaves behind.
    std::thread::spawn(move || {
        if made {
            assert_unreadable_everywhere(&dir, &pki, &fifo, ErrorKind::InvalidInput);
        }
        assert_unreadable_everywhere(&dir, &pki, Path::new("/dev/zero"), ErrorKind::InvalidInput);
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(10)).unwrap();
}
