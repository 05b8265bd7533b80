//! The floor: what the cryptographic operations of a handshake cost Typha, in any implementation.

use std::time::Duration;

use crate::arguments::{Cache, Mode};
use crate::context::Context;
use crate::machine::Assignment;
use crate::material::Material;
use crate::pace::millis;
use crate::process::{BenchError, Worker};
use crate::protocol::{End, Floor, Implementation, Request};
use crate::report::{FloorResult, Spread};

/// The slowest of the operations needs at least this time.
const LEAST: Duration = Duration::from_millis(20);

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
        material: &Material,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        let core = assignment.typha.get(..1).unwrap_or_default();
        let worker = context.start(Implementation::Ours, End::Memory, material, core)?;
        let mode = material.mode;
        Ok(Self {
            worker,
            group: mode.group.negotiated(mode.tls),
            verifies: verifies(mode),
            slices: Vec::new(),
        })
    }

    pub(crate) fn measure(&mut self, length: Duration) -> Result<(), BenchError> {
        let length = length.max(LEAST);
        let request = Request::Floor { group: self.group.clone(), millis: millis(length) };
        self.slices.push(self.worker.ask(&request, length)?);
        Ok(())
    }

    /// All that Typha has to do, in µs, in each of the rounds.
    pub(crate) fn rounds(&self) -> Vec<f64> {
        let total = |floor: &Floor| {
            let verifies = floor.verify_nanos * f64::from(self.verifies);
            (floor.key_exchange_nanos + floor.sign_nanos + verifies) / 1e3
        };
        self.slices.iter().map(total).collect()
    }

    pub(crate) fn result(&self) -> Option<FloorResult> {
        let micros = |of: fn(&Floor) -> f64| Spread::of(self.slices.iter().map(|floor| of(floor) / 1e3));
        let key_exchange_micros = micros(|floor| floor.key_exchange_nanos)?;
        let sign_micros = micros(|floor| floor.sign_nanos)?;
        let verify_micros = micros(|floor| floor.verify_nanos)?;
        let verifies = verify_micros.median * f64::from(self.verifies);
        let total_micros = key_exchange_micros.median + sign_micros.median + verifies;
        Some(FloorResult {
            key_exchange_micros,
            sign_micros,
            verify_micros,
            verifies: self.verifies,
            total_micros,
        })
    }
}

/// Felix's own signature, and those of a chain that Typha does not know yet.
fn verifies(mode: Mode) -> u32 {
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
        let cold = |chain_length| verifies(Mode { cache: Cache::Cold, chain_length, ..Mode::STANDARD });
        assert_eq!((cold(0), cold(2), verifies(Mode::STANDARD)), (2, 4, 1));
    }
}
