//! A revocation list.

use std::fmt;

use rustls_pki_types::UnixTime;
use webpki::CertRevocationList;

use super::policy::RevocationPolicy;
use crate::der::shortest_integer;
use crate::material::warning::MaterialWarning;
use crate::time::Timestamp;

/// A revocation list whose signature is verified. Its `Display` text also has the time when it was made (thisUpdate).
pub struct RevocationList {
    pub(super) list: CertRevocationList<'static>,
    pub(super) issuer: String,
    /// The contents of the issuer's SubjectPublicKeyInfo.
    pub(super) issuer_key: Box<[u8]>,
    /// The verified signature. With the same key, equal signatures mean equal contents.
    pub(super) signature: Box<[u8]>,
    pub(super) this_update: UnixTime,
    pub(super) next_update: UnixTime,
}

impl RevocationList {
    /// The CA that issued the list, as text for people: `O="example", CN="ca"`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The time by which the list must be replaced (nextUpdate).
    pub fn next_update(&self) -> UnixTime {
        self.next_update
    }

    /// Whether the list is past its nextUpdate.
    pub(crate) fn is_expired(&self, now: UnixTime) -> bool {
        now >= self.next_update
    }

    /// Whether the list has a certificate of its issuer, given the contents of the serial number.
    pub(crate) fn revokes(&self, serial: &[u8]) -> bool {
        // The list was checked when it was read, so nothing in it is malformed. The serial of a certificate may be.
        !matches!(self.list.find_serial(shortest_integer(serial)), Ok(None))
    }

    pub(super) fn issuer_name(&self) -> &[u8] {
        self.list.issuer()
    }

    pub(super) fn is_of(&self, name: &[u8], key: &[u8]) -> bool {
        self.issuer_name() == name && *self.issuer_key == *key
    }

    pub(super) fn warning(&self, policy: RevocationPolicy, now: UnixTime) -> Option<MaterialWarning> {
        let issuer = self.issuer.clone();
        if self.is_expired(now) {
            let (next_update, refuses) = (self.next_update, policy.refuse_expired);
            return Some(MaterialWarning::RevocationListExpired { issuer, next_update, refuses });
        }
        let this_update = self.this_update;
        (now < this_update).then_some(MaterialWarning::RevocationListNotYetValid { issuer, this_update })
    }
}

impl fmt::Display for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (this_update, next_update) = (Timestamp(self.this_update), Timestamp(self.next_update));
        write!(f, "the list of {} of {this_update}, to be replaced by {next_update}", self.issuer)
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("issuer", &self.issuer)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .finish_non_exhaustive()
    }
}
