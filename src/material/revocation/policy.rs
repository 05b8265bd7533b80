//! What revocation lists are asked, and what happens where they have no answer.

/// What revocation lists are asked, and what happens where they have no answer.
///
/// The default refuses who is known to be revoked, and nobody else: a list that its CA or its operator forgot to
/// replace must not cut every node of a cluster off at once. [`strict`](Self::strict) is for those who would rather
/// have that than one connection of a peer that may be revoked.
///
/// ```
/// use typha_tls::material::{ExpiredList, RevocationPolicy};
///
/// let mut policy = RevocationPolicy::default();
/// policy.expired_list = ExpiredList::Refuse;
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct RevocationPolicy {
    /// Which certificates are looked up. The default is [`RevocationDepth::Chain`]: whoever holds the key of a revoked
    /// intermediate can make leaves at will, so that looking at leaves alone would miss the worse case.
    pub depth: RevocationDepth,
    /// What happens to a peer with a certificate whose issuer has no list. The default is [`UnknownStatus::Allow`],
    /// since a CA without revocation publishes none, and most bundles have such a CA.
    pub unknown_status: UnknownStatus,
    /// What happens when the list that is asked should have been replaced. The default is [`ExpiredList::Warn`]: what
    /// it says of the revoked still holds, and that the next one is late is seldom a sign of an attack, but would stop
    /// a cluster.
    pub expired_list: ExpiredList,
}

impl RevocationPolicy {
    /// Only who is known not to be revoked: the whole chain, with a current list for each issuer in it.
    ///
    /// With this and without any list nobody is accepted. That a list expires unreplaced cuts off all peers that it
    /// covers.
    pub fn strict() -> Self {
        Self {
            depth: RevocationDepth::Chain,
            unknown_status: UnknownStatus::Refuse,
            expired_list: ExpiredList::Refuse,
        }
    }
}

/// Which certificates of a path are looked up. The trusted CA at its end never is, nor a pinned leaf: who does not
/// trust them any more takes them out of the CA file. That a CA stands there that is on a list is a
/// [warning](crate::material::MaterialWarning::RevokedCaInBundle).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RevocationDepth {
    /// The leaf and every intermediate.
    #[default]
    Chain,
    /// The leaf alone.
    Leaf,
}

/// What happens to a peer with a certificate whose issuer has no list.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum UnknownStatus {
    /// It is accepted, as if there were no revocation.
    #[default]
    Allow,
    /// It is refused, with [`RevocationStatusUnknown`](crate::verifier::Rejection::RevocationStatusUnknown).
    Refuse,
}

/// What happens when a list is past its nextUpdate (RFC 5280 section 5.1.2.5). Who is on it is refused either way.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ExpiredList {
    /// Peers that are not on it are refused, with
    /// [`RevocationListUnusable`](crate::verifier::Rejection::RevocationListUnusable).
    Refuse,
    /// It is used as it is; [`RevocationLists::warnings`](super::RevocationLists::warnings) tells.
    #[default]
    Warn,
}
