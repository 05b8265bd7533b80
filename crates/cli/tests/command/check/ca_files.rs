//! The CA file as it will be, compared with the active one.

use std::time::SystemTime;

use typha_tls::testing::{CertificateSpec, TestCa};

use super::site::{DAY, Site, ca, ca_name, detail, felix, names};
use crate::lists::{certificate_pem, renewed};

#[test]
fn what_goes_and_what_comes() {
    let site = Site::new();
    let (code, lines) = site.check(&["--with-ca-file", &site.path("new.pem")]);
    let expected = [("info", "ca_removed"), ("info", "ca_added"), ("info", "planned_own_chain")];
    assert_eq!((code, names(&lines)), (Some(0), expected.to_vec()));
    assert_eq!(
        detail(&lines, "ca_removed"),
        ca_name(&site.old.root_pem())
            + ": what it issued will be refused, unless another trusted CA has also signed it"
    );
    assert_eq!(detail(&lines, "ca_added"), ca_name(&site.new.root_pem()));
    assert_eq!(detail(&lines, "planned_own_chain"), "our chain leads to a CA of our CA file as it will be");
    // In another order, and twice.
    let same = site.write("same.pem", site.kept.root_pem() + &site.old.root_pem() + &site.kept.root_pem());
    let (code, lines) = site.check(&["--with-ca-file", &same]);
    let expected = [("info", "cas_unchanged"), ("info", "planned_own_chain")];
    assert_eq!((code, names(&lines)), (Some(0), expected.to_vec()));
    assert_eq!(detail(&lines, "cas_unchanged"), format!("{same} has the same CAs as now"));
}

#[test]
fn another_key_under_the_same_name_is_called_out() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    let again = ca("old");
    let new = site.write("again.pem", site.kept.root_pem() + &again.root_pem());
    let (code, lines) = site.check_peers(&["--with-ca-file", &new]);
    let expected = [
        ("warning", "ca_replaced"),
        ("info", "ca_added"),
        ("info", "planned_own_chain"),
        ("error", "cut_off"),
        ("info", "summary"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert_eq!(
        detail(&lines, "ca_replaced"),
        format!(
            "{} is replaced by a CA of the same name and another key: what the old one issued will be refused; keep \
             both in {new} until everything is issued anew",
            ca_name(&site.old.root_pem())
        )
    );
    assert_eq!(detail(&lines, "ca_added"), ca_name(&again.root_pem()) + ", of the same name and another key");
    assert_eq!(lines[3]["reason"], "ca_key_mismatch");

    let both = site.write("both.pem", site.old.root_pem() + &site.kept.root_pem() + &again.root_pem());
    let (code, lines) = site.check_peers(&["--with-ca-file", &both]);
    let expected =
        [("info", "ca_added"), ("info", "planned_own_chain"), ("info", "accepted"), ("info", "summary")];
    assert_eq!((code, names(&lines)), (Some(0), expected.to_vec()));
}

#[test]
fn a_certificate_made_anew_with_the_same_key_is_no_other_ca() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "old");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::from_pem(&site.old.key_pem()).unwrap();
    let renewed = certificate_pem(params.self_signed(&key).unwrap().der());
    let new = site.write("renewed.pem", site.kept.root_pem() + &renewed);
    let (code, lines) = site.check_peers(&["--with-ca-file", &new]);
    let expected =
        [("info", "ca_renewed"), ("info", "planned_own_chain"), ("info", "accepted"), ("info", "summary")];
    assert_eq!((code, names(&lines)), (Some(0), expected.to_vec()));
    let new = site.write("added.pem", site.old.root_pem() + &site.kept.root_pem() + &renewed);
    let (_, lines) = site.check_peers(&["--with-ca-file", &new]);
    assert_eq!(
        detail(&lines, "ca_added"),
        ca_name(&renewed) + ", another certificate of the same name and key"
    );
}

#[test]
fn the_new_file_is_checked_like_the_old() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.kept).chain_pem());
    let now = SystemTime::now();
    let past = TestCa::new(CertificateSpec::ca("past").valid(now - 3 * DAY, now - DAY)).unwrap();
    let plain = TestCa::new(CertificateSpec::ca("plain").without_ca_flag()).unwrap();
    let new = site.write("new.pem", site.kept.root_pem() + &past.root_pem() + &plain.root_pem());
    let (code, lines) = site.check(&["--with-ca-file", &new]);
    let expected = [
        ("warning", "ca_expired"),
        ("warning", "not_a_ca"),
        ("info", "ca_removed"),
        ("info", "ca_added"),
        ("info", "ca_added"),
        ("info", "planned_own_chain"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    assert!(detail(&lines, "not_a_ca").starts_with(&format!("{new}: CN=\"plain\" in the CA file is no CA")));

    let damaged = site.write("damaged.pem", site.kept.root_pem().replacen("\nM", "\n!", 1));
    let (code, lines) = site.check(&["--with-ca-file", &damaged]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "with_ca_file")]));
    assert!(detail(&lines, "with_ca_file").starts_with(&damaged));
    let (code, lines) = site.check_peers(&["--with-ca-file", &site.path("missing.pem")]);
    assert_eq!((code, names(&lines)), (Some(1), vec![("error", "with_ca_file"), ("error", "peers")]));
}

/// A renewed CA of which the wrong certificate is kept.
#[test]
fn a_ca_that_is_left_with_its_expired_certificate_is_called_out() {
    let site = Site::new();
    site.peer("a.pem", felix(&site.old).chain_pem());
    let expired = certificate_pem(&renewed(&site.old, "old", -2, -1));
    let new = site.write("expired.pem", site.kept.root_pem() + &expired);
    let (code, lines) = site.check_peers(&["--with-ca-file", &new]);
    let expected = [
        ("warning", "ca_expired"),
        ("warning", "ca_unusable"),
        ("info", "planned_own_chain"),
        ("error", "cut_off"),
        ("info", "summary"),
    ];
    assert_eq!((code, names(&lines)), (Some(1), expected.to_vec()));
    let detail = detail(&lines, "ca_unusable");
    assert_eq!(
        detail,
        format!(
            "of {} only a certificate is left that is no CA or not valid: what it issued will be refused; keep the one \
             of now in {new}",
            ca_name(&site.old.root_pem())
        )
    );
}
