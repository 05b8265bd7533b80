//! Carries the bytes between a TLS connection and one without TLS, and the way in which each direction ends.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use tokio::io::{AsyncBufRead as _, AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use typha_tls::Connection;

use super::counts::ForwardCounts;
use super::plain::{PlainStream, end_in_order, take_error};

/// Four TLS records of the largest size: TLS would split a larger buffer again.
const BUFFER: usize = 64 * 1024;

/// The most data of one TLS record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

thread_local! {
    /// Data from the side without TLS that goes to TLS at once. A connection that waits has no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// Both sides have ended in order.
    InOrder,
    /// We had to close the connection.
    Closed,
    /// One side has failed. The other was reset.
    Broken { side: Side, error: io::Error },
}

/// How often to check whether a side was reset while it is not being read or written to. It is also the most time that
/// the other direction has after one direction has failed.
const LOOK: Duration = Duration::from_secs(1);

/// How long data that was written last gets before a reset, which discards what is still in the queues of the system.
const DRAIN: Duration = Duration::from_millis(100);

/// A side of the relay. A direction has the name of the side that it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Tls,
    /// The side without TLS.
    Plain,
}

impl Side {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Plain => "plain",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Tls => Self::Plain,
            Self::Plain => Self::Tls,
        }
    }
}

/// The state of a direction.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Direction {
    Open,
    /// Its source has ended, and its target must still be ended.
    Ending,
    Ended,
}

/// The side that has failed, and how.
type Failed = (Side, io::Error);

pub(super) struct Relay<'a> {
    counts: &'a ForwardCounts,
    tls: Box<Connection>,
    plain: PlainStream,
    from_tls: Direction,
    from_plain: Direction,
    /// Data that TLS has not accepted yet.
    unsent: Vec<u8>,
    /// Data that the side without TLS has not accepted yet, and the error of TLS behind it.
    unwritten: Vec<u8>,
    tls_error: Option<io::Error>,
    is_flushed: bool,
    /// The side without TLS accepts no more data at the moment.
    is_plain_full: bool,
    first: Side,
    /// The direction that was polled last has carried everything that has arrived, as far as tokio knows.
    is_idle: bool,
    /// If we have to close: until when.
    deadline: Option<Instant>,
    /// The direction from TLS got an end that is not the peer's.
    is_told_to_end: bool,
    last_written: Option<Instant>,
    /// The first failure, and the direction in which it was met.
    failure: Option<(Side, Failed)>,
    /// Runs while reads and writes can not show a reset. Most connections have no such timer.
    look: Option<Pin<Box<Sleep>>>,
    /// Bytes from the TLS connection.
    pub(super) received: u64,
    /// Bytes to the TLS connection.
    pub(super) sent: u64,
}

impl<'a> Relay<'a> {
    /// When the relay is dropped, both connections end by a reset, except for directions that have ended in order.
    pub(super) fn new(tls: Box<Connection>, plain: PlainStream, counts: &'a ForwardCounts) -> Self {
        Self {
            counts,
            tls,
            plain,
            from_tls: Direction::Open,
            from_plain: Direction::Open,
            unsent: Vec::new(),
            unwritten: Vec::new(),
            tls_error: None,
            is_flushed: true,
            is_plain_full: false,
            first: Side::Tls,
            is_idle: false,
            deadline: None,
            is_told_to_end: false,
            last_written: None,
            failure: None,
            look: None,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn tls(&self) -> &Connection {
        &self.tls
    }

    /// Carries bytes until both directions have ended. After `close_requested`, this must happen within `grace`. If
    /// nothing arrives from TLS for a quarter of it, the side without TLS sees an end. This tells it to end, too.
    pub(super) async fn carry(&mut self, close_requested: &CancellationToken, grace: Duration) {
        tokio::select! {
            biased;
            () = poll_fn(|cx| self.poll(cx)) => return,
            () = close_requested.cancelled() => {}
        }
        if self.failure.is_none() {
            self.deadline = Some(Instant::now() + grace);
        }
        for _ in 0..4 {
            let before = self.received;
            if timeout(grace / 4, poll_fn(|cx| self.poll(cx))).await.is_ok() {
                return;
            }
            let is_quiet =
                self.received == before && self.unwritten.is_empty() && !self.has_unread(Side::Tls);
            // A side without TLS that has ended needs not be told.
            if is_quiet && [self.from_tls, self.from_plain] == [Direction::Open; 2] {
                (self.from_tls, self.is_told_to_end) = (Direction::Ending, true);
            }
        }
        // A direction that has not ended by now is reset.
    }

    /// Closes both connections: a direction that has ended in order keeps its end, and any other one is reset.
    pub(super) async fn close(self) -> Ending {
        let is_cut_off = self.is_told_to_end && self.from_plain != Direction::Ended;
        if let (Some(_), Some(last)) = (&self.failure, self.last_written) {
            sleep_until(last + DRAIN).await;
        }
        if self.from_tls == Direction::Ended && !is_cut_off {
            end_in_order(&self.plain);
        }
        match (self.failure, self.deadline) {
            (Some((_, (side, error))), None) => Ending::Broken { side, error },
            (None, None) => Ending::InOrder,
            (failure, Some(deadline)) => {
                // Read what the peer still sends: otherwise a reset could discard the end before the peer sees it.
                if failure.is_none() && self.from_plain == Direction::Ended {
                    let _ = timeout_at(deadline, Box::pin(self.tls.close())).await;
                }
                Ending::Closed
            }
        }
    }

    /// Ready when both directions have ended, or after a failure.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The directions take turns, so that one of them can not use up the runtime's share of both.
        self.first = self.first.other();
        let mut are_over = true;
        for from in [self.first, self.first.other()] {
            if self.failure.is_some() {
                break;
            }
            match self.poll_direction(from, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failed)) => {
                    self.failure = Some((from, failed));
                    self.look = None;
                }
                Poll::Pending => are_over = false,
            }
        }
        match &self.failure {
            None if are_over => Poll::Ready(()),
            None => self.poll_look(cx),
            // The other direction leads to the side that has failed.
            Some((from, (side, _))) if from == side => Poll::Ready(()),
            Some((from, _)) => self.poll_last(from.other(), cx),
        }
    }

    fn poll_direction(&mut self, from: Side, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match from {
            Side::Tls => self.poll_from_tls(cx),
            Side::Plain => self.poll_from_plain(cx),
        }
    }

    /// The side that has failed takes no more. What it had sent before has arrived by now: it is carried, and its end.
    fn poll_last(&mut self, from: Side, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_direction(from, cx) {
            Poll::Pending if !self.is_idle || self.has_unread(from) => {
                self.look.get_or_insert_with(|| Box::pin(sleep(LOOK))).as_mut().poll(cx)
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether data has arrived that tokio does not know of yet.
    fn has_unread(&self, from: Side) -> bool {
        let unread = match (from, &self.plain) {
            (Side::Tls, _) => ioctl_fionread(&**self.tls.get_ref()),
            (Side::Plain, Either::Left(tcp)) => ioctl_fionread(tcp),
            (Side::Plain, Either::Right(unix)) => ioctl_fionread(unix),
        };
        unread.is_ok_and(|unread| unread > 0)
    }

    /// Ready if a side was reset while it is not being read or written to.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let is_unseen = self.is_plain_full
                || !self.unsent.is_empty()
                || self.from_tls != Direction::Open
                || self.from_plain != Direction::Open;
            if self.look.is_none() && !is_unseen {
                return Poll::Pending;
            }
            let look = self.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            ready!(look.as_mut().poll(cx));
            self.look = None;
            let (of_tls, of_plain) = (self.tls.get_ref().take_error(), take_error(&self.plain));
            for (side, error) in [(Side::Tls, of_tls), (Side::Plain, of_plain)] {
                if let Ok(Some(error)) = error
                    && is_final(&error)
                {
                    self.failure = Some((side, (side, error)));
                    return Poll::Ready(());
                }
            }
        }
    }

    fn poll_from_tls(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.is_idle = false;
        loop {
            while !self.unwritten.is_empty() {
                let unwritten = std::mem::take(&mut self.unwritten);
                let written = self.poll_write(cx, &unwritten);
                self.unwritten = unwritten;
                self.unwritten.drain(..ready!(written)?);
                if self.unwritten.is_empty() {
                    self.unwritten = Vec::new();
                }
            }
            if let Some(error) = self.tls_error.take() {
                return Poll::Ready(Err((Side::Tls, error)));
            }
            match self.from_tls {
                Direction::Open => {}
                Direction::Ending => {
                    ready!(Pin::new(&mut self.plain).poll_shutdown(cx))
                        .map_err(|error| (Side::Plain, error))?;
                    self.from_tls = Direction::Ended;
                    return Poll::Ready(Ok(()));
                }
                Direction::Ended if self.is_told_to_end && self.from_plain == Direction::Open => {
                    // There is no place for more.
                    return match ready!(Pin::new(&mut *self.tls).poll_fill_buf(cx)) {
                        Ok([]) => Poll::Ready(Ok(())),
                        Ok(_) => Poll::Ready(Err((Side::Tls, io::ErrorKind::ConnectionAborted.into()))),
                        Err(error) => Poll::Ready(Err((Side::Tls, error))),
                    };
                }
                Direction::Ended => return Poll::Ready(Ok(())),
            }
            match Pin::new(&mut *self.tls).poll_fill_buf(cx) {
                Poll::Ready(data) => match data.map_err(|error| (Side::Tls, error))? {
                    [] => self.from_tls = Direction::Ending,
                    _ => SCRATCH.with_borrow_mut(|scratch| self.poll_records(cx, scratch))?,
                },
                Poll::Pending => {
                    // Otherwise it may be the runtime that wants to do something else first.
                    self.is_idle = has_budget_remaining();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Writes what TLS has, in one piece if these are several records.
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Result<(), Failed> {
        let mut records = ReadBuf::new(scratch);
        while records.remaining() > 0 {
            let data = match Pin::new(&mut *self.tls).poll_fill_buf(cx) {
                Poll::Ready(Ok(data)) if !data.is_empty() => data,
                Poll::Ready(Err(error)) => {
                    self.tls_error = Some(error);
                    break;
                }
                _ => break,
            };
            // Small ones come one by one, and are not waited for.
            let is_last = data.len() < RECORD;
            let (data, _) = data.split_at_checked(records.remaining()).unwrap_or((data, &[]));
            records.put_slice(data);
            let length = data.len();
            Pin::new(&mut *self.tls).consume(length);
            if is_last {
                break;
            }
        }
        let data = records.filled();
        let written = match self.poll_write(cx, data) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.unwritten.extend_from_slice(data.get(written..).unwrap_or_default());
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Failed>> {
        let written = Pin::new(&mut self.plain).poll_write(cx, data);
        self.is_plain_full = written.is_pending();
        let written = ready!(written).map_err(|error| (Side::Plain, error))?;
        self.received += written as u64;
        self.last_written = Some(Instant::now());
        self.counts.received(written);
        Poll::Ready(Ok(written))
    }

    fn poll_from_plain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.is_idle = false;
        loop {
            while !self.unsent.is_empty() {
                let unsent = std::mem::take(&mut self.unsent);
                let sent = self.poll_send(cx, &unsent);
                self.unsent = unsent;
                self.unsent.drain(..ready!(sent)?);
                if self.unsent.is_empty() {
                    self.unsent = Vec::new();
                }
            }
            match self.from_plain {
                Direction::Open => {}
                Direction::Ending => {
                    ready!(Pin::new(&mut *self.tls).poll_shutdown(cx)).map_err(|error| (Side::Tls, error))?;
                    self.from_plain = Direction::Ended;
                    return Poll::Ready(Ok(()));
                }
                Direction::Ended => return Poll::Ready(Ok(())),
            }
            match SCRATCH.with_borrow_mut(|scratch| self.poll_chunk(cx, scratch))? {
                Poll::Ready(0) => self.from_plain = Direction::Ending,
                Poll::Ready(_) => {}
                Poll::Pending => {
                    if !self.is_flushed {
                        ready!(Pin::new(&mut *self.tls).poll_flush(cx))
                            .map_err(|error| (Side::Tls, error))?;
                        self.is_flushed = true;
                    }
                    self.is_idle = has_budget_remaining();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads from the side without TLS, and passes on what TLS accepts. Returns the number of bytes that were read.
    fn poll_chunk(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Result<usize, Failed>> {
        let mut buffer = ReadBuf::new(scratch);
        let read = Pin::new(&mut self.plain).poll_read(cx, &mut buffer);
        ready!(read).map_err(|error| (Side::Plain, error))?;
        let data = buffer.filled();
        if !data.is_empty() {
            // A record with a ClientHello (RFC 8446, section 5.1). It is carried, because TLS in TLS is no mistake of
            // itself.
            if self.sent == 0 && data.starts_with(&[0x16, 3]) {
                tracing::warn!(
                    peer = %self.tls.peer_address(),
                    "the program without TLS speaks TLS: remove its TLS parameters (docs/in-front-of-calico.md)"
                );
            }
            self.is_flushed = false;
            let sent = match self.poll_send(cx, data) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            self.unsent.extend_from_slice(data.get(sent..).unwrap_or_default());
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Failed>> {
        let sent =
            ready!(Pin::new(&mut *self.tls).poll_write(cx, data)).map_err(|error| (Side::Tls, error))?;
        self.sent += sent as u64;
        self.last_written = Some(Instant::now());
        self.counts.sent(sent);
        Poll::Ready(Ok(sent))
    }
}

/// Whether a connection has ended with this error. Others, such as a route that is missing for a moment, may pass.
fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut)
}
