//! Migrations as an operator does them: on live Typhas and Felixes, by writing files.

#![cfg(unix)]

mod automatic;
mod ca;
mod felix;
mod files;
mod forgotten;
mod log;
mod mistakes;
mod names;
mod problems;
mod same_name;
mod site;
mod spiffe;
mod typha;

use std::time::Duration;

use tokio::time::timeout;

/// Far beyond what any of it takes.
async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("it takes too long: {what}"))
}

/// Until it is so.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    bounded(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
