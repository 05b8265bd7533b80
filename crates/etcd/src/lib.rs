#![doc = include_str!("../README.md")]

mod config;
mod config_error;
mod connector;
mod endpoint;
mod error;
mod file;
mod oslo;
mod refusal;
mod settings;
mod user;

pub use config::EtcdConfig;
pub use config_error::EtcdConfigError;
pub use connector::EtcdConnector;
pub use endpoint::EtcdEndpoint;
pub use error::{EndpointAttempt, EtcdError};
pub use user::EtcdUser;
