//! One connection's place: in the queue, then in its handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::admission::Admission;
use super::shed::ShedCause;
use super::signal::{Signal, Stand, Timed};

/// Where one connection stands. Dropping it gives back what it holds.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    id: u64,
    address: IpAddr,
    signal: Arc<Signal>,
}

impl Place {
    /// Takes a place in the queue for a connection that has come.
    ///
    /// # Errors
    ///
    /// It is to be shed.
    pub(super) fn take(admission: &Arc<Admission>, address: IpAddr, now: Instant) -> Result<Self, ShedCause> {
        let (id, signal) = admission.admit(address, now)?;
        Ok(Self { admission: admission.clone(), id, address, signal })
    }

    /// Waits until it is shed, from the queue or out of its handshake.
    pub(super) async fn shed(&self) -> ShedCause {
        self.shed_for(|_| true).await
    }

    /// Waits until it is shed because the listener is shut down.
    pub(super) async fn shut_down(&self) -> ShedCause {
        self.shed_for(|cause| cause == ShedCause::ShuttingDown).await
    }

    async fn shed_for(&self, counts: impl Fn(ShedCause) -> bool) -> ShedCause {
        let mut stand = self.stand();
        loop {
            match stand {
                Stand::Shed(cause) if counts(cause) => return cause,
                other => stand = self.signal.left(other).await,
            }
        }
    }

    pub(super) fn stand(&self) -> Stand {
        self.signal.stand()
    }

    /// The first message is there: gets in line.
    pub(super) fn line_up(&self) {
        self.admission.line_up(self.id, self.address, &self.signal, Instant::now());
    }

    /// Gets in line, and waits for the handshake.
    ///
    /// # Errors
    ///
    /// It is to be shed.
    pub(super) async fn started(&self, at_latest: Instant) -> Result<(), ShedCause> {
        self.line_up();
        match timeout_at(at_latest, self.signal.left(Stand::Queued)).await {
            Ok(Stand::Shed(cause)) => Err(cause),
            Ok(Stand::Queued | Stand::Started) => Ok(()),
            // Started at the last moment is started.
            Err(_) if self.stand() == Stand::Started => Ok(()),
            Err(_) => Err(ShedCause::Overload),
        }
    }

    pub(super) fn timed<F>(&self, handshake: F) -> Timed<F> {
        Timed::new(handshake, self.signal.clone())
    }

    /// The handshake has led to a connection.
    pub(super) fn succeeded(self) {
        self.finish(true);
    }

    /// The handshake has failed: gives it back, and makes the address pause if it keeps failing.
    ///
    /// The handshake is given back by the call, the pause lasts as long as the future.
    pub(super) fn failed(self) -> impl Future<Output = ()> + use<> {
        let paused = self.finish(false);
        async move {
            // All of it, not only the duration: it makes the address pause while it lives.
            let paused = paused;
            if !paused.pause.is_zero() {
                tokio::time::sleep(paused.pause).await;
            }
        }
    }

    fn finish(self, succeeded: bool) -> Paused {
        let pause = self.admission.finish(self.id, self.address, succeeded, Instant::now());
        let paused = Paused { admission: self.admission.clone(), address: self.address, pause };
        // It has nothing left to give back but what the pause does.
        drop(self);
        paused
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.leave(self.id, self.address, self.stand(), Instant::now());
    }
}

/// An address that may not start another handshake yet.
struct Paused {
    admission: Arc<Admission>,
    address: IpAddr,
    pause: Duration,
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.admission.resume(self.address, Instant::now());
    }
}
