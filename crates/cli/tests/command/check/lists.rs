//! Revocation lists, as they are and as they will be.

use rustls_pki_types::pem::PemObject as _;
use typha_tls::testing::{TestCa, TestLeaf};

use super::site::{DAY, Site, detail, felix, name, names, only};
use crate::lists::{HOUR, List};

fn list(site: &Site, file: &str, revoked: &[&TestLeaf]) -> String {
    let now = std::time::SystemTime::now();
    let list = List::new().of(now - HOUR, now + DAY);
    let list = revoked.iter().fold(list, |list, leaf| list.revoking(&leaf.chain()[0]));
    site.write(file, list.signed_by(&site.kept, "kept"))
}

#[test]
fn the_new_lists_stand_in_place_of_the_old() {
    let site = Site::new();
    let (a, b) = (felix(&site.kept), felix(&site.kept));
    site.peer("a.pem", a.chain_pem());
    site.peer("b.pem", b.chain_pem());
    let (of_a, of_b) = (list(&site, "a.crl", &[&a]), list(&site, "b.crl", &[&b]));
    let verdicts = |more: &[&str]| {
        let (code, lines) = site.check_peers(more);
        let of_files = lines.iter().filter(|line| line["file"].is_string());
        (code, of_files.map(|line| name(line).to_owned()).collect::<Vec<_>>())
    };
    let expect = |more: &[&str], code, expected: [&str; 2]| {
        assert_eq!(verdicts(more), (Some(code), expected.map(str::to_owned).to_vec()), "{more:?}");
    };
    expect(&["--crl-file", &of_a], 1, ["refused", "accepted"]);
    expect(&["--with-crl-file", &of_a], 1, ["cut_off", "accepted"]);
    expect(&["--crl-file", &of_a, "--with-crl-file", &of_b], 1, ["newly_accepted", "cut_off"]);
    expect(&["--crl-file", &of_a, "--with-crl-file", "none"], 1, ["newly_accepted", "accepted"]);

    let (_, lines) = site.check_peers(&["--with-crl-file", &of_b]);
    assert!(
        detail(&lines, "planned_revocation_list").starts_with("the list of CN=\"kept\" of "),
        "{lines:?}"
    );
    assert_eq!(only(&lines, "cut_off")["file"], "b.pem");
}

#[test]
fn strict_lists_cut_off_whom_none_covers() {
    let site = Site::new();
    site.peer("covered.pem", felix(&site.kept).chain_pem());
    site.peer("not-covered.pem", felix(&site.old).chain_pem());
    let empty = list(&site, "empty.crl", &[]);
    let (code, lines) = site.check_peers(&["--with-crl-file", &empty, "--with-crl-strict"]);
    assert_eq!(code, Some(1));
    let cut_off = only(&lines, "cut_off");
    assert_eq!(
        (&cut_off["file"], &cut_off["reason"]),
        (&"not-covered.pem".into(), &"revocation_status_unknown".into())
    );
    let (code, lines) = site.check_peers(&["--with-crl-file", &empty]);
    assert_eq!((code, only(&lines, "summary")["accepted"].as_u64()), (Some(0), Some(2)));
    // A list that is past its time then, under a policy that stays strict.
    let later = time_in_days(3);
    let flags = ["--crl-file", &empty, "--crl-strict", "--at", &later];
    let (code, lines) = site.check_peers(&flags);
    let expected = [
        ("warning", "revocation_list_expired"),
        ("info", "planned_own_chain"),
        ("error", "cut_off"),
        ("info", "refused"),
        ("info", "summary"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert_eq!(only(&lines, "cut_off")["reason"], "revocation_list_unusable");
}

fn time_in_days(days: u32) -> String {
    let then = time::OffsetDateTime::now_utc() + days * DAY;
    then.format(&time::format_description::well_known::Rfc3339).unwrap()
}

#[test]
fn a_list_of_a_ca_that_goes_must_go_with_it() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.kept).chain_pem());
    let of_old = site.write("old.crl", List::new().signed_by(&site.old, "old"));
    let base = ["--crl-file", &of_old, "--with-ca-file", &site.path("new.pem")];
    let (code, lines) = site.check_peers(&base);
    let expected =
        [("info", "ca_removed"), ("info", "ca_added"), ("error", "with_crl_file"), ("error", "peers")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert_eq!(
        detail(&lines, "with_crl_file"),
        format!(
            "{of_old}: revocation list 1 is unusable: its issuer CN=\"old\" is no CA of the CA file; change \
             the lists together with the CA file (--with-crl-file); otherwise the new configuration will not load"
        )
    );
    assert_eq!(detail(&lines, "peers"), "no peer was judged; fix the errors above first");
    let (code, lines) = site.check_peers(&[&base[..], &["--with-crl-file", "none"]].concat());
    assert_eq!((code, only(&lines, "summary")["accepted"].as_u64()), (Some(0), Some(1)));
}

/// A running daemon would refuse these lists.
#[test]
fn a_list_that_is_missing_or_older_is_an_error() {
    let site = Site::new();
    let now = std::time::SystemTime::now();
    let made = |file: &str, ca: &TestCa, name: &str, hours_ago: u32| {
        site.write(file, List::new().of(now - hours_ago * HOUR, now + DAY).signed_by(ca, name))
    };
    let (of_kept, of_old) = (made("kept.crl", &site.kept, "kept", 2), made("old.crl", &site.old, "old", 2));
    let older = made("older.crl", &site.old, "old", 3);
    let findings = |more: &[&str]| {
        let current = ["--crl-file", &of_kept, "--crl-file", &of_old, "--with-crl-file", &of_kept];
        let (code, lines) = site.check(&[&current[..], more].concat());
        let findings = lines.iter().filter(|line| line["level"] != "info");
        (code, findings.map(|line| line["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let missing = "there is no revocation list of CN=\"old\", which is still trusted and had one: its revoked \
                   certificates would be accepted; put the list back, remove the CA (for an intermediate CA: the CA \
                   above it) from the CA file too, or restart the daemon to use no list";
    assert_eq!(findings(&[]), (Some(1), vec![missing.to_owned()]));
    assert_eq!(findings(&["--with-crl-file", &of_old]), (Some(0), vec![]));
    let (code, found) = findings(&["--with-crl-file", &older]);
    assert_eq!((code, found.len()), (Some(1), 1));
    assert!(
        found[0].starts_with("the revocation list of CN=\"old\" is of ")
            && found[0].contains(", and older than the newest one so far, of "),
        "{found:?}"
    );
    // With the CA, the list may go.
    let only_kept = site.write("only-kept.pem", site.kept.root_pem());
    assert_eq!(findings(&["--with-ca-file", &only_kept]), (Some(0), vec![]));
    // The level and the label.
    let flags = ["--crl-file", &of_old, "--with-crl-file", "none"];
    let (_, lines) = site.check(&flags);
    assert_eq!(only(&lines, "revocation_list_missing")["level"], "error");
    let (_, lines) = site.check(&["--crl-file", &of_old, "--with-crl-file", &older]);
    assert_eq!(only(&lines, "revocation_list_older")["level"], "error");
}

#[test]
fn our_own_chain_is_judged_with_the_new_lists() {
    let site = Site::new();
    let own = std::fs::read(site.path("own.pem")).unwrap();
    let own: rustls_pki_types::CertificateDer<'static> =
        rustls_pki_types::pem::PemObject::from_pem_slice(&own).unwrap();
    let revoking = List::new().revoking(&own).signed_by(&site.kept, "kept");
    let revoking = site.write("own.crl", revoking);
    let (code, lines) = site.check(&["--with-crl-file", &revoking]);
    let expected = [("info", "planned_revocation_list"), ("warning", "planned_own_chain")];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert!(
        detail(&lines, "planned_own_chain").starts_with(
            "a Felix with the CA file and the lists as they will be would refuse us (revoked): "
        )
    );
}

/// Also where our chain does not lead to our CA file now: the plan makes it worse.
#[test]
fn a_plan_that_revokes_our_leaf_is_told_wherever_our_chain_leads() {
    let site = Site::new();
    site.own_chain(&site.new);
    let own = rustls_pki_types::CertificateDer::from_pem_file(site.path("own.pem")).unwrap();
    let revoking = site.write("own.crl", List::new().revoking(&own).signed_by(&site.new, "new"));
    let all = site.write("all.pem", site.kept.root_pem() + &site.old.root_pem() + &site.new.root_pem());
    let (code, lines) = site.check(&["--with-ca-file", &all]);
    assert_eq!((code, names(&lines).last()), (Some(0), Some(&("info", "planned_own_chain"))));
    let (code, lines) = site.check(&["--with-ca-file", &all, "--with-crl-file", &revoking]);
    assert_eq!((code, names(&lines).last()), (Some(1), Some(&("warning", "planned_own_chain"))));
    assert!(detail(&lines, "planned_own_chain").contains("would refuse us (revoked)"));
}
