//! Handshakes of both ends in one thread, without sockets: what the implementation itself costs, without the kernel.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::duplex;
use tokio::time::Instant;

use super::Failure;
use super::ends::{FelixEnd, TyphaEnd};
use super::felix::bounded;
use super::handshakes::nanos;
use crate::protocol::InMemory;

/// More than either end sends in a handshake.
const PIPE_LENGTH: usize = 64 * 1024;

pub(super) struct Pair<T, F> {
    typha: Arc<T>,
    felix: Arc<F>,
}

impl<T: TyphaEnd, F: FelixEnd> Pair<T, F> {
    pub(super) fn new(typha: T, felix: F) -> Self {
        Self { typha: Arc::new(typha), felix: Arc::new(felix) }
    }

    pub(super) async fn handshakes(&self, millis: u64) -> Result<InMemory, Failure> {
        let until = Instant::now() + Duration::from_millis(millis);
        let mut sum = InMemory { completed: 0, typha_nanos: 0, felix_nanos: 0 };
        while Instant::now() < until {
            let (typha_nanos, felix_nanos) = bounded(self.handshake()).await?;
            sum.completed += 1;
            sum.typha_nanos += typha_nanos;
            sum.felix_nanos += felix_nanos;
        }
        Ok(sum)
    }

    /// A task for each end: each is polled only when there is something for it, as over sockets.
    async fn handshake(&self) -> Result<(u64, u64), Failure> {
        let (typha_pipe, felix_pipe) = duplex(PIPE_LENGTH);
        let (typha, felix) = (self.typha.clone(), self.felix.clone());
        let typha = tokio::spawn(timed(async move { typha.accept(typha_pipe).await }));
        let felix = tokio::spawn(timed(async move { felix.connect(felix_pipe).await }));
        let ((typha, typha_nanos), (felix, felix_nanos)) = tokio::try_join!(typha, felix)?;
        typha?;
        felix?;
        Ok((typha_nanos, felix_nanos))
    }
}

/// Returns how many nanoseconds were spent inside the polls of the future, too.
async fn timed<T>(future: impl Future<Output = T>) -> (T, u64) {
    let mut future = pin!(future);
    let mut spent = Duration::ZERO;
    std::future::poll_fn(move |cx| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(cx);
        spent += begun.elapsed();
        polled.map(|output| (output, nanos(spent)))
    })
    .await
}
