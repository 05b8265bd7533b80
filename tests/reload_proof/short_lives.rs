//! Certificates of five minutes, renewed again and again under load; and what happens when a renewal is left out.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use typha_tls::listener::TyphaConnection;
use typha_tls::material::{Material, RevocationLists, TlsFiles};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, Reloaded, Reloader, SnapshotSource as _};
use typha_tls::snapshot::SnapshotParts;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, Purpose, TYPHA_COMMON_NAME, TestCa, TestClock, TestLeaf,
};
use typha_tls::verifier::{ChainPosition, Rejection};
use typha_tls::{
    AuthenticatedStream, FelixConnector, FelixSnapshot, HandshakeError, RequiredIdentity, TyphaAcceptor,
    TyphaListener, TyphaSnapshot,
};

use crate::held::{Held, bounded, follow, replaced};
use crate::recorded::{ExpiryWarnings, Warning};
use crate::whereabouts::Whereabouts;

const LIFETIME: u64 = 300;
const RENEWALS: u64 = 20;

type Stream = AuthenticatedStream<TcpStream>;
type Decision = Result<(), HandshakeError>;

/// Typha, which has its certificate in files, and Felix, which has it in memory.
struct Site {
    ca: TestCa,
    clock: TestClock,
    policy: TlsPolicy,
    files: TempDir,
    held: Held,
    typha: Reloader,
    felix: Reloader,
    connector: FelixConnector,
    address: std::net::SocketAddr,
    decisions: Whereabouts<Decision>,
    handshakes: Cell<u64>,
    handshake: Notify,
}

impl Site {
    async fn new() -> Self {
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
        let acceptor = TyphaAcceptor::new(TyphaSnapshot::from_parts(source.load().await.unwrap()).unwrap());
        let typha = follow(acceptor.snapshots(), source);
        let of_felix = felix_parts(&ca, &clock, &policy);
        let held = Held::new(of_felix.clone());
        let connector = FelixConnector::new(FelixSnapshot::from_parts(of_felix).unwrap());
        let felix = follow(connector.snapshots(), held.clone());

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
    async fn connect(&self) -> (Decision, Result<Stream, HandshakeError>) {
        let (tcp, decision) = self.decisions.connect(self.address).await;
        let felix = self.connector.connect_tcp(tcp).await;
        (decision.await.unwrap(), felix)
    }

    async fn good_connection(&self) -> Stream {
        match self.connect().await {
            (Ok(()), Ok(mut stream)) => {
                assert!(is_alive(&mut stream).await);
                stream
            }
            ends => panic!("{ends:?}"),
        }
    }

    /// Connects all the time while this goes on, and never fails.
    async fn under_load(&self, what: impl Future<Output = ()>) {
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
    async fn everybody_connects(&self) {
        let enough = self.handshakes.get() + 2 * WORKERS;
        while self.handshakes.get() < enough {
            self.handshake.notified().await;
        }
    }

    async fn renew_typha(&self, generation: u64) {
        write_leaf(&self.files, &leaf(&self.ca, &self.clock, TYPHA_COMMON_NAME));
        replaced(&self.typha, generation).await;
    }

    async fn renew_felix(&self, generation: u64) {
        self.held.set(felix_parts(&self.ca, &self.clock, &self.policy));
        replaced(&self.felix, generation).await;
    }

    /// Both have looked at what expires when it returns.
    async fn look(&self) {
        for reloader in [&self.typha, &self.felix] {
            // They look at it after each answer, and so before the second one.
            for _ in 0..2 {
                assert_eq!(reloader.reload_now().await.unwrap(), Reloaded::Unchanged);
            }
        }
    }

    fn assert_state(&self, reloads: u64) {
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

fn felix_parts(ca: &TestCa, clock: &TestClock, policy: &TlsPolicy) -> SnapshotParts {
    let material = Material {
        trust_bundle: ca.trust_bundle().unwrap(),
        credentials: leaf(ca, clock, FELIX_COMMON_NAME).credentials(policy.provider()).unwrap(),
        revocation_lists: RevocationLists::none(),
    };
    let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
    SnapshotParts::new(material, required, policy.clone())
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

async fn echo(mut connection: TyphaConnection) {
    while let Ok(byte) = connection.read_u8().await {
        if connection.write_u8(byte).await.is_err() {
            return;
        }
    }
}

async fn is_alive(stream: &mut Stream) -> bool {
    stream.write_u8(7).await.is_ok() && stream.read_u8().await.is_ok_and(|byte| byte == 7)
}

fn warning(name: &str, message: &str) -> Warning {
    let subject = format!("CN=\"{name}\"");
    ("own_leaf".to_owned(), subject.clone(), format!("our certificate {subject} {message}"))
}

/// Both ends warn of their own leaf in these words.
fn assert_warned(found: Vec<Warning>, message: &str) {
    assert_eq!(found.len(), 2, "{found:?}");
    for ((kind, subject, text), name) in found.into_iter().zip([FELIX_COMMON_NAME, TYPHA_COMMON_NAME]) {
        let (expected_kind, expected_subject, expected_text) = warning(name, message);
        assert_eq!((kind, subject), (expected_kind, expected_subject));
        assert!(text.starts_with(&expected_text), "{text}");
    }
}

fn assert_expired(error: &HandshakeError, name: &str, end: UnixTime) {
    let expected = Rejection::Expired {
        position: ChainPosition::Leaf,
        subject: format!("CN=\"{name}\""),
        not_after: end,
        now: UnixTime::since_unix_epoch(Duration::from_secs(end.as_secs() + 1)),
    };
    assert_eq!(error.rejection(), Some(&expected));
}

#[tokio::test]
async fn leaves_of_five_minutes_are_renewed_under_load() {
    let (warnings, _guard) = ExpiryWarnings::record();
    let site = Site::new().await;
    let mut from_before = Vec::new();
    let renewing = async {
        for renewal in 1..=RENEWALS {
            from_before.push(site.good_connection().await);
            // Two thirds of the lifetime.
            for _ in 0..5 {
                site.everybody_connects().await;
                site.clock.advance(Duration::from_secs(LIFETIME * 2 / 3 / 5));
            }
            site.everybody_connects().await;
            if renewal % 2 == 0 {
                site.renew_typha(renewal + 1).await;
                site.everybody_connects().await;
                site.renew_felix(renewal + 1).await;
            } else {
                site.renew_felix(renewal + 1).await;
                site.everybody_connects().await;
                site.renew_typha(renewal + 1).await;
            }
        }
        site.everybody_connects().await;
    };
    site.under_load(renewing).await;
    for stream in &mut from_before {
        assert!(bounded(is_alive(stream)).await);
    }
    site.assert_state(RENEWALS);

    // Renewed in time, nobody was warned.
    site.look().await;
    assert_eq!(warnings.take(), []);

    // One renewal is left out.
    let end = site.clock.now().as_secs() + LIFETIME;
    let left = |seconds: u64| site.clock.set(UnixTime::since_unix_epoch(Duration::from_secs(end - seconds)));
    let waiting = async {
        for (from, to) in [(100, 51), (50, 26), (25, 0)] {
            left(from + 1);
            site.look().await;
            assert_eq!(warnings.take(), []);
            for seconds in [from, from - 1, to] {
                left(seconds);
                site.look().await;
                site.everybody_connects().await;
                match seconds == from {
                    true => assert_warned(warnings.take(), &format!("expires in {from} seconds, at ")),
                    false => assert_eq!(warnings.take(), [], "{seconds}"),
                }
            }
        }
    };
    site.under_load(waiting).await;

    // The first second in which nobody gets in.
    site.clock.advance(Duration::from_secs(1));
    site.look().await;
    assert_warned(warnings.take(), "expired 1 seconds ago, at ");
    let expired = Some(AlertDescription::CertificateExpired);
    let end = UnixTime::since_unix_epoch(Duration::from_secs(end));
    let (typha, felix) = bounded(site.connect()).await;
    assert_expired(&felix.unwrap_err(), TYPHA_COMMON_NAME, end);
    assert_eq!(typha.unwrap_err().alert(), expired);
    site.renew_typha(RENEWALS + 2).await;
    let (typha, felix) = bounded(site.connect()).await;
    assert_expired(&typha.unwrap_err(), FELIX_COMMON_NAME, end);
    assert_eq!(felix.unwrap_err().alert(), expired);
    site.renew_felix(RENEWALS + 2).await;
    bounded(site.good_connection()).await;
    for stream in &mut from_before {
        assert!(bounded(is_alive(stream)).await);
    }
    site.look().await;
    assert_eq!(warnings.take(), []);
    site.assert_state(RENEWALS + 1);
    println!("{RENEWALS} renewals of both ends, {} handshakes, none failed", site.handshakes.get());
}
