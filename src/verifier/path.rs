//! What is known of a path from a leaf to a CA, and by what time it is judged.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::cache::Validity;
use crate::certificate::Certificate;

/// Whether it counts for a path that the CA is valid yet, and that the revocation lists are in their time.
#[derive(Clone, Copy)]
pub(super) enum Trust {
    /// As in a handshake.
    InTime,
    WheneverItWas,
}

impl Trust {
    /// The time that the lists are to be looked at.
    pub(super) fn looked_at(self, now: UnixTime) -> Option<UnixTime> {
        matches!(self, Self::InTime).then_some(now)
    }
}

/// What is known of an accepted path.
pub(super) struct Path {
    /// The label of the CA that it leads to.
    pub(super) ca: Arc<str>,
    /// When its CA, its intermediates and their revocation lists are valid.
    pub(super) validity: Validity,
    /// Whether what the peer sent is the path, in its order and nothing else, but for the CA and its issuer.
    pub(super) is_straight: bool,
}

/// The subject of a leaf, for people.
pub(super) fn leaf_subject(leaf: &CertificateDer<'_>) -> String {
    Certificate::parse(leaf).map_or_else(|_| "(unreadable)".to_owned(), |leaf| leaf.subject_text())
}
