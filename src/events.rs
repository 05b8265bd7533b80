//! The tracing events: one for each accepted and each refused connection. Field names are stable.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use tracing::{Instrument as _, Span, info, info_span, warn};

use crate::error::HandshakeError;
use crate::handshake::Failed;
use crate::role::Role;
use crate::stream::AuthenticatedStream;
use crate::text::{Quoted, QuotedList, WithCauses};

/// The result of a handshake.
type Outcome<IO> = Result<AuthenticatedStream<IO>, Failed<IO>>;

/// Runs a handshake inside its span, and emits its event. `local` is our end; `peer_address` is known for TCP.
pub(crate) async fn observed<IO>(
    local: Role,
    peer_address: Option<SocketAddr>,
    handshake: Pin<&mut impl Future<Output = Outcome<IO>>>,
) -> Outcome<IO> {
    let observed = async {
        let outcome = handshake.await;
        emit(peer_address, &outcome);
        outcome
    };
    observed.instrument(handshake_span(local, peer_address)).await
}

/// Emits the event for a peer that is refused before its handshake begins.
pub(crate) fn refused(local: Role, peer_address: SocketAddr, error: &HandshakeError) {
    handshake_span(local, Some(peer_address)).in_scope(|| emit_refused(Some(peer_address), error));
}

fn handshake_span(local: Role, peer_address: Option<SocketAddr>) -> Span {
    let span = info_span!("handshake", local = %local, peer_address = tracing::field::Empty);
    if let Some(address) = peer_address {
        span.record("peer_address", tracing::field::display(address));
    }
    span
}

fn emit<IO>(peer_address: Option<SocketAddr>, outcome: &Outcome<IO>) {
    match outcome {
        Ok(stream) => {
            let identity = stream.peer().identity();
            info!(
                peer_address = peer_address.map(tracing::field::display),
                matched_by = stream.peer().matched_by().label(),
                host = stream.peer().matched_host().map(tracing::field::display),
                common_name = identity.common_name().map(|name| tracing::field::display(Quoted(name))),
                uri_sans = %QuotedList(&identity.uri_sans),
                ca = stream.peer().ca(),
                serial = stream.peer().serial(),
                sha256 = stream.peer().sha256(),
                tls_version = stream.tls().version(),
                cipher_suite = stream.tls().cipher_suite(),
                group = stream.tls().group(),
                alpn = stream.tls().alpn_text().map(tracing::field::display),
                "connection accepted"
            );
        }
        Err(failed) => emit_refused(peer_address, &failed.error),
    }
}

fn emit_refused(peer_address: Option<SocketAddr>, error: &HandshakeError) {
    let peer = match error {
        HandshakeError::Rejected(peer) => Some(peer),
        _ => None,
    };
    warn!(
        peer_address = peer_address.map(tracing::field::display),
        reason = error.label(),
        detail = %WithCauses(error),
        serial = peer.and_then(|peer| peer.serial()),
        authority_key_id = peer.and_then(|peer| peer.authority_key_id()),
        "connection refused"
    );
}
