//! The addresses of Typhas, and the sources that return them.

use std::fmt;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::time::deadline_in;

/// The address of a Typha.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct TyphaEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// The Kubernetes node that it runs on, if known. A Felix prefers the Typha of its own node.
    pub node_name: Option<String>,
}

impl TyphaEndpoint {
    /// A Typha with a known address and an unknown node.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, node_name: None }
    }

    /// A Typha that runs on this node.
    #[must_use]
    pub fn on_node(mut self, node_name: impl Into<String>) -> Self {
        self.node_name = Some(node_name.into());
        self
    }
}

impl From<SocketAddr> for TyphaEndpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address)
    }
}

impl fmt::Display for TyphaEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// A source of Typha endpoints. The dialer queries it before the first attempt and after each failed one. So it should
/// be quick, and cache results that are costly to find.
pub trait EndpointSource: Send + Sync {
    /// The Typhas that accept connections now, in any order.
    ///
    /// The future is dropped if it takes longer than an attempt may take.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`]. Endpoints that were found earlier stay in use.
    fn endpoints(&self) -> impl Future<Output = Result<Vec<TyphaEndpoint>, DiscoveryError>> + Send;
}

/// A fixed list of Typhas: socket addresses, or [`TyphaEndpoint`]s if the nodes are known.
impl<E: Clone + Into<TyphaEndpoint> + Send + Sync> EndpointSource for Vec<E> {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        if self.is_empty() {
            return Err(DiscoveryError::new("the list of Typhas is empty"));
        }
        Ok(self.iter().cloned().map(Into::into).collect())
    }
}

/// Why the Typhas could not be found.
#[derive(Debug, Error)]
#[error("{problem}")]
pub struct DiscoveryError {
    problem: String,
    source: Option<BoxError>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl DiscoveryError {
    /// An error with a description of the `problem` for operators. Add the cause by [`with_source`](Self::with_source).
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

type Found = Result<Vec<TyphaEndpoint>, DiscoveryError>;

/// An [`EndpointSource`] of any type.
pub(super) trait AnySource: Send + Sync {
    fn endpoints(&self) -> BoxFuture<'_, Found>;
}

impl<S: EndpointSource> AnySource for S {
    fn endpoints(&self) -> BoxFuture<'_, Found> {
        Box::pin(EndpointSource::endpoints(self))
    }
}

/// Runs at most one search at a time. While there are Typhas to try, the tries wait only a short time for it.
pub(super) struct Search {
    source: Arc<dyn AnySource>,
    running: Option<BoxFuture<'static, Found>>,
    wait_until: Instant,
}

impl Search {
    pub(super) fn new(source: Arc<dyn AnySource>) -> Self {
        Self { source, running: None, wait_until: Instant::now() }
    }

    /// Begins a search that takes at most `bound`, unless one is running. Tries wait up to `wait` for it.
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

    /// Until when tries wait for the running search. `None` if there is none.
    pub(super) fn wait_until(&self) -> Option<Instant> {
        self.running.as_ref().map(|_| self.wait_until)
    }

    /// The outcome of the running search. Never returns if there is none.
    pub(super) async fn outcome(&mut self) -> Found {
        let Some(search) = &mut self.running else { return pending().await };
        let found = search.await;
        self.running = None;
        found
    }
}
