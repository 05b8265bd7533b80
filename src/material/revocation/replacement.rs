//! What is lost when other lists take the place of these.

use rustls::crypto::CryptoProvider;
use rustls_pki_types::UnixTime;

use super::history::ListHistory;
use super::issuers::Issuers;
use super::{RevocationLists, revoking};
use crate::material::trust_bundle::TrustBundle;
use crate::material::warning::MaterialWarning;

impl RevocationLists {
    /// Reports what these lists would lose if they replaced the `former` ones, `now` and together with the new bundle
    /// `issuers`:
    ///
    /// - [`RevocationListOlder`](MaterialWarning::RevocationListOlder): a list is older than the former list of the
    ///   same CA. A former list that is dated in the future does not count, because a wrong clock made it.
    /// - [`RevocationListMissing`](MaterialWarning::RevocationListMissing): a former list has no successor, although
    ///   its CA is still trusted. The CA is in the new bundle; or it is an intermediate below a CA of the new bundle,
    ///   as the certificates in the former and the new files show. Or the list revokes a leaf that is itself in the new
    ///   bundle. A CA of the same name with another key is another CA.
    ///
    /// A [`Reloader`](crate::reload::Reloader) does not put such lists in force. It also knows the lists that were in
    /// force before `former`. A program that calls [`TyphaAcceptor::replace`](crate::TyphaAcceptor::replace) itself can
    /// use this to decide in the same way. `provider` verifies the signatures of the intermediates.
    pub fn replacement_warnings(
        &self,
        former: &Self,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
        now: UnixTime,
    ) -> Vec<MaterialWarning> {
        let older = self.older_than(former, &ListHistory::default(), now);
        older.into_iter().chain(self.missing_from(former, issuers, provider)).collect()
    }

    /// Reports the lists that are older than the list of the same CA in force, or than one that was in force before it.
    /// A list that is in force itself may stay: the program has put it there.
    pub(crate) fn older_than(
        &self,
        in_force: &Self,
        history: &ListHistory,
        now: UnixTime,
    ) -> Vec<MaterialWarning> {
        let history = history.with(in_force, now);
        let older = self.iter().filter_map(|list| {
            let (issuer, this_update) = (list.issuer.clone(), list.this_update);
            let current = in_force.list_of(list.issuer_name(), &list.issuer_key);
            let stays = current.is_some_and(|current| current.signature == list.signature);
            let newest = history.newest(list, now).filter(|newest| this_update < *newest && !stays)?;
            Some(MaterialWarning::RevocationListOlder { issuer, this_update, in_force: newest })
        });
        older.collect()
    }

    /// Reports the lists of `former` that have no successor, although their CA is still trusted.
    pub(crate) fn missing_from(
        &self,
        former: &Self,
        bundle: &TrustBundle,
        provider: &CryptoProvider,
    ) -> Vec<MaterialWarning> {
        let has_successor = |name, key| self.list_of(name, key).is_some();
        let mut dropped =
            former.iter().filter(|list| !has_successor(list.issuer_name(), &list.issuer_key)).peekable();
        if dropped.peek().is_none() {
            return Vec::new();
        }
        let algorithms = provider.signature_verification_algorithms;
        let mut trusted = Issuers::of_bundle(bundle, &algorithms);
        let knows_all = trusted.add_if_issued(former.cas.iter().chain(&*self.cas));
        // A leaf that is itself in the bundle is trusted without its CA, and is looked up in the list of that CA.
        let revokes_entry = |list| {
            let list = std::slice::from_ref(list);
            bundle.entries().iter().any(|entry| revoking(list, entry, algorithms.all).is_some())
        };
        // A CA that may be trusted counts as trusted.
        let missing = dropped.filter(|list| {
            !knows_all || trusted.include(list.issuer_name(), &list.issuer_key) || revokes_entry(list)
        });
        missing.map(|list| MaterialWarning::RevocationListMissing { issuer: list.issuer.clone() }).collect()
    }
}
