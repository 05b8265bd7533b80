//! What an operator needs to read when etcd refuses us.

use std::io;

use rustls::AlertDescription as Alert;
use typha_tls::error::{HandshakeError, HandshakePhase};

/// What a failed handshake means if the server is etcd, and what to do. `None` if the error itself says everything.
/// `presented` is whether we have a certificate.
///
/// The alerts depend on the version of Go that etcd was built with: etcd 3.4 sends `bad_certificate` for nearly
/// everything. etcd's own log says more. Over TLS 1.3, etcd refuses a client after the client's handshake is complete.
pub(crate) fn explanation(error: &HandshakeError, presented: bool) -> Option<&'static str> {
    let alert = match error {
        HandshakeError::Closed { phase: HandshakePhase::AwaitingAcceptance } if presented => {
            return Some(REVOKED);
        }
        HandshakeError::Closed { .. } | HandshakeError::NotTls { .. } => return Some(NOT_TLS),
        // A server without TLS resets the connection if it has not read the whole ClientHello.
        HandshakeError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => return Some(NOT_TLS),
        HandshakeError::NoApplicationProtocol { .. } => return Some(NOT_HTTP2),
        HandshakeError::RefusedByPeer { alert } => *alert,
        _ => return None,
    };
    match (alert, presented) {
        (Alert::BadCertificate | Alert::CertificateRequired, false) => Some(REQUIRED),
        (Alert::HandshakeFailure, false) => Some(REQUIRED_OR_NOTHING_IN_COMMON),
        (Alert::BadCertificate, true) => Some(NOT_ACCEPTED),
        (Alert::CertificateExpired, true) => Some(EXPIRED),
        (Alert::UnknownCA, true) => Some(UNKNOWN_CA),
        (Alert::HandshakeFailure, true) | (Alert::ProtocolVersion, _) => Some(NOTHING_IN_COMMON),
        (Alert::InternalError, _) => Some(NO_OWN_CERTIFICATE),
        (Alert::NoApplicationProtocol, _) => Some(NOT_HTTP2),
        _ => None,
    }
}

const REQUIRED: &str = "etcd requires a client certificate (--client-cert-auth), and we have none; set the parameters \
                        for a certificate and its key";
const REQUIRED_OR_NOTHING_IN_COMMON: &str = "etcd requires a client certificate, and we have none, or no TLS version \
                                             or cipher suite is in common; set the parameters for a certificate and \
                                             its key, or change TLS_MIN_VERSION and TLS_CIPHER_SUITES here";
const NOT_ACCEPTED: &str = "etcd does not accept our certificate: its --trusted-ca-file lacks our CA (etcd reads that \
                            file at its start only), --client-cert-allowed-hostname does not match our certificate, or \
                            our serial number is on --client-crl-file; see etcd's log";
const EXPIRED: &str =
    "our certificate has expired or is not valid yet; renew it, or set the clocks of both machines";
const UNKNOWN_CA: &str = "etcd's --trusted-ca-file lacks the CA of our certificate; add it there and restart etcd, \
                          which reads that file at its start only. If an intermediate CA issued our certificate, \
                          append that CA's certificate to our certificate file";
const NOTHING_IN_COMMON: &str = "no TLS version or cipher suite is in common; change TLS_MIN_VERSION and \
                                 TLS_CIPHER_SUITES here, or --tls-min-version, --tls-max-version and --cipher-suites \
                                 of etcd";
const NO_OWN_CERTIFICATE: &str = "etcd can not read its own certificate or key; see etcd's log";
const NOT_HTTP2: &str = "the server does not speak HTTP/2; see in etcd's --listen-client-urls whether this is its \
                         client port";
const NOT_TLS: &str = "the server closed the connection, or does not speak TLS; see in etcd's --listen-client-urls \
                       whether this is its client port, and whether its scheme is https";
const REVOKED: &str = "etcd closed the connection right after the handshake, without an alert: the serial number of \
                       our certificate is on its revocation list (--client-crl-file), also if another CA issued that \
                       list, or etcd can not read that file; issue a new certificate, or write the list again as DER";
