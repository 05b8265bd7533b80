//! When what a look found is acted on. There is no clock in here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state::ReloadError;
use crate::tls_config::TlsConfig;

/// The shortest time between two looks that nobody asked for.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// After so many looks that each found something else, this is reported.
const UNSETTLED_LOOKS: u32 = 10;

/// What a look finds.
#[derive(Clone)]
pub(super) enum Found {
    Bad(Arc<ReloadError>),
    New(TlsConfig),
    Unchanged,
}

impl Found {
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bad(one), Self::Bad(other)) => one.reads_as(other),
            (Self::New(one), Self::New(other)) => one.is_same_as(other),
            _ => false,
        }
    }
}

/// What is new, and has to be found again.
pub(super) struct Settling {
    found: Found,
    since: Instant,
    /// How many looks in a row found something else than the look before, this one included.
    looks: u32,
    /// Whether they found nothing but errors.
    only_errors: bool,
}

/// What is to be done after a look that nobody asked for.
pub(super) enum Decision {
    /// Act on what was found.
    Act(Found),
    /// Look again after this time.
    Wait(Settling, Duration),
    /// The same, and report that nothing lasts.
    Report(Arc<ReloadError>, Settling, Duration),
}

/// Decides on what was `found` at the time `now`, after what was `before`. It must stay the same for the time `settle`,
/// unless it is nothing new: what is in force, or the error that was `reported` last.
pub(super) fn settle(
    before: Option<Settling>,
    found: Found,
    reported: Option<&ReloadError>,
    now: Instant,
    settle: Duration,
    poll: Duration,
) -> Decision {
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
            let (looks, only_errors) = before.map_or((0, true), |before| (before.looks, before.only_errors));
            let only_errors = only_errors && matches!(found, Found::Bad(_));
            Settling { found, since: now, looks: looks.saturating_add(1), only_errors }
        }
    };
    let waited = now.saturating_duration_since(settling.since);
    if waited >= settle {
        return Decision::Act(settling.found);
    }
    let left = settle.saturating_sub(waited).max(PAUSE.min(settle));
    if settling.looks < UNSETTLED_LOOKS {
        return Decision::Wait(settling, left);
    }
    let wait = left.max(poll);
    if settling.looks > UNSETTLED_LOOKS {
        return Decision::Wait(settling, wait);
    }
    let error = match &settling.found {
        // It says more, also if it reads otherwise each time: by the number of a request, say.
        Found::Bad(error) if settling.only_errors => error.clone(),
        _ => Arc::new(ReloadError::Unsettled { looks: UNSETTLED_LOOKS }),
    };
    settling.looks = settling.looks.saturating_add(1);
    Decision::Report(error, settling, wait)
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::reload::SourceError;
    use crate::testing::TestPki;

    const POLL: Duration = Duration::from_secs(30);
    const SETTLE: Duration = Duration::from_secs(1);

    /// Looks that come when they are due, from one found thing to the next.
    struct Looks {
        settling: Option<Settling>,
        reported: Option<Arc<ReloadError>>,
        now: Instant,
    }

    impl Looks {
        fn new() -> Self {
            Self { settling: None, reported: None, now: Instant::now() }
        }

        /// What a look decides: `act`, or after how many milliseconds the next one comes.
        fn next(&mut self, found: Found) -> String {
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

    fn bad(text: &str) -> Found {
        Found::Bad(Arc::new(SourceError::new(text).into()))
    }

    fn new() -> Found {
        Found::New(TestPki::new().unwrap().acceptor().unwrap().config())
    }

    #[test]
    fn what_lasts_is_acted_on() {
        let (mut looks, config) = (Looks::new(), new());
        assert_eq!(looks.next(config.clone()), "1000");
        looks.now -= Duration::from_millis(300);
        // Not yet; and never sooner than after a pause.
        assert_eq!(looks.next(config.clone()), "300");
        looks.now -= Duration::from_millis(50);
        assert_eq!(looks.next(config.clone()), "100");
        assert_eq!(looks.next(config), "act");
    }

    #[test]
    fn what_changes_begins_anew() {
        let mut looks = Looks::new();
        let (one, other) = (new(), new());
        for found in [one.clone(), other, one.clone(), bad("half"), one.clone()] {
            assert_eq!(looks.next(found), "1000");
        }
        assert_eq!(looks.next(one), "act");
    }

    #[test]
    fn what_is_known_need_not_last() {
        let mut looks = Looks::new();
        assert_eq!(looks.next(Found::Unchanged), "act");
        assert_eq!(looks.next(bad("one")), "1000");
        assert_eq!(looks.next(bad("one")), "act on one");
        assert_eq!(looks.next(bad("one")), "act on one");
        assert_eq!(looks.next(bad("other")), "1000");
        // What is in force is no change that could last.
        assert_eq!(looks.next(Found::Unchanged), "act");
        assert_eq!(looks.next(bad("other")), "1000");
    }

    #[test]
    fn what_never_lasts_is_reported_once() {
        let mut looks = Looks::new();
        let [one, other] = [new(), new()];
        for _ in 0..4 {
            assert_eq!([looks.next(one.clone()), looks.next(other.clone())], ["1000"; 2]);
        }
        assert_eq!([looks.next(one.clone()), looks.next(other.clone())], ["1000", "report, then 30000"]);
        assert_eq!(*looks.reported.as_ref().unwrap().label(), *"unsettled");
        assert_eq!([looks.next(one.clone()), looks.next(other.clone())], ["30000"; 2]);
        // It lasted.
        assert_eq!(looks.next(other), "act");
        assert_eq!(looks.next(one), "1000");
    }

    #[test]
    fn the_last_of_nothing_but_errors_is_reported() {
        let mut looks = Looks::new();
        let decisions: Vec<_> = (1..=11).map(|number| looks.next(bad(&number.to_string()))).collect();
        let expected = [vec!["1000"; 9], vec!["report, then 30000", "30000"]].concat();
        assert_eq!(
            (decisions, looks.reported.unwrap().to_string().as_str()),
            (expected.into_iter().map(str::to_owned).collect(), "10")
        );
    }
}
