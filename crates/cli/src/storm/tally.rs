//! Counts the outcomes of the connections.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use rustls::AlertDescription;
use typha_tls::HandshakeError;
use typha_tls::error::{WithCauses, alert_name};

/// The phase before those of a handshake.
const DIALING: &str = "dialing";

/// The outcome of one connection.
pub(super) enum Outcome {
    /// Typha has sent a sign that it accepts us.
    Accepted,
    DialFailed(io::Error),
    Failed(HandshakeError),
    /// Typha requires no certificate.
    NotAsked,
    /// Typha has sent no sign in time.
    Unconfirmed,
}

/// The counts of one client or of all clients.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) good: Counts,
    pub(super) bad: Counts,
    /// Nanoseconds of each accepted good connection.
    pub(super) accepted_nanos: Vec<u64>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) begun: u32,
    pub(super) ended: u32,
    /// Connections that reached a TCP connection.
    pub(super) connected: u32,
    pub(super) accepted: u32,
    pub(super) closed: u32,
    pub(super) dial_failed: u32,
    pub(super) io: u32,
    pub(super) not_asked: u32,
    pub(super) not_tls: u32,
    /// Counted by the alert's code; names are only made for output.
    refused_by_peer: BTreeMap<u8, u32>,
    pub(super) rejected: BTreeMap<&'static str, u32>,
    pub(super) timed_out: BTreeMap<&'static str, u32>,
    pub(super) tls: u32,
    pub(super) unconfirmed: u32,
    pub(super) first_failure: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.good.add(other.good);
        self.bad.add(other.bad);
        self.accepted_nanos.extend(other.accepted_nanos);
    }
}

impl Counts {
    /// Counts a connection. If a bad one is refused, that is no failure.
    pub(super) fn count(&mut self, outcome: &Outcome, is_bad: bool) {
        self.ended += 1;
        self.connected += u32::from(!matches!(outcome, Outcome::DialFailed(_)));
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::DialFailed(error) => {
                if error.kind() == ErrorKind::TimedOut {
                    *self.timed_out.entry(DIALING).or_default() += 1;
                } else {
                    self.dial_failed += 1;
                }
                self.note(error);
            }
            Outcome::Failed(error) => self.count_failure(error, is_bad),
            Outcome::NotAsked => self.not_asked += 1,
            Outcome::Unconfirmed => self.unconfirmed += 1,
        }
    }

    fn count_failure(&mut self, error: &HandshakeError, is_bad: bool) {
        match error {
            HandshakeError::Closed { .. } => self.closed += 1,
            HandshakeError::Io(_) => self.io += 1,
            HandshakeError::NotTls { .. } => self.not_tls += 1,
            HandshakeError::RefusedByPeer { alert } => {
                *self.refused_by_peer.entry(u8::from(*alert)).or_default() += 1;
                if is_bad {
                    return;
                }
            }
            HandshakeError::Rejected(rejection) => {
                *self.rejected.entry(rejection.label()).or_default() += 1;
            }
            HandshakeError::TimedOut { phase, .. } => {
                *self.timed_out.entry(phase.label()).or_default() += 1;
            }
            // Unknown future variants count as TLS failures.
            _ => self.tls += 1,
        }
        self.note(error);
    }

    fn note(&mut self, error: &impl std::error::Error) {
        self.first_failure.get_or_insert_with(|| WithCauses(error).to_string());
    }

    pub(super) fn refused(&self) -> u32 {
        self.refused_by_peer.values().sum()
    }

    /// The counts by the names of the alerts.
    pub(super) fn refused_by_peer(&self) -> BTreeMap<String, u32> {
        let named = |(code, count): (&u8, &u32)| (alert_name(AlertDescription::from(*code)), *count);
        self.refused_by_peer.iter().map(named).collect()
    }

    fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.ended += other.ended;
        self.connected += other.connected;
        self.accepted += other.accepted;
        self.closed += other.closed;
        self.dial_failed += other.dial_failed;
        self.io += other.io;
        self.not_asked += other.not_asked;
        self.not_tls += other.not_tls;
        merge(&mut self.refused_by_peer, other.refused_by_peer);
        merge(&mut self.rejected, other.rejected);
        merge(&mut self.timed_out, other.timed_out);
        self.tls += other.tls;
        self.unconfirmed += other.unconfirmed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

fn merge<K: Ord>(counts: &mut BTreeMap<K, u32>, more: BTreeMap<K, u32>) {
    for (what, count) in more {
        *counts.entry(what).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use typha_tls::error::HandshakePhase;
    use typha_tls::verifier::Rejection;

    use super::*;

    fn each() -> Vec<Outcome> {
        let phase = HandshakePhase::Negotiating;
        let failed = [
            HandshakeError::Closed { phase },
            HandshakeError::Io(io::Error::from(ErrorKind::ConnectionReset)),
            HandshakeError::NotTls { start: "SSH".to_owned() },
            HandshakeError::RefusedByPeer { alert: AlertDescription::UnknownCA },
            Rejection::NoCertificate.into(),
            HandshakeError::TimedOut { phase, after: Duration::from_secs(1) },
            HandshakeError::Tls(rustls::Error::DecryptError),
        ];
        let dial = [ErrorKind::TimedOut, ErrorKind::ConnectionRefused].map(io::Error::from);
        let mut all = vec![Outcome::Accepted, Outcome::NotAsked, Outcome::Unconfirmed];
        all.extend(dial.map(Outcome::DialFailed));
        all.extend(failed.map(Outcome::Failed));
        all
    }

    #[test]
    fn each_outcome_is_counted_as_what_it_is() {
        let mut counts = Counts::default();
        for outcome in each() {
            counts.count(&outcome, false);
        }
        let one_each = Counts {
            begun: 0,
            ended: 12,
            connected: 10,
            accepted: 1,
            closed: 1,
            dial_failed: 1,
            io: 1,
            not_asked: 1,
            not_tls: 1,
            refused_by_peer: [(48, 1)].into(),
            rejected: [("no_certificate", 1)].into(),
            timed_out: [("dialing", 1), ("negotiating", 1)].into(),
            tls: 1,
            unconfirmed: 1,
            first_failure: Some("timed out".to_owned()),
        };
        assert_eq!(counts, one_each);
        assert_eq!(counts.refused_by_peer(), [("unknown_ca".to_owned(), 1)].into());

        let mut twice = Tally { bad: counts, accepted_nanos: vec![1], ..Tally::default() };
        twice.add(Tally { bad: one_each, accepted_nanos: vec![2], ..Tally::default() });
        assert_eq!(
            (twice.bad.ended, twice.bad.connected, twice.bad.refused(), twice.bad.timed_out["dialing"]),
            (24, 20, 2, 2)
        );
        assert_eq!(twice.accepted_nanos, [1, 2]);
    }

    #[test]
    fn a_refusal_is_a_failure_of_good_ones_only() {
        let refused =
            Outcome::Failed(HandshakeError::RefusedByPeer { alert: AlertDescription::AccessDenied });
        for is_bad in [false, true] {
            let mut counts = Counts::default();
            counts.count(&refused, is_bad);
            assert_eq!((counts.refused(), counts.first_failure.is_none()), (1, is_bad));
        }
    }
}
