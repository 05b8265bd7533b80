//! Typhas that are known from the start.

use super::endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};

/// Typhas that are known from the start and never change.
#[derive(Clone, Debug)]
pub struct FixedEndpoints(Vec<TyphaEndpoint>);

impl FixedEndpoints {
    /// These Typhas: socket addresses, or [`TyphaEndpoint`]s where their nodes are known.
    pub fn new<E: Into<TyphaEndpoint>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self(endpoints.into_iter().map(Into::into).collect())
    }
}

impl EndpointSource for FixedEndpoints {
    async fn endpoints(&self) -> Result<Vec<TyphaEndpoint>, DiscoveryError> {
        if self.0.is_empty() {
            return Err(DiscoveryError::new("the list of Typhas is empty"));
        }
        Ok(self.0.clone())
    }
}
