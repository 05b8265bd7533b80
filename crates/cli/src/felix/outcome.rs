//! The outcome of a connect that failed.

use serde_json::{Value, json};
use typha_tls::HandshakeError;
use typha_tls::dialer::{AttemptError, DialError, FailedAttempt};

use crate::output::{self, FAILED, REFUSED_BY_PEER, REJECTED};

/// The largest number of attempts in an outcome line. Earlier attempts are left out.
const MAX_ATTEMPTS: usize = 10;

/// The outcome line and the exit code if no connection was made.
pub(super) fn not_connected(wanted: &str, error: &DialError) -> (Value, u8) {
    let attempts = error.attempts();
    let is_refusal = |attempt: &&FailedAttempt| exit_code(&attempt.error) != FAILED;
    // A refusal by either end says more than an error of the network.
    let decisive = attempts.iter().rfind(is_refusal).or(attempts.last());
    let (line, code) = match decisive {
        Some(attempt) => (attempt_line(attempt), exit_code(&attempt.error)),
        None => (json!({ "peer": wanted, "reason": "io" }), FAILED),
    };
    let line = output::merge(json!({ "event": "refused" }), line);
    // One attempt needs one line; several attempts are all listed.
    let line = match (attempts, error.is_own_fault()) {
        ([_], false) => line,
        _ => output::merge(line, json!({ "detail": output::detail(error) })),
    };
    let omitted = attempts.len().saturating_sub(MAX_ATTEMPTS);
    let last: Vec<_> = attempts.iter().skip(omitted).map(attempt_line).collect();
    let line = output::merge(line, json!({ "attempts": last }));
    match omitted {
        0 => (line, code),
        omitted => (output::merge(line, json!({ "attempts_omitted": omitted })), code),
    }
}

fn attempt_line(attempt: &FailedAttempt) -> Value {
    let peer = attempt.endpoint.address.to_string();
    match &*attempt.error {
        AttemptError::Handshake(error) => output::refusal(&peer, error),
        error => {
            let reason = if matches!(error, AttemptError::DialTimedOut { .. }) { "timed_out" } else { "io" };
            json!({ "peer": peer, "reason": reason, "detail": output::detail(error) })
        }
    }
}

fn exit_code(error: &AttemptError) -> u8 {
    match error {
        AttemptError::Handshake(HandshakeError::RefusedByPeer { .. }) => REFUSED_BY_PEER,
        AttemptError::Handshake(HandshakeError::Rejected(_)) => REJECTED,
        _ => FAILED,
    }
}
