//! The configuration of one end and the files that it names, replaced as an operator does it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use typha_tls::Role;
use typha_tls::config::Sources;
use typha_tls::testing::{TestCa, TestLeaf};

use super::names::{By, Names};

pub(crate) struct Files {
    dir: TempDir,
    role: Role,
}

/// What the configuration goes through, as where a Kubernetes secret is mounted.
const LINK: &str = "current";

impl Files {
    /// With this CA and leaf, and the Common Name of the other end required.
    pub(crate) fn new(role: Role, ca: &TestCa, leaf: &TestLeaf) -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap(), role };
        files.link(&files.new_directory());
        files.cas(&[ca]);
        files.leaf(leaf);
        files.require(By::Name);
        files
    }

    /// Replaces key and chain at one moment, by another directory.
    pub(crate) fn swap_leaf(&self, leaf: &TestLeaf) {
        let of_before = fs::canonicalize(self.dir.path().join(LINK)).unwrap();
        let new = self.new_directory();
        for name in ["ca.pem", "daemon.cfg"] {
            fs::copy(of_before.join(name), new.join(name)).unwrap();
        }
        write(&new.join("key.pem"), &leaf.key_pem());
        write(&new.join("chain.pem"), &leaf.chain_pem());
        self.link(&new);
    }

    fn new_directory(&self) -> PathBuf {
        tempfile::tempdir_in(&self.dir).unwrap().keep()
    }

    fn link(&self, directory: &Path) {
        let new = self.dir.path().join("new");
        symlink(directory, &new).unwrap();
        fs::rename(new, self.dir.path().join(LINK)).unwrap();
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources::none().with_file(self.path("daemon.cfg"))
    }

    /// Replaces the CA file.
    pub(crate) fn cas(&self, cas: &[&TestCa]) {
        self.write("ca.pem", &cas.iter().map(|ca| ca.root_pem()).collect::<String>());
    }

    /// Replaces key and chain.
    pub(crate) fn leaf(&self, leaf: &TestLeaf) {
        self.key(leaf);
        self.chain(leaf);
    }

    pub(crate) fn key(&self, leaf: &TestLeaf) {
        self.write("key.pem", &leaf.key_pem());
    }

    pub(crate) fn chain(&self, leaf: &TestLeaf) {
        self.write("chain.pem", &leaf.chain_pem());
    }

    /// Replaces the configuration by one that requires this of the other end.
    pub(crate) fn require(&self, by: By) {
        let [ca, chain, key, common_name, uri_san] = Names::of(self.role).parameters;
        let peer = Names::of(self.role.peer());
        let path = |name| self.path(name).display().to_string();
        let mut lines = vec![(ca, path("ca.pem")), (chain, path("chain.pem")), (key, path("key.pem"))];
        if by.has_name() {
            lines.push((common_name, peer.common_name.to_owned()));
        }
        if by.has_uri() {
            lines.push((uri_san, peer.uri_san.to_owned()));
        }
        let lines = lines.iter().map(|(name, value)| format!("{name} = {value}\n"));
        self.write("daemon.cfg", &lines.collect::<String>());
    }

    /// By a new file that is renamed into place.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let new = self.path("new");
        write(&new, contents);
        fs::rename(new, self.path(name)).unwrap();
    }

    /// A text without the name of the directory.
    pub(crate) fn without_dir(&self, text: &str) -> String {
        text.replace(&format!("{}/{LINK}/", self.dir.path().display()), "")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(LINK).join(name)
    }
}

fn write(path: &Path, contents: &str) {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(contents.as_bytes()).unwrap();
}
