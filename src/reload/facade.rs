//! The state for the `metrics` facade; the table at [`ReloadState`] has the names.

use super::state::ReloadState;

/// Tells the recorder what has changed.
pub(super) struct Facade {
    replaced: metrics::Counter,
    failed: metrics::Counter,
    generation: metrics::Gauge,
    told: Vec<Label>,
    /// How many of either were told: the recorder is not ours alone, and another reloader counts there, too.
    told_replaced: u64,
    told_failed: u64,
}

/// What a gauge of an end is labelled with.
type Label = (&'static str, String);

impl Facade {
    pub(super) fn new() -> Self {
        use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

        const RELOADS: &str = "typha_tls_reloads";
        const GENERATION: &str = "typha_tls_snapshot_generation";
        describe_counter!(RELOADS, "changes of the configuration, by outcome");
        describe_gauge!(GENERATION, "the generation of the configuration in force");
        describe_gauge!(NOT_AFTER, Unit::Seconds, "when a certificate in force expires, since 1970");
        Self {
            replaced: counter!(RELOADS, "outcome" => "replaced"),
            failed: counter!(RELOADS, "outcome" => "failed"),
            generation: gauge!(GENERATION),
            told: Vec::new(),
            told_replaced: 0,
            told_failed: 0,
        }
    }

    pub(super) fn tell(&mut self, state: &ReloadState) {
        let since = |told: &mut u64, now: u64| now - std::mem::replace(told, now);
        self.replaced.increment(since(&mut self.told_replaced, state.reloads));
        self.failed.increment(since(&mut self.told_failed, state.failures));
        self.generation.set(state.generation as f64);
        let mut ends: std::collections::BTreeMap<Label, u64> = std::collections::BTreeMap::new();
        for certificate in &state.certificates {
            let label = (certificate.kind.as_str(), certificate.subject.clone());
            let end = certificate.not_after.as_secs();
            ends.entry(label).and_modify(|earliest| *earliest = end.min(*earliest)).or_insert(end);
        }
        for gone in std::mem::take(&mut self.told).into_iter().filter(|label| !ends.contains_key(label)) {
            not_after(&gone, 0);
        }
        for (label, end) in ends {
            not_after(&label, end);
            self.told.push(label);
        }
    }
}

const NOT_AFTER: &str = "typha_tls_certificate_not_after_seconds";

fn not_after((certificate, subject): &Label, end: u64) {
    metrics::gauge!(NOT_AFTER, "certificate" => *certificate, "subject" => subject.clone()).set(end as f64);
}
