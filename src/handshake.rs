//! The part of a handshake that both ends share: its time limit, the verifier's verdict, and the error of a failure.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsStream;

use crate::error::{HandshakeError, HandshakePhase, MAX_MESSAGE, tls_error};
use crate::policy::TlsPolicy;
use crate::stream::{START_LENGTH, Start, TlsFacts, Wire, with_start};
use crate::time::deadline_in;
use crate::verifier::{Rejection, VerifiedPeer, with_verdict};

/// The default time limit of a whole handshake: 10 s, as in Calico's `ServerHandshakeTimeoutSecs`.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, and how many bytes, we read from a refused peer before we close. Without this, closing could reset the
/// connection and destroy the alert. The limit is far more than the socket buffers hold, and too little to keep a core
/// busy.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 16 * 1024 * 1024;

/// A handshake that is complete on our end, with an accepted peer.
pub(crate) struct Completed<IO> {
    pub(crate) stream: Box<TlsStream<Wire<IO>>>,
    pub(crate) peer: VerifiedPeer,
    pub(crate) facts: TlsFacts,
    /// The client's end only: whether the server requested a certificate.
    pub(crate) certificate_requested: bool,
}

/// A handshake that did not lead to a connection.
pub(crate) struct Failed<IO> {
    pub(crate) error: HandshakeError,
    /// The I/O, if rustls has written an alert to it. Dropping it before [`deliver_alert`] could destroy the alert.
    pub(crate) alerted: Option<Wire<IO>>,
}

impl<IO> From<HandshakeError> for Failed<IO> {
    fn from(error: HandshakeError) -> Self {
        Self { error, alerted: None }
    }
}

impl<IO> Failed<IO> {
    pub(crate) fn new(error: HandshakeError, wire: Wire<IO>) -> Self {
        let has_alert = matches!(
            error,
            HandshakeError::MessageTooLarge { .. }
                | HandshakeError::NoApplicationProtocol { .. }
                | HandshakeError::NotTls { .. }
                | HandshakeError::Rejected(_)
                | HandshakeError::Tls(_)
        );
        Self { error, alerted: has_alert.then_some(wire) }
    }
}

/// The outcome of a handshake, when a refused peer has our alert.
pub(crate) async fn delivered<S, IO>(
    outcome: Result<S, Failed<IO>>,
    deadline: Instant,
) -> Result<S, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match outcome {
        Ok(stream) => Ok(stream),
        Err(Failed { error, alerted }) => {
            deliver_alert(alerted, deadline).await;
            Err(error)
        }
    }
}

/// Lets our alert arrive.
pub(crate) async fn deliver_alert<IO>(alerted: Option<Wire<IO>>, deadline: Instant)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(wire) = alerted {
        drain(wire, deadline).await;
    }
}

/// Runs a handshake to its end. Returns the accepted peer, or the error. Nothing outlives the returned future.
///
/// The caller pins the handshake, because each `async` block that owns a future doubles its size. The stream is boxed
/// at once, because it is large and every layer up to the caller would move it.
pub(crate) async fn run<S, IO>(
    mut handshake: Pin<&mut impl Future<Output = Result<S, (io::Error, Wire<IO>)>>>,
    policy: &TlsPolicy,
    timeout: Duration,
    deadline: Instant,
) -> Result<Completed<IO>, Failed<IO>>
where
    S: Into<TlsStream<Wire<IO>>>,
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = poll_fn(|cx| handshake.as_mut().poll(cx).map_ok(|stream| Box::new(stream.into())));
    let ((outcome, verdict), start) = with_start(with_verdict(timeout_at(deadline, handshake))).await;
    let no_protocol = |offered: Option<Box<[String]>>| HandshakeError::NoApplicationProtocol {
        ours: policy.alpn().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
        theirs: offered.unwrap_or_default().into(),
    };
    match outcome {
        Ok(Ok(stream)) => match verdict.peer {
            Some(Ok(accepted)) => {
                // Never seen: rustls reports a complete handshake without the negotiated parameters.
                let facts = TlsFacts::of(stream.get_ref().1, policy)
                    .ok_or(HandshakeError::Tls(TlsError::HandshakeNotComplete))?;
                if facts.alpn().is_none() && policy.alpn().len() > 0 {
                    return Err(Failed::new(no_protocol(None), into_wire(*stream)));
                }
                let peer = VerifiedPeer::proven(accepted.remember());
                Ok(Completed { stream, peer, facts, certificate_requested: verdict.certificate_requested })
            }
            // rustls completes no handshake without calling its verifier. If it ever did, the peer would be unknown.
            Some(Err(_)) | None => {
                Err(HandshakeError::Tls(TlsError::General("the peer was not verified".to_owned())).into())
            }
        },
        Ok(Err((error, wire))) => {
            let error = match verdict.peer {
                _ if tls_error(&error) == Some(&TlsError::NoApplicationProtocol) => {
                    no_protocol(verdict.offered)
                }
                Some(Err(peer)) => HandshakeError::Rejected(peer),
                Some(Ok(accepted)) if is_bad_signature(&error) => {
                    Rejection::KeyNotProven { presented: accepted.chain.identity().clone() }.into()
                }
                _ => match failure(error, phase(&start)) {
                    HandshakeError::Closed { .. } | HandshakeError::Tls(TlsError::InvalidMessage(_))
                        if is_not_tls(start.bytes()) =>
                    {
                        not_tls(start.bytes())
                    }
                    failure => failure,
                },
            };
            Err(Failed::new(error, wire))
        }
        Err(_) => Err(HandshakeError::TimedOut { phase: phase(&start), after: timeout }.into()),
    }
}

fn phase(start: &Start) -> HandshakePhase {
    if start.bytes().is_empty() { HandshakePhase::AwaitingFirstByte } else { HandshakePhase::Negotiating }
}

/// The error for a failure in this phase of the handshake that the verifier has not caused.
pub(crate) fn failure(error: io::Error, phase: HandshakePhase) -> HandshakeError {
    match tls_error(&error) {
        // `close_notify` is no refusal.
        Some(TlsError::AlertReceived(AlertDescription::CloseNotify)) => HandshakeError::Closed { phase },
        Some(TlsError::AlertReceived(alert)) => HandshakeError::RefusedByPeer { alert: *alert },
        Some(TlsError::NoCertificatesPresented) => Rejection::NoCertificate.into(),
        Some(tls) => tls.clone().into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => HandshakeError::Closed { phase },
        // The message is not complete when rustls's buffer is full. rustls has no error of its own for that.
        None if error.get_ref().is_some_and(|cause| cause.to_string() == "message buffer full") => {
            HandshakeError::MessageTooLarge { limit: MAX_MESSAGE }
        }
        None => HandshakeError::Io(error),
    }
}

/// Whether a signature of the peer does not verify, or its algorithm does not fit the certificate's key. If the
/// certificates were accepted before, this is the signature over the handshake.
fn is_bad_signature(error: &io::Error) -> bool {
    matches!(
        tls_error(error),
        Some(TlsError::InvalidCertificate(
            CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
        ))
    )
}

/// Whether the first bytes can not be those of a TLS record: content type 20 to 24, version 3.x.
pub(crate) fn is_not_tls(start: &[u8]) -> bool {
    match *start {
        [] => false,
        [content_type] => !matches!(content_type, 20..=24),
        [content_type, major, ..] => !matches!((content_type, major), (20..=24, 3)),
    }
}

/// The error for a peer that began with these bytes.
pub(crate) fn not_tls(start: &[u8]) -> HandshakeError {
    let printable = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' };
    HandshakeError::NotTls { start: start.iter().take(START_LENGTH).map(printable).collect() }
}

/// The I/O below TLS.
pub(crate) fn into_wire<IO>(tls: TlsStream<Wire<IO>>) -> Wire<IO> {
    match tls {
        TlsStream::Client(tls) => tls.into_inner().0,
        TlsStream::Server(tls) => tls.into_inner().0,
    }
}

/// Shuts down our sending side, then reads until the peer has closed, too. Closing with unread data would reset the
/// connection, and the alert would be lost. rustls has written the alert before.
pub(crate) async fn drain(mut io: impl AsyncRead + AsyncWrite + Unpin, deadline: Instant) {
    let drained = async {
        io.shutdown().await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = DRAIN_BYTES;
        loop {
            match io.read(&mut buffer).await? {
                0 => return io::Result::Ok(()),
                received if received >= left => return Ok(()),
                received => left -= received,
            }
        }
    };
    // The result does not matter: the connection is dropped next.
    let _ = timeout_at(deadline.min(deadline_in(DRAIN_TIME)), drained).await;
}
