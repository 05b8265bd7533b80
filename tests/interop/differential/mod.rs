//! The verdicts of [`PeerVerifier::verify`] beside those of Go, configured as Calico configures it, over some thousand
//! chains. Both must agree, except for the differences in `docs/differences.md`.

mod cases;
mod categories;
mod certificate;
mod changes;
mod der;
mod keys;

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use tempfile::TempDir;
use typha_tls::material::{RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::PeerVerifier;
use typha_tls::{RequiredIdentity, Role};

use crate::go;
use cases::{Case, NOW, cases};
use categories::{CATEGORIES, Side};

const CASES: usize = 4000;

/// What the peer sends and what the other end trusts, as DER.
struct Material {
    chain: Vec<CertificateDer<'static>>,
    bundle: Vec<CertificateDer<'static>>,
}

#[test]
fn our_verdicts_are_those_of_go() {
    let Some(go) = go::go() else { return };
    let cases = cases(CASES);
    let material: Vec<_> = cases.iter().map(material).collect();

    let lines = std::iter::zip(&cases, &material).map(|(case, material)| line(case, material));
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("cases.json");
    fs::write(&file, lines.collect::<String>()).unwrap();
    let (go_version, go_verdicts) = go.judge(&file);
    assert_eq!(go_verdicts.len(), CASES);

    let policy = TlsPolicy::builder().build().unwrap();
    let mut counts = vec![0; CATEGORIES.len()];
    let (mut accepted, mut refused, mut unexplained) = (0, 0, String::new());
    for ((case, material), go) in cases.iter().zip(&material).zip(&go_verdicts) {
        let ours = verdict(case, material, &policy);
        let side = match (&ours, go) {
            (Ok(()), None) => {
                accepted += 1;
                continue;
            }
            (Err(_), Some(_)) => {
                refused += 1;
                continue;
            }
            (Err(_), None) => Side::Go,
            (Ok(()), Some(_)) => Side::Ours,
        };
        let reason = ours.as_ref().err().or(go.as_ref()).unwrap();
        let category = CATEGORIES.iter().position(|category| category.explains(side, reason, case));
        match category {
            Some(category) => counts[category] += 1,
            None => writeln!(unexplained, "accepted by {side:?}: {reason}\n{case:?}").unwrap(),
        }
    }

    println!("{go_version}: {accepted} chains accepted by both, {refused} refused by both");
    for (category, count) in CATEGORIES.iter().zip(&counts) {
        println!("{count:5} accepted by {:?} only: {}", category.accepted_by, category.documented);
    }
    let found = unexplained.matches("accepted by ").count();
    assert!(found == 0, "{found} differences that docs/differences.md does not list:\n{unexplained}");
    for (category, &count) in CATEGORIES.iter().zip(&counts) {
        assert_ne!(count, 0, "no case shows this difference: {}", category.documented);
    }
}

fn material(case: &Case) -> Material {
    let certificates = |indices: &[usize]| indices.iter().map(|&index| case.der(index).into()).collect();
    Material { chain: certificates(&case.chain), bundle: certificates(&case.bundle) }
}

/// What the Go program reads of a case.
fn line(case: &Case, material: &Material) -> String {
    let hex = |certificates: &[CertificateDer<'_>]| -> Vec<String> {
        let hex = |der: &CertificateDer<'_>| der.iter().map(|octet| format!("{octet:02x}")).collect();
        certificates.iter().map(hex).collect()
    };
    let case = json!({
        "chain": hex(&material.chain),
        "bundle": hex(&material.bundle),
        "peer": match case.role { Role::Felix => "felix", Role::Typha => "typha" },
        "cn": case.required_common_name.as_deref().unwrap_or_default(),
        "uri": case.required_uri.as_deref().unwrap_or_default(),
        "now": NOW,
    });
    format!("{case}\n")
}

/// The label and the text of our refusal.
fn verdict(case: &Case, material: &Material, policy: &TlsPolicy) -> Result<(), String> {
    let bundle =
        TrustBundle::from_der(material.bundle.iter().cloned()).map_err(|error| format!("bundle: {error}"))?;
    let required =
        RequiredIdentity::new(case.required_common_name.as_deref(), case.required_uri.as_deref()).unwrap();
    let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required, policy);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let verdict = verifier.verify(&material.chain, case.role, now);
    // The second one may come from the cache.
    assert_eq!(verifier.verify(&material.chain, case.role, now), verdict, "{case:?}");
    verdict.map(drop).map_err(|rejection| format!("{}: {rejection}", rejection.label()))
}
