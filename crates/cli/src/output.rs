//! What the commands print, and their exit codes.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use typha_tls::error::{WithCauses, alert_name};
use typha_tls::lifetime::LostTrust;
use typha_tls::verifier::VerifiedChain;
use typha_tls::{Connection, HandshakeError};

/// Done.
pub(crate) const SUCCESS: u8 = 0;
/// The command found what it looks for: a peer to refuse, a configuration to mend.
pub(crate) const FOUND: u8 = 1;
/// The command line, the configuration or a file it names can not be used.
pub(crate) const UNUSABLE: u8 = 2;
/// The other end refused us.
pub(crate) const REFUSED_BY_PEER: u8 = 3;
/// We refused the other end.
pub(crate) const REJECTED: u8 = 4;
/// Unreachable, timed out, or broken off.
pub(crate) const FAILED: u8 = 5;

/// Prints one JSON line.
pub(crate) fn print(line: &Value) {
    write_line(std::io::stdout().lock(), line);
}

/// Prints one line for people.
pub(crate) fn print_text(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a text of which nothing may get lost. That nobody reads it to its end is no error.
pub(crate) fn print_whole(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints one JSON line to stderr.
pub(crate) fn print_outcome(line: &Value) {
    write_line(std::io::stderr().lock(), line);
}

fn write_line(mut to: impl Write, line: &Value) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(to, "{line}").and_then(|()| to.flush());
}

/// Says on stderr, to a person, why the command can not do its work.
pub(crate) fn complain(error: &dyn Error) {
    let _ = writeln!(std::io::stderr(), "typha-tls: {}", WithCauses(error));
}

/// Who the peer is: `matched_by`, `common_name`, `uri_sans`, `ca`, `serial`, `sha256`.
pub(crate) fn peer(peer: &VerifiedChain) -> Value {
    let identity = peer.identity();
    json!({
        "matched_by": peer.matched_by().label(),
        "common_name": identity.common_name(),
        "uri_sans": identity.uri_sans().collect::<Vec<_>>(),
        "ca": peer.ca(),
        "serial": peer.serial(),
        "sha256": peer.sha256(),
    })
}

/// An accepted connection.
pub(crate) fn accepted(connection: &Connection) -> Value {
    let tls = connection.tls();
    merge(
        json!({ "event": "accepted", "peer": connection.peer_address().to_string() }),
        merge(
            peer(connection.peer()),
            json!({ "tls_version": tls.version(), "cipher_suite": tls.cipher_suite(), "group": tls.group() }),
        ),
    )
}

/// A connection whose peer is trusted no longer.
pub(crate) fn lost_trust(lost: &LostTrust) -> Value {
    merge(
        json!({ "event": "lost_trust", "peer": lost.peer_address.to_string() }),
        merge(
            peer(&lost.peer),
            json!({
                "generation": lost.generation,
                "reason": lost.rejection.label(),
                "detail": lost.rejection.to_string(),
                "closes": lost.closes,
            }),
        ),
    )
}

/// A connection that did not come about.
pub(crate) fn refused(address: &str, error: &HandshakeError) -> Value {
    merge(json!({ "event": "refused" }), refusal(address, error))
}

/// Who did not connect to whom, and why: a part of a line.
pub(crate) fn refusal(address: &str, error: &HandshakeError) -> Value {
    // The lines know no finer reasons; the detail does.
    let reason = match error {
        HandshakeError::Closed { .. } | HandshakeError::Tls(_) => "io",
        error => error.label(),
    };
    let line = json!({
        "peer": address,
        "reason": reason,
        "detail": WithCauses(error).to_string(),
    });
    match error.alert() {
        Some(alert) => merge(line, json!({ "alert": alert_name(alert) })),
        None => line,
    }
}

/// One object of the members of both.
pub(crate) fn merge(mut first: Value, second: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut first, second) {
        members.extend(more);
    }
    first
}

/// Prints lines from a thread of its own: a reader of stdout that does not read must not hold up the connections.
pub(crate) struct Printer {
    lines: mpsc::Sender<Value>,
    done: tokio::task::JoinHandle<()>,
}

/// Lines that may wait for a slow reader; more make their connections wait.
const WAITING_LINES: usize = 1024;

impl Printer {
    pub(crate) fn start() -> Self {
        let (lines, mut waiting) = mpsc::channel(WAITING_LINES);
        let done = tokio::task::spawn_blocking(move || {
            while let Some(line) = waiting.blocking_recv() {
                print(&line);
            }
        });
        Self { lines, done }
    }

    pub(crate) fn lines(&self) -> mpsc::Sender<Value> {
        self.lines.clone()
    }

    /// Waits until everything is printed, unless nobody reads it. All other senders must be gone.
    pub(crate) async fn finish(self, at_most: Duration) {
        drop(self.lines);
        let _ = tokio::time::timeout(at_most, self.done).await;
    }
}
