//! Asking the source where the Typhas are, beside everything else that a dialer does.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
use crate::time::deadline_in;

type Found = Result<Vec<TyphaEndpoint>, DiscoveryError>;
type BoxFuture<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;

/// An [`EndpointSource`] of any type.
pub(super) trait AnySource: Send + Sync {
    fn endpoints(&self) -> BoxFuture<'_>;
}

impl<S: EndpointSource> AnySource for S {
    fn endpoints(&self) -> BoxFuture<'_> {
        Box::pin(EndpointSource::endpoints(self))
    }
}

/// At most one search at a time. While there are Typhas to try, the tries wait only a short time for it.
pub(super) struct Search {
    source: Arc<dyn AnySource>,
    running: Option<BoxFuture<'static>>,
    wait_until: Instant,
}

impl Search {
    pub(super) fn new(source: Arc<dyn AnySource>) -> Self {
        Self { source, running: None, wait_until: Instant::now() }
    }

    /// Begins a search that takes at most `bound`, unless one is under way. It is worth waiting for it for `wait`.
    pub(super) fn begin(&mut self, bound: Duration, wait: Duration) {
        if self.running.is_some() {
            return;
        }
        let source = self.source.clone();
        self.wait_until = deadline_in(wait);
        let deadline = deadline_in(bound);
        self.running = Some(Box::pin(async move {
            timeout_at(deadline, source.endpoints()).await.unwrap_or_else(|_| {
                Err(DiscoveryError::new(format!("the search for Typhas took longer than {bound:?}")))
            })
        }));
    }

    /// Until when it is worth waiting, if a search is under way.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        self.running.as_ref().map(|_| self.wait_until)
    }

    /// What the search that is under way has found; never if there is none.
    pub(super) async fn outcome(&mut self) -> Found {
        let Some(search) = &mut self.running else { return pending().await };
        let found = search.await;
        self.running = None;
        found
    }
}
