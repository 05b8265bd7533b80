//! `--at`.

use std::time::{Duration, SystemTime};

use serde_json::json;
use typha_tls::testing::{CertificateSpec, TestCa};

use super::site::{DAY, Site, names, only};

/// 2100-01-01T00:00:00Z, and the day before and after.
fn at(days: i32) -> SystemTime {
    let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    if days < 0 { midnight - days.unsigned_abs() * DAY } else { midnight + days.unsigned_abs() * DAY }
}

/// With a CA that outlives the century.
fn site() -> Site {
    let mut site = Site::new();
    let now = SystemTime::now();
    site.kept = TestCa::new(CertificateSpec::ca("kept").valid(now - DAY, at(10_000))).unwrap();
    site.write("ca.pem", site.kept.root_pem());
    site.own_chain(&site.kept);
    let leaf = |until| CertificateSpec::leaf("typha-client").valid(now - DAY, until);
    site.peer("long.pem", site.kept.issue(leaf(at(1))).unwrap().chain_pem());
    site.peer("short.pem", site.kept.issue(leaf(at(-1))).unwrap().chain_pem());
    site
}

#[test]
fn who_will_have_expired_is_cut_off() {
    let site = site();
    let (code, lines) = site.check_peers(&["--at", "2100-01-01T00:00:00Z"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        *only(&lines, "cut_off"),
        site.with_leaf(json!({
            "level": "error", "finding": "cut_off", "file": "short.pem", "reason": "expired",
            "common_name": "typha-client", "uri_sans": [],
            "detail": "would be cut off: the leaf certificate CN=\"typha-client\" expired at 2099-12-31T00:00:00Z, and \
                       it is 2100-01-01T00:00:00Z now; renew it first",
            "fix": "renew it first",
        }))
    );
    assert_eq!(only(&lines, "accepted")["file"], "long.pem");
    let (code, lines) = site.check_peers(&["--at", "2099-12-30T00:00:00+01:00"]);
    // Our own leaf does not last that long.
    assert_eq!((code, only(&lines, "summary")["accepted"].as_u64()), (Some(1), Some(2)));
}

#[test]
fn what_else_will_have_expired_is_said_once() {
    let site = site();
    let past = TestCa::new(CertificateSpec::ca("past").valid(at(-36_000), at(-35_999))).unwrap();
    let due = TestCa::new(CertificateSpec::ca("due").valid(at(-36_000), at(-1))).unwrap();
    site.write("ca.pem", site.kept.root_pem() + &past.root_pem() + &due.root_pem());
    let (code, lines) = site.check(&["--at", "2100-01-01T00:00:00Z"]);
    let expected = [("warning", "ca_expired"), ("error", "leaf_expired")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert_eq!(
        lines[0]["detail"],
        "as of 2100-01-01T00:00:00Z: the CA CN=\"due\" expired at 2099-12-31T00:00:00Z: nothing it issued is accepted; \
         remove it, or add its successor"
    );
}

#[test]
fn a_ca_that_will_have_expired_cuts_its_peers_off() {
    let mut site = site();
    site.old = TestCa::new(CertificateSpec::ca("old").valid(at(-36_000), at(-1))).unwrap();
    let new = site.write("both.pem", site.kept.root_pem() + &site.old.root_pem());
    site.write("ca.pem", site.kept.root_pem() + &site.old.root_pem());
    let leaf = CertificateSpec::leaf("typha-client").valid(at(-36_000), at(1));
    site.peer("of-old.pem", site.old.issue(leaf).unwrap().chain_pem());
    let (_, lines) = site.check_peers(&["--at", "2100-01-01T00:00:00Z", "--with-ca-file", &new]);
    let line = lines.iter().find(|line| line["file"] == "of-old.pem").unwrap();
    assert_eq!(
        line["detail"],
        "would be cut off: the CA certificate CN=\"old\" expired at 2099-12-31T00:00:00Z, and it is \
         2100-01-01T00:00:00Z now; re-issue it by a CA that lasts longer first, and have that in the CA file"
    );
    let of_the_file = lines.iter().find(|line| line["finding"] == "ca_expired").unwrap();
    assert!(
        of_the_file["detail"].as_str().unwrap().starts_with(&format!("{new}: as of 2100-01-01T00:00:00Z: "))
    );
    let (_, lines) = site.check_peers(&[]);
    assert_eq!(only(&lines, "summary")["accepted"], 3);
}
