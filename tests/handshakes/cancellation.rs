//! A handshake that is given up, at whatever point, leaves nothing behind and disturbs no other.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use typha_tls::{AcceptanceMode, AuthenticatedStream, FelixConnector, HandshakeError, Role, TyphaAcceptor};

use crate::hostile::{
    Client, Counted, Outcome, ROLES, RawPeer, VERSIONS, acceptor, acceptor_requiring, bounded, client_config,
    connector, pki,
};

/// Small, so that there are many points to give up at.
const PIPE: usize = 48;

/// Polls at most `limit` times, and then no more. Counts the polls.
async fn poll_at_most<F: Future + ?Sized>(
    mut future: Pin<&mut F>,
    limit: usize,
) -> (Option<F::Output>, usize) {
    let mut polls = 0;
    let output = poll_fn(|cx| {
        if polls < limit {
            polls += 1;
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if polls < limit { Poll::Pending } else { Poll::Ready(None) }
    })
    .await;
    (output, polls)
}

type CountedStream = AuthenticatedStream<Counted<DuplexStream>>;
type Handshake = Pin<Box<dyn Future<Output = Result<CountedStream, HandshakeError>>>>;

struct Pair {
    acceptor: TyphaAcceptor,
    client: Client,
}

impl Pair {
    /// Gives the handshake of `victim` up after so many polls, beside an honest one of the same acceptor. Returns what
    /// the victim and its peer see, and how often the victim was polled.
    async fn give_up(&self, victim: Role, limit: usize) -> (Option<Outcome>, Outcome, usize) {
        let alive = Arc::new(AtomicUsize::new(0));
        let (typha, felix) = duplex(PIPE);
        let (ours, theirs) = if victim == Role::Typha { (typha, felix) } else { (felix, typha) };
        let ours = Counted::new(ours, &alive);
        let mut handshake: Handshake = match victim {
            Role::Server | Role::Typha => Box::pin(self.acceptor.accept(ours)),
            Role::Client | Role::Felix => Box::pin(self.client.connect(ours)),
        };
        let ((outcome, polls), peer, others) = tokio::join!(
            async {
                let (output, polls) = poll_at_most(handshake.as_mut(), limit).await;
                drop(handshake);
                (output.map(Outcome::of), polls)
            },
            async {
                match victim {
                    Role::Server | Role::Typha => Outcome::of(self.client.connect(theirs).await),
                    Role::Client | Role::Felix => Outcome::of(self.acceptor.accept(theirs).await),
                }
            },
            self.undisturbed(),
        );
        assert_eq!(others, (Outcome::ACCEPTED, Outcome::ACCEPTED));
        assert_eq!(alive.load(Ordering::SeqCst), 0, "the connection outlives the handshake");
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "a task outlives the handshake");
        (outcome, peer, polls)
    }

    async fn undisturbed(&self) -> (Outcome, Outcome) {
        let (typha, felix) = duplex(PIPE);
        tokio::join!(async { Outcome::of(self.acceptor.accept(typha).await) }, async {
            Outcome::of(self.client.connect(felix).await)
        },)
    }
}

#[test]
fn given_up_after_every_poll() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            for victim in ROLES {
                let pair = Pair {
                    acceptor: acceptor(&pki, version),
                    client: Client::new(victim, &pki, version).with_acceptance(AcceptanceMode::Required),
                };
                let (outcome, peer, polls) = pair.give_up(victim, usize::MAX).await;
                assert_eq!((outcome, peer), (Some(Outcome::ACCEPTED), Outcome::ACCEPTED));
                assert!(polls > 20, "{polls} polls are too few to show anything");
                for limit in 0..polls {
                    let (outcome, peer, _) = pair.give_up(victim, limit).await;
                    assert_eq!(outcome, None);
                    let gone = matches!(peer, Outcome::Closed(_) | Outcome::Io(ErrorKind::BrokenPipe));
                    assert!(gone, "{victim} {:?} after {limit} of {polls} polls: {peer:?}", version.version);
                }
            }
        }
    });
}

#[test]
fn given_up_while_a_refused_peer_is_listened_to() {
    bounded(|| async {
        let pki = pki();
        for version in VERSIONS {
            let alive = Arc::new(AtomicUsize::new(0));
            let (typha, felix) = duplex(64 * 1024);
            let acceptor = acceptor_requiring(&pki, "someone-else", version);
            let accept = acceptor.accept(Counted::new(typha, &alive));
            let mut client = RawPeer::client(client_config(Some(&pki.felix), version), felix);
            // Refused and told so, but not gone: `client` keeps its end open.
            let (given_up, heard) =
                tokio::join!(timeout(Duration::from_millis(500), accept), client.refusal());
            assert!(given_up.is_err(), "{given_up:?}");
            let alert = rustls::AlertDescription::AccessDenied;
            assert_eq!(heard.unwrap(), rustls::Error::AlertReceived(alert));
            assert_eq!(alive.load(Ordering::SeqCst), 0);
        }
    });
}

#[test]
fn an_aborted_task_closes_its_connection() {
    bounded(|| async {
        let pki = pki();
        let alive = Arc::new(AtomicUsize::new(0));
        let acceptor = acceptor(&pki, VERSIONS[0]);
        let (typha, mut felix) = duplex(PIPE);
        let task = tokio::spawn(acceptor.accept(Counted::new(typha, &alive)));
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        let read = tokio::io::AsyncReadExt::read(&mut felix, &mut [0]).await;
        assert_eq!(read.unwrap(), 0);
    });
}

/// Not run: it compiles if handshakes and streams can be moved to tasks.
#[expect(dead_code, reason = "compiling it is the test")]
fn can_be_spawned(acceptor: &TyphaAcceptor, connector: &FelixConnector, [one, two]: [TcpStream; 2]) {
    fn spawn<T: Send + 'static>(_: impl Future<Output = T> + Send + 'static) {}
    let (typha, felix) = duplex(1);
    spawn(acceptor.accept(typha));
    spawn(acceptor.accept_tcp(one));
    spawn(connector.connect(felix));
    spawn(connector.connect_tcp(two));
}

/// Each `async` that owns the next one's future doubles it, and a task that holds a connection keeps room for all that
/// it ever awaited: what is large is behind a pointer, and the handshake's state goes with the handshake.
#[tokio::test]
async fn what_a_task_holds_is_small() {
    let pki = pki();
    let (typha, felix) = duplex(64 * 1024);
    let (acceptor, connector) = (acceptor(&pki, &TLS13), connector(&pki, &TLS13));
    let (mut accept, mut connect) = (None, None);
    let in_typha = allocation_counter::measure(|| accept = Some(acceptor.accept(typha)));
    let in_felix = allocation_counter::measure(|| connect = Some(connector.connect(felix)));
    let (accept, connect) = (accept.unwrap(), connect.unwrap());
    assert_eq!((size_of_val(&accept), size_of_val(&connect)), (size_of::<usize>(), size_of::<usize>()));
    assert!(in_typha.bytes_current < 8 * 1024, "{}", in_typha.bytes_current);
    assert!(in_felix.bytes_current < 8 * 1024, "{}", in_felix.bytes_current);

    let (typha, felix) = tokio::join!(accept, connect);
    let typha = typha.unwrap();
    assert!(size_of_val(&typha) <= 128, "{}", size_of_val(&typha));
    let held = -allocation_counter::measure(|| drop(typha)).bytes_current;
    // Of which 4 KiB are rustls's buffer.
    assert!(held < 8 * 1024, "{held}");
    drop(felix);
}
