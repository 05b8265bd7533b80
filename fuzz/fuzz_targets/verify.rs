//! The verifier: arbitrary chains, among them those with good signatures over arbitrary names.
//!
//! Input: verifier, role and time, then the certificates of the chain, each after its kind.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::Role;
use typha_tls::identity::{MatchedBy, PeerIdentity, RequiredIdentity};
use typha_tls::material::{RevocationLists, RevocationPolicy};
use typha_tls::testing::{FELIX_COMMON_NAME, FELIX_SPIFFE_ID};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};
use typha_tls_fuzz::certificate::Parts;
use typha_tls_fuzz::fixtures::{self, CERTIFICATES, NOW, POLICY, REVOCATION_LIST};
use typha_tls_fuzz::input::Input;
use typha_tls_fuzz::names::Names;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// By what is required: names, and without revocation lists, with them, and strictly by them.
static VERIFIERS: LazyLock<Vec<PeerVerifier>> = LazyLock::new(|| {
    let required = [
        RequiredIdentity::either(FELIX_COMMON_NAME, FELIX_SPIFFE_ID),
        RequiredIdentity::common_name(FELIX_COMMON_NAME),
        RequiredIdentity::uri_san(FELIX_SPIFFE_ID),
    ];
    let lists = RevocationLists::from_pem(REVOCATION_LIST, &fixtures::trust_bundle(), POLICY.provider())
        .expect("the fixtures are usable");
    let strict = lists.clone().with_policy(RevocationPolicy::strict());
    required
        .into_iter()
        .map(|required| required.expect("it requires something"))
        .flat_map(|required| [(required.clone(), RevocationLists::none()), (required, lists.clone())])
        .chain([(fixtures::required_felix(), strict)])
        .map(|(required, lists)| PeerVerifier::new(fixtures::trust_bundle(), lists, required, &POLICY))
        .collect()
});

/// The longest chain that is tried; rustls bounds what a peer can send to 64 KiB.
const MAX_CHAIN: usize = 12;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let verifier = &VERIFIERS[usize::from(input.byte()) % VERIFIERS.len()];
    let (role, now) = match input.byte() {
        selector if selector % 2 == 0 => (Role::Felix, time(selector / 2)),
        selector => (Role::Typha, time(selector / 2)),
    };
    let mut chain = Vec::new();
    while !input.is_empty() && chain.len() < MAX_CHAIN {
        chain.push(certificate(&mut input));
    }
    let verdict = verifier.verify(&chain, role, now);
    // The verifier remembers what came before, at whatever time; the verdict must be that of one that remembers
    // nothing.
    let uncached = verifier.clone().with_chain_cache_capacity(0);
    assert_eq!(said(&verdict), said(&uncached.verify(&chain, role, now)));
    match verdict {
        Ok(peer) => check_accepted(&peer, verifier.required(), &chain[0], role, now),
        Err(rejection) => {
            let text = rejection.to_string();
            assert!(text.len() < 1024, "{} bytes: {text}", text.len());
            assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text:?}");
        }
    }
});

/// All but until when the path holds: of several paths, another one may be known than the first that is found.
fn said(verdict: &Result<VerifiedChain, Rejection>) -> String {
    let peer =
        verdict.as_ref().map(|peer| (peer.identity(), peer.matched_by(), peer.role(), peer.not_after()));
    format!("{peer:?}")
}

fn time(selector: u8) -> UnixTime {
    const YEAR: u64 = 365 * 24 * 3600;
    let now = NOW.as_secs();
    let seconds = match selector % 4 {
        0 => now,
        1 => now - 20 * YEAR,
        2 => now + 50 * YEAR,
        _ => now + 500 * YEAR,
    };
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn certificate<'a>(input: &mut Input<'a>) -> CertificateDer<'a> {
    let fixture = |index: u8| CERTIFICATES[usize::from(index) % CERTIFICATES.len()].clone();
    match input.byte() {
        0 => CertificateDer::from(input.counted()),
        1 => Parts::read(Input::new(input.counted())).signed(),
        // A fixture of which one byte is another.
        2 => {
            let mut der = fixture(input.byte()).to_vec();
            let position = input.number() % der.len();
            der[position] = input.byte();
            der.into()
        }
        index => fixture(index - 3),
    }
}

/// Accepted implies that the rule holds, by this crate's own reading and by another.
fn check_accepted(
    peer: &VerifiedChain,
    required: &RequiredIdentity,
    leaf: &CertificateDer<'_>,
    role: Role,
    now: UnixTime,
) {
    let identity = PeerIdentity::from_certificate(leaf).expect("an accepted leaf is well-formed");
    assert_eq!(&identity, peer.identity());
    assert_eq!(required.check(&identity), Ok(peer.matched_by()));
    assert_eq!(peer.role(), role);
    assert!(now <= peer.not_after());

    let Ok(certificate) = x509_cert::Certificate::from_der(leaf) else { return };
    let tbs = certificate.tbs_certificate;
    let moment = Duration::from_secs(now.as_secs());
    assert!(tbs.validity.not_before.to_unix_duration() <= moment);
    assert!(tbs.validity.not_after.to_unix_duration() >= moment);
    if let Ok(Some((_, usage))) = tbs.get::<ExtendedKeyUsage>() {
        let purpose = match role {
            Role::Client | Role::Felix => "1.3.6.1.5.5.7.3.2",
            Role::Server | Role::Typha => "1.3.6.1.5.5.7.3.1",
        };
        let allowed = [purpose, "2.5.29.37.0"];
        assert!(usage.0.iter().any(|oid| allowed.contains(&&*oid.to_string())), "{usage:?}");
    }
    if let Some(names) = Names::read(leaf) {
        let common_name =
            required.required_common_name().is_some_and(|name| names.common_name.as_deref() == Some(name));
        let uri_san =
            required.required_uri_san().is_some_and(|uri| names.uri_sans.iter().any(|san| san == uri));
        let matched_by = match (common_name, uri_san) {
            (true, true) => Some(MatchedBy::Both),
            (true, false) => Some(MatchedBy::CommonName),
            (false, true) => Some(MatchedBy::UriSan),
            (false, false) => None,
        };
        assert_eq!(matched_by, Some(peer.matched_by()));
    }
}
