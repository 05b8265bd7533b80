//! What revocation lists are asked, and what happens where they have no answer.

/// What revocation lists are asked, and what happens where they have no answer.
///
/// The default refuses who is known to be revoked, and nobody else: a list that its CA or its operator forgot to
/// replace must not cut every node of a cluster off at once. [`strict`](Self::strict) is for those who would rather
/// have that than one connection of a peer that may be revoked.
///
/// ```
/// use typha_tls::material::RevocationPolicy;
///
/// let mut policy = RevocationPolicy::default();
/// policy.refuse_expired = true;
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct RevocationPolicy {
    /// Whether the leaf alone is looked up, and not the intermediates. The default is the whole chain: whoever holds
    /// the key of a revoked intermediate can make leaves at will, which a look at leaves alone does not see.
    ///
    /// The trusted CA at the end of a path is never looked up, nor is a pinned leaf: take them out of the CA file to
    /// distrust them. A CA that is in that file and on a list is a
    /// [warning](crate::material::MaterialWarning::RevokedCaInBundle).
    pub leaf_only: bool,
    /// Whether a peer is refused if the issuer of one of its certificates has no list, with
    /// [`RevocationStatusUnknown`](crate::verifier::Rejection::RevocationStatusUnknown). The default is that it is
    /// accepted: a CA without revocation publishes no list, and most bundles have such a CA.
    pub refuse_unknown: bool,
    /// Whether a peer is refused if the list for one of its certificates is past its nextUpdate (RFC 5280 section
    /// 5.1.2.5), with [`RevocationListUnusable`](crate::verifier::Rejection::RevocationListUnusable). The default is
    /// that the list is used as it is, with a [warning](super::RevocationLists::warnings): a late list is seldom a sign
    /// of an attack, and to refuse would stop a cluster. A peer that is on the list is refused either way.
    pub refuse_expired: bool,
}

impl RevocationPolicy {
    /// Accepts only peers that are known not to be revoked: the whole chain, with a current list for each issuer in it.
    ///
    /// With this and without any list nobody is accepted. A list that expires before it is replaced cuts off all peers
    /// that it covers.
    pub fn strict() -> Self {
        Self { leaf_only: false, refuse_unknown: true, refuse_expired: true }
    }
}
