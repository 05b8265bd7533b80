//! Accepting TCP connections, whatever happens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::client_hello;
use super::connection::TyphaConnection;
use super::incoming::{Incoming, shed};
use super::place::Place;
use super::shared::Shared;
use super::shed::ShedCause;
use crate::tcp;

/// The pause after an error that lasts, running out of descriptors most often. It grows to the longest, which is short
/// enough to be back within a second and long enough to cost nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const TOLD_INTERVAL: Duration = Duration::from_secs(10);

/// Errors about single connections in a row that are taken for what they seem.
const PATIENCE: u32 = 64;

/// Silent connections that make room for others when there are no descriptors left.
const SHED_AT_A_TIME: usize = 16;

/// Accepts connections until the listener is stopped, and closes the socket.
pub(super) async fn accept_all(
    shared: Arc<Shared>,
    listener: TcpListener,
    owners: mpsc::Sender<TyphaConnection>,
) {
    let mut stopped = std::pin::pin!(shared.stop.cancelled());
    let mut trouble = Trouble::default();
    let mut shedding = Shedding::default();
    loop {
        let incoming = tokio::select! {
            biased;
            () = &mut stopped => return,
            incoming = listener.accept() => incoming,
        };
        let (tcp, mut peer_address) = match incoming {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counters.accept_error();
                let pause = trouble.pause(&error);
                // Those that have just come have not been looked at: in the first pause they are.
                if is_out_of_descriptors(&error) && trouble.in_a_row > 1 {
                    shared.admission.shed_silent(SHED_AT_A_TIME);
                }
                let Some(pause) = pause else { continue };
                tokio::select! {
                    () = &mut stopped => return,
                    () = sleep(pause) => continue,
                }
            }
        };
        trouble.over();
        peer_address.set_ip(peer_address.ip().to_canonical());
        let since = Instant::now();
        let place = match Place::take(&shared.admission, peer_address.ip(), since) {
            Ok(place) => place,
            Err(cause) => {
                shed(&shared, tcp, peer_address, cause);
                let Some(pause) = shedding.pause(cause, since) else { continue };
                tokio::select! {
                    () = &mut stopped => return,
                    () = sleep(pause) => continue,
                }
            }
        };
        if let Err(error) = tcp::configure_accepted(&tcp, shared.acceptor.keepalive()) {
            // It is gone already.
            tracing::debug!(%peer_address, %error, "a connection can not be set up");
            continue;
        }
        // Who has waited in the system's queue has spoken meanwhile, and must not be taken for silent until its task
        // runs.
        let arrived = client_hello::has_arrived(&tcp);
        if arrived {
            place.line_up();
        }
        shared.gauge();
        let incoming = Incoming { shared: shared.clone(), tcp, peer_address, place, since, arrived };
        shared.tasks.spawn(incoming.run(owners.clone()));
    }
}

/// Shedding costs an eighth of a handshake. With twice as many connections as can be served, that would be a tenth of
/// what can be: so some are left in the system's queue, which costs nothing. There they wait for 4 s at most, since a
/// full queue of 4096 is shed in that time.
const SHED_IN_A_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_millis(10);

/// How fast connections are shed that find the queue full.
#[derive(Default)]
struct Shedding {
    window: Option<Instant>,
    shed: u32,
}

impl Shedding {
    /// One was shed. How long to accept none, if it was one too many. Those that have gone beyond the share of their
    /// address do not count: one address must not slow down what comes from the others.
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

/// Errors of `accept()` in a row.
#[derive(Default)]
struct Trouble {
    /// When it was logged last. At the limit of descriptors, trouble comes and goes.
    told: Option<Instant>,
    pause: Duration,
    in_a_row: u32,
}

impl Trouble {
    /// How long to wait before the next try. `None` if the error is about a connection that is gone.
    fn pause(&mut self, error: &io::Error) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if is_about_one_connection(error) && self.in_a_row <= PATIENCE {
            return None;
        }
        let now = Instant::now();
        if self.told.is_none_or(|told| now >= told + TOLD_INTERVAL) {
            self.told = Some(now);
            warn!(%error, "connections can not be accepted; trying again");
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Some(self.pause)
    }

    fn over(&mut self) {
        *self = Self { told: self.told, ..Self::default() };
    }
}

/// What Linux reports of a connection that failed before it was accepted; accept(2) says to go on.
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
        // Another window, from when it is needed.
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
