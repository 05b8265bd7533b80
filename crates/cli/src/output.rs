//! The output of the commands, and their exit codes.

use std::error::Error;
use std::io::Write;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde_json::{Value, json};
use typha_tls::error::{WithCauses, alert_name};
use typha_tls::lifetime::LostTrust;
use typha_tls::verifier::{RejectedPeer, VerifiedChain};
use typha_tls::{Connection, HandshakeError};

use crate::lines::Lines;

/// Success.
pub(crate) const SUCCESS: u8 = 0;
/// The command found a problem: a peer to refuse, or a configuration to fix.
pub(crate) const FOUND: u8 = 1;
/// The command line, the configuration or one of its files can not be used.
pub(crate) const UNUSABLE: u8 = 2;
/// The other end refused us.
pub(crate) const REFUSED_BY_PEER: u8 = 3;
/// We refused the other end.
pub(crate) const REJECTED: u8 = 4;
/// Unreachable, timed out, or broken off.
pub(crate) const FAILED: u8 = 5;

/// The form of what a command prints on stdout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object per line, for programs
    Json,
}

/// Whether text has colours: on a terminal that can show them, unless NO_COLOR is set (<https://no-color.org>).
pub(crate) fn colours(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The text with escapes in place of characters that would change a terminal or the order of its characters, such as
/// those in a file name.
pub(crate) fn printable(text: &str) -> String {
    let is_hidden = |c| {
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || c == '\u{feff}'
    };
    text.chars().fold(String::new(), |mut shown, c| {
        match c.is_control() || is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
        shown
    })
}

/// Prints one JSON line.
pub(crate) fn print(line: &Value) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Prints one line for people.
pub(crate) fn print_text(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a complete text. If the reader closes stdout early, that is no error. Waits for a slow reader.
pub(crate) fn print_whole(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Everything on stderr goes this way: the log, events, outcomes and complaints. `main` sets it.
pub(crate) static STDERR: OnceLock<Lines> = OnceLock::new();

/// Prints one JSON line to stderr. If nobody reads stderr, the line is lost.
pub(crate) fn print_event(line: &Value) {
    if let Some(stderr) = STDERR.get() {
        stderr.add(format!("{line}\n").into());
    }
}

/// Prints the last JSON line to stderr.
pub(crate) fn print_outcome(line: &Value) {
    add_last(format!("{line}\n"));
}

/// Prints on stderr, for people, why the command failed.
pub(crate) fn complain(error: &dyn Error) {
    add_last(format!("typha-tls: {}\n", printable(&WithCauses(error).to_string())));
}

fn add_last(line: String) {
    if let Some(stderr) = STDERR.get() {
        stderr.add_last(line.into());
    }
}

/// The identity of the peer: `matched_by`, `common_name`, `uri_sans`, `ca`, `serial`, `sha256`.
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

/// What tells the leaf of a refused peer from others of the same name: `serial`, `authority_key_id`.
pub(crate) fn leaf(peer: &RejectedPeer) -> Value {
    json!({ "serial": peer.serial(), "authority_key_id": peer.authority_key_id() })
}

/// The line of an accepted connection.
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

/// The line of a connection whose peer is no longer trusted.
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

/// The line of a connection that failed.
pub(crate) fn refused(address: &str, error: &HandshakeError) -> Value {
    merge(json!({ "event": "refused" }), refusal(address, error))
}

/// The part of a line with the peer and the reason of a failure.
pub(crate) fn refusal(address: &str, error: &HandshakeError) -> Value {
    // The lines have only these reasons; the detail says more.
    let reason = match error {
        HandshakeError::Closed { .. } | HandshakeError::Tls(_) => "io",
        error => error.label(),
    };
    let line = json!({
        "peer": address,
        "reason": reason,
        "detail": WithCauses(error).to_string(),
    });
    let line = match error {
        HandshakeError::Rejected(peer) => merge(line, leaf(peer)),
        _ => line,
    };
    match error.alert() {
        Some(alert) => merge(line, json!({ "alert": alert_name(alert) })),
        None => line,
    }
}

/// Merges two objects into one.
pub(crate) fn merge(mut first: Value, second: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut first, second) {
        members.extend(more);
    }
    first
}
