//! The dates of revocation lists that were in force.

use std::fmt;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::UnixTime;

use super::RevocationLists;
use super::issuers::Issuers;
use super::list::RevocationList;
use crate::material::trust_bundle::TrustBundle;
use crate::material::warning::MaterialWarning;

/// For how many CAs the history keeps a date, unless more have a list at once. Only a trusted CA can sign a list, so
/// the history grows with the changes that an operator makes, and with nothing that a peer sends. A CA that is made
/// anew every day for a year fits in. The CA whose list was in force least recently is dropped first.
const MAX_CAS: usize = 500;

/// The date (thisUpdate) of the newest list of each CA, among all lists that were in force.
///
/// It lasts as long as the acceptor or the connector. So an older list stays older, even if none was in force
/// meanwhile.
#[derive(Clone, Default)]
pub(crate) struct ListHistory(Vec<Newest>);

/// The newest list of the CA with this name and key.
#[derive(Clone)]
struct Newest {
    issuer: String,
    name: Box<[u8]>,
    key: Box<[u8]>,
    this_update: UnixTime,
}

impl ListHistory {
    /// Adds the lists that are in force. One that is dated in the future does not count, because a wrong clock made
    /// it: the date of an earlier list stays.
    pub(crate) fn with(&self, in_force: &RevocationLists, now: UnixTime) -> Self {
        let mut all = self.0.clone();
        for list in in_force.iter().filter(|list| list.this_update <= now) {
            let known = all.iter().position(|newest| newest.is_of_issuer_of(list)).map(|at| all.remove(at));
            // A date that lies in the future now was recorded while our own clock was wrong.
            let known = known.map(|newest| newest.this_update).filter(|date| *date <= now);
            all.push(Newest {
                issuer: list.issuer.clone(),
                name: list.issuer_name().into(),
                key: list.issuer_key.clone(),
                this_update: known.map_or(list.this_update, |date| date.max(list.this_update)),
            });
        }
        all.drain(..all.len().saturating_sub(MAX_CAS.max(in_force.iter().len())));
        Self(all)
    }

    /// The date of the newest list of this list's issuer.
    pub(super) fn newest(&self, list: &RevocationList, now: UnixTime) -> Option<UnixTime> {
        let newest = self.0.iter().find(|newest| newest.is_of_issuer_of(list))?;
        Some(newest.this_update).filter(|date| *date <= now)
    }

    /// Reports the CAs that come back into the bundle, and had a list before, but have none now. A CA that was in the
    /// former bundle without a list is skipped: the program or `allow_missing_lists` allowed it. An intermediate
    /// below such a CA is not reported, because its certificate is not kept.
    pub(crate) fn missing_on_return(
        &self,
        lists: &RevocationLists,
        bundle: &TrustBundle,
        former: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Vec<MaterialWarning> {
        let algorithms = provider.signature_verification_algorithms;
        let [now, before] = [bundle, former].map(|bundle| Issuers::of_bundle(bundle, &algorithms));
        let missing = self.0.iter().filter(|Newest { name, key, .. }| {
            now.include(name, key) && !before.include(name, key) && lists.list_of(name, key).is_none()
        });
        missing
            .map(|newest| MaterialWarning::RevocationListMissing { issuer: newest.issuer.clone() })
            .collect()
    }
}

impl Newest {
    fn is_of_issuer_of(&self, list: &RevocationList) -> bool {
        list.is_of(&self.name, &self.key)
    }
}

impl fmt::Debug for ListHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListHistory({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::testing::{CertificateSpec, TestCa};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn day(day: u32) -> UnixTime {
        UnixTime::since_unix_epoch(day * DAY)
    }

    /// Lists of these CAs, made on these days.
    fn lists(of: &[(&TestCa, u32)]) -> RevocationLists {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let bundle = TrustBundle::from_der(of.iter().map(|(ca, _)| ca.root().clone())).unwrap();
        // Their nextUpdate is a day later.
        let made = |ca: &TestCa, day: u32| ca.revocation_list(&[], SystemTime::UNIX_EPOCH + (day + 1) * DAY);
        let lists = of.iter().map(|(ca, day)| made(ca, *day).unwrap());
        RevocationLists::from_der(lists, &bundle, &provider).unwrap()
    }

    fn newest(history: &ListHistory, ca: &TestCa, now: u32) -> Option<UnixTime> {
        history.newest(lists(&[(ca, 0)]).iter().next().unwrap(), day(now))
    }

    #[test]
    fn the_newest_date_of_each_ca_stays() {
        let [a, b, other_a] = ["a", "b", "a"].map(|name| TestCa::new(CertificateSpec::ca(name)).unwrap());
        let history = ListHistory::default();
        assert_eq!(newest(&history, &a, 100), None);
        let history = history.with(&lists(&[(&a, 10), (&b, 20)]), day(100));
        let expect = |history: &ListHistory, of_a: u32| {
            let found = [&a, &b, &other_a].map(|ca| newest(history, ca, 100));
            assert_eq!(found, [Some(day(of_a)), Some(day(20)), None]);
        };
        expect(&history, 10);
        // Without lists, with an older one, and with a newer one.
        let history = history.with(&RevocationLists::none(), day(100));
        expect(&history, 10);
        let history = history.with(&lists(&[(&a, 9)]), day(100));
        expect(&history, 10);
        let history = history.with(&lists(&[(&a, 11)]), day(100));
        expect(&history, 11);
    }

    #[test]
    fn a_date_in_the_future_neither_counts_nor_hides_another() {
        let a = TestCa::new(CertificateSpec::ca("a")).unwrap();
        let history = ListHistory::default().with(&lists(&[(&a, 10)]), day(20));
        // The clock of the CA is ahead.
        let history = history.with(&lists(&[(&a, 30)]), day(20));
        assert_eq!(newest(&history, &a, 20), Some(day(10)));
        assert_eq!(newest(&history, &a, 40), Some(day(10)));
        // That day comes while the list is in force.
        let later = history.with(&lists(&[(&a, 30)]), day(30));
        assert_eq!(newest(&later, &a, 30), Some(day(30)));
        // Our own clock was ahead.
        assert_eq!(newest(&later, &a, 20), None);
        let corrected = later.with(&lists(&[(&a, 12)]), day(20));
        assert_eq!(newest(&corrected, &a, 20), Some(day(12)));
        assert_eq!(newest(&corrected, &a, 40), Some(day(12)));
    }

    #[test]
    fn the_history_is_bounded() {
        let named = |number: usize| Newest {
            issuer: number.to_string(),
            name: number.to_be_bytes().into(),
            key: Box::default(),
            this_update: day(1),
        };
        let [a, b] = ["a", "b"].map(|name| TestCa::new(CertificateSpec::ca(name)).unwrap());
        let history = ListHistory((0..MAX_CAS).map(named).collect());
        let history = history.with(&lists(&[(&a, 1)]), day(2));
        let history = history.with(&lists(&[(&b, 1)]), day(2));
        // In force again.
        let history = history.with(&lists(&[(&a, 1)]), day(2));
        let issuers: Vec<_> = history.0.iter().map(|newest| &*newest.issuer).collect();
        assert_eq!((issuers.len(), issuers[0]), (MAX_CAS, "2"));
        assert_eq!(issuers[MAX_CAS - 2..], ["CN=\"b\"", "CN=\"a\""]);
    }
}
