//! A Typha that reloads under a storm of Felixes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use typha_tls::Connection;
use typha_tls::config::TyphaConfig;
use typha_tls::lifetime::{ClosePolicy, ConnectionLifetime};
use typha_tls::reload::TlsConfigSource;
use typha_tls::testing::{self, TestLeaf};
use typha_tls::{
    AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, Role, TyphaAcceptor, TyphaListener,
};

use super::by_turns::{JUDGE, PEERS, Peer, Seen, World, storm};
use super::held::{Held, bounded, replaced, when_asked};
use super::in_files::InFiles;
use super::whereabouts::Whereabouts;

type Decision = Result<u64, HandshakeError>;

/// Everybody who connects.
struct Felixes {
    connectors: Vec<(Peer, FelixConnector)>,
    typha: SocketAddr,
    decisions: Whereabouts<Decision>,
}

impl Felixes {
    fn new(world: &World, typha: SocketAddr, decisions: Whereabouts<Decision>) -> Self {
        let connector = |leaf: &TestLeaf| {
            testing::connector(&world.always, leaf, RequiredIdentity::common_name(JUDGE).unwrap()).unwrap()
        };
        let connectors = PEERS.iter().map(|&peer| (peer, connector(&world.leaf(peer)))).collect();
        Self { connectors, typha, decisions }
    }

    async fn connect(
        &self,
        peer: Peer,
    ) -> (Decision, Result<AuthenticatedStream<TcpStream>, HandshakeError>) {
        let (_, connector) = self.connectors.iter().find(|(other, _)| *other == peer).unwrap();
        let (tcp, decision) = self.decisions.connect(self.typha).await;
        // A refused one has to close, so that Typha need not go on listening to it.
        let outcome = connector.connect_tcp(tcp).await;
        (decision.await.unwrap(), outcome)
    }

    async fn handshake(&self, peer: Peer) -> Seen {
        let (decision, outcome) = bounded(self.connect(peer)).await;
        let by_peer = match outcome {
            Ok(mut stream) => {
                // It can be used, and Typha thinks the same of it. It may be about to end already, by the next
                // generation.
                let generation = *decision.as_ref().unwrap();
                assert_eq!(asked(&mut stream).await >> 1, generation);
                Ok(())
            }
            Err(HandshakeError::RefusedByPeer { alert }) => Err(alert),
            Err(other) => panic!("{peer:?}: {other:?}, {decision:?}"),
        };
        Seen { by_judge: decision.map_err(|error| error.label()), by_peer }
    }
}

/// Answers each byte with the generation, and whether the connection is to end.
async fn serve(mut connection: Connection) {
    while connection.read_u8().await.is_ok() {
        let answer = (connection.generation() << 1) | u64::from(connection.close_reason().is_some());
        if connection.write_u64(answer).await.is_err() {
            return;
        }
    }
}

/// What Typha answers.
async fn asked(stream: &mut AuthenticatedStream<TcpStream>) -> u64 {
    bounded(async {
        stream.write_u8(0).await.unwrap();
        stream.read_u64().await.unwrap()
    })
    .await
}

async fn typha_reloads(
    world: &World,
    acceptor: TyphaAcceptor,
    source: impl TlsConfigSource + 'static,
    reloads: u64,
    put: impl Fn(u64),
) {
    let reloader = acceptor.follow(source, when_asked());
    let decisions = Whereabouts::<Decision>::new();
    let refused = decisions.clone();
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
    let mut listener = TyphaListener::builder(acceptor.clone())
        .lifetime(lifetime)
        .on_failed_handshake(move |failed| refused.decided(failed.peer_address, Err(failed.error)))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let handle = listener.handle();
    let felixes = Felixes::new(world, listener.local_addr(), decisions.clone());
    let serving = tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            decisions.decided(connection.peer_address(), Ok(connection.generation()));
            tokio::spawn(serve(connection));
        }
    });

    let mut from_before = Vec::new();
    for _ in 0..3 {
        from_before.push(felixes.connect(Peer::Always).await.1.unwrap());
    }
    let reload_to = async |generation| {
        put(generation);
        replaced(&reloader, generation).await;
    };
    storm(reloads, || *acceptor.generations().borrow(), reload_to, |peer| felixes.handshake(peer)).await;
    for stream in &mut from_before {
        assert_eq!(asked(stream).await, 1 << 1, "accepted by the first generation, and not to go");
    }
    let (state, stats) = (reloader.state().borrow().clone(), handle.stats());
    assert_eq!((state.generation, state.reloads, state.failures), (reloads + 1, reloads, 0));
    assert_eq!((stats.accept_errors, stats.shed.len()), (0, 0), "{stats:?}");
    serving.abort();
}

async fn from_memory(reloads: u64) {
    let world = World::new();
    let held = Held::new(world.config(1));
    let acceptor = TyphaAcceptor::new(world.config(1));
    typha_reloads(&world, acceptor, held.clone(), reloads, |generation| held.set(world.config(generation)))
        .await;
}

async fn from_files(reloads: u64) {
    let world = World::new();
    let files = InFiles::new(&world, Role::Typha);
    let config = TyphaConfig::load(&files.sources()).unwrap();
    let acceptor = config.acceptor().unwrap();
    let source = config.source();
    typha_reloads(&world, acceptor, source, reloads, |generation| files.change_to(&world, generation)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_felix_gets_the_verdict_of_its_generation_from_memory() {
    bounded(from_memory(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_felix_gets_the_verdict_of_its_generation_from_files() {
    bounded(from_files(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of the real size"]
async fn a_thousand_reloads_of_typha_from_memory() {
    from_memory(1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of the real size"]
async fn a_thousand_reloads_of_typha_from_files() {
    from_files(1000).await;
}
