//! A Felix that reloads while it connects to Typhas of all kinds.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use typha_tls::config::FelixConfig;
use typha_tls::reload::TlsConfigSource;
use typha_tls::testing;
use typha_tls::{FelixConnector, HandshakeError, RequiredIdentity, Role};

use super::by_turns::{JUDGE, PEERS, Peer, Seen, World, storm};
use super::held::{Held, bounded, replaced, when_asked};
use super::in_files::InFiles;
use super::whereabouts::Whereabouts;

type Outcome = Result<(), HandshakeError>;

/// One of each kind, which echo.
struct Typhas {
    addresses: Vec<(Peer, SocketAddr)>,
    outcomes: Whereabouts<Outcome>,
}

impl Typhas {
    async fn start(world: &World) -> Self {
        let outcomes = Whereabouts::new();
        let mut addresses = Vec::new();
        for peer in PEERS {
            let required = RequiredIdentity::common_name(JUDGE).unwrap();
            let acceptor = testing::acceptor(&world.always, &world.leaf(peer), required).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push((peer, listener.local_addr().unwrap()));
            let outcomes = outcomes.clone();
            tokio::spawn(async move {
                loop {
                    let (tcp, felix) = listener.accept().await.unwrap();
                    let (handshake, outcomes) = (acceptor.accept_tcp(tcp), outcomes.clone());
                    tokio::spawn(async move {
                        let (stream, outcome) = match handshake.await {
                            Ok(stream) => (Some(stream), Ok(())),
                            Err(error) => (None, Err(error)),
                        };
                        outcomes.decided(felix, outcome);
                        let Some(mut stream) = stream else { return };
                        while let Ok(byte) = stream.read_u8().await {
                            stream.write_u8(byte).await.unwrap();
                        }
                    });
                }
            });
        }
        Self { addresses, outcomes }
    }

    async fn handshake(&self, felix: &FelixConnector, peer: Peer) -> Seen {
        let (_, address) = self.addresses.iter().find(|(other, _)| *other == peer).unwrap();
        let (tcp, outcome) = self.outcomes.connect(*address).await;
        let by_judge = match felix.connect_tcp(tcp).await {
            Ok(mut stream) => {
                stream.write_u8(7).await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), 7);
                Ok(stream.generation())
            }
            Err(error) => Err(error.label()),
        };
        let by_peer = match outcome.await.unwrap() {
            Ok(()) => Ok(()),
            Err(HandshakeError::RefusedByPeer { alert }) => Err(alert),
            Err(other) => panic!("{peer:?}: {other:?}, {by_judge:?}"),
        };
        Seen { by_judge, by_peer }
    }
}

async fn felix_reloads(
    world: &World,
    felix: FelixConnector,
    source: impl TlsConfigSource + 'static,
    reloads: u64,
    put: impl Fn(u64),
) {
    let typhas = Typhas::start(world).await;
    let reloader = felix.follow(source, when_asked());
    let reload_to = async |generation| {
        put(generation);
        replaced(&reloader, generation).await;
    };
    let handshake = async |peer| bounded(typhas.handshake(&felix, peer)).await;
    storm(reloads, || *felix.generations().borrow(), reload_to, handshake).await;
    let state = reloader.state().borrow().clone();
    assert_eq!((state.generation, state.reloads, state.failures), (reloads + 1, reloads, 0));
}

async fn from_memory(reloads: u64) {
    let world = World::new();
    let held = Held::new(world.config(1));
    let felix = FelixConnector::new(world.config(1));
    felix_reloads(&world, felix, held.clone(), reloads, |generation| held.set(world.config(generation)))
        .await;
}

async fn from_files(reloads: u64) {
    let world = World::new();
    let files = InFiles::new(&world, Role::Felix);
    let config = FelixConfig::load(&files.sources()).unwrap();
    let felix = config.connector().unwrap();
    let source = config.source();
    felix_reloads(&world, felix, source, reloads, |generation| files.change_to(&world, generation)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_typha_gets_the_verdict_of_its_generation_from_memory() {
    bounded(from_memory(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_typha_gets_the_verdict_of_its_generation_from_files() {
    bounded(from_files(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of the real size"]
async fn a_thousand_reloads_of_felix_from_memory() {
    from_memory(1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of the real size"]
async fn a_thousand_reloads_of_felix_from_files() {
    from_files(1000).await;
}
