//! Chains made to keep the verifier busy: unsigned certificates that name each other in ever so many ways. A handshake
//! can not be interrupted while its peer is judged, so that they must be refused before they are searched.

use crate::verdict::verdict;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::material::RevocationLists;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};
use typha_tls::{RequiredIdentity, Role};

/// A DER element.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    let header = match length {
        0..128 => vec![tag, length as u8],
        128..256 => vec![tag, 0x81, length as u8],
        _ => [&[tag, 0x82][..], &length.to_be_bytes()].concat(),
    };
    [header, contents.to_vec()].concat()
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = [der(0x06, &[0x55, 4, 3]), der(0x0c, common_name.as_bytes())].concat();
    der(0x30, &der(0x31, &der(0x30, &attribute)))
}

/// A certificate with nothing right about it but its form; `number` makes its key another one, `padding` makes it long.
fn unsigned(
    subject: &str,
    issuer: &str,
    number: u16,
    is_ca: bool,
    padding: usize,
) -> CertificateDer<'static> {
    let ecdsa_with_sha256 = der(0x30, &der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let ec_key = der(
        0x30,
        &[
            der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
            der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
        ]
        .concat(),
    );
    let point = [&[0, 4][..], &[0; 62], &number.to_be_bytes()].concat();
    let ca_flag = [der(0x06, &[0x55, 0x1d, 19]), der(0x04, &der(0x30, &der(1, &[0xff])))].concat();
    let filler = [der(0x06, &[0x2a, 3]), der(0x04, &vec![0; padding])].concat();
    let extensions = [der(0x30, &filler), if is_ca { der(0x30, &ca_flag) } else { Vec::new() }].concat();
    let to_be_signed = [
        der(0xa0, &der(2, &[2])),
        der(2, &[1]),
        ecdsa_with_sha256.clone(),
        name(issuer),
        der(0x30, &[der(0x17, b"200101000000Z"), der(0x17, b"490101000000Z")].concat()),
        name(subject),
        der(0x30, &[ec_key, der(3, &point)].concat()),
        der(0xa3, &der(0x30, &extensions)),
    ]
    .concat();
    let certificate =
        [der(0x30, &to_be_signed), ecdsa_with_sha256, der(3, &[0, 0x30, 6, 2, 1, 1, 2, 1, 1])].concat();
    CertificateDer::from(der(0x30, &certificate))
}

fn judge(ca: &TestCa, chain: &[CertificateDer<'_>]) -> Result<VerifiedChain, Rejection> {
    let required = RequiredIdentity::common_name("felix").unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let bundle = ca.trust_bundle().unwrap();
    let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required, &policy);
    verdict(&verifier, chain, Role::Felix, UnixTime::now())
}

#[test]
fn mazes_of_names_are_not_searched() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let leaf = || unsigned("felix", "level 1", 0, false, 0);
    let level = |number: u16| format!("level {}", 1 + number % 6);
    let next = |number: u16| format!("level {}", 2 + number % 6);
    // Each of the certificates of a level names all of the next one: 8 to the 6th ways, without an end.
    let levels = |padding| (0..47).map(move |n| unsigned(&level(n), &next(n), n, true, padding));
    // Each names all others.
    let knot =
        |count: u16, padding| (0..count).map(move |n| unsigned("level 1", "level 1", n, true, padding));
    let chains: [Vec<_>; 5] = [
        levels(0).collect(),
        levels(400).collect(),
        knot(47, 0).collect(),
        knot(9, 6000).collect(),
        knot(8, 6000).collect(),
    ];
    for (index, intermediates) in chains.into_iter().enumerate() {
        let chain: Vec<_> = std::iter::once(leaf()).chain(intermediates).collect();
        assert_eq!(judge(&ca, &chain).unwrap_err().label(), "too_complex", "{index}");
    }
}

#[test]
fn the_same_certificate_many_times_is_one() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let intermediate = ca.intermediate(CertificateSpec::ca("intermediate")).unwrap();
    let leaf = intermediate.issue(CertificateSpec::leaf("felix")).unwrap();
    let [leaf, intermediate] = leaf.chain() else { unreachable!("a leaf and its issuer") };
    let copies = std::iter::repeat_n(intermediate.clone(), 47);
    let chain: Vec<_> = std::iter::once(leaf.clone()).chain(copies).collect();
    judge(&ca, &chain).unwrap();
}

/// rustls keeps it as long as the connection lives.
#[test]
fn what_a_felix_sends_behind_its_leaf_is_bounded() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let leaf = ca.issue(CertificateSpec::leaf("felix")).unwrap();
    let required = RequiredIdentity::common_name("felix").unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let verifier = PeerVerifier::new(ca.trust_bundle().unwrap(), RevocationLists::none(), required, &policy);
    let verify = |junk: usize, role| {
        let chain = [leaf.chain(), &[vec![7; junk - 100].into(), vec![8; 100].into()]].concat();
        verifier.verify(&chain, role, UnixTime::now()).map(|_| ()).map_err(|rejection| rejection.label())
    };
    assert_eq!(verify(32 * 1024, Role::Felix), Ok(()));
    assert_eq!(verify(32 * 1024 + 1, Role::Felix), Err("too_complex"));
    // A Felix has one connection only.
    assert_eq!(verify(60 * 1024, Role::Typha), Ok(()));
}

/// What a peer of a cluster that has changed its CAs many times might send.
#[test]
fn many_honest_intermediates_are_searched() {
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let intermediates: Vec<_> =
        (0..40).map(|_| ca.intermediate(CertificateSpec::ca("intermediate")).unwrap()).collect();
    let leaves: Vec<_> =
        intermediates.iter().map(|issuer| issuer.issue(CertificateSpec::leaf("felix")).unwrap()).collect();
    let all = leaves.iter().filter_map(|leaf| leaf.chain().get(1)).cloned();
    let last = leaves.last().and_then(|leaf| leaf.chain().first()).unwrap();
    let chain: Vec<_> = std::iter::once(last.clone()).chain(all).collect();
    judge(&ca, &chain).unwrap();
}

/// Roots of earlier generations behind the leaf, which name themselves and each other.
#[test]
fn superfluous_roots_are_no_maze() {
    let generations: Vec<_> = (0..12).map(|_| TestCa::new(CertificateSpec::ca("ca")).unwrap()).collect();
    let [trusted, earlier @ ..] = &*generations else { unreachable!("there are twelve") };
    let leaf = trusted.issue(CertificateSpec::leaf("felix")).unwrap();
    let chain: Vec<_> = leaf.chain().iter().chain(earlier.iter().map(TestCa::root)).cloned().collect();
    judge(trusted, &chain).unwrap();
}
