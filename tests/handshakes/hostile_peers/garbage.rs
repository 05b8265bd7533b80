//! What is not TLS, not the TLS that is spoken here, or TLS in odd pieces and sizes.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS12;
use rustls::{AlertDescription, Error, PeerIncompatible};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use typha_tls::Role;
use typha_tls::error::HandshakePhase::{AwaitingFirstByte, Negotiating};
use typha_tls::testing::{CertificateSpec, FELIX_COMMON_NAME, KeyType, TestCa, TestLeaf, TestPki};

use crate::hostile::{
    CLIENTS, Client, Outcome, ROLES, RawPeer, Script, Scripted, Slow, VERSIONS, Xorshift, acceptor, bounded,
    client_config, pki, server_config,
};

/// What the end in `role` makes of these bytes, followed by the end; and what it answers.
async fn against(role: Role, bytes: &[u8]) -> (Outcome, Vec<u8>) {
    let pki = pki();
    let (ours, mut theirs) = duplex(64 * 1024);
    let (outcome, answer) = tokio::join!(
        async {
            match role {
                Role::Server | Role::Typha => Outcome::of(acceptor(&pki, &TLS12).accept(ours).await),
                Role::Client | Role::Felix => {
                    Outcome::of(Client::new(role, &pki, &TLS12).connect(ours).await)
                }
            }
        },
        async {
            theirs.write_all(bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            answer
        }
    );
    (outcome, answer)
}

#[test]
fn random_bytes() {
    bounded(|| async {
        for seed in 1..=300 {
            let mut random = Xorshift::new(seed);
            let length = random.below(600);
            let mut bytes = random.bytes(length);
            // Half of them look like TLS at first.
            let like_tls = seed % 2 == 0 && length >= 5;
            if like_tls {
                let content_type = 20 + u8::try_from(random.below(4)).unwrap();
                bytes[..4].copy_from_slice(&[content_type, 3, 3, 0]);
            }
            for role in ROLES {
                let (outcome, _) = against(role, &bytes).await;
                let fits = match &outcome {
                    Outcome::Closed(phase) => match length {
                        0 => *phase == AwaitingFirstByte,
                        _ => *phase == Negotiating && like_tls,
                    },
                    Outcome::NotTls(start) => !like_tls && start.len() == length.min(16),
                    Outcome::MessageTooLarge(_) | Outcome::Tls(_) | Outcome::RefusedByPeer(_) => like_tls,
                    _ => false,
                };
                assert!(fits, "{role}, seed {seed}: {outcome:?}");
            }
        }
    });
}

/// Nothing is accepted that differs from what the peer sent, but in the outer type and version of a record, which TLS
/// does not authenticate.
#[test]
fn a_flight_with_one_byte_changed() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.iter().flat_map(|version| ROLES.map(|role| (version, role))) {
            let (acceptor, client) = (acceptor(&pki, version), Client::new(role, &pki, version));
            let ends = |script| {
                let (typha, felix) = duplex(64 * 1024);
                let (mut to_typha, mut to_felix) = (Script::honest(), Script::honest());
                *if role == Role::Typha { &mut to_typha } else { &mut to_felix } = script;
                (Scripted::new(typha, to_typha), Scripted::new(felix, to_felix))
            };
            let (typha, felix) = ends(Script::honest());
            let transcript = if role == Role::Typha { typha.transcript() } else { felix.transcript() };
            // Both live until the flight is read: a stream that is dropped sends a close_notify.
            let streams = tokio::join!(acceptor.accept(typha), client.connect(felix));
            let flight = transcript.lock().unwrap().clone();
            drop(streams);
            let unauthenticated = unauthenticated(&flight);
            let mut random = Xorshift::new(7);
            for _ in 0..150 {
                let offset = random.below(flight.len());
                if unauthenticated.contains(&offset) {
                    continue;
                }
                let mut script = Script::honest();
                script.flip = Some((offset, 1 << random.below(8)));
                let (typha, felix) = ends(script);
                let (typha, felix) =
                    tokio::join!(async { Outcome::of(acceptor.accept(typha).await) }, async {
                        Outcome::of(client.connect(felix).await)
                    });
                let victim = if role == Role::Typha { &typha } else { &felix };
                assert!(!victim.is_accepted(), "{role} {:?} {offset}: {typha:?} {felix:?}", version.version);
            }
        }
    });
}

fn unauthenticated(flight: &[u8]) -> Vec<usize> {
    let (mut offsets, mut start) = (Vec::new(), 0);
    while start < flight.len() {
        offsets.extend(start..start + 3);
        start += 5 + usize::from(u16::from_be_bytes([flight[start + 3], flight[start + 4]]));
    }
    offsets
}

/// A ClientHello with no later version than 3.`minor`, with one suite of its day.
fn old_client_hello(minor: u8, extensions: &[u8]) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0, 2, 0x00, 0x2f, 1, 0], extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

fn old_server_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0x00, 0x2f, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, minor, 0, length + 4, 2, 0, 0, length][..], &body].concat()
}

#[test]
fn tls10_and_tls11() {
    const SIGNATURE_ALGORITHMS: &[u8] = &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    const PROTOCOL_VERSION: &[u8] = &[21, 3, 3, 0, 2, 2, 70];
    bounded(|| async {
        for minor in [1, 2] {
            for (extensions, error, alert) in [
                (SIGNATURE_ALGORITHMS, PeerIncompatible::Tls12NotOffered, PROTOCOL_VERSION),
                // What came with TLS 1.2 is what rustls misses first.
                (&[], PeerIncompatible::SignatureAlgorithmsExtensionRequired, HANDSHAKE_FAILURE),
            ] {
                let (outcome, answer) = against(Role::Typha, &old_client_hello(minor, extensions)).await;
                assert_eq!(outcome, Outcome::Tls(error.into()));
                assert_eq!(answer, alert);
            }
            for role in CLIENTS {
                let (outcome, answer) = against(role, &old_server_hello(minor)).await;
                assert_eq!(outcome, Outcome::Tls(PeerIncompatible::ServerDoesNotSupportTls12Or13.into()));
                assert!(answer.ends_with(PROTOCOL_VERSION));
            }
        }
    });
}

#[test]
fn one_byte_writes() {
    bounded(|| async {
        let pki = pki();
        for (version, role) in VERSIONS.into_iter().flat_map(|version| CLIENTS.map(|role| (version, role))) {
            // Below 6 it would be a deadlock: rustls does not read while it can not write, here both
            // change_cipher_specs.
            let (typha, felix) = duplex(8);
            let outcomes = tokio::join!(
                async { Outcome::of(acceptor(&pki, version).accept(Slow::new(typha)).await) },
                async { Outcome::of(Client::new(role, &pki, version).connect(Slow::new(felix)).await) },
            );
            assert_eq!(outcomes, (Outcome::ACCEPTED, Outcome::ACCEPTED), "{role}, {version:?}");
        }
    });
}

/// Cuts every handshake message that is sent in the clear into records of one byte.
fn one_byte_records(flight: &[u8], is_encrypted: &mut bool) -> Vec<u8> {
    let (mut out, mut start) = (Vec::new(), 0);
    while start < flight.len() {
        let end = start + 5 + usize::from(u16::from_be_bytes([flight[start + 3], flight[start + 4]]));
        let (header, body) = flight[start..end].split_at(5);
        *is_encrypted |= header[0] == 20;
        if header[0] == 22 && !*is_encrypted {
            for byte in body {
                out.extend([22, 3, 3, 0, 1, *byte]);
            }
        } else {
            out.extend_from_slice(&flight[start..end]);
        }
        start = end;
    }
    out
}

async fn in_one_byte_records(mut peer: RawPeer<DuplexStream>) {
    let mut is_encrypted = false;
    loop {
        let flight = peer.outgoing();
        let pieces = one_byte_records(&flight, &mut is_encrypted);
        if peer.io.write_all(&pieces).await.is_err() || !matches!(peer.receive().await, Ok(1..)) {
            return;
        }
    }
}

#[test]
fn one_byte_records_are_put_together() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let (typha, felix) = duplex(64 * 1024);
            let mut config = client_config(Some(&pki.felix), version);
            config.max_fragment_size = Some(32);
            let (outcome, ()) = tokio::join!(
                async { Outcome::of(acceptor(&pki, version).accept(typha).await) },
                in_one_byte_records(RawPeer::client(config, felix)),
            );
            assert_eq!(outcome, Outcome::ACCEPTED, "Typha, {version:?}");

            for role in CLIENTS {
                let (typha, felix) = duplex(64 * 1024);
                let mut config = server_config(&pki.typha, version);
                config.max_fragment_size = Some(32);
                let (outcome, ()) = tokio::join!(
                    async { Outcome::of(Client::new(role, &pki, version).connect(felix).await) },
                    in_one_byte_records(RawPeer::server(config, typha)),
                );
                assert_eq!(outcome, Outcome::ACCEPTED, "{role}, {version:?}");
            }
        }
    });
}

/// What an end makes of a peer's chain, and what the peer hears.
type Refusal = (Outcome, io::Result<Error>);

/// Presents `leaf` with `extra` behind it to all ends, in both versions.
async fn presenting(leaf: &TestLeaf, extra: &[CertificateDer<'static>]) -> Vec<Refusal> {
    let chain = [leaf.chain(), extra].concat();
    let key = aws_lc_rs::sign::any_supported_type(&leaf.key()).unwrap();
    let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    let mut refusals = Vec::new();
    for version in VERSIONS {
        let (typha, felix) = duplex(1024 * 1024);
        let mut config = client_config(None, version);
        config.client_auth_cert_resolver = resolver.clone();
        let mut client = RawPeer::client(config, felix);
        let accept = acceptor(&PKI, version).accept(typha);
        refusals.push(tokio::join!(async { Outcome::of(accept.await) }, client.refusal()));

        for role in CLIENTS {
            let (typha, felix) = duplex(1024 * 1024);
            let mut config = server_config(&PKI.typha, version);
            config.cert_resolver = resolver.clone();
            let mut server = RawPeer::server(config, typha);
            let connect = Client::new(role, &PKI, version).connect(felix);
            refusals.push(tokio::join!(async { Outcome::of(connect.await) }, server.refusal()));
        }
    }
    refusals
}

static PKI: LazyLock<TestPki> = LazyLock::new(pki);

/// A leaf for either end.
fn leaf_of(ca: &TestCa) -> TestLeaf {
    ca.issue(CertificateSpec::leaf(FELIX_COMMON_NAME).key_type(KeyType::Ed25519)).unwrap()
}

#[test]
fn a_hundred_certificates() {
    bounded(|| async {
        let mut deep = PKI.ca.intermediate(CertificateSpec::ca("0")).unwrap();
        for n in 1..99 {
            deep = deep.intermediate(CertificateSpec::ca(&n.to_string())).unwrap();
        }
        // Each could have issued each: a path builder without a budget never ends.
        let maze: Vec<_> = (0..99).map(|_| TestCa::new(CertificateSpec::ca("maze")).unwrap()).collect();
        let walls: Vec<_> = maze.iter().map(|ca| ca.root().clone()).collect();
        for (leaf, extra) in
            [(leaf_of(&deep), &[][..]), (leaf_of(&maze[0]), &walls), (leaf_of(&PKI.ca), &walls)]
        {
            assert_eq!(leaf.chain().len() + extra.len(), 100);
            for (outcome, heard) in presenting(&leaf, extra).await {
                assert_eq!(outcome, Outcome::Rejected("too_complex"));
                assert_eq!(heard.unwrap(), Error::AlertReceived(AlertDescription::CertificateUnknown));
            }
        }
    });
}

#[test]
fn an_over_long_certificate_message() {
    bounded(|| async {
        let leaf = leaf_of(&PKI.ca);
        // rustls ends at 64 KiB. Below that, its buffer is full before the last record with its overhead has arrived.
        for size in [65_520, 65_540, 70_000] {
            let junk = vec![7; size - leaf.chain()[0].len()].into();
            for (outcome, heard) in presenting(&leaf, &[junk]).await {
                assert_eq!(outcome, Outcome::MessageTooLarge(65_535), "{size}");
                // rustls says nothing to the peer here.
                assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    });
}
