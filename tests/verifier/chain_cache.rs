//! The cache of verified chains: what it skips, what it never skips, and what it remembers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::counting::{Checks, counting_policy};
use crate::verdict::verdict;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::identity::RequiredIdentity;
use typha_tls::material::{Credentials, Material, RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa, TestLeaf, handshake};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};
use typha_tls::{FelixConnector, Role, TlsConfig, TyphaAcceptor};

fn required() -> RequiredIdentity {
    RequiredIdentity::common_name("peer").unwrap()
}

fn verifier(bundle: TrustBundle, lists: RevocationLists) -> (PeerVerifier, Checks) {
    let (policy, checks) = counting_policy();
    (PeerVerifier::new(bundle, lists, required(), &policy), checks)
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn refusing_expired() -> RevocationPolicy {
    let mut policy = RevocationPolicy::default();
    policy.refuse_expired = true;
    policy
}

fn ca() -> TestCa {
    TestCa::new(CertificateSpec::ca("ca")).unwrap()
}

fn peer(ca: &TestCa) -> TestLeaf {
    ca.issue(CertificateSpec::leaf("peer")).unwrap()
}

fn unix_time(time: SystemTime) -> UnixTime {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixTime::since_unix_epoch(Duration::from_secs(since_epoch.as_secs()))
}

#[test]
fn a_leaf_that_is_in_the_bundle_costs_no_signature_check() {
    let (root, now) = (ca(), UnixTime::now());
    let leaf = peer(&root);
    let bundle = TrustBundle::from_der([leaf.chain()[0].clone(), root.root().clone()]).unwrap();
    let (verifier, checks) = verifier(bundle, RevocationLists::none());
    let accepted = [(); 3].map(|()| verifier.verify(leaf.chain(), Role::Felix, now).unwrap());
    assert_eq!((checks.take(), &accepted[0]), (0, &accepted[2]));
    // A change of the time or the role counts, whatever is known.
    let expired = verifier.verify(leaf.chain(), Role::Felix, leaf_end(&accepted[0]));
    assert_eq!(expired.unwrap_err().label(), "expired");
}

/// The first second after the validity of a leaf.
fn leaf_end(leaf: &VerifiedChain) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(leaf.not_after().as_secs() + 1))
}

#[test]
fn a_known_chain_costs_no_signature_check() {
    let root = ca();
    let first = root.intermediate(CertificateSpec::ca("first")).unwrap();
    let second = first.intermediate(CertificateSpec::ca("second")).unwrap();
    let now = UnixTime::now();
    for (issuer, signatures) in [(&root, 1), (&first, 2), (&second, 3)] {
        let (verifier, checks) = verifier(root.trust_bundle().unwrap(), RevocationLists::none());
        let leaf = peer(issuer);
        let unknown = verifier.verify(leaf.chain(), Role::Felix, now).unwrap();
        assert_eq!(checks.take(), signatures);
        let known = verifier.verify(leaf.chain(), Role::Felix, now).unwrap();
        assert_eq!(checks.take(), 0);
        assert_eq!(known, unknown);
        assert!(std::ptr::eq(known.identity(), unknown.identity()), "the identity is shared");

        // Another role is another question, another leaf another chain.
        verifier.verify(leaf.chain(), Role::Typha, now).unwrap();
        assert_eq!(checks.take(), signatures);
        verifier.verify(peer(issuer).chain(), Role::Felix, now).unwrap();
        assert_eq!(checks.take(), signatures);
        // Clones share what is known.
        verifier.clone().verify(leaf.chain(), Role::Felix, now).unwrap();
        assert_eq!(checks.take(), 0);

        let off = verifier.with_chain_cache_capacity(0);
        for _ in 0..2 {
            off.verify(leaf.chain(), Role::Felix, now).unwrap();
            assert_eq!(checks.take(), signatures, "switched off");
        }
    }
}

#[test]
fn refused_chains_are_not_remembered() {
    let (ours, other) = (ca(), ca());
    let (verifier, checks) = verifier(ours.trust_bundle().unwrap(), RevocationLists::none());
    let stranger = ours.issue(CertificateSpec::leaf("stranger")).unwrap();
    for (leaf, reason) in [(&stranger, "identity_mismatch"), (&peer(&other), "ca_key_mismatch")] {
        for _ in 0..2 {
            let rejection = verifier.verify(leaf.chain(), Role::Felix, UnixTime::now()).unwrap_err();
            assert_eq!((rejection.label(), checks.take()), (reason, 1));
        }
    }
}

/// A digest over the bytes of the certificates alone would take these for one another.
#[test]
fn a_chain_is_known_by_its_certificates_and_not_their_bytes_in_a_row() {
    let root = ca();
    let (verifier, checks) = verifier(root.trust_bundle().unwrap(), RevocationLists::none());
    let intermediate = root.intermediate(CertificateSpec::ca("intermediate")).unwrap();
    let leaf = peer(&intermediate);
    verifier.verify(leaf.chain(), Role::Felix, UnixTime::now()).unwrap();
    checks.take();
    let joined =
        [CertificateDer::from(leaf.chain().iter().flat_map(|der| der.iter().copied()).collect::<Vec<_>>())];
    let rejection = verdict(&verifier, &joined, Role::Felix, UnixTime::now()).unwrap_err();
    assert_eq!(rejection.label(), "malformed_certificate");
    let rejection = verdict(&verifier, &leaf.chain()[..1], Role::Felix, UnixTime::now()).unwrap_err();
    assert_eq!(rejection.label(), "unknown_ca");
}

/// One peer could make any number of chains that differ in what nobody needs, and in its order.
#[test]
fn chains_that_are_not_straight_are_not_remembered() {
    let root = ca();
    let first = root.intermediate(CertificateSpec::ca("first")).unwrap();
    let second = first.intermediate(CertificateSpec::ca("second")).unwrap();
    let leaf = peer(&second);
    let [leaf, second, first] = leaf.chain() else { unreachable!() };
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap().root().clone();
    let root = root.root();
    for (bundle, chain, known) in [
        (vec![root], vec![leaf, second, first], true),
        (vec![root], vec![leaf, second, first, root], true),
        (vec![root], vec![leaf, first, second], false),
        (vec![root], vec![leaf, second, root, first], false),
        (vec![root], vec![leaf, second, first, root, root], false),
        (vec![root], vec![leaf, second, first, first], false),
        (vec![root], vec![leaf, second, first, leaf], false),
        (vec![root], vec![leaf, second, first, &other], false),
        (vec![root, &other], vec![leaf, second, first, &other], false),
        // The path ends in an intermediate that is in the bundle.
        (vec![first], vec![leaf, second], true),
        (vec![first], vec![leaf, second, first], true),
        (vec![first], vec![leaf, second, first, root], false),
        (vec![first, root], vec![leaf, second, first, root], true),
        (vec![first, root, &other], vec![leaf, second, first, &other], false),
        (vec![first, root], vec![leaf, second, root, first], false),
        (vec![first, root], vec![leaf, second, first, root, root], false),
    ] {
        let bundle = TrustBundle::from_der(bundle.into_iter().cloned()).unwrap();
        let chain: Vec<_> = chain.into_iter().cloned().collect();
        let (verifier, checks) = verifier(bundle, RevocationLists::none());
        verdict(&verifier, &chain, Role::Felix, UnixTime::now()).unwrap();
        checks.take();
        verifier.verify(&chain, Role::Felix, UnixTime::now()).unwrap();
        assert_eq!(checks.take() == 0, known, "{verifier:?}, {} certificates", chain.len());
    }
}

/// Which CA a path ends in says nothing about the peer: a chain that is remembered by one of them is the same by
/// another.
#[test]
fn a_verdict_does_not_depend_on_the_path() {
    let root = ca();
    let key = rcgen::KeyPair::from_pem(&root.key_pem()).unwrap();
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let renewed = |from: SystemTime, to: SystemTime| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (from.into(), to.into());
        params.self_signed(&key).unwrap().der().clone()
    };
    let bundle = [renewed(now + hour, now + 9 * hour), renewed(now - 9 * hour, now + 8 * hour)];
    let (verifier, checks) = verifier(TrustBundle::from_der(bundle).unwrap(), RevocationLists::none());
    let leaf = root.issue(CertificateSpec::leaf("peer").valid(now - hour, now + 20 * hour)).unwrap();
    for at in [now, now + 2 * hour, now + 17 * hour / 2, now] {
        verdict(&verifier, leaf.chain(), Role::Felix, unix_time(at)).unwrap();
    }
    checks.take();
    verifier.verify(leaf.chain(), Role::Felix, unix_time(now)).unwrap();
    assert_eq!(checks.take(), 0, "what is remembered is the path that was found last");
}

#[test]
fn a_stale_list_of_another_issuer_changes_nothing() {
    let (root, other) = (ca(), TestCa::new(CertificateSpec::ca("other")).unwrap());
    let leaf = peer(&root);
    let now = SystemTime::now();
    let minute = Duration::from_secs(60);
    for due in [now + minute, now - minute] {
        let lists = [root.revocation_list(&[], now + minute), other.revocation_list(&[], due)];
        let bundle = TrustBundle::from_der([root.root().clone(), other.root().clone()]).unwrap();
        let lists = RevocationLists::from_der(lists.map(Result::unwrap), &bundle, &provider())
            .unwrap()
            .with_policy(refusing_expired());
        let (verifier, checks) = verifier(bundle, lists);
        verdict(&verifier, leaf.chain(), Role::Felix, unix_time(now)).unwrap();
        checks.take();
        verifier.verify(leaf.chain(), Role::Felix, unix_time(now)).unwrap();
        assert_eq!(checks.take(), 0);
    }
}

/// Whatever bounds the time in which a chain is good: before, at, and after its ends the verdict is that of a full
/// check.
#[test]
fn validity_is_checked_each_time() {
    let now = SystemTime::now();
    let hours = |from: i64, to: i64| {
        let at = |hours: i64| match u64::try_from(hours) {
            Ok(hours) => now + Duration::from_secs(hours * 3600),
            Err(_) => now - Duration::from_secs(hours.unsigned_abs() * 3600),
        };
        (at(from), at(to))
    };
    let valid = |spec: CertificateSpec, (from, to): (SystemTime, SystemTime)| spec.valid(from, to);
    // Each in turn is the one with the shortest validity; 3 and 4 are revocation lists.
    for shortest in 0..5 {
        let period = |which: usize| if which == shortest { hours(-2, 2) } else { hours(-9, 9) };
        let root = TestCa::new(valid(CertificateSpec::ca("ca"), period(0))).unwrap();
        let issuer = root.intermediate(valid(CertificateSpec::ca("intermediate"), period(1))).unwrap();
        let leaf = issuer.issue(valid(CertificateSpec::leaf("peer"), period(2))).unwrap();
        let intermediate = &leaf.chain()[1];
        let lists = match shortest {
            3 | 4 => {
                let list = if shortest == 3 { &issuer } else { &root }.revocation_list(&[], hours(0, 2).1);
                let pem = [("CERTIFICATE", &**intermediate), ("X509 CRL", &**list.as_ref().unwrap())]
                    .map(|(label, der)| pem::encode(&pem::Pem::new(label, der)));
                RevocationLists::from_pem(pem.concat().as_bytes(), &root.trust_bundle().unwrap(), &provider())
                    .unwrap()
                    .with_policy(refusing_expired())
            }
            _ => RevocationLists::none(),
        };
        let (verifier, checks) = verifier(root.trust_bundle().unwrap(), lists);
        verifier.verify(leaf.chain(), Role::Felix, unix_time(now)).unwrap();
        checks.take();
        verifier.verify(leaf.chain(), Role::Felix, unix_time(now)).unwrap();
        assert_eq!(checks.take(), 0);

        let mut verdicts = Vec::new();
        for end in [hours(-2, 2).0, hours(-2, 2).1] {
            for second in [-1, 0, 1_i64] {
                let at = unix_time(end).as_secs().checked_add_signed(second).unwrap();
                let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
                let verdict = verdict(&verifier, leaf.chain(), Role::Felix, at);
                verdicts.push(verdict.as_ref().map_or_else(Rejection::label, |_| "accepted"));
            }
        }
        let (early, late) = ("not_yet_valid", "expired");
        let expected = match shortest {
            3 | 4 => [
                "accepted",
                "accepted",
                "accepted",
                "accepted",
                "revocation_list_unusable",
                "revocation_list_unusable",
            ],
            _ => [early, "accepted", "accepted", "accepted", "accepted", late],
        };
        assert_eq!(verdicts, expected, "{shortest}");
        // A look at another time has changed nothing.
        checks.take();
        verifier.verify(leaf.chain(), Role::Felix, unix_time(now)).unwrap();
        assert_eq!(checks.take(), 0);
    }
}

/// One end of each kind, with a policy that counts.
struct Pair {
    root: TestCa,
    acceptor: TyphaAcceptor,
    connector: FelixConnector,
    felix: TestLeaf,
    by_typha: Checks,
    by_felix: Checks,
}

fn material(root: &TestCa, leaf: &TestLeaf, policy: &TlsPolicy) -> Material {
    Material::new(root.trust_bundle().unwrap(), leaf.credentials(policy.provider()).unwrap())
}

fn pair() -> Pair {
    let root = ca();
    let (typha, felix) = (peer(&root), peer(&root));
    let ((for_typha, by_typha), (for_felix, by_felix)) = (counting_policy(), counting_policy());
    let acceptor = TlsConfig::new(material(&root, &typha, &for_typha), required(), for_typha);
    let connector = TlsConfig::new(material(&root, &felix, &for_felix), required(), for_felix);
    let (acceptor, connector) = (TyphaAcceptor::new(acceptor), FelixConnector::new(connector));
    // Each has verified its own chain.
    assert_eq!((by_typha.take(), by_felix.take()), (1, 1));
    Pair { root, acceptor, connector, felix, by_typha, by_felix }
}

#[tokio::test]
async fn a_handshake_with_a_known_peer_checks_its_proof_alone() {
    let pair = pair();
    for (number, signatures) in [(1, 2), (2, 1), (3, 1)] {
        let (typha, felix) = handshake(&pair.acceptor, &pair.connector).await;
        assert_eq!(typha.unwrap().peer().identity().common_name(), Some("peer"));
        assert_eq!(felix.unwrap().peer().identity().common_name(), Some("peer"));
        assert_eq!(pair.by_typha.take(), signatures, "Typha, handshake {number}");
        assert_eq!(pair.by_felix.take(), signatures, "Felix, handshake {number}");
    }
}

/// A chain is public: sending it makes nobody known.
#[tokio::test]
async fn a_chain_is_remembered_only_with_the_proof_of_its_key() {
    let pair = pair();
    let (policy, _) = counting_policy();
    let mallory = peer(&pair.root);
    let key = policy.provider().key_provider.load_private_key(mallory.key()).unwrap();
    let stolen = Arc::new(CertifiedKey::new(pair.felix.chain().to_vec(), key));
    let config = rustls::ClientConfig::builder_with_provider(policy.provider().clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAnyone(policy.provider().clone())))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));

    let (typha, thief) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (typha, _) =
        tokio::join!(pair.acceptor.accept(typha), connector.connect("typha".try_into().unwrap(), thief));
    assert_eq!(typha.unwrap_err().label(), "key_not_proven");
    assert_eq!(pair.by_typha.take(), 2, "chain and proof");

    let (typha, felix) = handshake(&pair.acceptor, &pair.connector).await;
    drop((typha.unwrap(), felix.unwrap()));
    assert_eq!(pair.by_typha.take(), 2, "the thief has made nobody known");
    let (typha, felix) = handshake(&pair.acceptor, &pair.connector).await;
    drop((typha.unwrap(), felix.unwrap()));
    assert_eq!(pair.by_typha.take(), 1);
}

/// And a known chain does not let anyone in who can not prove its key.
#[tokio::test]
async fn a_known_chain_is_worth_nothing_without_its_key() {
    let pair = pair();
    let (typha, felix) = handshake(&pair.acceptor, &pair.connector).await;
    drop((typha.unwrap(), felix.unwrap()));
    let (policy, _) = counting_policy();
    let provider = policy.provider();
    let mallory = peer(&pair.root);
    let stolen = Credentials::from_der(pair.felix.chain().to_vec(), mallory.key(), provider).unwrap_err();
    assert!(stolen.to_string().contains("does not belong"), "{stolen}");
    let key = provider.key_provider.load_private_key(mallory.key()).unwrap();
    let stolen = Arc::new(CertifiedKey::new(pair.felix.chain().to_vec(), key));
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAnyone(provider.clone())))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen.clone())));
        let (typha, thief) = tokio::io::duplex(64 * 1024);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let (typha, _) =
            tokio::join!(pair.acceptor.accept(typha), connector.connect("typha".try_into().unwrap(), thief));
        assert_eq!(typha.unwrap_err().label(), "key_not_proven");
    }
}

#[tokio::test]
async fn a_new_acceptor_knows_nobody() {
    let pair = pair();
    let (policy, checks) = counting_policy();
    let typha = peer(&pair.root);
    let acceptor = || {
        let material = material(&pair.root, &typha, &policy);
        TyphaAcceptor::new(TlsConfig::new(material, required(), policy.clone()))
    };
    for _ in 0..2 {
        let acceptor = acceptor();
        checks.take();
        for signatures in [2, 1] {
            let (typha, felix) = handshake(&acceptor, &pair.connector).await;
            drop((typha.unwrap(), felix.unwrap()));
            assert_eq!(checks.take(), signatures);
        }
    }
}

/// What is remembered outlives a configuration only if the next one judges alike.
#[tokio::test]
async fn our_own_renewal_does_not_cost_the_peers_signatures() {
    let pair = pair();
    let (policy, checks) = counting_policy();
    let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
    let now = SystemTime::now();
    let of = |ca: &TestCa, required: RequiredIdentity, bundle: &[&TestCa], lists| {
        let trust_bundle = TrustBundle::from_der(bundle.iter().map(|ca| ca.root().clone())).unwrap();
        let mut material = Material::new(trust_bundle, material(ca, &peer(&pair.root), &policy).credentials);
        material.revocation_lists = lists;
        TlsConfig::new(material, required, policy.clone())
    };
    let none = RevocationLists::none;
    let mut strict = RevocationPolicy::default();
    strict.refuse_expired = true;
    let root = &pair.root;
    let either = RequiredIdentity::either("peer", "spiffe://cluster.local/peer").unwrap();
    let list = root.revocation_list(&[], now + Duration::from_secs(3600)).unwrap();
    let issuers = root.trust_bundle().unwrap();
    let lists = || RevocationLists::from_der([list.clone()], &issuers, policy.provider()).unwrap();
    let acceptor = TyphaAcceptor::new(of(root, required(), &[root], none()));
    for (what, next, is_known) in [
        ("first", of(root, required(), &[root], none()), false),
        ("our leaf", of(root, required(), &[root], none()), true),
        ("another CA beside it", of(root, required(), &[root, &other], none()), false),
        ("our leaf again", of(root, required(), &[root, &other], none()), true),
        ("the required identity", of(root, either.clone(), &[root, &other], none()), false),
        ("revocation lists", of(root, either.clone(), &[root, &other], lists()), false),
        ("the same ones, read anew", of(root, either.clone(), &[root, &other], lists()), true),
        ("their policy", of(root, either.clone(), &[root, &other], lists().with_policy(strict)), false),
        ("no revocation lists", of(root, either, &[root, &other], none()), false),
        ("what it was at first", of(root, required(), &[root], none()), false),
    ] {
        acceptor.replace(next);
        checks.take();
        let (typha, felix) = handshake(&acceptor, &pair.connector).await;
        drop((typha.unwrap(), felix.unwrap()));
        // A known peer still proves that it holds its key.
        assert_eq!(checks.take() == 1, is_known, "{what}");
    }

    let forgetful = TlsPolicy::builder().provider(policy.provider().clone()).chain_cache_capacity(0);
    let mut config = acceptor.config();
    config.policy = forgetful.build().unwrap();
    acceptor.replace(config);
    for _ in 0..2 {
        checks.take();
        let (typha, felix) = handshake(&acceptor, &pair.connector).await;
        drop((typha.unwrap(), felix.unwrap()));
        assert_eq!(checks.take(), 2, "another policy");
    }
}

#[tokio::test]
async fn a_policy_switches_it_off() {
    let pair = pair();
    let (counting, checks) = counting_policy();
    let policy =
        TlsPolicy::builder().provider(counting.provider().clone()).chain_cache_capacity(0).build().unwrap();
    let typha = peer(&pair.root);
    let config = TlsConfig::new(material(&pair.root, &typha, &policy), required(), policy);
    let acceptor = TyphaAcceptor::new(config);
    checks.take();
    for _ in 0..2 {
        let (typha, felix) = handshake(&acceptor, &pair.connector).await;
        drop((typha.unwrap(), felix.unwrap()));
        assert_eq!(checks.take(), 2);
    }
}

#[test]
fn a_known_chain_costs_no_allocation() {
    let root = ca();
    let issuer = root.intermediate(CertificateSpec::ca("intermediate")).unwrap();
    let leaf = issuer
        .issue(
            CertificateSpec::leaf("peer").uri_san("spiffe://cluster.local/ns/calico-system/sa/calico-node"),
        )
        .unwrap();
    let policy = TlsPolicy::builder().build().unwrap();
    let required =
        RequiredIdentity::either("peer", "spiffe://cluster.local/ns/calico-system/sa/calico-node").unwrap();
    let bundle = root.trust_bundle().unwrap();
    let due = SystemTime::now() + Duration::from_secs(3600);
    let list = root.revocation_list(&[], due).unwrap();
    let lists = RevocationLists::from_der([list], &bundle, policy.provider()).unwrap();
    for lists in [RevocationLists::none(), lists.with_policy(refusing_expired())] {
        let verifier = PeerVerifier::new(bundle.clone(), lists, required.clone(), &policy);
        let judge = || verifier.verify(leaf.chain(), Role::Felix, UnixTime::now()).unwrap();
        let unknown = allocation_counter::measure(|| drop(judge()));
        assert!(unknown.count_total > 0, "what counts does count");
        let known = allocation_counter::measure(|| drop(judge()));
        assert_eq!(known.count_total, 0);
    }
}

/// For the thief, who does not care whom it talks to.
#[derive(Debug)]
pub(crate) struct TrustsAnyone(pub(crate) Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for TrustsAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
