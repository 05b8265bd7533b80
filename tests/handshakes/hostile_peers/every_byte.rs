//! What may happen after every byte of a handshake: the end, a reset, silence, an alert.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::time::timeout;
use typha_tls::error::HandshakePhase::{self, AwaitingAcceptance, AwaitingFirstByte, Negotiating};
use typha_tls::stream::Acceptance;
use typha_tls::testing::TestPki;
use typha_tls::{AcceptanceMode, AuthenticatedStream, HandshakeError, Role, TyphaAcceptor};

use crate::hostile::{
    CLIENTS, Client, Ending, Outcome, ROLES, RawPeer, Script, Scripted, VERSIONS, acceptor, bounded,
    client_config, pki, server_config,
};

const CLOSE_NOTIFY: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
const FATAL_ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// Both ends, of which `victim` gets its peer's bytes by a script.
struct Handshakes {
    acceptor: TyphaAcceptor,
    client: Client,
    victim: Role,
    version: &'static SupportedProtocolVersion,
}

/// What the victim receives in an honest handshake. It has the same shape every time.
struct Flight {
    records: Vec<Range<usize>>,
    length: usize,
    /// Where the victim's handshake is complete; what follows, on Felix's end, tells that Typha accepts.
    complete: usize,
    /// Where the first encrypted record begins.
    encrypted_from: usize,
    /// From where on the peer may be done, if it is Typha: it sends nothing, or only the end, after its own decision.
    peer_done: usize,
}

impl Handshakes {
    fn all(pki: &TestPki) -> impl Iterator<Item = Self> {
        VERSIONS.iter().flat_map(move |version| {
            ROLES.map(|victim| Self {
                acceptor: acceptor(pki, version),
                client: Client::new(victim, pki, version).with_acceptance(AcceptanceMode::Required),
                victim,
                version,
            })
        })
    }

    /// What the victim and its peer see.
    async fn run(&self, script: Script) -> (Outcome, Outcome) {
        let (typha, felix) = duplex(64 * 1024);
        match self.victim {
            Role::Server | Role::Typha => tokio::join!(
                async { Outcome::of(self.acceptor.accept(Scripted::new(typha, script)).await) },
                async { Outcome::of(self.client.connect(felix).await) },
            ),
            Role::Client | Role::Felix => tokio::join!(
                async { Outcome::of(self.client.connect(Scripted::new(felix, script)).await) },
                async { Outcome::of(self.acceptor.accept(typha).await) },
            ),
        }
    }

    async fn flight(&self) -> Flight {
        let (typha, felix) = duplex(64 * 1024);
        let (ours, theirs) = match self.victim {
            Role::Server | Role::Typha => (typha, felix),
            Role::Client | Role::Felix => (felix, typha),
        };
        let ours = Scripted::new(ours, Script::honest());
        let transcript = ours.transcript();
        let (typha, felix) = match self.victim {
            Role::Server | Role::Typha => {
                let (typha, felix) = tokio::join!(self.acceptor.accept(ours), self.client.connect(theirs));
                (typha.map(drop_later), felix.map(drop_later))
            }
            Role::Client | Role::Felix => {
                let (typha, felix) = tokio::join!(self.acceptor.accept(theirs), self.client.connect(ours));
                (typha.map(drop_later), felix.map(drop_later))
            }
        };
        assert!(typha.is_ok() && felix.is_ok());
        let bytes = transcript.lock().unwrap().clone();
        Flight::new(&bytes, self.is_tls13() && self.victim != Role::Typha)
    }

    fn is_tls13(&self) -> bool {
        self.version.version == rustls::ProtocolVersion::TLSv1_3
    }
}

/// The `close_notify` of a stream that is dropped is no part of its handshake.
fn drop_later<IO: Send + 'static>(stream: AuthenticatedStream<IO>) -> Box<dyn std::any::Any + Send> {
    assert_eq!(stream.acceptance(), Acceptance::Confirmed);
    Box::new(stream)
}

impl Flight {
    fn new(bytes: &[u8], ends_with_ticket: bool) -> Self {
        let mut records = Vec::new();
        let mut start = 0;
        let mut encrypted_from = None;
        while start < bytes.len() {
            let end = start + 5 + usize::from(u16::from_be_bytes([bytes[start + 3], bytes[start + 4]]));
            records.push(start..end);
            // Both versions send a change_cipher_spec (20) before what is encrypted.
            if bytes[start] == 20 {
                encrypted_from.get_or_insert(end);
            }
            start = end;
        }
        let length = bytes.len();
        let complete = if ends_with_ticket { records.last().unwrap().start } else { length };
        // TLS 1.3: the ticket; TLS 1.2: change_cipher_spec and Finished.
        let peer_done = if ends_with_ticket { complete } else { records[records.len() - 2].start };
        Self { records, length, complete, encrypted_from: encrypted_from.unwrap(), peer_done }
    }

    fn phase(&self, offset: usize) -> HandshakePhase {
        match offset {
            0 => AwaitingFirstByte,
            _ if offset < self.complete => Negotiating,
            _ => AwaitingAcceptance,
        }
    }
}

/// Every offset, with every way to end there. `expected` is `None` where the injected bytes complete a message, to
/// one that is wrong or may be honest.
fn after_every_byte(
    inject: &'static [u8],
    ending: Ending,
    expected: impl Fn(&Handshakes, &Flight, usize) -> Option<Outcome> + Send + 'static,
) {
    bounded(move || async move {
        for handshakes in Handshakes::all(&pki()) {
            let flight = handshakes.flight().await;
            for offset in 0..flight.length {
                let (victim, peer) = handshakes.run(Script::new(offset, inject, ending)).await;
                let place = format!("{} {:?} at {offset}", handshakes.victim, handshakes.version.version);
                let expected = expected(&handshakes, &flight, offset);
                // One time in 256 the first injected byte is the last one of the honest flight.
                let may_be_done =
                    expected.is_none() || handshakes.victim != Role::Typha && offset >= flight.peer_done;
                match expected {
                    Some(expected) => assert_eq!(victim, expected, "{place}"),
                    None => assert!(
                        matches!(
                            victim,
                            Outcome::MessageTooLarge(_)
                                | Outcome::Tls(_)
                                | Outcome::Rejected("invalid_signature" | "key_not_proven")
                        ) || victim == ended(ending, Negotiating)
                            // One time in 256 the injected byte is the one that is missing.
                            || victim == Outcome::ACCEPTED && offset + inject.len() >= flight.length,
                        "{place}: {victim:?}"
                    ),
                }
                assert!(may_be_done || !peer.is_accepted(), "{place}: {peer:?}");
            }
        }
    });
}

#[test]
fn the_connection_ends_after_every_byte() {
    after_every_byte(&[], Ending::Eof, |_, flight, offset| Some(Outcome::Closed(flight.phase(offset))));
}

#[test]
fn the_connection_is_reset_after_every_byte() {
    let reset = Outcome::Io(io::ErrorKind::ConnectionReset);
    after_every_byte(&[], Ending::Reset, move |_, _, _| Some(reset.clone()));
}

#[test]
fn the_peer_falls_silent_after_every_byte() {
    after_every_byte(&[], Ending::Stall, |_, flight, offset| Some(Outcome::TimedOut(flight.phase(offset))));
}

#[test]
fn what_comes_after_the_last_byte_does_not_undo_the_handshake() {
    bounded(|| async {
        for handshakes in Handshakes::all(&pki()) {
            let length = handshakes.flight().await.length;
            for ending in [Ending::Eof, Ending::Stall] {
                let whole = handshakes.run(Script::new(length, &[], ending)).await;
                assert_eq!(whole, (Outcome::ACCEPTED, Outcome::ACCEPTED));
            }
        }
    });
}

#[test]
fn a_fatal_alert_is_injected_after_every_byte() {
    for ending in [Ending::Eof, Ending::Stall] {
        after_every_byte(FATAL_ALERT, ending, move |handshakes, flight, offset| {
            let heard = Outcome::RefusedByPeer(AlertDescription::HandshakeFailure);
            after_injection(FATAL_ALERT, ending, handshakes, flight, offset, heard)
        });
    }
}

#[test]
fn a_close_notify_is_injected_after_every_byte() {
    for ending in [Ending::Eof, Ending::Stall] {
        after_every_byte(CLOSE_NOTIFY, ending, move |handshakes, flight, offset| {
            // TLS 1.3 knows no warnings; before, and before the version is known, they are passed over.
            let heard = if handshakes.is_tls13() && offset > 0 {
                Outcome::Closed(Negotiating)
            } else {
                ended(ending, Negotiating)
            };
            after_injection(CLOSE_NOTIFY, ending, handshakes, flight, offset, heard)
        });
    }
}

fn ended(ending: Ending, phase: HandshakePhase) -> Outcome {
    if ending == Ending::Stall { Outcome::TimedOut(phase) } else { Outcome::Closed(phase) }
}

/// What comes of an alert in the clear: `heard`, where the victim hears it.
fn after_injection(
    alert: &[u8],
    ending: Ending,
    handshakes: &Handshakes,
    flight: &Flight,
    offset: usize,
    heard: Outcome,
) -> Option<Outcome> {
    let record = flight.records.iter().find(|record| record.contains(&offset)).unwrap();
    match offset - record.start {
        // In TLS 1.3 an alert may be in the clear until something has been decrypted.
        0 if offset < flight.encrypted_from => Some(heard),
        0 if offset == flight.encrypted_from && handshakes.is_tls13() => Some(heard),
        0 => Some(Outcome::Tls(rustls::Error::DecryptError)),
        // The alert's content type stands for the version of the record.
        1 if offset == 1 => Some(Outcome::NotTls(
            [22].iter().chain(alert).map(|&byte| if byte == b'(' { '(' } else { '.' }).collect(),
        )),
        1 => Some(Outcome::Tls(rustls::InvalidMessage::UnknownProtocolVersion.into())),
        // The alert is taken for the body of the record, or for its length, which it makes a larger one.
        2..5 => Some(ended(ending, flight.phase(offset))),
        _ if record.end - offset > alert.len() => Some(ended(ending, flight.phase(offset))),
        _ => None,
    }
}

#[test]
fn warnings_are_passed_over_in_tls12_but_not_for_ever() {
    bounded(|| async {
        for handshakes in Handshakes::all(&pki()).filter(|handshakes| !handshakes.is_tls13()) {
            let flight = handshakes.flight().await;
            for record in flight.records.iter().filter(|record| record.start < flight.encrypted_from) {
                let run = |count| {
                    handshakes.run(Script::new(record.start, &CLOSE_NOTIFY.repeat(count), Ending::Rest))
                };
                assert_eq!(run(4).await, (Outcome::ACCEPTED, Outcome::ACCEPTED));
                let too_many = rustls::PeerMisbehaved::TooManyWarningAlertsReceived.into();
                assert_eq!(run(5).await.0, Outcome::Tls(too_many));
            }
        }
    });
}

/// A peer that speaks TLS properly, but sends close_notify with the `stage`-th of its flights, and hangs up or does
/// not.
async fn closing_peer(mut peer: RawPeer<DuplexStream>, stage: usize) {
    for flight in 0.. {
        if flight == stage {
            peer.tls.send_close_notify();
        }
        if peer.send().await.is_err() || !matches!(peer.receive().await, Ok(1..)) {
            break;
        }
    }
}

#[test]
fn a_genuine_close_notify_with_every_flight() {
    let close_notify = || Outcome::Closed(Negotiating);
    let accepted = |ends_cleanly| (Outcome::ACCEPTED, ends_cleanly);
    bounded(move || async move {
        let pki = pki();
        for (version, stage, typha_sees, client_sees) in [
            // Felix hears it before the version is known: a warning.
            (&TLS13, 0, (close_notify(), None), accepted(None)),
            (&TLS13, 1, accepted(Some(true)), (Outcome::Closed(AwaitingAcceptance), None)),
            (&TLS13, 2, accepted(Some(true)), accepted(Some(true))),
            // In the clear: a warning. Typha's first flight is empty, its second in the clear too.
            (&TLS12, 0, accepted(None), accepted(None)),
            (&TLS12, 1, accepted(Some(true)), accepted(None)),
            (&TLS12, 2, accepted(Some(true)), accepted(Some(true))),
        ] {
            let (typha, felix) = duplex(64 * 1024);
            let client = RawPeer::client(client_config(Some(&pki.felix), version), felix);
            let accept = acceptor(&pki, version).accept(typha);
            let (outcome, ()) = tokio::join!(outcome_and_end(accept), closing_peer(client, stage));
            assert_eq!(outcome, typha_sees, "Typha {version:?} {stage}");

            for role in CLIENTS {
                let (typha, felix) = duplex(64 * 1024);
                let server = RawPeer::server(server_config(&pki.typha, version), typha);
                // How long a read waits is not the question here.
                let client =
                    Client::new(role, &pki, version).with_read_timeout(None).with_write_timeout(None);
                let connect = client.with_acceptance(AcceptanceMode::Required).connect(felix);
                let (outcome, ()) = tokio::join!(outcome_and_end(connect), closing_peer(server, stage));
                assert_eq!(outcome, client_sees, "{role} {version:?} {stage}");
            }
        }
    });
}

/// The outcome, and whether the stream then ends cleanly, if it ends.
async fn outcome_and_end(
    handshake: impl Future<Output = Result<AuthenticatedStream<DuplexStream>, HandshakeError>>,
) -> (Outcome, Option<bool>) {
    match handshake.await {
        Ok(mut stream) => {
            let mut buffer = [0; 16];
            let read = timeout(Duration::from_secs(60), stream.read(&mut buffer)).await.ok();
            (Outcome::Accepted(stream.acceptance()), read.map(|read| matches!(read, Ok(0))))
        }
        Err(error) => (Outcome::of::<DuplexStream>(Err(error)), None),
    }
}
