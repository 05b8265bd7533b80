//! The way of one connection, from `accept()` to its owner.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::client_hello::{self, Beginning};
use super::connection::TyphaConnection;
use super::place::Place;
use super::shared::Shared;
use super::shed::ShedCause;
use crate::error::{HandshakeError, HandshakePhase};
use crate::events;
use crate::role::Role;
use crate::tcp;
use crate::time::deadline_in;

/// Part of the bound on a handshake that may pass in line: enough of it must be left for the handshake.
const LONGEST_LINE: u32 = 4;

/// One that has come, with its place in the queue.
pub(super) struct Incoming {
    pub(super) shared: Arc<Shared>,
    pub(super) tcp: TcpStream,
    pub(super) peer_address: SocketAddr,
    pub(super) place: Place,
    pub(super) since: Instant,
    /// Its first message is there, and it is in line.
    pub(super) arrived: bool,
}

impl Incoming {
    /// Takes it to its end: the connection is with its owner, or closed. Its place is given back in any case.
    pub(super) async fn run(self, owners: mpsc::Sender<TyphaConnection>) {
        let shared = self.shared.clone();
        self.go(owners).await;
        // Its place has been given back by now, whichever way it went.
        shared.gauge();
    }

    async fn go(self, owners: mpsc::Sender<TyphaConnection>) {
        let deadline = deadline_in(self.shared.acceptor.handshake_timeout());
        let arrival = if self.arrived { Arrival::Message } else { self.arrival(deadline).await };
        let Self { shared, tcp, peer_address, place, since, .. } = self;
        match arrival {
            Arrival::Message => {}
            // What follows is told of when it is gone.
            Arrival::Shed(cause) => {
                drop(place);
                return shed(&shared, tcp, peer_address, cause);
            }
            Arrival::Nothing => {
                drop((tcp, place));
                debug!(%peer_address, "a connection ended without having sent a byte: a probe");
                return shared.counters.probed();
            }
            Arrival::Failed(error) => {
                drop((tcp, place));
                events::refused(Role::Typha, peer_address, &error);
                return shared.failed(peer_address, error, since);
            }
        }
        shared.gauge();
        let in_line_until = deadline_in(shared.acceptor.handshake_timeout() / LONGEST_LINE).min(deadline);
        if let Err(cause) = place.started(in_line_until).await {
            drop(place);
            return shed(&shared, tcp, peer_address, cause);
        }
        shared.gauge();
        let handshake = place.timed(shared.acceptor.accept_prepared(tcp, peer_address, deadline));
        let outcome = tokio::select! {
            biased;
            outcome = handshake => Ok(outcome),
            cause = place.shed() => Err(cause),
        };
        let pause = match outcome {
            Ok(Ok(stream)) => {
                // The place is kept meanwhile: who takes no connections gets no more handshakes.
                let owner = tokio::select! {
                    biased;
                    // Not for having stalled: now it is complete.
                    cause = place.shut_down() => return note_shed(&shared, peer_address, cause),
                    owner = owners.reserve() => owner,
                };
                let Ok(owner) = owner else {
                    return note_shed(&shared, peer_address, ShedCause::ShuttingDown);
                };
                shared.counters.accepted(stream.peer().matched_by(), since.elapsed());
                owner.send(TyphaConnection::new(stream, peer_address, shared.clone()));
                return place.succeeded();
            }
            Ok(Err(error)) => {
                let pause = place.failed();
                shared.failed(peer_address, error, since);
                pause
            }
            Err(cause) => {
                note_shed(&shared, peer_address, cause);
                place.failed()
            }
        };
        shared.gauge();
        tokio::select! {
            () = pause => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// What came of waiting for a first message.
enum Arrival {
    Failed(HandshakeError),
    Message,
    /// The peer closed the connection without having sent a byte.
    Nothing,
    Shed(ShedCause),
}

impl Incoming {
    async fn arrival(&self, deadline: Instant) -> Arrival {
        let mut begun = false;
        let arrival = timeout_at(deadline, client_hello::arrival(&self.tcp, &mut begun));
        let arrived = tokio::select! {
            biased;
            cause = self.place.shed() => return Arrival::Shed(cause),
            arrived = arrival => arrived,
        };
        match arrived {
            Ok(Ok(Beginning::Message)) => Arrival::Message,
            Ok(Ok(Beginning::Nothing)) => Arrival::Nothing,
            Ok(Err(error)) => Arrival::Failed(HandshakeError::Io(error)),
            Err(_) => Arrival::Failed(HandshakeError::TimedOut {
                phase: if begun { HandshakePhase::Negotiating } else { HandshakePhase::AwaitingFirstByte },
                after: self.shared.acceptor.handshake_timeout(),
            }),
        }
    }
}

/// Closes a connection that gets no handshake. The peer learns it at once, by a reset, and nothing of it remains.
pub(super) fn shed(shared: &Shared, tcp: TcpStream, peer_address: SocketAddr, cause: ShedCause) {
    tcp::reset_on_close(&tcp);
    drop(tcp);
    note_shed(shared, peer_address, cause);
}

fn note_shed(shared: &Shared, peer_address: SocketAddr, cause: ShedCause) {
    debug!(%peer_address, %cause, "a connection was shed");
    shared.counters.shed(cause);
}
