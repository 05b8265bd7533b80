//! What a Felix needs to find a Typha and to stay connected to one.

mod endpoint;
#[cfg(feature = "kubernetes-core")]
mod kubernetes;

pub use endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
#[cfg(feature = "kubernetes-core")]
pub use kubernetes::{KubernetesEndpoints, KubernetesError, KubernetesSetupError};
