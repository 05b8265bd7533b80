//! The floor: what the primitives of a handshake cost Typha, however it is written.

use std::time::Duration;

use serde::Serialize;

use super::context::Context;
use super::cores::Assignment;
use super::figures::Spread;
use super::material::Material;
use super::mode::{Cache, Mode};
use super::pace::millis;
use super::process::{BenchError, Worker};
use super::protocol::{Floor, Implementation, Request};

/// The primitives of a mode.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FloorResult {
    /// Typha's part of the key exchange.
    pub(crate) key_exchange_micros: Spread,
    /// One signature.
    pub(crate) sign_micros: Spread,
    /// The check of one signature.
    pub(crate) verify_micros: Spread,
    /// How many signatures Typha has to check.
    pub(crate) verifies: u32,
    /// All that Typha has to do.
    pub(crate) total_micros: f64,
}

/// Less than this says too little of the slowest of the primitives.
const LEAST: Duration = Duration::from_millis(50);

/// Measures the floor of a mode, slice by slice.
pub(crate) struct FloorMeter {
    worker: Worker,
    group: String,
    verifies: u32,
    slices: Vec<Floor>,
}

impl FloorMeter {
    pub(crate) fn start(
        context: &Context,
        mode: &Mode,
        material: &Material,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        let worker = context.memory(Implementation::Ours, mode, material, assignment)?;
        let group = mode.group.negotiated(mode.tls);
        Ok(Self { worker, group, verifies: verifies(mode), slices: Vec::new() })
    }

    pub(crate) fn measure(&mut self, length: Duration) -> Result<(), BenchError> {
        let length = length.max(LEAST);
        let request = Request::Floor { group: self.group.clone(), millis: millis(length) };
        self.slices.push(self.worker.ask(&request, length)?);
        Ok(())
    }

    /// All that Typha has to do, in each of the rounds.
    pub(crate) fn rounds(&self) -> Vec<f64> {
        let total = |floor: &Floor| {
            let verifies = floor.verify_nanos * f64::from(self.verifies);
            (floor.key_exchange_nanos + floor.sign_nanos + verifies) / 1e3
        };
        self.slices.iter().map(total).collect()
    }

    pub(crate) fn result(&self) -> Option<FloorResult> {
        let micros = |of: fn(&Floor) -> f64| {
            Spread::of(self.slices.iter().map(|floor| of(floor) / 1e3).collect::<Vec<_>>())
        };
        let key_exchange_micros = micros(|floor| floor.key_exchange_nanos)?;
        let sign_micros = micros(|floor| floor.sign_nanos)?;
        let verify_micros = micros(|floor| floor.verify_nanos)?;
        Some(FloorResult {
            key_exchange_micros,
            sign_micros,
            verify_micros,
            verifies: self.verifies,
            total_micros: key_exchange_micros.median
                + sign_micros.median
                + verify_micros.median * f64::from(self.verifies),
        })
    }
}

/// Felix's own signature, and those of a chain that is not known yet.
fn verifies(mode: &Mode) -> u32 {
    match mode.cache {
        Cache::Cold => u32::from(mode.chain_length) + 2,
        Cache::Warm => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_not_known_takes_more_checks() {
        let cold = |chain_length| verifies(&Mode { cache: Cache::Cold, chain_length, ..Mode::STANDARD });
        assert_eq!((cold(0), cold(2), verifies(&Mode::STANDARD)), (2, 4, 1));
    }
}
