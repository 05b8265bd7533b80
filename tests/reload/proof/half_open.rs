//! Handshakes that are held half-open across a reload: judged as a whole by the configuration that they began with, and
//! then by the new one at once.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::{Error, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use typha_tls::dialer::FelixDialer;
use typha_tls::lifetime::LostTrust;
use typha_tls::lifetime::{ClosePolicy, CloseReason, ConnectionLifetime};
use typha_tls::listener::{FailedHandshake, ListenerLimits};
use typha_tls::{Role, TyphaAcceptor, TyphaListener};

use super::changes::{Change, Judge};
use super::held::{bounded, when_asked};
use crate::hostile::{Outcome, RawPeer, VERSIONS, client_config, server_config};

/// The review looks every 5 s by itself.
const BEFORE_THE_NEXT_LOOK: Duration = Duration::from_secs(4);

fn at_once() -> ConnectionLifetime {
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
    lifetime
}

/// A Typha that tells everything.
struct Typha {
    listener: TyphaListener,
    failed: mpsc::UnboundedReceiver<FailedHandshake>,
    lost: mpsc::UnboundedReceiver<LostTrust>,
}

impl Typha {
    async fn start(acceptor: &TyphaAcceptor) -> Self {
        let (failed_sender, failed) = mpsc::unbounded_channel();
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let mut limits = ListenerLimits::default();
        limits.drop_grace = Duration::ZERO;
        let builder = TyphaListener::builder(acceptor.clone())
            .limits(limits)
            .lifetime(at_once())
            .on_failed_handshake(move |handshake| failed_sender.send(handshake).unwrap())
            .on_lost_trust(move |loss| lost_sender.send(loss).unwrap());
        Self { listener: builder.bind("127.0.0.1:0").await.unwrap(), failed, lost }
    }

    async fn client(&self, judge: &Judge, version: &'static SupportedProtocolVersion) -> RawPeer<TcpStream> {
        let tcp = TcpStream::connect(self.listener.local_addr()).await.unwrap();
        RawPeer::client(client_config(Some(&judge.peer), version), tcp)
    }
}

/// Goes on until it is this end's turn to show its certificate, and returns the message with it, unsent.
async fn certificate_of(client: &mut RawPeer<TcpStream>, version: &SupportedProtocolVersion) -> Vec<u8> {
    client.send().await.unwrap();
    let mut message = Vec::new();
    while message.is_empty() || version.version == ProtocolVersion::TLSv1_3 && client.tls.is_handshaking() {
        assert_ne!(client.receive().await.unwrap(), 0);
        message.extend(client.outgoing());
    }
    message
}

/// Reads until the other end has said goodbye.
async fn goodbye(peer: &mut RawPeer<TcpStream>) {
    while peer.receive().await.unwrap() > 0 {}
    assert!(peer.tls.process_new_packets().unwrap().peer_has_closed());
}

/// Felix begins, everything changes, and Felix goes on.
async fn felix_is_held(version: &'static SupportedProtocolVersion, change: Change) {
    let judge = Judge::new(Role::Typha, version);
    let acceptor = judge.typha();
    let mut typha = Typha::start(&acceptor).await;
    let mut felix = typha.client(&judge, version).await;
    let certificate = certificate_of(&mut felix, version).await;
    judge.change(change, |source| acceptor.follow(source, when_asked())).await;

    felix.io.write_all(&certificate).await.unwrap();
    felix.handshake().await.unwrap();
    let mut connection = typha.listener.accept().await.unwrap();
    assert_eq!(connection.generation(), 1);
    timeout(BEFORE_THE_NEXT_LOOK, connection.close_requested().cancelled()).await.unwrap();
    assert_eq!(connection.close_reason(), Some(CloseReason::LostTrust));
    let (reason, alert) = change.refusal();
    assert_eq!(connection.lost_trust().unwrap().label(), reason);
    let loss = typha.lost.recv().await.unwrap();
    assert_eq!((loss.generation, loss.closes, loss.rejection.label()), (2, true, reason));
    assert_eq!(connection.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    goodbye(&mut felix).await;
    assert!(typha.failed.try_recv().is_err());

    let mut felix = typha.client(&judge, version).await;
    assert_eq!(felix.refusal().await.unwrap(), Error::AlertReceived(alert));
    drop(felix);
    assert_eq!(typha.failed.recv().await.unwrap().error.label(), reason);
}

/// Begun when it was not trusted yet, and refused though it is by then.
async fn felix_came_too_early(version: &'static SupportedProtocolVersion, change: Change) {
    let judge = Judge::new(Role::Typha, version);
    let acceptor = judge.typha();
    judge.change(change, |source| acceptor.follow(source, when_asked())).await;
    let mut typha = Typha::start(&acceptor).await;
    let mut felix = typha.client(&judge, version).await;
    let certificate = certificate_of(&mut felix, version).await;
    let trusting = judge.config(None);
    assert_eq!(acceptor.replace(trusting), 3);

    felix.io.write_all(&certificate).await.unwrap();
    let (reason, alert) = change.refusal();
    assert_eq!(felix.refusal().await.unwrap(), Error::AlertReceived(alert));
    drop(felix);
    assert_eq!(typha.failed.recv().await.unwrap().error.label(), reason);
    let mut felix = typha.client(&judge, version).await;
    felix.handshake().await.unwrap();
    assert_eq!(typha.listener.accept().await.unwrap().generation(), 3);
}

/// The clock belongs to no configuration: what has expired by the time that it is looked at is refused.
async fn felix_expires_meanwhile(version: &'static SupportedProtocolVersion) {
    let judge = Judge::new(Role::Typha, version);
    let acceptor = judge.typha();
    let mut typha = Typha::start(&acceptor).await;
    let mut felix = typha.client(&judge, version).await;
    let certificate = certificate_of(&mut felix, version).await;
    judge.change(Change::Expired, |source| acceptor.follow(source, when_asked())).await;
    felix.io.write_all(&certificate).await.unwrap();
    let (reason, alert) = Change::Expired.refusal();
    assert_eq!(felix.refusal().await.unwrap(), Error::AlertReceived(alert));
    drop(felix);
    assert_eq!(typha.failed.recv().await.unwrap().error.label(), reason);
}

/// Typha holds back its answer until everything has changed.
async fn typha_is_held(version: &'static SupportedProtocolVersion, change: Change) {
    let judge = Judge::new(Role::Felix, version);
    let connector = judge.felix();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dialer = FelixDialer::new(connector.clone(), vec![address]).with_lifetime(at_once());
    let server = async || {
        let (tcp, _) = listener.accept().await.unwrap();
        RawPeer::server(server_config(&judge.peer, version), tcp)
    };
    let holding = async {
        let mut typha = server().await;
        let mut flight = Vec::new();
        while flight.is_empty() {
            assert_ne!(typha.receive().await.unwrap(), 0);
            flight = typha.outgoing();
        }
        judge.change(change, |source| connector.follow(source, when_asked())).await;
        typha.io.write_all(&flight).await.unwrap();
        typha.handshake().await.unwrap();
        typha
    };
    let (mut typha, felix) = tokio::join!(holding, dialer.connect());
    let mut felix = felix.unwrap();
    assert_eq!(felix.generation(), 1);
    felix.close_requested().cancelled().await;
    let (reason, alert) = change.refusal();
    assert_eq!(felix.close_reason(), Some(CloseReason::LostTrust));
    assert_eq!(felix.lost_trust().unwrap().label(), reason);
    assert_eq!(felix.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    goodbye(&mut typha).await;

    let tcp = TcpStream::connect(address).await.unwrap();
    let refusing = async { server().await.refusal().await.unwrap() };
    let (felix, heard) = tokio::join!(connector.connect_tcp(tcp), refusing);
    assert_eq!(Outcome::of(felix), Outcome::Rejected(reason));
    assert_eq!(heard, Error::AlertReceived(alert));
}

/// Each version with each change, all at a time.
async fn in_all_ways<F: Future<Output = ()>>(
    test: impl Fn(&'static SupportedProtocolVersion, Change) -> F + Copy,
) {
    let ways =
        VERSIONS.iter().flat_map(|version| Change::OF_CONFIGURATIONS.map(|change| test(version, change)));
    bounded(join_all(ways)).await;
}

#[tokio::test]
async fn a_felix_that_is_held_gets_in_by_the_old_configuration_and_is_dropped_by_the_new_one() {
    in_all_ways(felix_is_held).await;
}

#[tokio::test]
async fn a_felix_that_came_before_it_was_trusted_is_refused() {
    in_all_ways(felix_came_too_early).await;
}

#[tokio::test]
async fn a_felix_that_expires_in_its_handshake_is_refused() {
    bounded(join_all(VERSIONS.map(felix_expires_meanwhile))).await;
}

#[tokio::test]
async fn a_typha_that_holds_back_gets_in_by_the_old_configuration_and_is_dropped_by_the_new_one() {
    in_all_ways(typha_is_held).await;
}
