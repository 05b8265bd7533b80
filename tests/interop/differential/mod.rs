//! The verdicts of [`PeerVerifier::verify`] beside those of Go, configured as Calico configures it, over some thousand
//! chains. Both must agree, except for the differences in `docs/differences.md`.

mod accepted_by_go;
mod accepted_by_us;
mod case;
mod category;
mod certificate;
mod changes;
mod der;
mod hosts;
mod keys;
mod properties;

use std::io::{self, Write as _};
use std::time::Duration;
use std::{env, fs};

use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use tempfile::TempDir;
use typha_tls::material::{RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::PeerVerifier;
use typha_tls::{RequiredIdentity, Role};

use crate::go;
use accepted_by_go::ACCEPTED_BY_GO;
use accepted_by_us::ACCEPTED_BY_US;
use case::{Case, NOW};
use category::{BUNDLE, Category, Refusal, Side};
use changes::cases;

const CASES: usize = 4000;
/// The version that the lists are for. Others differ in details, such as the URIs that they can parse.
const GO_VERSION: &str = "go1.26.";

/// What the peer sends and what the other end trusts, as DER.
struct Material {
    chain: Vec<CertificateDer<'static>>,
    bundle: Vec<CertificateDer<'static>>,
}

#[test]
fn our_verdicts_are_those_of_go() {
    let cases = cases(CASES);
    let material: Vec<_> = cases.iter().map(material).collect();
    let lines = std::iter::zip(&cases, &material).map(|(case, material)| line(case, material));
    let Some((go_version, go_verdicts)) = verdicts_of_go(lines) else { return };
    assert_eq!(go_verdicts.len(), CASES);

    let policy = TlsPolicy::builder().build().unwrap();
    let categories: Vec<_> = ACCEPTED_BY_GO.iter().chain(ACCEPTED_BY_US).collect();
    let mut counts = vec![0; categories.len()];
    let (mut accepted, mut refused, mut unexplained) = (0, 0, Vec::new());
    for ((case, material), go) in cases.iter().zip(&material).zip(go_verdicts) {
        let refusal = match (verdict(case, material, &policy), go) {
            (Ok(()), None) => {
                accepted += 1;
                continue;
            }
            (Err(_), Some(_)) => {
                refused += 1;
                continue;
            }
            (Err(ours), None) => ours,
            (Ok(()), Some(error)) => Refusal::Go(error),
        };
        match categories.iter().position(|category| category.explains(&refusal, case)) {
            Some(category) => counts[category] += 1,
            None => unexplained.push(format!("refused by {refusal:?}\n{case:?}")),
        }
    }

    println!("{go_version}: {accepted} chains accepted by both, {refused} refused by both");
    let mut not_shown = Vec::new();
    for side in [Side::Go, Side::Ours] {
        let documented = documented(side);
        for category in categories.iter().filter(|category| category.accepted_by == side) {
            let is_listed = documented.iter().any(|line| line.starts_with(category.documented));
            assert!(is_listed, "docs/differences.md does not list: {}", category.documented);
        }
        for line in documented {
            let shows_it =
                |category: &Category| category.accepted_by == side && line.starts_with(category.documented);
            let of_line = categories.iter().zip(&counts).filter(|(category, _)| shows_it(category));
            let count: usize = of_line.map(|(_, count)| count).sum();
            println!("{count:5} accepted by {side:?} only: {line}");
            if count == 0 {
                not_shown.push(line);
            }
        }
    }
    let (count, unexplained) = (unexplained.len(), unexplained.join("\n"));
    assert!(count == 0, "{count} differences to {go_version} are not documented:\n{unexplained}");
    assert!(not_shown.is_empty(), "documented, but no chain shows it: {not_shown:#?}");
}

/// The version of Go and its verdicts on cases, each a line; `None` without the version of Go that the lists of
/// differences are for.
fn verdicts_of_go(cases: impl Iterator<Item = String>) -> Option<(String, Vec<Option<String>>)> {
    let go = go::go()?;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("cases.json");
    fs::write(&file, cases.collect::<String>()).unwrap();
    let (go_version, verdicts) = go.judge(&file);
    let is_required = env::var("TYPHA_TLS_REQUIRE_INTEROP").as_deref() == Ok("1");
    if !go_version.starts_with(GO_VERSION) && !is_required {
        let _ = writeln!(
            io::stderr(),
            "skipped: the differences are those to {GO_VERSION}x, this is {go_version}"
        );
        return None;
    }
    Some((go_version, verdicts))
}

/// The lines of the list in `docs/differences.md`.
fn documented(accepted_by: Side) -> Vec<String> {
    documented_below(match accepted_by {
        Side::Go => "\n## Certificates that Go accepts and this library refuses\n",
        Side::Ours => "\n## Certificates that this library accepts and Go refuses\n",
    })
}

/// The lines of the list below a heading.
fn documented_below(heading: &str) -> Vec<String> {
    let (_, section) = include_str!("../../../docs/differences.md").split_once(heading).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = section.split("\n- ").skip(1).map(|line| line.split("\n\n").next().unwrap());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn material(case: &Case) -> Material {
    let certificates = |indices: &[usize]| indices.iter().map(|&index| case.der(index).into()).collect();
    Material { chain: certificates(&case.chain), bundle: certificates(&case.bundle) }
}

fn hex(certificates: &[CertificateDer<'_>]) -> Vec<String> {
    let hex = |der: &CertificateDer<'_>| der.iter().map(|octet| format!("{octet:02x}")).collect();
    certificates.iter().map(hex).collect()
}

/// What the Go program reads of a case.
fn line(case: &Case, material: &Material) -> String {
    let case = json!({
        "chain": hex(&material.chain),
        "bundle": hex(&material.bundle),
        "peer": match case.role { Role::Client | Role::Felix => "felix", Role::Server | Role::Typha => "typha" },
        "cn": case.required_common_name.as_deref().unwrap_or_default(),
        "uri": case.required_uri.as_deref().unwrap_or_default(),
        "now": NOW,
    });
    format!("{case}\n")
}

fn verdict(case: &Case, material: &Material, policy: &TlsPolicy) -> Result<(), Refusal> {
    let bundle = TrustBundle::from_der(material.bundle.iter().cloned())
        .map_err(|error| Refusal::Ours { label: BUNDLE, text: error.to_string() })?;
    let required =
        RequiredIdentity::new(case.required_common_name.as_deref(), case.required_uri.as_deref()).unwrap();
    let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required, policy);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let verdict = verifier.verify(&material.chain, case.role, now);
    // The second one may come from the cache.
    assert_eq!(verifier.verify(&material.chain, case.role, now), verdict, "{case:?}");
    verdict
        .map(drop)
        .map_err(|rejection| Refusal::Ours { label: rejection.label(), text: rejection.to_string() })
}
