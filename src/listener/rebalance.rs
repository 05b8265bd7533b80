//! Brings the number of connections down to a target, one at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::info;

use super::shared::Shared;
use crate::lifetime::DropReason;
use crate::time::FAR;

/// Drops a connection every now and then while there are more than wanted.
pub(super) async fn rebalance(shared: Arc<Shared>) {
    let govern = async {
        let mut targets = shared.target.subscribe();
        loop {
            let target = *targets.borrow_and_update();
            // There are never more connections than the limit: only a lower target needs looking after.
            if target >= shared.limits.connections {
                if targets.changed().await.is_err() {
                    return;
                }
                continue;
            }
            sleep(jittered(shared.limits.drop_interval)).await;
            let target = *targets.borrow_and_update();
            if shared.roll.staying() > target {
                shared.drop_random(1, DropReason::Rebalance, shared.limits.drop_grace);
                info!(target, active = shared.roll.staying(), "dropped a connection to balance the load");
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = govern => {}
    }
}

/// Up to a tenth longer, so that several Typhas do not drop in step.
fn jittered(interval: Duration) -> Duration {
    interval.min(FAR).mul_f64(1.0 + fastrand::f64() / 10.0)
}
