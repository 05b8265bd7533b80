//! The first bytes that a connection received, which tell TLS from anything else.

use std::cell::Cell;
use std::future::Future;

/// The first bytes that a connection received.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    bytes: [u8; START_LENGTH],
    received: usize,
}

/// Enough to tell TLS from anything else, and for people to tell what else it is.
const START_LENGTH: usize = 16;

impl Start {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.received.min(START_LENGTH)).unwrap_or_default()
    }

    fn extend(&mut self, received: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.received..) {
            for (slot, byte) in free.iter_mut().zip(received) {
                *slot = *byte;
            }
        }
        self.received = (self.received + received.len()).min(START_LENGTH);
    }
}

tokio::task_local! {
    /// The start of the connection whose handshake is being polled: the [`Wire`] is out of reach inside the handshake's
    /// future, and gone with it when that is given up.
    static START: Cell<Start>;
}

/// Runs a handshake over a [`Wire`] and returns its output with what the wire received first.
pub(crate) async fn with_start<F: Future>(handshake: F) -> (F::Output, Start) {
    let scoped = async {
        let output = handshake.await;
        (output, START.with(Cell::take))
    };
    START.scope(Cell::default(), scoped).await
}

/// Adds to the start of the connection being polled; `true` if there is no more to add.
pub(super) fn note(received: &[u8]) -> bool {
    START
        .try_with(|cell| {
            let mut start = cell.get();
            start.extend(received);
            cell.set(start);
            start.received == START_LENGTH
        })
        .unwrap_or(true)
}
