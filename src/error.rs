//! The errors of a handshake.

use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};
use thiserror::Error;

pub use crate::text::{Quoted, QuotedList, WithCauses};
use crate::verifier::{RejectedPeer, Rejection};

/// The reason why a handshake failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer closed the connection without an alert before the handshake was complete. Label: `closed`.
    #[error("the peer closed the connection during the handshake ({phase})")]
    Closed {
        /// How far the handshake had come.
        phase: HandshakePhase,
    },
    /// Reading or writing failed, most often because of a reset. Label: `io`.
    #[error("I/O failed during the handshake")]
    Io(#[source] io::Error),
    /// The peer sent a handshake message that is larger than we take. Label: `message_too_large`.
    ///
    /// rustls takes messages of less than 64 KiB, and sends no alert for a larger one: the peer sees only that the
    /// connection ends. A [`TyphaListener`](crate::TyphaListener) takes a first message of at most 16 KiB, and sends
    /// the alert `illegal_parameter` for a larger one.
    #[error(
        "the peer sent a TLS handshake message of more than {limit} bytes; if it presents a chain, leave only the leaf \
         and the intermediate CAs that issued it"
    )]
    MessageTooLarge {
        /// The most bytes of such a message.
        limit: usize,
    },
    /// We have a list of application protocols ([ALPN](crate::policy::TlsPolicyBuilder::alpn)), and the peer has none
    /// of them. Label: `no_application_protocol`.
    ///
    /// On Typha's end: Felix offers others, or does not use ALPN. Felix gets the alert `no_application_protocol` or
    /// `handshake_failure`. On Felix's end: Typha does not use ALPN. Felix can detect this only after Typha has
    /// accepted it. Typha then sees a connection that ends at once, without `close_notify`.
    #[error(
        "no application protocol (ALPN) in common: ours are {}, and the peer {}",
        QuotedList(ours),
        offers(theirs)
    )]
    NoApplicationProtocol {
        /// The protocols of our policy. Bytes that are not UTF-8 are replaced, here and in `theirs`.
        ours: Vec<String>,
        /// The protocols that Felix offers, at most 8; empty if the peer does not use ALPN.
        theirs: Vec<String>,
    },
    /// The first bytes of the peer are not TLS, but plain text or another protocol. Label: `not_tls`.
    #[error("the peer does not speak TLS: it began with {}", Quoted(start))]
    NotTls {
        /// The first bytes, at most 16. Each byte outside printable ASCII is replaced by `.`.
        start: String,
    },
    /// The peer refused us and sent an alert with the reason. Label: `refused_by_peer`.
    #[error("the peer refused us: {}{}", alert_name(*alert), alert_hint(*alert))]
    RefusedByPeer {
        /// The alert (RFC 8446 section 6).
        alert: AlertDescription,
    },
    /// We refused the peer. Label: that of the [`Rejection`](Rejection::label).
    #[error(transparent)]
    Rejected(Box<RejectedPeer>),
    /// The handshake exceeded its time limit. Label: `timed_out`.
    #[error("the handshake timed out after {after:?} ({phase})")]
    TimedOut {
        /// How far the handshake had come.
        phase: HandshakePhase,
        /// The time limit.
        after: Duration,
    },
    /// The peer broke the protocol, or has no version, cipher suite or group in common with us. Label: `tls`.
    #[error("the TLS handshake failed{}", tls_hint(.0))]
    Tls(#[source] rustls::Error),
}

/// The most bytes of a handshake message that rustls takes.
pub(crate) const MAX_MESSAGE: usize = 0xffff;

/// How far a handshake had come.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum HandshakePhase {
    /// The peer has sent nothing. Label: `awaiting_first_byte`.
    AwaitingFirstByte,
    /// Messages are being exchanged. Label: `negotiating`.
    Negotiating,
    /// The handshake is complete on our end; the server has not yet shown that it accepts our certificate.
    /// Label: `awaiting_acceptance`.
    AwaitingAcceptance,
}

impl HandshakePhase {
    /// A stable label for logs and metrics, such as `awaiting_first_byte`.
    pub fn label(self) -> &'static str {
        match self {
            Self::AwaitingFirstByte => "awaiting_first_byte",
            Self::Negotiating => "negotiating",
            Self::AwaitingAcceptance => "awaiting_acceptance",
        }
    }
}

impl fmt::Display for HandshakePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitingFirstByte => "the peer had sent nothing",
            Self::Negotiating => "the negotiation was not complete",
            Self::AwaitingAcceptance => "the server had not yet accepted our certificate",
        })
    }
}

impl HandshakeError {
    /// A stable label for logs and metrics: the [`Rejection::label`], or `closed`, `io`, `message_too_large`,
    /// `no_application_protocol`, `not_tls`, `refused_by_peer`, `timed_out` or `tls`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Io(_) => "io",
            Self::MessageTooLarge { .. } => "message_too_large",
            Self::NoApplicationProtocol { .. } => "no_application_protocol",
            Self::NotTls { .. } => "not_tls",
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::Rejected(rejection) => rejection.label(),
            Self::TimedOut { .. } => "timed_out",
            Self::Tls(_) => "tls",
        }
    }

    /// The reason why we refused the peer, if we did.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(peer) => Some(peer),
            _ => None,
        }
    }

    /// The alert by which the peer refused us, if it did.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::RefusedByPeer { alert } => Some(*alert),
            _ => None,
        }
    }
}

impl From<Rejection> for HandshakeError {
    fn from(rejection: Rejection) -> Self {
        RejectedPeer::new(rejection, None).into()
    }
}

/// A failure of TLS that the verifier has not caused.
impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
                Self::MessageTooLarge { limit: MAX_MESSAGE }
            }
            error => Self::Tls(error),
        }
    }
}

impl From<RejectedPeer> for HandshakeError {
    fn from(peer: RejectedPeer) -> Self {
        Self::Rejected(Box::new(peer))
    }
}

/// The alert of the peer that made an operation on a stream fail; `None` if the operation failed for another reason.
///
/// On an [`Unconfirmed`](crate::stream::Acceptance::Unconfirmed) stream, the server's refusal arrives this way.
pub fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match tls_error(error)? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// The TLS failure that tokio-rustls wraps into an I/O error.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The name of an alert as RFC 8446 section 6 spells it, such as `access_denied`; `alert_200` for an alert without a
/// name.
pub fn alert_name(alert: AlertDescription) -> String {
    let Some(camel_case) = alert.as_str() else { return format!("alert_{}", u8::from(alert)) };
    let camel_case = camel_case
        .replace("CA", "Ca")
        .replace("PSK", "Psk")
        .replace("ECH", "Ech")
        .replace("gnised", "gnized");
    let mut name = String::new();
    for character in camel_case.chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

/// The application protocols that the peer offers, as the end of a sentence.
fn offers(theirs: &[String]) -> String {
    match theirs {
        [] => "does not use ALPN".to_owned(),
        theirs => format!("offers {}", QuotedList(theirs)),
    }
}

/// A hint for the operator that explains rustls's reason.
fn tls_hint(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::PeerIncompatible(
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered,
        ) => " (the peer seems to speak TLS 1.1 or older only)",
        rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => " (no TLS version, cipher suite or group in common)",
        _ => "",
    }
}

/// A hint for the operator of the refused end.
fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::AccessDenied => {
            " (our certificate is good, but has neither the Common Name nor the URI SAN that the peer requires)"
        }
        AlertDescription::BadCertificate => {
            " (our certificate is malformed or has a bad signature; a peer written in Go sends this alert for most \
             certificates that it does not accept: check the identity that it requires first, then CA, validity and \
             extended key usage)"
        }
        AlertDescription::CertificateExpired => " (our certificate has expired or is not valid yet)",
        AlertDescription::CertificateRequired => " (we sent no certificate)",
        AlertDescription::CertificateRevoked => " (our certificate has been revoked)",
        AlertDescription::CertificateUnknown => {
            " (the peer refuses our certificate for a reason that has no alert of its own: a name constraint, a path \
             length, a critical extension, or a missing or expired revocation list; see the peer's log)"
        }
        AlertDescription::DecryptError => {
            " (the peer could not verify our signature in the handshake, although our key belongs to our certificate: \
             look for a proxy between both ends, and see the peer's log)"
        }
        AlertDescription::NoApplicationProtocol => {
            " (the peer has none of the application protocols that we offer: see the ALPN list in the TLS policy of \
             both ends)"
        }
        AlertDescription::UnknownCA => {
            " (the peer does not trust the CA of our certificate. If an intermediate CA issued it, append that CA's \
             certificate to our certificate file. Otherwise our certificate may be of another cluster, or the CA file \
             of the peer may lack our CA: run typha-tls check on our end, and see the peer's log. Never add a CA that \
             you did not make)"
        }
        AlertDescription::UnsupportedCertificate => {
            " (our certificate can not be used in this role. It must be X.509 version 3 and not marked as a CA. Its \
             extended key usage, if it has one, must have clientAuth for a client such as Felix, serverAuth for \
             Typha. The peer must support its key and its signature. typha-tls check names the reason)"
        }
        AlertDescription::HandshakeFailure => {
            " (no TLS version, cipher suite or group in common; or the peer requires an application protocol, and our \
             TLS policy has no ALPN list)"
        }
        AlertDescription::ProtocolVersion => " (no TLS version, cipher suite or group in common)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_rfc_names() {
        for (alert, name) in [
            (AlertDescription::AccessDenied, "access_denied"),
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::CertificateExpired, "certificate_expired"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
            (AlertDescription::UnknownPSKIdentity, "unknown_psk_identity"),
            (AlertDescription::Unknown(200), "alert_200"),
        ] {
            assert_eq!(alert_name(alert), name);
        }
    }

    #[test]
    fn an_unknown_ca_comes_with_a_remedy() {
        let error = HandshakeError::RefusedByPeer { alert: AlertDescription::UnknownCA };
        let text = "the peer refused us: unknown_ca (the peer does not trust the CA of our certificate. If an \
        intermediate CA issued it, append that CA's certificate to our certificate file. Otherwise our certificate \
        may be of another cluster, or the CA file of the peer may lack our CA: run typha-tls check on our end, and \
        see the peer's log. Never add a CA that you did not make)";
        assert_eq!(error.to_string(), text);
    }
}
