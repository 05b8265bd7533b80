//! Counts forwarded connections and bytes.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use serde_json::{Value, json};

/// Counts forwarded connections and bytes, for the JSON statistics and for the recorder of the `metrics` crate.
pub(crate) struct ForwardCounts {
    pub(super) active: Level,
    pub(super) in_order: Count,
    pub(super) closed: Count,
    pub(super) broken_off: Count,
    plain_failed: Count,
    received: Count,
    sent: Count,
}

pub(super) struct Count(AtomicU64, Counter);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
        self.1.increment(more);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls.
pub(super) struct Level(AtomicU64, Gauge);

impl Level {
    pub(super) fn rise(&self) {
        self.0.fetch_add(1, Relaxed);
        self.1.increment(1);
    }

    pub(super) fn fall(&self) {
        self.0.fetch_sub(1, Relaxed);
        self.1.decrement(1);
    }
}

impl ForwardCounts {
    pub(crate) fn new() -> Self {
        describe_gauge!("typha_forwarded_active", "connections that are being forwarded");
        describe_counter!("typha_forwarded_ended", "forwarded connections that have ended, by how");
        describe_counter!("typha_forward_failed", "connections whose side without TLS could not be reached");
        describe_counter!("typha_forwarded_bytes", "bytes received from, and sent to, the side with TLS");
        let ended =
            |how: &'static str| Count(AtomicU64::new(0), counter!("typha_forwarded_ended", "how" => how));
        let bytes = |direction: &'static str| {
            Count(AtomicU64::new(0), counter!("typha_forwarded_bytes", "direction" => direction))
        };
        Self {
            active: Level(AtomicU64::new(0), gauge!("typha_forwarded_active")),
            in_order: ended("in_order"),
            closed: ended("closed"),
            broken_off: ended("broken_off"),
            plain_failed: Count(AtomicU64::new(0), counter!("typha_forward_failed")),
            received: bytes("received"),
            sent: bytes("sent"),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "active": self.active.0.load(Relaxed),
            "in_order": self.in_order.get(),
            "closed": self.closed.get(),
            "broken_off": self.broken_off.get(),
            "failed": self.plain_failed.get(),
            "bytes_received": self.received.get(),
            "bytes_sent": self.sent.get(),
        })
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received.add(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.add(bytes as u64);
    }

    pub(crate) fn active(&self) -> u64 {
        self.active.0.load(Relaxed)
    }

    pub(crate) fn plain_failed(&self) {
        self.plain_failed.add(1);
    }
}
