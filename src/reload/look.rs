//! One look at a source: what it gives, judged.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::error::ReloadError;
use super::source::{SourceError, TlsConfigSource};
use super::validation;
use crate::tls_config::TlsConfig;
use crate::tls_context::{End, InForce};

/// What a look finds.
pub(super) enum Found {
    Bad(Arc<ReloadError>),
    New(TlsConfig),
    Unchanged,
}

impl Found {
    /// Whether two looks found the same.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bad(one), Self::Bad(other)) => one.reads_as(other),
            (Self::New(one), Self::New(other)) => one.is_same_as(other),
            (Self::Unchanged, Self::Unchanged) => true,
            _ => false,
        }
    }
}

/// Asks the source, within `at_most`. A panic of its code is an error like another.
pub(super) async fn look<C: End>(
    source: &impl TlsConfigSource,
    in_force: &InForce<C>,
    at_most: Duration,
) -> Found {
    let judged = async {
        let config = match timeout(at_most, source.load()).await {
            Ok(Ok(config)) => config,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(ReloadError::TimedOut(at_most)),
        };
        let in_force = in_force.current();
        if config.is_same_as(&in_force.config) {
            return Ok(Found::Unchanged);
        }
        validation::check(&config, &in_force.config, C::LOCAL)?;
        Ok(Found::New(config))
    };
    match AssertUnwindSafe(judged).catch_unwind().await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Found::Bad(Arc::new(error)),
        Err(panic) => {
            let text = format!("the source panicked: {}", text_of(&*panic));
            Found::Bad(Arc::new(SourceError::new(text).into()))
        }
    }
}

/// What a panic says.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
