//! What an operator needs to read when etcd refuses us.

use rustls::AlertDescription as Alert;
use typha_tls::error::{HandshakeError, HandshakePhase};

/// What the end of a handshake means if the server is etcd, and what to do. `None` if the error itself says everything.
/// `presented` is whether we have a certificate.
///
/// etcd's own log says more, and Go sends one alert for many reasons. Over TLS 1.3, etcd refuses a client after the
/// client's handshake is complete.
pub fn explanation(error: &HandshakeError, presented: bool) -> Option<&'static str> {
    const REQUIRED: &str = "etcd requires a client certificate (--client-cert-auth), and we have none; set certificate \
                            and key";
    const NOT_ACCEPTED: &str = "etcd does not accept our certificate. Its --trusted-ca-file may lack our CA (etcd \
                                reads that file at its start only); our certificate may have expired; its extended \
                                key usage may lack clientAuth; or --client-cert-allowed-hostname does not match it. \
                                See etcd's log";
    Some(match error {
        HandshakeError::RefusedByPeer { alert } => match *alert {
            Alert::BadCertificate | Alert::CertificateRequired | Alert::HandshakeFailure if !presented => {
                REQUIRED
            }
            Alert::BadCertificate => NOT_ACCEPTED,
            Alert::UnknownCA => {
                "etcd's --trusted-ca-file lacks the CA of our certificate; add it there and restart etcd, or use a \
                 certificate of a CA that is there"
            }
            Alert::CertificateExpired => "our certificate has expired; renew it",
            Alert::NoApplicationProtocol => {
                "the server does not speak HTTP/2; is this etcd's client port (2379), and not its peer port?"
            }
            Alert::InternalError => "etcd can not read its own certificate or key; see etcd's log",
            _ => return None,
        },
        HandshakeError::NoApplicationProtocol { .. } => {
            "the server does not speak HTTP/2; is this etcd's client port (2379)?"
        }
        HandshakeError::Closed { phase: HandshakePhase::AwaitingAcceptance } => {
            "etcd closed the connection right after the handshake, without an alert: the serial number of our \
             certificate is on its revocation list (--client-crl-file), also if another CA issued that list; or etcd \
             can not read that file, which must be DER"
        }
        HandshakeError::Closed { .. } => {
            "the server closed the connection: does it speak TLS at all on this port (https in --listen-client-urls)?"
        }
        _ => return None,
    })
}
