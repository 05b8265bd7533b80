//! Volumes that are swapped while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use typha_tls::material::TlsFiles;
use typha_tls::reload::TlsConfigSource as _;

use crate::files::{publish, source};
use crate::rig::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_half_from_before_a_swap_and_half_from_after_it() {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().to_owned();
    // Each set has a CA and a leaf of the same name.
    let sets = ["even", "odd"].map(|name| {
        let set_ca = ca(name);
        let leaf = set_ca.issue(typha_tls::testing::CertificateSpec::leaf(name)).unwrap();
        (set_ca, leaf)
    });
    publish(&volume, "..0", &[&sets[0].0], &sets[0].1);
    let [ca_file, cert_file, key_file] = NAMES.map(|name| volume.join("..data").join(name));
    let source = source(&pki, &TlsFiles::new(ca_file, cert_file, key_file));
    let done = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (done, volume) = (done.clone(), volume.clone());
        std::thread::spawn(move || {
            for round in 1_usize.. {
                if done.load(Ordering::Relaxed) {
                    return round;
                }
                let (set_ca, leaf) = &sets[round % 2];
                publish(&volume, &format!("..{round}"), &[set_ca], leaf);
                std::fs::remove_dir_all(volume.join(format!("..{}", round - 1))).unwrap();
                std::thread::sleep(Duration::from_micros(round as u64 % 7 * 300));
            }
            0
        })
    };
    let mut good = 0;
    for _ in 0..400 {
        let config = match source.load().await {
            Ok(config) => config,
            Err(error) => {
                assert_eq!(error.to_string(), "the files changed each time while they were read");
                continue;
            }
        };
        good += 1;
        let subject = config.material.trust_bundle.subjects().next().unwrap().to_owned();
        let name = config.material.credentials.identity().common_name().unwrap();
        assert_eq!(subject, format!("CN=\"{name}\""));
    }
    done.store(true, Ordering::Relaxed);
    let rounds = swapping.join().unwrap();
    assert!(good > 0 && rounds > 10, "{good} good of 400, while there were {rounds} swaps");
}
