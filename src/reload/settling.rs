//! Decides when to act on the result of a load. It reads no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::ReloadError;
use crate::config_parts::EndConfig;

/// The shortest time between two loads that were not requested.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// After this many loads that each gave something different, an error is reported.
const UNSETTLED_LOADS: u32 = 10;

/// The result of a load.
#[derive(Clone)]
pub(super) enum Found<C> {
    Bad(Arc<ReloadError>),
    New(C),
    Unchanged,
}

impl<C: EndConfig> Found<C> {
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bad(one), Self::Bad(other)) => one.reads_as(other),
            (Self::New(one), Self::New(other)) => one.parts().is_same_as(other.parts()),
            _ => false,
        }
    }
}

/// A result that must be found again.
pub(super) struct Settling<C> {
    found: Found<C>,
    since: Instant,
    /// How many loads in a row differed from the load before, this one included.
    loads: u32,
    /// Whether all of them were errors.
    only_errors: bool,
}

/// What to do after a load that was not requested.
pub(super) enum Decision<C> {
    /// Act on the result.
    Act(Found<C>),
    /// Load again after this time.
    Wait(Settling<C>, Duration),
    /// As `Wait`, and report that the results keep changing.
    Report(Arc<ReloadError>, Settling<C>, Duration),
}

/// Decides on the result `found` at the time `now`, after the result `before`. It must stay the same for the time
/// `settle`. The configuration in force and the last `reported` error need not settle.
pub(super) fn settle<C: EndConfig>(
    before: Option<Settling<C>>,
    found: Found<C>,
    reported: Option<&ReloadError>,
    now: Instant,
    settle: Duration,
    poll: Duration,
) -> Decision<C> {
    let is_known = match &found {
        Found::Bad(error) => reported.is_some_and(|reported| error.reads_as(reported)),
        Found::New(_) => false,
        Found::Unchanged => true,
    };
    if is_known || settle.is_zero() {
        return Decision::Act(found);
    }
    let mut settling = match before {
        Some(before) if before.found.is_same_as(&found) => before,
        before => {
            let (loads, only_errors) = before.map_or((0, true), |before| (before.loads, before.only_errors));
            let only_errors = only_errors && matches!(found, Found::Bad(_));
            Settling { found, since: now, loads: loads.saturating_add(1), only_errors }
        }
    };
    let waited = now.saturating_duration_since(settling.since);
    if waited >= settle {
        return Decision::Act(settling.found);
    }
    let left = settle.saturating_sub(waited).max(PAUSE.min(settle));
    if settling.loads < UNSETTLED_LOADS {
        return Decision::Wait(settling, left);
    }
    let wait = left.max(poll);
    if settling.loads > UNSETTLED_LOADS {
        return Decision::Wait(settling, wait);
    }
    let error = match &settling.found {
        // The error itself says more than `Unsettled`, even if its text differs each time, as by a request number.
        Found::Bad(error) if settling.only_errors => error.clone(),
        _ => Arc::new(ReloadError::Unsettled { looks: UNSETTLED_LOADS }),
    };
    settling.loads = settling.loads.saturating_add(1);
    Decision::Report(error, settling, wait)
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::TlsConfig;
    use crate::reload::SourceError;
    use crate::testing::TestPki;

    const POLL: Duration = Duration::from_secs(30);
    const SETTLE: Duration = Duration::from_secs(1);

    /// Loads at their due times, one result after the other.
    struct Loads {
        settling: Option<Settling<TlsConfig>>,
        reported: Option<Arc<ReloadError>>,
        now: Instant,
    }

    impl Loads {
        fn new() -> Self {
            Self { settling: None, reported: None, now: Instant::now() }
        }

        /// The decision: `act`, or the milliseconds until the next load.
        fn next(&mut self, found: Found<TlsConfig>) -> String {
            let reported = self.reported.as_deref();
            let wait = match settle(self.settling.take(), found, reported, self.now, SETTLE, POLL) {
                Decision::Act(Found::Bad(error)) => {
                    self.reported = Some(error.clone());
                    return format!("act on {error}");
                }
                Decision::Act(_) => return "act".to_owned(),
                Decision::Wait(settling, wait) => {
                    self.settling = Some(settling);
                    self.now += wait;
                    return wait.as_millis().to_string();
                }
                Decision::Report(error, settling, wait) => {
                    (self.settling, self.reported) = (Some(settling), Some(error));
                    wait
                }
            };
            self.now += wait;
            format!("report, then {}", wait.as_millis())
        }
    }

    fn bad(text: &str) -> Found<TlsConfig> {
        Found::Bad(Arc::new(SourceError::new(text).into()))
    }

    fn new() -> Found<TlsConfig> {
        Found::New(TestPki::new().unwrap().acceptor().unwrap().config())
    }

    #[test]
    fn what_lasts_is_acted_on() {
        let (mut loads, config) = (Loads::new(), new());
        assert_eq!(loads.next(config.clone()), "1000");
        loads.now -= Duration::from_millis(300);
        // Not yet, and never earlier than after a pause.
        assert_eq!(loads.next(config.clone()), "300");
        loads.now -= Duration::from_millis(50);
        assert_eq!(loads.next(config.clone()), "100");
        assert_eq!(loads.next(config), "act");
    }

    #[test]
    fn what_changes_begins_anew() {
        let mut loads = Loads::new();
        let (one, other) = (new(), new());
        for found in [one.clone(), other, one.clone(), bad("half"), one.clone()] {
            assert_eq!(loads.next(found), "1000");
        }
        assert_eq!(loads.next(one), "act");
    }

    #[test]
    fn what_is_known_need_not_last() {
        let mut loads = Loads::new();
        assert_eq!(loads.next(Found::Unchanged), "act");
        assert_eq!(loads.next(bad("one")), "1000");
        assert_eq!(loads.next(bad("one")), "act on one");
        assert_eq!(loads.next(bad("one")), "act on one");
        assert_eq!(loads.next(bad("other")), "1000");
        // The configuration in force is no change that could settle.
        assert_eq!(loads.next(Found::Unchanged), "act");
        assert_eq!(loads.next(bad("other")), "1000");
    }

    #[test]
    fn what_never_lasts_is_reported_once() {
        let mut loads = Loads::new();
        let [one, other] = [new(), new()];
        for _ in 0..4 {
            assert_eq!([loads.next(one.clone()), loads.next(other.clone())], ["1000"; 2]);
        }
        assert_eq!([loads.next(one.clone()), loads.next(other.clone())], ["1000", "report, then 30000"]);
        assert_eq!(*loads.reported.as_ref().unwrap().label(), *"unsettled");
        assert_eq!([loads.next(one.clone()), loads.next(other.clone())], ["30000"; 2]);
        // It has settled.
        assert_eq!(loads.next(other), "act");
        assert_eq!(loads.next(one), "1000");
    }

    #[test]
    fn the_last_of_nothing_but_errors_is_reported() {
        let mut loads = Loads::new();
        let decisions: Vec<_> = (1..=11).map(|number| loads.next(bad(&number.to_string()))).collect();
        let expected = [vec!["1000"; 9], vec!["report, then 30000", "30000"]].concat();
        assert_eq!(
            (decisions, loads.reported.unwrap().to_string().as_str()),
            (expected.into_iter().map(str::to_owned).collect(), "10")
        );
    }
}
