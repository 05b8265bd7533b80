//! The command `typha-tls`, as processes of its own: what it prints, and its exit codes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail this way"
)]

mod check;
mod ends;
#[cfg(unix)]
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/files.rs"]
mod files;
mod how_to;
#[path = "../../../../tests/common/lists.rs"]
mod lists;
#[cfg(target_os = "linux")]
mod long_names;
#[cfg(unix)]
mod migrations;
#[allow(dead_code, reason = "the migrations of the library use the rest")]
#[path = "../../../../tests/reload/migrations/names.rs"]
mod names;
#[cfg(unix)]
mod reload;
mod revocation;
#[allow(dead_code, reason = "the tests of the connections to etcd use the rest")]
#[path = "../../../etcd/tests/etcd/server.rs"]
mod server;
#[allow(dead_code, reason = "the tests of the connections to etcd use the rest")]
#[path = "../../../etcd/tests/etcd/site.rs"]
mod site;
#[cfg(target_os = "linux")]
mod storm;
#[cfg(target_os = "linux")]
mod storms;
#[cfg(target_os = "linux")]
mod unread;
mod verify_host;

/// Takes the serial number and the fingerprint of a leaf, which differ from run to run, out of a line on a peer.
fn remove_leaf_numbers(line: &mut serde_json::Value) {
    let line = line.as_object_mut().unwrap();
    for (name, digits) in [("serial", 1..=40), ("sha256", 64..=64)] {
        let number = line.remove(name).unwrap();
        let number = number.as_str().unwrap();
        assert!(digits.contains(&number.len()), "{name}: {number}");
        assert!(number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{name}: {number}");
    }
}
