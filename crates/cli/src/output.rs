//! The output of the commands, and their exit codes.

use std::error::Error;
use std::io::Write;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde_json::{Value, json};
use typha_tls::error::{WithCauses, alert_name};
use typha_tls::identity::PeerIdentity;
use typha_tls::lifetime::LostTrust;
use typha_tls::stream::Acceptance;
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
    text.chars().fold(String::new(), |mut shown, c| {
        match is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
        shown
    })
}

/// Controls, and characters that take no space or change the order of others.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The JSON with a line break. Characters that would change a terminal are escaped, also those that JSON allows.
pub(crate) fn json_line(line: &Value) -> String {
    let mut text = line.to_string().chars().fold(String::new(), |mut text, c| {
        match is_hidden(c) {
            // None of them takes two units in UTF-16.
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
        text
    });
    text.push('\n');
    text
}

/// Prints one JSON line.
pub(crate) fn print(line: &Value) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(json_line(line).as_bytes()).and_then(|()| stdout.flush());
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

/// The log, events, outcomes and complaints go this way to stderr. The progress bar of `storm` does not. `main` sets
/// it.
pub(crate) static STDERR: OnceLock<Lines> = OnceLock::new();

/// Prints one JSON line to stderr. If nobody reads stderr, the line is lost.
pub(crate) fn print_event(line: &Value) {
    if let Some(stderr) = STDERR.get() {
        stderr.add(json_line(line));
    }
}

/// Prints the last JSON line to stderr.
pub(crate) fn print_outcome(line: &Value) {
    add_last(json_line(line));
}

/// Prints on stderr, for people, why the command failed.
pub(crate) fn complain(error: &dyn Error) {
    add_last(format!("typha-tls: {}\n", printable(&WithCauses(error).to_string())));
}

fn add_last(line: String) {
    if let Some(stderr) = STDERR.get() {
        stderr.add_last(line);
    }
}

/// The most bytes of a name in a JSON line, counted with the escapes of JSON; enough for most SPIFFE IDs.
const MAX_NAME: usize = 256;

/// The most URI SANs of a peer in a JSON line. A peer usually has one.
const MAX_URI_SANS: usize = 3;

/// The most bytes of a `detail` in a JSON line of `typha` and `felix`, counted with the escapes of JSON.
const MAX_DETAIL: usize = 2048;

/// The beginning of a text that takes so many bytes in JSON, and how much is left out.
fn cut(text: &str, most: usize) -> String {
    let mut size = 0;
    for (position, c) in text.char_indices() {
        size += match c {
            '"' | '\\' => 2,
            c if is_hidden(c) => 6,
            c => c.len_utf8(),
        };
        if size > most {
            let (shown, rest) = text.split_at(position);
            return format!("{shown}... ({} bytes more)", rest.len());
        }
    }
    text.to_owned()
}

/// The text of an error and its causes, cut.
pub(crate) fn detail(error: &dyn Error) -> String {
    cut_detail(&WithCauses(error).to_string())
}

/// The text, cut as a detail.
pub(crate) fn cut_detail(text: &str) -> String {
    cut(text, MAX_DETAIL)
}

/// The peer: `matched_by`, with the host rule `host`, the [`names`], `ca`, `serial`, `sha256`.
pub(crate) fn peer(peer: &VerifiedChain) -> Value {
    let matched_by = json!({ "matched_by": peer.matched_by().label() });
    let matched_by = match peer.matched_host() {
        Some(host) => merge(matched_by, json!({ "host": host.to_string() })),
        None => matched_by,
    };
    merge(
        merge(matched_by, names(peer)),
        json!({ "ca": cut(peer.ca(), MAX_NAME), "serial": peer.serial(), "sha256": peer.sha256() }),
    )
}

/// The names of a peer, cut: `common_name`, `uri_sans`, and `uri_sans_omitted` if some are. The URI SAN that matched is
/// never left out.
pub(crate) fn names(peer: &VerifiedChain) -> Value {
    let identity = peer.identity();
    let mut uri_sans: Vec<_> = identity.uri_sans().take(MAX_URI_SANS).collect();
    let omitted = identity.uri_sans().len() - uri_sans.len();
    if let Some(matched) = peer.matched_uri_san()
        && !uri_sans.contains(&matched)
    {
        uri_sans.pop();
        uri_sans.push(matched);
    }
    let shown = json!({
        "common_name": identity.common_name().map(|name| cut(name, MAX_NAME)),
        "uri_sans": uri_sans.into_iter().map(|uri| cut(uri, MAX_NAME)).collect::<Vec<_>>(),
    });
    if omitted == 0 { shown } else { merge(shown, json!({ "uri_sans_omitted": omitted })) }
}

/// All names of a leaf, as they are.
pub(crate) fn all_names(identity: &PeerIdentity) -> Value {
    json!({
        "common_name": identity.common_name(),
        "uri_sans": identity.uri_sans().collect::<Vec<_>>(),
    })
}

/// What tells the leaf of a refused peer from others of the same name: `serial`, `authority_key_id`.
pub(crate) fn leaf(peer: &RejectedPeer) -> Value {
    json!({ "serial": peer.serial(), "authority_key_id": peer.authority_key_id() })
}

/// Whether the server has accepted us.
pub(crate) fn acceptance(connection: &Connection) -> &'static str {
    match connection.acceptance() {
        Acceptance::Confirmed => "confirmed",
        Acceptance::NotAsked => "not_asked",
        _ => "unconfirmed",
    }
}

/// The TLS parameters of a connection: `tls_version`, `cipher_suite`, `group`.
pub(crate) fn tls(connection: &Connection) -> Value {
    let tls = connection.tls();
    json!({ "tls_version": tls.version(), "cipher_suite": tls.cipher_suite(), "group": tls.group() })
}

/// The line of an accepted connection.
pub(crate) fn accepted(connection: &Connection) -> Value {
    merge(
        json!({ "event": "accepted", "peer": connection.peer_address().to_string() }),
        merge(peer(connection.peer()), tls(connection)),
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
                "detail": detail(&lost.rejection),
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
        "detail": detail(error),
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

#[cfg(test)]
mod tests {
    use rustls_pki_types::UnixTime;
    use typha_tls::material::RevocationLists;
    use typha_tls::policy::TlsPolicy;
    use typha_tls::testing::{CertificateSpec, Purpose, TestCa};
    use typha_tls::verifier::PeerVerifier;
    use typha_tls::{RequiredIdentity, Role};

    use super::*;

    fn names_of(leaf: CertificateSpec, required: &RequiredIdentity) -> Value {
        let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
        let leaf = ca.issue(leaf.purpose(Purpose::ClientAuth)).unwrap();
        let policy = TlsPolicy::builder().build().unwrap();
        let bundle = ca.trust_bundle().unwrap();
        let verifier = PeerVerifier::new(bundle, RevocationLists::none(), required.clone(), &policy);
        names(&verifier.verify(leaf.chain(), Role::Felix, UnixTime::now()).unwrap())
    }

    #[test]
    fn the_uri_san_that_matched_is_never_left_out() {
        let uri = |number: u32| format!("urn:x:{number}");
        let leaf =
            |count| (0..count).fold(CertificateSpec::leaf("x"), |leaf, number| leaf.uri_san(&uri(number)));
        let names_of = |count, required| {
            let required = RequiredIdentity::either("x", &uri(required)).unwrap();
            names_of(leaf(count), &required)
        };
        let [zero, one, two] = [0, 1, 2].map(uri);
        assert_eq!(names_of(3, 2), json!({ "common_name": "x", "uri_sans": [zero, one, two] }));
        let matched = |names: &[&str], omitted: u32| {
            let mut names = json!({ "common_name": "x", "uri_sans": names });
            names["uri_sans_omitted"] = omitted.into();
            names
        };
        assert_eq!(names_of(1000, 999), matched(&[&zero, &one, &uri(999)], 997));
        assert_eq!(names_of(1000, 1), matched(&[&zero, &one, &two], 997));
        // The Common Name alone matches.
        assert_eq!(names_of(1000, 1000), matched(&[&zero, &one, &two], 997));
    }

    #[test]
    fn each_text_is_cut_where_its_json_gets_too_long() {
        let required = RequiredIdentity::common_name(&"\u{1}".repeat(50_000)).unwrap();
        let names = names_of(CertificateSpec::leaf(&"\u{1}".repeat(50_000)), &required);
        let expected = format!("{}... (49958 bytes more)", "\u{1}".repeat(42));
        assert_eq!(names, json!({ "common_name": expected, "uri_sans": [] }));
        for (character, bytes) in
            [("a", 1), ("\"", 2), ("\u{202e}", 6), ("\u{7f}", 6), ("ü", 2), ("\u{10ffff}", 4)]
        {
            let shown = cut(&character.repeat(1000), MAX_NAME);
            let (shown, _) = shown.split_once("... (").unwrap();
            assert_eq!(shown, character.repeat(MAX_NAME / bytes));
            // With two quotation marks and the line break.
            let line = json_line(&json!(shown));
            assert_eq!(line.len(), MAX_NAME / bytes * bytes + 3);
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), shown);
            assert!(!line.trim_end().contains(is_hidden), "{line}");
        }
        assert_eq!(cut(&"a".repeat(MAX_NAME), MAX_NAME), "a".repeat(MAX_NAME));
    }
}
