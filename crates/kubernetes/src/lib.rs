#![doc = include_str!("../README.md")]

mod calico;
mod client;
mod credentials;
mod endpoints;
mod error;
mod lazy;
mod request;
mod server_url;
mod setup_error;
mod slices;
mod token_file;

use typha_tls::FelixDialer;
use typha_tls::config::FelixConfig;

pub use calico::calico_config;
pub use client::{client, connection_error};
pub use credentials::infer_config;
pub use endpoints::KubernetesEndpoints;
pub use error::KubernetesError;
pub use setup_error::KubernetesSetupError;

/// Makes a dialer as [`FelixConfig::dialer`] does, but also supports `TyphaK8sServiceName`.
///
/// `TyphaAddr` wins over the service, as in Calico. The credentials for Kubernetes are those of
/// [`KubernetesEndpoints::infer`].
///
/// # Errors
///
/// [`Config`](KubernetesSetupError::Config) as `FelixConfig::dialer`; [`BadName`](KubernetesSetupError::BadName) if the
/// service or its namespace has a name that Kubernetes does not allow.
pub fn dialer(config: &FelixConfig) -> Result<FelixDialer, KubernetesSetupError> {
    match (&config.typha_addr, &config.typha_k8s_service_name) {
        (None, Some(service)) if config.tls.is_some() => {
            let typhas = KubernetesEndpoints::infer(&config.typha_k8s_namespace, service)?;
            Ok(config.dialer_with(typhas)?)
        }
        _ => Ok(config.dialer()?),
    }
}
