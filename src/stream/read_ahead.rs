//! Larger and fewer reads while data flows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Reads larger pieces than the 4 KiB that TLS asks for, after one read has filled a whole piece.
///
/// It frees its buffer whenever that is empty, because the connection may then be idle for long.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    buffer: BytesMut,
    flowing: bool,
}

/// Four TLS records of the largest size: a larger buffer saves no more time.
const READ_AHEAD_BYTES: usize = 64 * 1024;

impl ReadAhead {
    /// Begins with bytes that were read before.
    pub(super) fn new(received: BytesMut) -> Self {
        Self { buffer: received, flowing: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(super) fn poll_read<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            if !self.flowing {
                ready!(Pin::new(io).poll_read(cx, buf))?;
                self.flowing = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            self.buffer.reserve(READ_AHEAD_BYTES);
            let received = poll_read_buf(Pin::new(io), cx, &mut self.buffer);
            if !matches!(received, Poll::Ready(Ok(1..))) {
                *self = Self::default();
            }
            ready!(received)?;
        }
        let taken = buf.remaining().min(self.buffer.len());
        buf.put_slice(self.buffer.get(..taken).unwrap_or_default());
        self.buffer.advance(taken);
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Reader<IO>(IO, ReadAhead);

    impl<IO: AsyncRead + Unpin> AsyncRead for Reader<IO> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Self(io, ahead) = self.get_mut();
            ahead.poll_read(io, cx, buf)
        }
    }

    #[tokio::test]
    async fn data_is_read_ahead_while_it_flows_and_nothing_is_held_after() {
        let (mut sender, receiver) = tokio::io::duplex(256 * 1024);
        let mut reader = Reader(receiver, ReadAhead::default());
        let data: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut received = Vec::new();
        let mut piece = [0; 4096];

        sender.write_all(&data[..100]).await.unwrap();
        let read = reader.read(&mut piece).await.unwrap();
        received.extend_from_slice(&piece[..read]);
        assert_eq!((read, reader.1.flowing, reader.1.buffer.capacity()), (100, false, 0), "a small read");

        sender.write_all(&data[100..]).await.unwrap();
        let read = reader.read(&mut piece).await.unwrap();
        received.extend_from_slice(&piece[..read]);
        assert_eq!(
            (read, reader.1.flowing, reader.1.buffer.len()),
            (4096, true, 0),
            "as much as was asked for"
        );
        let read = reader.read(&mut piece).await.unwrap();
        received.extend_from_slice(&piece[..read]);
        assert_eq!((read, reader.1.buffer.len()), (4096, READ_AHEAD_BYTES - 4096), "more than was asked for");

        while received.len() < data.len() {
            let read = reader.read(&mut piece).await.unwrap();
            received.extend_from_slice(&piece[..read]);
        }
        assert_eq!(received, data);
        assert_eq!(reader.1.buffer.capacity(), 0, "given back with the last byte");

        let idle = tokio::time::timeout(std::time::Duration::ZERO, reader.read(&mut piece)).await;
        assert!(idle.is_err());
        assert_eq!((reader.1.flowing, reader.1.buffer.capacity()), (false, 0));

        sender.write_all(b"more").await.unwrap();
        drop(sender);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"more");
    }
}
