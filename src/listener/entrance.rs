//! The path of each connection, from `accept()` to its owner.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::admission::Admission;
use super::client_hello::{ClientHello, NoClientHello};
use super::limits::ShedCause;
use super::permit::Permit;
use super::stats::Counters;
use crate::acceptor::TyphaAcceptor;
use crate::connection::Connection;
use crate::error::{HandshakeError, HandshakePhase};
use crate::events;
use crate::handshake::{Failed, deliver_alert, drain};
use crate::lifetime::Connections;
use crate::role::Role;
use crate::stream::SharedTcpStream;
use crate::tcp;
use crate::time::deadline_in;

/// Accepts connections and performs their handshakes.
pub(super) struct Entrance {
    pub(super) acceptor: TyphaAcceptor,
    pub(super) admission: Arc<Admission>,
    pub(super) counters: Arc<Counters>,
    pub(super) observer: Option<Observer<FailedHandshake>>,
    /// The accepted connections.
    pub(super) connections: Arc<Connections>,
    /// Connections that wait to be taken by `accept()` of the listener.
    pub(super) untaken: Mutex<mpsc::Receiver<Connection>>,
    /// The tasks that accept, perform handshakes and rebalance. All end at once after `stop`.
    pub(super) tasks: TaskTracker,
    /// Cancelled when no further connection is accepted.
    pub(super) stop: CancellationToken,
}

/// A handshake that did not lead to a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedHandshake {
    /// The peer's address.
    pub peer_address: SocketAddr,
    /// Why there is no connection.
    pub error: HandshakeError,
    /// Time from `accept()` to the failure. The peer has up to 1 s more to read our alert.
    pub took: Duration,
}

/// A function of the program that is called with each event. If it panics, only this call fails.
pub(super) struct Observer<T>(pub(super) Box<dyn Fn(T) + Send + Sync>);

impl<T> Observer<T> {
    pub(super) fn call(&self, event: T) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(event))).is_err() {
            error!("an observer of the listener panicked");
        }
    }
}

/// Pauses between tries while `accept()` keeps failing, most often because descriptors ran out. They double up to 500
/// ms: short enough to recover within a second, long enough to cost nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Consecutive errors about single connections that cause no pause. More of them count as an error of the listener.
const PATIENCE: u32 = 64;

/// Silent connections that are shed at a time when there are no descriptors left.
const SHED_AT_A_TIME: usize = 16;

/// A connection may wait in line for the handshake timeout divided by this; the rest is left for the handshake.
const LONGEST_LINE: u32 = 4;

impl Entrance {
    /// Ends everything but the connections in service.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        self.admission.close();
    }

    pub(super) fn untaken(&self) -> MutexGuard<'_, mpsc::Receiver<Connection>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that nobody has taken. No more are taken after this; dropping these closes them.
    pub(super) fn end_untaken(&self) -> Vec<Connection> {
        let mut untaken = self.untaken();
        untaken.close();
        std::iter::from_fn(|| untaken.try_recv().ok()).collect()
    }

    /// Accepts connections until the listener is stopped, then closes the socket.
    pub(super) async fn accept_all(self: Arc<Self>, listener: TcpListener, owners: mpsc::Sender<Connection>) {
        let mut stopped = std::pin::pin!(self.stop.cancelled());
        let mut trouble = Trouble::default();
        let mut shedding = Shedding::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => return,
                accepted = listener.accept() => accepted,
            };
            let pause = match accepted {
                Ok((tcp, peer_address)) => {
                    trouble.over();
                    self.let_in(tcp, peer_address, &owners)
                        .and_then(|cause| shedding.pause(cause, Instant::now()))
                }
                Err(error) => {
                    self.counters.accept_error();
                    let pause = trouble.pause(&error);
                    // New connections may not be read yet. The first pause gives them time; so none are shed at the
                    // first error.
                    if is_out_of_descriptors(&error) && trouble.in_a_row > 1 {
                        self.admission.shed_silent(SHED_AT_A_TIME);
                    }
                    pause
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = &mut stopped => return,
                    () = sleep(pause) => {}
                }
            }
        }
    }

    /// Starts the task of a connection, or sheds it and returns the cause.
    fn let_in(
        self: &Arc<Self>,
        tcp: TcpStream,
        mut peer_address: SocketAddr,
        owners: &mpsc::Sender<Connection>,
    ) -> Option<ShedCause> {
        peer_address.set_ip(peer_address.ip().to_canonical());
        let came = Instant::now();
        let permit = match Permit::enter(&self.admission, peer_address.ip(), came) {
            Ok(permit) => permit,
            Err(cause) => {
                self.shed_waiting(tcp, peer_address, cause);
                return Some(cause);
            }
        };
        if let Err(error) = tcp::configure_accepted(&tcp, self.acceptor.keepalive()) {
            // The connection has already ended.
            debug!(%peer_address, %error, "a connection can not be set up");
            return None;
        }
        // A peer that waited in the system's queue has already sent its message. It must not count as silent until its
        // task runs.
        let mut hello = ClientHello::default();
        let arrived = hello.receive(&tcp).ok();
        if let Some(Ok(())) = arrived {
            permit.line_up();
        }
        let (entrance, owners) = (self.clone(), owners.clone());
        self.tasks.spawn(async move {
            entrance.serve(Arrival { tcp, peer_address, came, hello, arrived }, permit, owners).await;
        });
        None
    }

    /// Passes a connection to its owner, or closes it. In both cases it gives up the permit.
    async fn serve(&self, arrival: Arrival, permit: Permit, owners: mpsc::Sender<Connection>) {
        let Arrival { mut tcp, peer_address, came, mut hello, arrived } = arrival;
        let timeout = self.acceptor.handshake_timeout();
        let deadline = deadline_in(timeout);
        let arrived = match arrived {
            Some(arrived) => arrived,
            None => {
                let arrived = tokio::select! {
                    biased;
                    cause = permit.shed() => return self.shed_waiting(tcp, peer_address, cause),
                    arrived = timeout_at(deadline, hello.arrival(&tcp)) => arrived,
                };
                arrived.unwrap_or_else(|_| {
                    let phase = match hello.has_begun() {
                        true => HandshakePhase::Negotiating,
                        false => HandshakePhase::AwaitingFirstByte,
                    };
                    Err(NoClientHello::Failed(HandshakeError::TimedOut { phase, after: timeout }, None))
                })
            }
        };
        match arrived {
            Ok(()) => permit.line_up(),
            Err(NoClientHello::Probe) => {
                drop(tcp);
                debug!(%peer_address, "a connection ended without having sent a byte: a probe");
                return self.counters.probed();
            }
            Err(NoClientHello::Failed(error, alert)) => {
                events::refused(Role::Typha, peer_address, &error);
                self.failed(peer_address, error, came);
                // The peer keeps its place in the queue until it has the alert, but it has no handshake.
                let farewell = async {
                    if let Some(alert) = alert
                        && tcp.write_all(&alert_record(alert)).await.is_ok()
                    {
                        drain(&mut tcp, deadline).await;
                    }
                };
                tokio::select! {
                    biased;
                    _ = permit.shed() => {}
                    _ = timeout_at(deadline, farewell) => {}
                }
                return tcp::close_in_order(tcp);
            }
        }
        if let Err(cause) = permit.started(deadline_in(timeout / LONGEST_LINE).min(deadline)).await {
            return self.shed_waiting(tcp, peer_address, cause);
        }
        let (stream, received) = (SharedTcpStream::new(tcp), hello.into_bytes());
        let handshake =
            permit.measured(self.acceptor.accept_prepared(stream, received, peer_address, deadline));
        let outcome = tokio::select! {
            biased;
            outcome = handshake => Ok(outcome),
            cause = permit.shed() => Err(cause),
        };
        let pause = match outcome {
            Ok(Ok(stream)) => {
                // The permit is kept while the connection waits: a program that takes no connections gets no further
                // handshakes.
                let owner = tokio::select! {
                    biased;
                    // A complete handshake is not shed for having stalled.
                    cause = permit.shut_down() => return self.shed(peer_address, cause),
                    owner = owners.reserve() => owner,
                };
                let Ok(owner) = owner else { return self.shed(peer_address, ShedCause::ShuttingDown) };
                self.counters.accepted(stream.peer().matched_by(), came.elapsed());
                owner.send(Connection::new(stream, peer_address, self.connections.clone()));
                // Nobody takes it any more, if that began since the place was reserved.
                if self.untaken().is_closed() {
                    drop(self.end_untaken());
                }
                return permit.succeeded();
            }
            Ok(Err(Failed { error, alerted })) => {
                self.failed(peer_address, error, came);
                let delivery = permit.measured(Box::pin(deliver_alert(alerted, deadline)));
                tokio::select! {
                    biased;
                    _ = permit.shed() => {}
                    () = delivery => {}
                }
                permit.failed()
            }
            Err(cause) => {
                self.shed(peer_address, cause);
                permit.failed()
            }
        };
        tokio::select! {
            () = pause => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Closes a connection that gets no handshake.
    fn shed_waiting(&self, tcp: TcpStream, peer_address: SocketAddr, cause: ShedCause) {
        match cause {
            // Too many connections wait. A reset informs the peer at once, and the system keeps no state.
            ShedCause::OutOfDescriptors | ShedCause::QueueFull | ShedCause::ShareFull => {
                tcp::set_reset_on_close(&tcp, true);
                drop(tcp);
            }
            _ => tcp::close_in_order(tcp),
        }
        self.shed(peer_address, cause);
    }

    fn shed(&self, peer_address: SocketAddr, cause: ShedCause) {
        debug!(%peer_address, %cause, "a connection was shed");
        self.counters.shed(cause);
    }

    fn failed(&self, peer_address: SocketAddr, error: HandshakeError, came: Instant) {
        self.counters.not_accepted(&error);
        if let Some(observer) = &self.observer {
            observer.call(FailedHandshake { peer_address, error, took: came.elapsed() });
        }
    }
}

/// An accepted TCP connection.
struct Arrival {
    tcp: TcpStream,
    peer_address: SocketAddr,
    came: Instant,
    hello: ClientHello,
    /// The outcome of waiting for the ClientHello; `None` if it must still be waited for.
    arrived: Option<Result<(), NoClientHello>>,
}

/// An alert in plain text (RFC 8446 sections 5.1 and 6).
fn alert_record(alert: AlertDescription) -> [u8; 7] {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    [ALERT, 3, 3, 0, 2, FATAL, alert.into()]
}

/// Shedding costs an eighth of a handshake. With twice as many connections as the listener can serve, shedding would
/// take a tenth of its capacity. So some stay in the system's queue, which costs nothing. They wait there for 4 s at
/// most, since a full queue of 4096 is shed in that time.
const SHED_IN_A_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_millis(10);

/// Limits the pace of shedding when the queue is full.
#[derive(Default)]
struct Shedding {
    window: Option<Instant>,
    shed: u32,
}

impl Shedding {
    /// Counts a shed connection. Returns how long to accept none, if too many were shed. Connections beyond the share
    /// of their address do not count: one address must not delay the connections of the others.
    fn pause(&mut self, cause: ShedCause, now: Instant) -> Option<Duration> {
        if cause == ShedCause::ShareFull {
            return None;
        }
        let began = match self.window {
            Some(began) if now < began + WINDOW => began,
            _ => {
                self.shed = 0;
                *self.window.insert(now)
            }
        };
        self.shed += 1;
        (self.shed >= SHED_IN_A_WINDOW).then(|| began + WINDOW - now)
    }
}

/// Consecutive errors of `accept()`.
#[derive(Default)]
struct Trouble {
    /// When an error was last logged. It survives a success, because errors come and go at the limit of descriptors.
    logged: Option<Instant>,
    pause: Duration,
    in_a_row: u32,
}

impl Trouble {
    /// How long to wait before the next try. `None` if the error is about a single connection that has ended.
    fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if is_about_one_connection(error) && self.in_a_row <= PATIENCE {
            return None;
        }
        let now = Instant::now();
        if self.logged.is_none_or(|logged| now >= logged + LOG_INTERVAL) {
            self.logged = Some(now);
            warn!(%error, "connections can not be accepted; trying again");
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Some(self.pause)
    }

    fn over(&mut self) {
        *self = Self { logged: self.logged, ..Self::default() };
    }
}

/// Whether the error is about one connection that failed before it was accepted. accept(2) advises to try again.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;

    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
    )
}

#[cfg(unix)]
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;

    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
fn is_out_of_descriptors(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shedding_has_its_pace() {
        let (mut listener, began) = (Shedding::default(), Instant::now());
        let mut pause = |now| listener.pause(ShedCause::QueueFull, now);
        let at = |millis| began + Duration::from_millis(millis);
        assert!((0..9).all(|millis| pause(at(millis)).is_none()));
        assert_eq!(pause(at(9)), Some(Duration::from_millis(1)));
        // The next window begins with the next shed connection.
        assert!((10..19).all(|millis| pause(at(millis)).is_none()));
        assert_eq!(pause(at(19)), Some(Duration::from_millis(1)));
        assert!((0..9).all(|_| pause(at(100)).is_none()));
        assert_eq!(pause(at(100)), Some(WINDOW));
    }

    #[test]
    fn one_address_does_not_slow_down_the_others() {
        let (mut shedding, now) = (Shedding::default(), Instant::now());
        assert!((0..100).all(|_| shedding.pause(ShedCause::ShareFull, now).is_none()));
        assert!((0..9).all(|_| shedding.pause(ShedCause::ConnectionLimit, now).is_none()));
        assert!(shedding.pause(ShedCause::ConnectionLimit, now).is_some());
    }

    #[tokio::test]
    async fn errors_that_last_are_waited_out() {
        let mut trouble = Trouble::default();
        let out_of_descriptors = io::Error::from(io::ErrorKind::Other);
        let mut next = || trouble.pause(&out_of_descriptors).map(|pause| pause.as_millis());
        let pauses = [next(), next(), next(), next(), next(), next(), next(), next()];
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 500, 500].map(Some));
        trouble.over();
        assert_eq!(trouble.pause(&out_of_descriptors), Some(FIRST_PAUSE));
    }

    #[tokio::test]
    async fn errors_about_one_connection_are_passed_over() {
        let mut trouble = Trouble::default();
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert!((0..PATIENCE).all(|_| trouble.pause(&aborted).is_none()));
        assert_eq!(trouble.pause(&aborted), Some(FIRST_PAUSE));
        trouble.over();
        assert_eq!(trouble.pause(&aborted), None);
    }
}
