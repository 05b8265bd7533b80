//! Files that change as a whole: renamed, swapped, deleted with their directory and back again.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use typha_tls::material::TlsFiles;
use typha_tls::reload::{FileSource, ReloadOptions, Reloaded, Reloader, TlsConfigSource};
use typha_tls::testing::{TestCa, TestLeaf};
use typha_tls::{RequiredIdentity, TyphaAcceptor};

use crate::rig::*;

pub(crate) fn source(pki: &Pki, files: &TlsFiles) -> FileSource {
    FileSource::new(files.clone(), RequiredIdentity::common_name("felix").unwrap(), pki.policy())
}

/// Follows files that hold what `pki.first()` has.
pub(crate) struct Followed {
    pub(crate) pki: Pki,
    pub(crate) files: Files,
    pub(crate) acceptor: TyphaAcceptor,
    pub(crate) reloader: Reloader,
    pub(crate) log: Log,
}

impl Followed {
    pub(crate) async fn start() -> Self {
        let pki = Pki::new();
        let files = Files::new(&[&pki.a], &pki.leaf);
        Self::of(pki, files, Files::tls).await
    }

    pub(crate) async fn of(pki: Pki, files: Files, tls: impl Fn(&Files) -> TlsFiles) -> Self {
        let source = source(&pki, &tls(&files));
        let acceptor = TyphaAcceptor::new(source.load().await.unwrap());
        let log = Log::start();
        let reloader = acceptor.follow(source, ReloadOptions::default());
        Self { pki, files, acceptor, reloader, log }
    }

    pub(crate) async fn until_generation(&self, generation: u64) {
        let state = until(&mut self.reloader.state(), |state| state.generation == generation).await;
        assert!(state.last_error.is_none());
        assert_eq!(*self.acceptor.generations().borrow(), generation);
    }

    pub(crate) async fn until_failures(&self, failures: u64) -> String {
        let state = until(&mut self.reloader.state(), |state| state.failures == failures).await;
        typha_tls::error::WithCauses(&**state.last_error.as_ref().unwrap()).to_string()
    }

    pub(crate) fn cas(&self) -> Vec<String> {
        self.acceptor.config().material.trust_bundle.subjects().map(str::to_owned).collect()
    }

    pub(crate) fn has_leaf(&self, leaf: &TestLeaf) -> bool {
        self.acceptor.config().material.credentials.chain() == leaf.chain()
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewed_pair_that_is_renamed_into_place() {
    let followed = Followed::start().await;
    let renewed = followed.pki.a.issue(typha_spec()).unwrap();
    for (name, contents) in NAMES.iter().zip(contents(&[&followed.pki.a], &renewed)) {
        followed.files.write("new", contents);
        std::fs::rename(followed.files.path("new"), followed.files.path(name)).unwrap();
    }
    followed.until_generation(2).await;
    assert!(followed.has_leaf(&renewed));
    let lines = followed.log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let names = NAMES.map(|name| followed.files.path(name).display().to_string()).join(", ");
    assert!(
        lines[0].starts_with(&format!("INFO configuration replaced generation=2 source={names} changes=own")),
        "{lines:?}"
    );
}

/// What the kubelet does with a volume: a new directory, then a link that is renamed over the old one.
pub(crate) fn publish(volume: &Path, version: &str, cas: &[&TestCa], leaf: &TestLeaf) {
    let data = volume.join(version);
    std::fs::create_dir(&data).unwrap();
    write_to(&data, cas, leaf);
    symlink(version, volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kubernetes_volume() {
    let pki = Pki::new();
    let files = Files { dir: tempfile::tempdir().unwrap() };
    publish(files.dir.path(), "..1", &[&pki.a], &pki.leaf);
    for name in NAMES {
        symlink(Path::new("..data").join(name), files.path(name)).unwrap();
    }
    let followed = Followed::of(pki, files, Files::tls).await;
    let volume = followed.files.dir.path();
    for generation in 2..6 {
        let renewed = followed.pki.a.issue(typha_spec()).unwrap();
        publish(volume, &format!("..{generation}"), &[&followed.pki.a, &followed.pki.b], &renewed);
        std::fs::remove_dir_all(volume.join(format!("..{}", generation - 1))).unwrap();
        followed.until_generation(generation).await;
        assert!(followed.has_leaf(&renewed));
    }
    // The same contents in another directory are nothing new.
    let before = *followed.acceptor.generations().borrow();
    let [leaf, _] = [&followed.pki.leaf, &followed.pki.leaf];
    publish(volume, "..6", &[&followed.pki.a], leaf);
    followed.until_generation(6).await;
    assert_ne!(before, 6);
    let looks = followed.reloader.state().borrow().looks;
    publish(volume, "..7", &[&followed.pki.a], leaf);
    until(&mut followed.reloader.state(), |state| state.looks >= looks + 3).await;
    assert_eq!(*followed.acceptor.generations().borrow(), 6);
    assert_eq!(followed.reloader.state().borrow().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_vanishes_and_returns() {
    let pki = Pki::new();
    let files = Files { dir: tempfile::tempdir().unwrap() };
    let dir = files.path("tls");
    std::fs::create_dir(&dir).unwrap();
    write_to(&dir, &[&pki.a], &pki.leaf);
    let tls = |files: &Files| {
        let [ca_file, cert_file, key_file] = NAMES.map(|name| files.path("tls").join(name));
        TlsFiles::new(ca_file, cert_file, key_file)
    };
    let followed = Followed::of(pki, files, tls).await;
    for round in 1..4 {
        std::fs::remove_dir_all(&dir).unwrap();
        let error = followed.until_failures(round).await;
        let missing = format!(
            "{}: it can not be read: No such file or directory (os error 2)",
            dir.join("ca.pem").display()
        );
        assert_eq!(error, missing);
        assert_eq!(*followed.acceptor.generations().borrow(), round);
        std::fs::create_dir(&dir).unwrap();
        let renewed = followed.pki.a.issue(typha_spec()).unwrap();
        write_to(&dir, &[&followed.pki.a], &renewed);
        followed.until_generation(round + 1).await;
        assert!(followed.has_leaf(&renewed));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unchanged_is_not_parsed_again() {
    let pki = Pki::new();
    let files = Files::new(&[&pki.a], &pki.leaf);
    let source = source(&pki, &files.tls());
    let first = source.load().await.unwrap().material;
    assert!(std::sync::Arc::ptr_eq(&first, &source.load().await.unwrap().material));
    // Written again with the same contents, too.
    files.write_all(&[&pki.a], &pki.leaf);
    assert!(std::sync::Arc::ptr_eq(&first, &source.load().await.unwrap().material));
    files.write_all(&[&pki.a, &pki.b], &pki.leaf);
    assert_eq!(source.load().await.unwrap().material.trust_bundle.subjects().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_settling() {
    let pki = Pki::new();
    let files = Files::new(&[&pki.a], &pki.leaf);
    let acceptor = TyphaAcceptor::new(pki.first());
    let source = source(&pki, &files.tls()).with_settle_time(Duration::ZERO);
    assert_eq!(source.settle_time(), Duration::ZERO);
    let reloader = acceptor.follow(source, ReloadOptions::default());
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
    files.write_all(&[&pki.a, &pki.b], &pki.leaf);
    assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Replaced { generation: 2 });
}
