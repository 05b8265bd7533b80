//! What is lost when other lists take the place of these.

use rustls::crypto::CryptoProvider;
use rustls_pki_types::UnixTime;

use super::RevocationLists;
use super::issuers::Issuers;
use crate::material::trust_bundle::TrustBundle;
use crate::material::warning::MaterialWarning;

impl RevocationLists {
    /// Reports what these lists would lose if they replaced the `former` ones, `now` and together with the new bundle
    /// `issuers`:
    ///
    /// - [`RevocationListOlder`](MaterialWarning::RevocationListOlder): a list is older than the former list of the same
    ///   CA. A former list that is dated in the future does not count, because a wrong clock made it.
    /// - [`RevocationListMissing`](MaterialWarning::RevocationListMissing): a former list has no successor, although its
    ///   CA is still trusted. The CA is in the new bundle; or it is an intermediate below a CA of the new bundle, as the
    ///   certificates in the former and the new files show. A CA of the same name with another key is another CA.
    ///
    /// A [`Reloader`](crate::reload::Reloader) does not put such lists in force. A program that calls
    /// [`TyphaAcceptor::replace`](crate::TyphaAcceptor::replace) with material of its own can use this to decide the
    /// same. `provider` verifies the signatures of the intermediates.
    pub fn replacement_warnings(
        &self,
        former: &Self,
        issuers: &TrustBundle,
        provider: &CryptoProvider,
        now: UnixTime,
    ) -> Vec<MaterialWarning> {
        let mut warnings = self.older_than(former, now);
        warnings.extend(self.missing_from(former, issuers, provider));
        warnings
    }

    fn older_than(&self, former: &Self, now: UnixTime) -> Vec<MaterialWarning> {
        let older = self.iter().filter_map(|list| {
            let known = former.list_of(list.issuer_name(), &list.issuer_key)?;
            let (this_update, in_force) = (list.this_update, known.this_update);
            let issuer = list.issuer.clone();
            (this_update < in_force && in_force <= now).then_some(MaterialWarning::RevocationListOlder {
                issuer,
                this_update,
                in_force,
            })
        });
        older.collect()
    }

    fn missing_from(
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
        // A CA that may be trusted counts as trusted.
        let missing = dropped.filter(|list| !knows_all || trusted.have_issuer_of(list));
        missing.map(|list| MaterialWarning::RevocationListMissing { issuer: list.issuer.clone() }).collect()
    }
}
