//! Who is accepted, and who is refused, as both ends see it.

use serde_json::json;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose};

use super::running::{Pki, Storm, ended};
use super::typhas::{Behaviour, Typha, TyphaCommand};

#[test]
fn good_ones_are_accepted() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let mut storm = Storm::run(&pki, &typha.address, "-n 200 -c 20");
    storm.assert_timings();
    assert_eq!(storm.ended, ended(&typha.address, json!({ "asked": 200, "accepted": 200 }), json!({})));
    assert_eq!((storm.code, &*storm.stderr), (0, ""));
    typha.assert_saw("200 accepted");
}

#[test]
fn bad_ones_of_another_ca_are_refused() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let mut storm = Storm::run(&pki, &typha.address, "-n 100 -c 10 --bad 50");
    storm.assert_timings();
    let bad = json!({ "asked": 50, "refused_by_peer": { "unknown_ca": 50 } });
    assert_eq!(storm.ended, ended(&typha.address, json!({ "asked": 50, "accepted": 50 }), bad));
    assert_eq!((storm.code, &*storm.stderr), (0, ""));
    typha.assert_saw("50 accepted, 50 unknown_ca");
}

#[test]
fn bad_ones_can_have_the_wrong_identity() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let mallory = CertificateSpec::leaf("mallory").purpose(Purpose::ClientAuth);
    let (chain, key) = pki.write_leaf("mallory", &pki.pki.ca.issue(mallory).unwrap());
    let arguments = format!("-n 60 -c 10 --bad 50 --bad-cert-file {chain} --bad-key-file {key}");
    let mut storm = Storm::run(&pki, &typha.address, &arguments);
    storm.assert_timings();
    let bad = json!({ "asked": 30, "refused_by_peer": { "access_denied": 30 } });
    assert_eq!(storm.ended, ended(&typha.address, json!({ "asked": 30, "accepted": 30 }), bad));
    assert_eq!(storm.code, 0);
    typha.assert_saw("30 accepted, 30 identity_mismatch");
}

#[test]
fn a_bad_one_that_is_accepted_is_found() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &[]);
    let arguments = format!(
        "-n 40 -c 10 --bad 25 --keep 40 --bad-cert-file {} --bad-key-file {}",
        pki.path("felix.pem"),
        pki.path("felix-key.pem")
    );
    let mut storm = Storm::run(&pki, &typha.address, &arguments);
    storm.assert_timings();
    let bad = json!({ "asked": 10, "wrongly_accepted": 10 });
    let mut expected = ended(&typha.address, json!({ "asked": 30, "accepted": 30 }), bad);
    // They are not kept.
    expected["kept"]["at_end"] = json!(30);
    assert_eq!(storm.ended, expected);
    assert_eq!(storm.code, 1);
    typha.assert_saw("40 accepted");
}

#[test]
fn refusals_of_good_ones_are_found_on_both_ends() {
    let pki = Pki::new();
    let typha = TyphaCommand::start(&pki, &["--client-cn", "nobody", "--client-uri-san", "none"]);
    let mut storm = Storm::run(&pki, &typha.address, "-n 5 -c 2");
    let why = "the peer refused us: access_denied (our certificate is good, but has neither the Common Name nor the \
               URI SAN that the peer requires)";
    let good = json!({ "asked": 5, "refused_by_peer": { "access_denied": 5 }, "first_failure": why });
    storm.drop_timings();
    assert_eq!(storm.ended, ended(&typha.address, good, json!({})));
    assert_eq!(storm.code, 1);
    typha.assert_saw("5 identity_mismatch");

    let typha = TyphaCommand::start(&pki, &[]);
    let mut storm = Storm::run(&pki, &typha.address, "-n 5 -c 2 --typha-cn nobody --typha-uri-san none");
    storm.drop_timings();
    assert_eq!(storm.ended["good"]["rejected"], json!({ "identity_mismatch": 5 }));
    assert_eq!(storm.code, 1);
    typha.assert_saw("5 refused_by_peer");
}

#[test]
fn without_a_sign_of_acceptance_it_is_unconfirmed() {
    let pki = Pki::new();
    let policy = TlsPolicy::builder().acceptance_ticket(false).build().unwrap();
    let typha = Typha::start(&pki, &policy, Behaviour::Serve);
    let mut storm = Storm::run(&pki, &typha.address, "-n 3 -c 3 --keep 3");
    storm.drop_timings();
    assert_eq!(storm.ended, ended(&typha.address, json!({ "asked": 3, "unconfirmed": 3 }), json!({})));
    assert_eq!(storm.code, 1);
}

#[test]
fn a_typha_that_asks_for_no_certificate_is_found() {
    let pki = Pki::new();
    let typha = Typha::start_unasking(&pki);
    let mut storm = Storm::run(&pki, &typha.address, "-n 6 -c 2 --bad 50");
    storm.drop_timings();
    let (good, bad) = (json!({ "asked": 3, "not_asked": 3 }), json!({ "asked": 3, "wrongly_accepted": 3 }));
    assert_eq!((storm.ended, storm.code), (ended(&typha.address, good, bad), 1));
}
