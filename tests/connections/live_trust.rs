//! Connected peers that lose our trust, on both ends of real connections.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use typha_tls::Connection;
use typha_tls::dialer::{DialerError, DialerPhase, FelixDialer};
use typha_tls::lifetime::{ClosePolicy, CloseReason, ConnectionLifetime};
use typha_tls::material::TrustBundle;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{
    self, CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestCa, TestLeaf, TestPki,
};
use typha_tls::{
    AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, TlsConfig, TyphaAcceptor,
    TyphaListener,
};

use crate::counting::counting_policy;
use crate::dialing::Typha;

/// Far beyond what any of it takes.
async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

fn at_once() -> ConnectionLifetime {
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
    lifetime
}

fn typha_config(ca: &TestCa, leaf: &TestLeaf, policy: &TlsPolicy) -> TlsConfig {
    let material = testing::material(ca, leaf, policy.provider()).unwrap();
    TlsConfig::new(material, RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap(), policy.clone())
}

fn felix_config(ca: &TestCa, leaf: &TestLeaf) -> TlsConfig {
    let policy = TlsPolicy::builder().build().unwrap();
    let material = testing::material(ca, leaf, policy.provider()).unwrap();
    TlsConfig::new(material, RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap(), policy)
}

async fn connect(
    listener: &mut TyphaListener,
    felix: &FelixConnector,
) -> (Connection, AuthenticatedStream<TcpStream>) {
    let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    let (typha, felix) = bounded(async { tokio::join!(listener.accept(), felix.connect_tcp(tcp)) }).await;
    (typha.unwrap(), felix.unwrap())
}

#[tokio::test]
async fn a_felix_whose_ca_is_removed_is_told_and_refused_from_then_on() {
    let (pki, policy) = (TestPki::new().unwrap(), TlsPolicy::builder().build().unwrap());
    let other = TestCa::new(CertificateSpec::ca("another-ca")).unwrap();
    let acceptor = TyphaAcceptor::new(typha_config(&pki.ca, &pki.typha, &policy));
    let (sender, mut lost) = mpsc::unbounded_channel();
    let mut listener = TyphaListener::builder(acceptor.clone())
        .lifetime(at_once())
        .on_lost_trust(move |loss| sender.send(loss).unwrap())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let felix = pki.connector().unwrap();
    let (mut typha, mut stream) = connect(&mut listener, &felix).await;
    assert_eq!((typha.generation(), typha.lost_trust()), (1, None));

    assert_eq!(acceptor.replace(typha_config(&other, &pki.typha, &policy)), 2);
    bounded(typha.close_requested().cancelled()).await;
    assert_eq!(typha.close_reason(), Some(CloseReason::LostTrust));
    let expected = "the certificate of CN=\"typha-client\" is issued by CN=\"calico-typha-ca\", which is not in the \
                    CA file; if you made that CA, add it there; if it is an intermediate CA, have the peer send its \
                    certificate";
    assert_eq!(typha.lost_trust().unwrap().to_string(), expected);
    let loss = bounded(lost.recv()).await.unwrap();
    assert_eq!((loss.peer_address, loss.generation, loss.closes), (typha.peer_address(), 2, true));
    assert_eq!(&loss.peer, typha.peer());
    assert_eq!(loss.rejection.label(), "unknown_ca");
    // During the grace, the owner can still send. Then its use ends, and Felix gets a clean end.
    typha.write_all(b"bye").await.unwrap();
    let error = bounded(typha.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "this connection was force-closed on our side (lost_trust)");
    let mut said = String::new();
    assert_eq!(bounded(stream.read_to_string(&mut said)).await.unwrap(), 3);
    drop(typha);

    let tcp = TcpStream::connect(listener.local_addr()).await.unwrap();
    match bounded(felix.connect_tcp(tcp)).await {
        Err(HandshakeError::RefusedByPeer { alert: AlertDescription::UnknownCA }) => {}
        other => panic!("{other:?}"),
    }
    let stats = listener.handle().stats();
    assert_eq!(stats.lost_trust["unknown_ca"], 1);
    assert_eq!(stats.dropped["lost_trust"], 1);
}

#[tokio::test]
async fn equal_chains_are_judged_once() {
    let pki = TestPki::new().unwrap();
    let (policy, checks) = counting_policy();
    let acceptor = TyphaAcceptor::new(typha_config(&pki.ca, &pki.typha, &policy));
    let mut listener = TyphaListener::builder(acceptor.clone()).bind("127.0.0.1:0").await.unwrap();
    let mut connections = Vec::new();
    for _ in 0..20 {
        connections.push(connect(&mut listener, &pki.connector().unwrap()).await);
    }
    let other = TestCa::new(CertificateSpec::ca("calico-typha-ca")).unwrap();
    for (ca, expected) in [(&pki.ca, None), (&other, Some("ca_key_mismatch")), (&pki.ca, None)] {
        checks.take();
        let generation = acceptor.replace(typha_config(ca, &pki.typha, &policy));
        // A peer whose connection is being closed is not judged any more.
        let all_are = |expected: Option<&str>| {
            let mut staying = connections.iter().filter(|(typha, _)| typha.close_reason().is_none());
            staying.all(|(typha, _)| typha.lost_trust().map(|rejection| rejection.label()) == expected)
        };
        bounded(async {
            while !all_are(expected) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        if expected.is_some() {
            // A bad signature, checked twice: at the present time, and at the time at which it was good.
            assert!(checks.take() <= 2, "generation {generation}");
            assert!(connections.iter().all(|(typha, _)| typha.lost_trust().is_some()));
        }
    }
    // The requests to close are spread over the minute. Peers whose connection is not closing yet are trusted again.
    let staying = connections.iter().filter(|(typha, _)| typha.close_reason().is_none());
    assert_eq!(staying.filter(|(typha, _)| typha.lost_trust().is_none()).count(), 19);
}

/// In a migration, it shows which peers still depend on the old CA, which has the same name here.
#[tokio::test]
async fn connections_are_counted_by_the_ca_that_vouches_for_them() {
    let (pki, policy) = (TestPki::new().unwrap(), TlsPolicy::builder().build().unwrap());
    let new_ca = TestCa::new(CertificateSpec::ca("calico-typha-ca")).unwrap();
    let of_new = new_ca.issue(CertificateSpec::leaf(FELIX_COMMON_NAME).purpose(Purpose::ClientAuth)).unwrap();
    let both = |first: &TestCa, second: &TestCa| {
        let mut material = testing::material(&pki.ca, &pki.typha, policy.provider()).unwrap();
        material.trust_bundle = TrustBundle::from_der([first.root().clone(), second.root().clone()]).unwrap();
        let required = RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap();
        TlsConfig::new(material, required, policy)
    };
    let mut listener =
        TyphaListener::builder(TyphaAcceptor::new(both(&pki.ca, &new_ca))).bind("127.0.0.1:0").await.unwrap();
    let handle = listener.handle();
    assert_eq!(handle.active_by_ca().len(), 0);
    let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
    let new_felix = testing::connector(&pki.ca, &of_new, required).unwrap();
    let old = connect(&mut listener, &pki.connector().unwrap()).await;
    let new = [connect(&mut listener, &new_felix).await, connect(&mut listener, &new_felix).await];
    let [old_ca, new_ca] = [old.0.peer().ca(), new[0].0.peer().ca()].map(str::to_owned);
    for ca in [&old_ca, &new_ca] {
        let key =
            ca.strip_prefix("CN=\"calico-typha-ca\" (key ").and_then(|rest| rest.strip_suffix(')')).unwrap();
        assert!(key.len() == 8 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{ca}");
    }
    assert_ne!(old_ca, new_ca);
    assert_eq!(handle.active_by_ca(), [(old_ca, 1), (new_ca.clone(), 2)].into());
    drop(old);
    assert_eq!(handle.active_by_ca(), [(new_ca, 2)].into());
}

/// Typhas of an old and a new CA. A Felix that no longer trusts the old CA connects to the Typha of the new one.
#[tokio::test]
async fn a_dialer_leaves_a_typha_that_it_trusts_no_longer() {
    let pki = TestPki::new().unwrap();
    let new_ca = TestCa::new(CertificateSpec::ca("new-ca")).unwrap();
    let of_new = new_ca.issue(CertificateSpec::leaf(TYPHA_COMMON_NAME).purpose(Purpose::ServerAuth)).unwrap();
    let required = || RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap();
    let old = Typha::start(pki.acceptor().unwrap()).await;
    let new = Typha::start(testing::acceptor(&pki.ca, &of_new, required()).unwrap()).await;

    let connector = FelixConnector::new(felix_config(&pki.ca, &pki.felix));
    let dialer = FelixDialer::new(connector.clone(), vec![old.address, new.address]).with_lifetime(at_once());
    let (cancel, mut state) = (CancellationToken::new(), dialer.state());
    let (sender, mut ended) = mpsc::unbounded_channel();
    let run = dialer.run(cancel.clone(), async |mut connection: Connection| {
        let mut buffer = [0; 64];
        let outcome = loop {
            match connection.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        let (address, reason) = (connection.peer_address(), connection.close_reason());
        let lost = connection.lost_trust().map(|rejection| rejection.label());
        sender.send((address, reason, lost)).unwrap();
        outcome
    });
    let test = async {
        let connected = |address| {
            move |state: &typha_tls::dialer::DialerState| match &state.phase {
                DialerPhase::Connected { endpoint, .. } => endpoint.address == address,
                _ => false,
            }
        };
        state.wait_for(connected(old.address)).await.unwrap();
        connector.replace(felix_config(&new_ca, &pki.felix));
        let ended = ended.recv().await.unwrap();
        assert_eq!(ended, (old.address, Some(CloseReason::LostTrust), Some("unknown_ca")));
        let state = state.wait_for(connected(new.address)).await.unwrap().clone();
        assert!(matches!(
            state.last_error.as_deref(),
            Some(DialerError::Handler { .. } | DialerError::Attempt { .. })
        ));
        cancel.cancel();
    };
    bounded(async { tokio::join!(run, test) }).await;
}

fn dialer_of_max_age(pki: &TestPki, typha: &Typha, milliseconds: u64) -> FelixDialer {
    let mut lifetime = ConnectionLifetime::default();
    lifetime.max_age = Some(Duration::from_millis(milliseconds));
    FelixDialer::new(pki.connector().unwrap(), vec![typha.address]).with_lifetime(lifetime)
}

#[tokio::test]
async fn a_dialer_renews_its_connection_at_its_age_and_holds_nothing_against_typha() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = dialer_of_max_age(&pki, &typha, 100);
    let (cancel, state) = (CancellationToken::new(), dialer.state());
    let mut reasons = Vec::new();
    bounded(dialer.run(cancel.clone(), async |mut connection: Connection| {
        let mut buffer = [0; 64];
        let outcome = loop {
            if let Err(error) = connection.read(&mut buffer).await {
                break error;
            }
        };
        reasons.push((connection.close_reason(), outcome.to_string(), connection.generation()));
        if reasons.len() == 2 {
            cancel.cancel();
        }
        Err::<(), _>(outcome)
    }))
    .await;
    let expected = "this connection was force-closed on our side (max_age)".to_owned();
    assert_eq!(reasons, vec![(Some(CloseReason::MaxAge), expected, 1); 2]);
    assert!(state.borrow().last_error.is_none(), "{:?}", state.borrow().last_error);
}

/// A handler that neither reads nor writes does not keep the dialer from another connection.
#[tokio::test]
async fn a_handler_that_holds_on_is_dropped() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = dialer_of_max_age(&pki, &typha, 10);
    let (cancel, mut calls) = (CancellationToken::new(), 0);
    bounded(dialer.run(cancel.clone(), async |connection: Connection| {
        calls += 1;
        if calls == 2 {
            cancel.cancel();
        } else {
            std::future::pending::<()>().await;
        }
        drop(connection);
        io::Result::Ok(())
    }))
    .await;
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a_stream_of_a_connector_is_judged_by_its_owner() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let connector = pki.connector().unwrap();
    let tcp = TcpStream::connect(typha.address).await.unwrap();
    let mut stream = bounded(connector.connect_tcp(tcp)).await.unwrap();
    let other = TestCa::new(CertificateSpec::ca("another-ca")).unwrap();
    connector.replace(felix_config(&other, &pki.felix));
    assert_eq!(bounded(stream.read_u16()).await.unwrap(), typha.address.port());
    let now = rustls_pki_types::UnixTime::now();
    let verdict = connector.verifier().verify(stream.peer_certificates(), typha_tls::Role::Typha, now);
    assert_eq!(verdict.unwrap_err().label(), "unknown_ca");
}

/// A handler that has dropped the connection and has something of its own to finish.
#[tokio::test]
async fn a_handler_that_has_let_go_is_not_dropped() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = dialer_of_max_age(&pki, &typha, 10);
    let (cancel, mut finished, mut calls) = (CancellationToken::new(), 0, 0);
    bounded(dialer.run(cancel.clone(), async |connection: Connection| {
        calls += 1;
        if calls == 2 {
            cancel.cancel();
            return io::Result::Ok(());
        }
        connection.close_requested().cancelled().await;
        drop(connection);
        tokio::time::sleep(Duration::from_secs(3)).await;
        finished += 1;
        io::Result::Ok(())
    }))
    .await;
    assert_eq!((calls, finished), (2, 1));
}
