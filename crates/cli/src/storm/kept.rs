//! Accepted connections that stay open.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use typha_tls::AuthenticatedStream;

type Stream = AuthenticatedStream<TcpStream>;

/// The bound on closing a connection. Closing waits only for room in the system's buffer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// After this many reads a connection counts as alive, even if more data may follow.
const MOST_READS: usize = 1000;

/// The number of connections kept to the end, and how many of them Typha had closed before.
#[derive(Default, Serialize)]
pub(super) struct AtTheEnd {
    at_end: usize,
    closed_by_peer: usize,
}

pub(super) struct Kept {
    most: usize,
    streams: Mutex<VecDeque<Stream>>,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self { most, streams: Mutex::default() }
    }

    /// Keeps a connection. Returns the oldest one if there are too many.
    pub(super) fn keep(&self, stream: Stream) -> Option<Stream> {
        if self.most == 0 {
            return Some(stream);
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push_back(stream);
        if streams.len() > self.most { streams.pop_front() } else { None }
    }

    /// Closes all connections.
    pub(super) async fn end(&self) -> AtTheEnd {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner));
        let (at_end, mut closed_by_peer) = (streams.len(), 0);
        for mut stream in streams {
            closed_by_peer += usize::from(!is_alive(&mut stream).await);
            close(stream).await;
        }
        AtTheEnd { at_end, closed_by_peer }
    }
}

/// Sends close_notify. It does not wait for Typha's, because a Felix that ends does not wait either.
pub(super) async fn close(mut stream: Stream) {
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}

/// Whether the data received so far do not include the end.
async fn is_alive(stream: &mut Stream) -> bool {
    let mut buffer = [0; 4096];
    for _ in 0..MOST_READS {
        match timeout(Duration::ZERO, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return false,
            Ok(Ok(_)) => {}
            Err(_) => return true,
        }
    }
    true
}
