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

/// How long a goodbye may take. It waits only for room in the system's buffer.
const GOODBYE: Duration = Duration::from_secs(1);

/// Reads of a connection before it counts as alive, whatever else is to come.
const MOST_READS: usize = 1000;

/// What was kept to the end, and how many of these Typha had closed before.
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

    /// Returns what is not kept: the oldest, if there are enough.
    pub(super) fn keep(&self, stream: Stream) -> Option<Stream> {
        if self.most == 0 {
            return Some(stream);
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push_back(stream);
        if streams.len() > self.most { streams.pop_front() } else { None }
    }

    /// Closes all.
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

/// Says goodbye. Does not wait for Typha's: a Felix that ends does not, either.
pub(super) async fn close(mut stream: Stream) {
    let _ = timeout(GOODBYE, stream.shutdown()).await;
}

/// Whether the end is not among what has arrived.
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
