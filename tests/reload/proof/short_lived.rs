//! A Typha and a Felix with certificates of five minutes and one clock.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use typha_tls::Connection;
use typha_tls::material::{Material, TlsFiles};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, Reloaded, Reloader, TlsConfigSource as _};
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestCa, TestClock, TestLeaf,
};
use typha_tls::{
    AuthenticatedStream, FelixConnector, HandshakeError, RequiredIdentity, TlsConfig, TyphaAcceptor,
    TyphaListener,
};

use super::held::{Held, bounded, replaced, when_asked};
use super::whereabouts::Whereabouts;

pub(crate) const LIFETIME: u64 = 300;

pub(crate) type Stream = AuthenticatedStream<TcpStream>;
pub(crate) type Decision = Result<(), HandshakeError>;

/// Typha, which has its certificate in files, and Felix, which has it in memory.
pub(crate) struct Site {
    ca: TestCa,
    pub(crate) clock: TestClock,
    policy: TlsPolicy,
    files: TempDir,
    held: Held,
    pub(crate) typha: Reloader,
    pub(crate) felix: Reloader,
    connector: FelixConnector,
    address: std::net::SocketAddr,
    decisions: Whereabouts<Decision>,
    pub(crate) handshakes: Cell<u64>,
    handshake: Notify,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let ca = TestCa::new(CertificateSpec::ca("calico-typha-ca")).unwrap();
        let (clock, files) = (TestClock::new(), TempDir::new().unwrap());
        let policy = TlsPolicy::builder().time_provider(Arc::new(clock.clone())).build().unwrap();
        write(&files, "ca.pem", &ca.root_pem());
        write_leaf(&files, &leaf(&ca, &clock, TYPHA_COMMON_NAME));
        let path = |name| files.path().join(name);
        let source = FileSource::new(
            TlsFiles::new(path("ca.pem"), path("typha.pem"), path("key.pem")),
            RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap(),
            policy.clone(),
        );
        let acceptor = TyphaAcceptor::new(source.load().await.unwrap());
        let typha = acceptor.follow(source, when_asked());
        let of_felix = felix_config(&ca, &clock, &policy);
        let held = Held::new(of_felix.clone());
        let connector = FelixConnector::new(of_felix);
        let felix = connector.follow(held.clone(), when_asked());

        let decisions = Whereabouts::<Decision>::new();
        let (accepted, refused) = (decisions.clone(), decisions.clone());
        let mut listener = TyphaListener::builder(acceptor)
            .on_failed_handshake(move |failed| refused.decided(failed.peer_address, Err(failed.error)))
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let address = listener.local_addr();
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                accepted.decided(connection.peer_address(), Ok(()));
                tokio::spawn(echo(connection));
            }
        });
        let (handshakes, handshake) = (Cell::new(0), Notify::new());
        Self {
            ca,
            clock,
            policy,
            files,
            held,
            typha,
            felix,
            connector,
            address,
            decisions,
            handshakes,
            handshake,
        }
    }

    /// What Typha and Felix see.
    pub(crate) async fn connect(&self) -> (Decision, Result<Stream, HandshakeError>) {
        let (tcp, decision) = self.decisions.connect(self.address).await;
        let felix = self.connector.connect_tcp(tcp).await;
        (decision.await.unwrap(), felix)
    }

    pub(crate) async fn good_connection(&self) -> Stream {
        match self.connect().await {
            (Ok(()), Ok(mut stream)) => {
                assert!(is_alive(&mut stream).await);
                stream
            }
            ends => panic!("{ends:?}"),
        }
    }

    /// Connects all the time while this goes on, and never fails.
    pub(crate) async fn under_load(&self, what: impl Future<Output = ()>) {
        let over = Cell::new(false);
        let work = async || {
            while !over.get() {
                self.good_connection().await;
                self.handshakes.set(self.handshakes.get() + 1);
                self.handshake.notify_one();
            }
        };
        let whole = async {
            what.await;
            over.set(true);
        };
        bounded(async { tokio::join!(whole, join_all((0..WORKERS).map(|_| work()))) }).await;
    }

    /// Until handshakes that begin from now on have ended.
    pub(crate) async fn everybody_connects(&self) {
        let enough = self.handshakes.get() + 2 * WORKERS;
        while self.handshakes.get() < enough {
            self.handshake.notified().await;
        }
    }

    pub(crate) async fn renew_typha(&self, generation: u64) {
        write_leaf(&self.files, &leaf(&self.ca, &self.clock, TYPHA_COMMON_NAME));
        replaced(&self.typha, generation).await;
    }

    pub(crate) async fn renew_felix(&self, generation: u64) {
        self.held.set(felix_config(&self.ca, &self.clock, &self.policy));
        replaced(&self.felix, generation).await;
    }

    /// Both have looked at what expires when it returns.
    pub(crate) async fn look(&self) {
        for reloader in [&self.typha, &self.felix] {
            // They look at it after each answer, and so before the second one.
            for _ in 0..2 {
                assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
            }
        }
    }

    pub(crate) fn assert_state(&self, reloads: u64) {
        for reloader in [&self.typha, &self.felix] {
            let state = reloader.state().borrow().clone();
            assert_eq!((state.generation, state.reloads, state.failures), (reloads + 1, reloads, 0));
            assert!(state.last_error.is_none());
        }
    }
}

const WORKERS: u64 = 3;

/// Valid from now on.
fn leaf(ca: &TestCa, clock: &TestClock, name: &str) -> TestLeaf {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(clock.now().as_secs());
    let purpose = if name == FELIX_COMMON_NAME { Purpose::ClientAuth } else { Purpose::ServerAuth };
    let spec = CertificateSpec::leaf(name).purpose(purpose);
    ca.issue(spec.valid(now, now + Duration::from_secs(LIFETIME))).unwrap()
}

fn felix_config(ca: &TestCa, clock: &TestClock, policy: &TlsPolicy) -> TlsConfig {
    let material = Material::new(
        ca.trust_bundle().unwrap(),
        leaf(ca, clock, FELIX_COMMON_NAME).credentials(policy.provider()).unwrap(),
    );
    let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
    TlsConfig::new(material, required, policy.clone())
}

fn write(files: &TempDir, name: &str, contents: &str) {
    let new = files.path().join("new");
    std::fs::write(&new, contents).unwrap();
    std::fs::rename(new, files.path().join(name)).unwrap();
}

/// Nobody looks between the two.
fn write_leaf(files: &TempDir, leaf: &TestLeaf) {
    write(files, "typha.pem", &leaf.chain_pem());
    write(files, "key.pem", &leaf.key_pem());
}

async fn echo(mut connection: Connection) {
    while let Ok(byte) = connection.read_u8().await {
        if connection.write_u8(byte).await.is_err() {
            return;
        }
    }
}

pub(crate) async fn is_alive(stream: &mut Stream) -> bool {
    stream.write_u8(7).await.is_ok() && stream.read_u8().await.is_ok_and(|byte| byte == 7)
}
