//! What a Felix needs to find a Typha and to stay connected to one.

mod endpoint;

pub use endpoint::{DiscoveryError, EndpointSource, TyphaEndpoint};
