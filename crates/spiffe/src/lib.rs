#![doc = include_str!("../README.md")]

mod builder;
mod error;
mod follower;
mod selection;
mod source;

pub use builder::SpiffeSourceBuilder;
pub use error::SpiffeError;
pub use source::SpiffeSource;
