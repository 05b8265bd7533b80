//! The verdicts of [`HostVerifier::verify`] beside those of Go's `Certificate.Verify` and `Certificate.VerifyHostname`,
//! over pairs of a certificate with a good chain and a host. Both must agree, except for the differences in
//! `docs/differences.md`.

mod categories;
mod pairs;

use std::slice::from_ref;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use typha_tls::ServerHost;
use typha_tls::material::{RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::HostVerifier;

use super::case::NOW;
use super::{documented_below, hex, verdicts_of_go};
use categories::{CATEGORIES, Category, HOST};
use pairs::{ca, pairs};

const PAIRS: usize = 3000;

#[test]
fn our_verdicts_on_hosts_are_those_of_go() {
    let (ca, pairs) = (ca(), pairs(PAIRS));
    let root = CertificateDer::from(ca.to_der(&ca));
    let leaves: Vec<_> = pairs.iter().map(|pair| CertificateDer::from(pair.leaf.to_der(&ca))).collect();
    let lines = std::iter::zip(&pairs, &leaves).map(|(pair, leaf)| {
        let (chain, bundle) = (hex(from_ref(leaf)), hex(from_ref(&root)));
        let case =
            json!({ "chain": chain, "bundle": bundle, "peer": "server", "host": pair.host, "now": NOW });
        format!("{case}\n")
    });
    let Some((go_version, go_verdicts)) = verdicts_of_go(lines) else { return };
    assert_eq!(go_verdicts.len(), PAIRS);

    let bundle = TrustBundle::from_der([root]).unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let verifier = HostVerifier::new(bundle, RevocationLists::none(), &policy);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let verdict = |leaf: &CertificateDer<'static>, host: &str| -> Result<(), (&str, String)> {
        let host = ServerHost::new(host).map_err(|invalid| (HOST, invalid.to_string()))?;
        let verdict = verifier.verify(from_ref(leaf), &host, now);
        // The second one may come from the cache.
        assert_eq!(verifier.verify(from_ref(leaf), &host, now), verdict, "{host}");
        verdict.map(drop).map_err(|rejection| (rejection.label(), rejection.to_string()))
    };
    let mut counts = vec![0; CATEGORIES.len()];
    let (mut accepted, mut refused, mut unexplained) = (0, 0, Vec::new());
    for ((pair, leaf), go) in pairs.iter().zip(&leaves).zip(go_verdicts) {
        match (verdict(leaf, &pair.host), go) {
            (Ok(()), None) => accepted += 1,
            (Err(_), Some(_)) => refused += 1,
            (Ok(()), Some(error)) => {
                unexplained.push(format!("accepted by us, refused by Go: {error}\n{pair:?}"));
            }
            (Err((label, text)), None) => {
                match CATEGORIES.iter().position(|category| category.explains(label, pair)) {
                    Some(category) => counts[category] += 1,
                    None => unexplained.push(format!("accepted by Go, refused by us: {text}\n{pair:?}")),
                }
            }
        }
    }

    println!("{go_version}: {accepted} pairs accepted by both, {refused} refused by both");
    let documented = documented_below("\n## Hosts that Go accepts and this library refuses\n");
    let (count, unexplained) = (unexplained.len(), unexplained.join("\n"));
    assert!(count == 0, "{count} differences to {go_version} are not documented:\n{unexplained}");
    for line in &documented {
        let is_of_line = |category: &Category| line.starts_with(category.documented);
        assert!(CATEGORIES.iter().any(is_of_line), "documented, but there is no such category: {line}");
    }
    for (category, count) in CATEGORIES.iter().zip(counts) {
        println!("{count:5} accepted by Go only: {}", category.documented);
        let is_listed = documented.iter().any(|line| line.starts_with(category.documented));
        assert!(is_listed, "docs/differences.md does not list: {}", category.documented);
        assert!(count > 0, "documented, but no pair shows it: {}", category.documented);
    }
    // Neither side refuses everything.
    assert!(accepted > PAIRS / 10 && refused > PAIRS / 10);
}
