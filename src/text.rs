//! Display of untrusted text, escaped and cut, and of errors with their causes.

use std::error::Error;
use std::fmt::{self, Write as _};

/// Shows text that a peer or a file controls: in quotes, escaped outside printable ASCII, and cut after 120 characters.
/// The result can neither break a log line nor fake another one.
///
/// All texts of this crate use it. Use it in the errors of your own [sources](crate::reload::TlsConfigSource), too.
///
/// ```
/// use typha_tls::error::Quoted;
///
/// assert_eq!(Quoted("typha\nserver").to_string(), r#""typha\nserver""#);
/// ```
#[derive(Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

/// The number of characters of untrusted text that are shown; enough for a SPIFFE ID with a long path.
const LIMIT: usize = 120;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut shown = 0;
        for (position, character) in self.0.char_indices() {
            let escaped = character.escape_default();
            shown += escaped.len();
            if shown > LIMIT {
                return write!(f, "\"... ({} bytes more)", self.0.len() - position);
            }
            write!(f, "{escaped}")?;
        }
        f.write_str("\"")
    }
}

/// Shows a list of texts that a peer or a file controls: each as [`Quoted`] does, and at most 3 of them.
pub struct QuotedList<'a, T>(pub &'a [T]);

/// The number of entries of an untrusted list that are shown.
const LIST_LIMIT: usize = 3;

impl<T: AsRef<str>> fmt::Display for QuotedList<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, text) in self.0.iter().take(LIST_LIMIT).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", Quoted(text.as_ref()))?;
        }
        match self.0.len().checked_sub(LIST_LIMIT) {
            Some(more) if more > 0 => write!(f, ", {more} more]"),
            _ => f.write_str("]"),
        }
    }
}

/// The same as `Display`.
impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same as `Display`.
impl<T: AsRef<str>> fmt::Debug for QuotedList<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The most octets of an identifier that are shown.
const MAX_IDENTIFIER: usize = 64;

/// A key identifier or a serial number (RFC 5280 allows 20 octets) in hexadecimal, cut.
pub(crate) fn identifier_text(octets: &[u8]) -> String {
    match octets.split_at_checked(MAX_IDENTIFIER) {
        Some((shown, [_, ..])) => hex(shown) + "...",
        _ => hex(octets),
    }
}

/// Lower-case hexadecimal, two digits for each octet.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Shows an error and all of its causes on one line, each once.
///
/// The errors of this crate do not include their `source()` in their own text, so no cause is shown twice.
///
/// ```
/// use typha_tls::error::WithCauses;
/// use typha_tls::material::TrustBundle;
///
/// let error = TrustBundle::from_file("/nowhere/ca.pem").unwrap_err();
/// let text = WithCauses(&error).to_string();
/// assert!(text.starts_with("/nowhere/ca.pem: it can not be read: "), "{text}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_is_escaped() {
        assert_eq!(Quoted("a\"b\n\u{202e}\u{7}é").to_string(), r#""a\"b\n\u{202e}\u{7}\u{e9}""#);
    }

    #[test]
    fn untrusted_text_is_cut() {
        let shown = Quoted(&"x".repeat(5_000)).to_string();
        assert_eq!(shown, format!("\"{}\"... (4880 bytes more)", "x".repeat(120)));
        assert_eq!(format!("{:?}", Quoted(&"x".repeat(5_000))), shown);
    }

    #[test]
    fn lists_are_cut() {
        assert_eq!(QuotedList::<&str>(&[]).to_string(), "[]");
        assert_eq!(QuotedList(&["a", "b", "c"]).to_string(), r#"["a", "b", "c"]"#);
        assert_eq!(QuotedList(&["a"; 9]).to_string(), r#"["a", "a", "a", 6 more]"#);
    }
}
