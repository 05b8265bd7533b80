//! The dialer on real sockets: every kind of failing Typha, the error that reports it, and that no connection is left
//! behind. The order and the times of the attempts are tested beside its code, with a paused clock.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use typha_tls::Connection;
use typha_tls::dialer::{
    AttemptError, DialError, DialerLimits, DiscoveryError, DnsEndpoints, EndpointSource, FelixDialer,
    TyphaEndpoint,
};
use typha_tls::stream::Acceptance;
use typha_tls::testing::{TYPHA_COMMON_NAME, TestPki};
use typha_tls::{HandshakeError, TyphaAcceptor};

use crate::dialing::{Typha, closed, expired_connector, impostor, refusing, silent};

/// Far beyond what any of it takes.
const LONG: Duration = Duration::from_secs(60);

fn one_round() -> DialerLimits {
    let mut limits = DialerLimits::default();
    limits.max_rounds = Some(1);
    limits
}

/// The port that Typha greets with.
async fn greeting(connection: &mut Connection) -> u16 {
    connection.read_u16().await.unwrap()
}

#[tokio::test]
async fn connects_and_talks() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    for with_message in [false, true] {
        let connector = pki.connector().unwrap();
        let connector =
            if with_message { connector.with_first_message(*b"hello").unwrap() } else { connector };
        let mut connection = FelixDialer::new(connector, vec![typha.address]).connect().await.unwrap();
        assert_eq!(connection.peer_address(), typha.address);
        assert_eq!(connection.peer().identity().common_name(), Some(TYPHA_COMMON_NAME));
        assert_eq!((connection.acceptance(), connection.tls().version()), (Acceptance::Confirmed, "1.3"));
        assert_eq!(greeting(&mut connection).await, typha.address.port());
        if !with_message {
            connection.write_all(b"hello").await.unwrap();
        }
        let mut echo = [0; 5];
        connection.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
        connection.shutdown().await.unwrap();
        assert_eq!(connection.read(&mut echo).await.unwrap(), 0);
    }
    assert_eq!(typha.outcomes(2).await, ["accepted", "accepted"]);
}

/// One of each kind of Typha that fails.
struct Failing {
    closed: (TcpSocket, SocketAddr),
    silent: (TcpListener, SocketAddr),
    plain: SocketAddr,
    refusing: Typha,
    impostor: Typha,
}

impl Failing {
    async fn start(pki: &TestPki) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
            tcp.shutdown().await.unwrap();
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        });
        Self {
            closed: closed(),
            silent: silent().await,
            plain,
            refusing: Typha::start(refusing(pki)).await,
            impostor: Typha::start(impostor(pki)).await,
        }
    }

    fn addresses(&self) -> [SocketAddr; 5] {
        [self.closed.1, self.silent.1, self.plain, self.refusing.address, self.impostor.address]
    }

    /// The outcomes at the Typhas, with one attempt on each.
    async fn assert_outcomes(&self) {
        assert_eq!(self.refusing.outcomes(1).await, ["identity_mismatch"]);
        assert_eq!(self.impostor.outcomes(1).await, ["refused_by_peer"]);
    }
}

#[tokio::test]
async fn every_typha_is_in_the_error_with_its_reason() {
    let pki = TestPki::new().unwrap();
    let failing = Failing::start(&pki).await;
    let mut limits = one_round();
    limits.attempt_timeout = Duration::from_millis(700);
    let source = Vec::from_iter(failing.addresses());
    let error =
        FelixDialer::new(pki.connector().unwrap(), source).with_limits(limits).connect().await.unwrap_err();
    assert!(matches!(error, DialError::TriesUsedUp { .. }) && !error.is_own_fault(), "{error:?}");
    assert_eq!(error.attempts().len(), 5);
    let by_address: BTreeMap<_, _> =
        error.attempts().iter().map(|attempt| (attempt.endpoint.address, &*attempt.error)).collect();
    for (address, reason) in failing.addresses().into_iter().zip([
        "dial",
        "timed_out",
        "not_tls",
        "refused_by_peer",
        "identity_mismatch",
    ]) {
        let attempt = by_address[&address];
        assert_eq!(attempt.label(), reason);
        let described = format!("{address}: {}", typha_tls::error::WithCauses(attempt));
        assert!(error.to_string().contains(&described), "{described} is not in {error}");
    }
    assert!(matches!(
        by_address[&failing.closed.1],
        AttemptError::Dial(error) if error.kind() == std::io::ErrorKind::ConnectionRefused
    ));
    assert!(
        matches!(by_address[&failing.refusing.address], AttemptError::Handshake(HandshakeError::RefusedByPeer { alert })
        if *alert == rustls::AlertDescription::AccessDenied)
    );
    assert!(
        matches!(by_address[&failing.silent.1], AttemptError::Handshake(HandshakeError::TimedOut { after, .. })
        if *after == Duration::from_millis(700))
    );
    failing.assert_outcomes().await;
}

/// Returns a Typha only after this number of queries.
struct Late(Vec<SocketAddr>, SocketAddr, AtomicUsize);

impl EndpointSource for Late {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        let mut found: Vec<TyphaEndpoint> = self.0.iter().copied().map(Into::into).collect();
        // Once before the first attempt, and after each that failed.
        if self.2.fetch_add(1, SeqCst) >= self.0.len() {
            found.push(self.1.into());
        }
        Ok(found)
    }
}

#[tokio::test]
async fn all_that_fail_are_passed_over() {
    let pki = TestPki::new().unwrap();
    let (failing, good) = (Failing::start(&pki).await, Typha::start(pki.acceptor().unwrap()).await);
    let mut limits = one_round();
    limits.attempt_timeout = Duration::from_millis(700);
    let source = Late(failing.addresses().to_vec(), good.address, AtomicUsize::new(0));
    let dialer = FelixDialer::new(pki.connector().unwrap(), source).with_limits(limits);
    let mut connection = dialer.connect().await.unwrap();
    assert_eq!(greeting(&mut connection).await, good.address.port());
    failing.assert_outcomes().await;
    // The others have failed, and are not tried again.
    assert_eq!(dialer.connect().await.unwrap().peer_address(), good.address);
    assert_eq!(good.outcomes(2).await, ["accepted", "accepted"]);
    failing.assert_outcomes().await;
}

#[tokio::test]
async fn the_typha_of_our_node_unless_it_is_bad() {
    let pki = TestPki::new().unwrap();
    let (own, other) =
        (Typha::start(pki.acceptor().unwrap()).await, Typha::start(pki.acceptor().unwrap()).await);
    let (on_own, on_other) = (
        TyphaEndpoint::new(own.address).on_node("node-1"),
        TyphaEndpoint::new(other.address).on_node("node-2"),
    );
    let source = vec![on_own.clone(), on_other.clone()];
    let dialer = FelixDialer::new(pki.connector().unwrap(), source).with_node_name("node-1");
    for _ in 0..8 {
        assert_eq!(dialer.connect().await.unwrap().peer_address(), own.address);
    }
    // A clone knows it too.
    dialer.clone().report_bad(own.address);
    for _ in 0..8 {
        assert_eq!(dialer.connect().await.unwrap().peer_address(), on_other.address);
    }
    drop(other);
    assert_eq!(dialer.connect().await.unwrap().peer_address(), own.address, "a bad one is better than none");
}

#[tokio::test]
async fn our_own_expired_certificate_is_said_after_one_refusal() {
    let pki = TestPki::new().unwrap();
    let mut typhas = Vec::new();
    for _ in 0..3 {
        typhas.push(Typha::start(pki.acceptor().unwrap()).await);
    }
    let source = Vec::from_iter(typhas.iter().map(|typha| typha.address));
    let error = FelixDialer::new(expired_connector(&pki), source).connect().await.unwrap_err();
    assert!(error.is_own_fault());
    let DialError::OwnCertificate { certificate, not_before, not_after, attempts } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(certificate.common_name(), Some("typha-client"));
    assert_eq!(not_after.as_secs() - not_before.as_secs(), 3600);
    assert_eq!(attempts.len(), 1);
    let refused_by = typhas.iter().find(|typha| typha.address == attempts[0].endpoint.address).unwrap();
    assert_eq!(refused_by.outcomes(1).await, ["expired"]);
    for typha in &typhas {
        assert!(typha.address == refused_by.address || typha.outcomes(0).await.is_empty());
    }
}

#[tokio::test]
async fn names_are_looked_up() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let name = format!("localhost:{}", typha.address.port());
    let nobody = closed();
    let source = DnsEndpoints::several([nobody.1.to_string(), name]).unwrap();
    // localhost may be an address of version 6 too, which nobody listens on.
    let connection = FelixDialer::new(pki.connector().unwrap(), source).connect().await.unwrap();
    assert_eq!(connection.peer_address(), typha.address);
    assert!(DnsEndpoints::new("typha.example").is_err());
}

/// A listener whose queue is full answers no SYN: the nearest to a black hole that loopback has.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_black_hole_costs_a_head_start() {
    use socket2::{Domain, Socket, Type};

    let pki = TestPki::new().unwrap();
    let good = Typha::start(pki.acceptor().unwrap()).await;
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(tcp)) = timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        queued.push(tcp);
        assert!(queued.len() < 100, "the queue does not get full");
    }
    let found = [TyphaEndpoint::new(address).on_node("own"), TyphaEndpoint::new(good.address)];
    let dialer = FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(found)).with_node_name("own");
    let began = Instant::now();
    let connection = dialer.connect().await.unwrap();
    let took = began.elapsed();
    assert_eq!(connection.peer_address(), good.address);
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
}

/// Polls a `connect` at most so often, then drops it. Returns whether it ended by itself.
async fn give_up_after(dialer: &FelixDialer, limit: usize) -> bool {
    let mut connecting = pin!(dialer.connect());
    let mut polls = 0;
    poll_fn(|cx| {
        if polls < limit {
            polls += 1;
            if connecting.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
        }
        if polls < limit { Poll::Pending } else { Poll::Ready(false) }
    })
    .await
}

#[tokio::test]
async fn given_up_after_every_poll() {
    let pki = TestPki::new().unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (mut limit, mut ended) = (0, false);
    while !ended {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = closed();
        let found = [nobody.1, listener.local_addr().unwrap()];
        let dialer =
            FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(found)).with_limits(one_round());
        let (alive, stop) = (AtomicUsize::new(0), tokio::sync::Notify::new());
        let acceptor: TyphaAcceptor = pki.acceptor().unwrap();
        let serve = async {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        alive.fetch_add(1, SeqCst);
                        if let Ok(mut stream) = acceptor.accept_tcp(accepted.unwrap().0).await {
                            // Until Felix is gone.
                            let _ = stream.read(&mut [0]).await;
                        }
                        alive.fetch_sub(1, SeqCst);
                    }
                    () = stop.notified() => return,
                }
            }
        };
        let felix = async {
            ended = give_up_after(&dialer, limit).await;
            stop.notify_one();
        };
        // Typha's end comes to its end only if every socket of Felix is closed.
        timeout(LONG, async { tokio::join!(serve, felix) }).await.expect("a connection outlives its dialer");
        assert_eq!((alive.load(SeqCst), tasks()), (0, before), "after {limit} polls");
        limit += 1;
    }
    assert!(limit > 4, "{limit} polls are too few to show anything");
}

/// Not run: it compiles if a `connect` can be moved to a task.
#[expect(dead_code, reason = "compiling it is the test")]
fn can_be_spawned(dialer: &FelixDialer) {
    tokio::spawn(dialer.connect());
}
