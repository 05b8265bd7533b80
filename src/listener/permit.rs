//! The permit of one connection to wait in the queue, then to perform its handshake.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::admission::{Admission, Phase};
use super::limits::ShedCause;
use super::peer_wait::{Measured, PeerWait};

/// The permit of one connection. Dropping it gives up the place in the [`Admission`].
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    id: u64,
    address: IpAddr,
    /// Notified when the phase has changed.
    changed: Arc<Notify>,
    wait: Arc<PeerWait>,
}

impl Permit {
    /// Enters a connection into the queue.
    ///
    /// # Errors
    ///
    /// The cause, if the connection must be shed.
    pub(super) fn enter(
        admission: &Arc<Admission>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Self, ShedCause> {
        let (changed, wait) = (Arc::new(Notify::new()), Arc::new(PeerWait::new(now)));
        let id = admission.enter(address, changed.clone(), wait.clone(), now)?;
        Ok(Self { admission: admission.clone(), id, address, changed, wait })
    }

    /// Lines the connection up for a handshake: its first message has arrived.
    pub(super) fn line_up(&self) {
        self.admission.line_up(self.id, Instant::now());
    }

    /// Waits until the handshake may start, up to `at_latest`.
    ///
    /// # Errors
    ///
    /// The cause, if the connection must be shed.
    pub(super) async fn started(&self, at_latest: Instant) -> Result<(), ShedCause> {
        let started = self.until(|phase| match phase {
            Phase::Silent | Phase::InLine => None,
            Phase::Handshake => Some(Ok(())),
            Phase::Stopping(cause) | Phase::Shed(cause) => Some(Err(cause)),
        });
        match timeout_at(at_latest, started).await {
            Ok(outcome) => outcome,
            // It was started at the last moment.
            Err(_) if self.phase() == Phase::Handshake => Ok(()),
            Err(_) => Err(ShedCause::Overload),
        }
    }

    /// Waits until the connection must be shed, from the queue or during its handshake.
    pub(super) async fn shed(&self) -> ShedCause {
        self.until(Phase::shed_cause).await
    }

    /// Waits until the connection must be shed because the listener shuts down.
    pub(super) async fn shut_down(&self) -> ShedCause {
        self.until(|phase| phase.shed_cause().filter(|cause| *cause == ShedCause::ShuttingDown)).await
    }

    /// Measures how long `handshake` waits for the peer.
    pub(super) fn measured<F>(&self, handshake: F) -> Measured<F> {
        Measured::new(handshake, self.wait.clone())
    }

    /// Reports that the handshake has led to a connection.
    pub(super) fn succeeded(self) {
        self.admission.succeeded(self.id);
    }

    /// Reports that the handshake has failed and gives up the permit. If the address keeps failing, it must pause. The
    /// pause lasts as long as the returned future lives.
    pub(super) fn failed(self) -> impl Future<Output = ()> + use<> {
        let pause = self
            .admission
            .failed(self.id, Instant::now())
            .map(|duration| (duration, Pause { admission: self.admission.clone(), address: self.address }));
        // The place was already given up above.
        drop(self);
        async move {
            if let Some((duration, _pause)) = pause
                && !duration.is_zero()
            {
                sleep(duration).await;
            }
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.admission.phase(self.id)
    }

    async fn until<T>(&self, wanted: impl Fn(Phase) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.phase()) {
                return found;
            }
            // `Notify` keeps one notification for a task that is not waiting; one task waits here.
            self.changed.notified().await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(self.id, Instant::now());
    }
}

/// The pause of an address. Until it is dropped, it counts as one of the handshakes of the address.
struct Pause {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.admission.resume(self.address, Instant::now());
    }
}
