//! Where Typhas are, and who knows it.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;

use thiserror::Error;

/// Where a Typha listens.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct TyphaEndpoint {
    /// Its address.
    pub address: SocketAddr,
    /// The Kubernetes node that it runs on, where that is known. A Felix prefers the Typha of its own node.
    pub node_name: Option<String>,
}

impl TyphaEndpoint {
    /// A Typha of which nothing but the address is known.
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

/// Who knows where the Typhas are. It is asked before the first attempt and again after each one that failed, so that
/// it should be quick, and cache what is costly to find out.
pub trait EndpointSource: Send + Sync {
    /// The Typhas that can be connected to now, in any order.
    ///
    /// The future is dropped when it takes longer than an attempt may.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`]. Endpoints that were found before stay in use.
    fn endpoints(&self) -> impl Future<Output = Result<Vec<TyphaEndpoint>, DiscoveryError>> + Send;
}

/// Typhas that are known from the start and never change: socket addresses, or [`TyphaEndpoint`]s where their nodes are
/// known.
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
    /// `problem` says what failed, in words for an operator; the cause follows by [`with_source`](Self::with_source).
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
