//! What both ends do with a handshake: bound it, get the verifier's verdict out of it, and name its failure.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error as TlsError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsStream;

use crate::error::{HandshakeError, HandshakePhase, tls_error};
use crate::policy::TlsPolicy;
use crate::stream::{Start, TlsFacts, Wire, with_start};
use crate::time::deadline_in;
use crate::verifier::{Rejection, VerifiedPeer, with_verdict};

/// The bound on a whole handshake where none is given: Calico's `ServerHandshakeTimeoutSecs`.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long, and for how many bytes, a refused peer is listened to, so that closing does not become a reset that
/// destroys the alert on its way. Far more than the buffers between two ends hold; less than costs a core.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 16 * 1024 * 1024;

/// A handshake that is complete on our end, with an accepted peer.
pub(crate) struct Completed<IO> {
    pub(crate) stream: Box<TlsStream<Wire<IO>>>,
    pub(crate) peer: VerifiedPeer,
    pub(crate) facts: TlsFacts,
    /// Felix's end only: whether Typha requested a certificate.
    pub(crate) certificate_requested: bool,
}

/// Runs a handshake to its end: an accepted peer, or the reason why not. Nothing outlives the returned future.
///
/// The handshake is pinned by the caller, since each `async` around a future that it owns doubles its size. Its stream
/// is boxed at once, since it is large and would be moved through every layer from here to the caller.
pub(crate) async fn run<S, IO>(
    mut handshake: Pin<&mut impl Future<Output = Result<S, (io::Error, Wire<IO>)>>>,
    policy: &TlsPolicy,
    timeout: Duration,
    deadline: Instant,
) -> Result<Completed<IO>, HandshakeError>
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
                // rustls calls the handshake complete, but can not say what was negotiated; not seen to happen.
                let facts = TlsFacts::of(stream.get_ref().1, policy)
                    .ok_or(HandshakeError::Tls(TlsError::HandshakeNotComplete))?;
                if facts.alpn().is_none() && policy.alpn().len() > 0 {
                    let error = no_protocol(None);
                    tell(&error, into_wire(*stream), deadline).await;
                    return Err(error);
                }
                let peer = VerifiedPeer::proven(accepted.remember());
                Ok(Completed { stream, peer, facts, certificate_requested: verdict.certificate_requested })
            }
            // rustls completes no handshake without asking its verifier; should it ever, the peer is unknown.
            Some(Err(_)) | None => {
                Err(HandshakeError::Tls(TlsError::General("the peer was not verified".to_owned())))
            }
        },
        Ok(Err((error, wire))) => {
            let error = match verdict.peer {
                _ if tls_error(&error) == Some(&TlsError::NoApplicationProtocol) => {
                    no_protocol(verdict.offered)
                }
                Some(Err(rejection)) => (*rejection).into(),
                Some(Ok(accepted)) if is_bad_signature(&error) => {
                    Rejection::KeyNotProven { presented: accepted.chain.identity().clone() }.into()
                }
                _ => match failure(error, phase(&start)) {
                    HandshakeError::Closed { .. } | HandshakeError::Tls(TlsError::InvalidMessage(_))
                        if is_not_tls(&start) =>
                    {
                        not_tls(&start)
                    }
                    failure => failure,
                },
            };
            tell(&error, wire, deadline).await;
            Err(error)
        }
        Err(_) => Err(HandshakeError::TimedOut { phase: phase(&start), after: timeout }),
    }
}

fn phase(start: &Start) -> HandshakePhase {
    if start.bytes().is_empty() { HandshakePhase::AwaitingFirstByte } else { HandshakePhase::Negotiating }
}

/// Names a failure that is not the verifier's, in the given phase of the handshake.
pub(crate) fn failure(error: io::Error, phase: HandshakePhase) -> HandshakeError {
    match tls_error(&error) {
        // Goodbye is no refusal.
        Some(TlsError::AlertReceived(AlertDescription::CloseNotify)) => HandshakeError::Closed { phase },
        Some(TlsError::AlertReceived(alert)) => HandshakeError::RefusedByPeer { alert: *alert },
        Some(TlsError::NoCertificatesPresented) => Rejection::NoCertificate.into(),
        Some(tls) => HandshakeError::Tls(tls.clone()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => HandshakeError::Closed { phase },
        None => HandshakeError::Io(error),
    }
}

/// Whether a signature that the peer made does not verify, or is by a key of another kind than the certificate's. After
/// the certificates were found good, that is the signature over the handshake.
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
fn is_not_tls(start: &Start) -> bool {
    match *start.bytes() {
        [] => false,
        [content_type] => !matches!(content_type, 20..=24),
        [content_type, major, ..] => !matches!((content_type, major), (20..=24, 3)),
    }
}

fn not_tls(start: &Start) -> HandshakeError {
    let printable = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' };
    HandshakeError::NotTls { start: start.bytes().iter().map(printable).collect() }
}

/// What is below TLS.
pub(crate) fn into_wire<IO>(tls: TlsStream<Wire<IO>>) -> Wire<IO> {
    match tls {
        TlsStream::Client(tls) => tls.into_inner().0,
        TlsStream::Server(tls) => tls.into_inner().0,
    }
}

/// Sees to it that the alert arrives, if it was us who ended the handshake with one.
pub(crate) async fn tell<IO>(error: &HandshakeError, wire: Wire<IO>, deadline: Instant)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if let HandshakeError::NoApplicationProtocol { .. }
    | HandshakeError::NotTls { .. }
    | HandshakeError::Rejected(_)
    | HandshakeError::Tls(_) = error
    {
        drain(wire, deadline).await;
    }
}

/// Says that nothing more will be sent, then reads until the peer has closed too: closing with unread data resets the
/// connection, and the alert is lost. The alert itself was written by rustls before.
async fn drain<IO: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<IO>, deadline: Instant) {
    let drained = async {
        wire.shutdown().await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = DRAIN_BYTES;
        loop {
            match wire.read(&mut buffer).await? {
                0 => return io::Result::Ok(()),
                received if received >= left => return Ok(()),
                received => left -= received,
            }
        }
    };
    // Whatever happens, the connection is dropped next.
    let _ = timeout_at(deadline.min(deadline_in(DRAIN_TIME)), drained).await;
}
