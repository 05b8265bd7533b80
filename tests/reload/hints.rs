//! File events: a change is seen long before the next poll, and looking at files is none. On the real clock.

use std::os::unix::fs::symlink;
use std::time::Duration;

use tokio::time::timeout;
use typha_tls::TyphaAcceptor;
use typha_tls::reload::{FileSource, ReloadOptions, TlsConfigSource as _};

use crate::files::{publish, source};
use crate::rig::*;

/// Generous, since the machine may be busy; the next poll is much further away.
const SOON: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_secs(100_000);

async fn is_quiet(source: &FileSource) -> bool {
    timeout(Duration::from_millis(200), source.changed()).await.is_err()
}

async fn changed(source: &FileSource) {
    timeout(SOON, source.changed()).await.unwrap();
    // All events of the change, and then the look that follows from them.
    while !is_quiet(source).await {}
    let _ = source.load().await;
}

#[tokio::test]
async fn looking_is_no_change() {
    let pki = Pki::new();
    let files = Files::new(&[&pki.a], &pki.leaf);
    let source = source(&pki, &files.tls());
    for _ in 0..3 {
        source.load().await.unwrap();
        assert!(is_quiet(&source).await);
    }
    files.write("of somebody else", "");
    assert!(is_quiet(&source).await);
    files.write("ca.pem", "");
    changed(&source).await;
    assert!(is_quiet(&source).await);
}

#[tokio::test]
async fn whatever_happens_to_a_volume() {
    let pki = Pki::new();
    let files = Files { dir: tempfile::tempdir().unwrap() };
    let volume = files.path("volume");
    let make = || {
        std::fs::create_dir(&volume).unwrap();
        publish(&volume, "..1", &[&pki.a], &pki.leaf);
        for name in NAMES {
            symlink(std::path::Path::new("..data").join(name), volume.join(name)).unwrap();
        }
    };
    make();
    let mut tls = files.tls();
    for path in [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file] {
        *path = volume.join(path.file_name().unwrap());
    }
    let source = source(&pki, &tls);
    source.load().await.unwrap();
    for round in 2..4 {
        publish(&volume, &format!("..{round}"), &[&pki.a], &pki.leaf);
        changed(&source).await;
    }
    for _ in 0..2 {
        std::fs::remove_dir_all(&volume).unwrap();
        changed(&source).await;
        make();
        changed(&source).await;
        publish(&volume, "..2", &[&pki.a], &pki.leaf);
        changed(&source).await;
    }
    source.load().await.unwrap();
}

#[tokio::test]
async fn a_change_is_in_force_long_before_the_next_poll() {
    let pki = Pki::new();
    let files = Files::new(&[&pki.a], &pki.leaf);
    let acceptor = TyphaAcceptor::new(pki.first());
    let mut options = ReloadOptions::default();
    options.poll_interval = POLL;
    let source = source(&pki, &files.tls()).with_settle_time(Duration::from_millis(50));
    let reloader = acceptor.follow(source, options);
    let mut state = reloader.state();
    timeout(SOON, state.wait_for(|state| state.looks == 1)).await.unwrap().unwrap();
    for generation in 2..5 {
        let leaf = pki.a.issue(typha_spec()).unwrap();
        files.write_all(&[&pki.a], &leaf);
        let reloaded = state.wait_for(|state| state.generation >= generation && state.last_error.is_none());
        timeout(SOON, reloaded).await.unwrap().unwrap();
        // Half of it can settle on a machine that is busy, but no half of it that fits together.
        assert_eq!(acceptor.config().material.credentials.chain(), leaf.chain());
    }
}
