//! Which certificates are looked up in revocation lists, and how missing or expired lists count.

/// Which certificates are looked up in revocation lists, and how missing or expired lists count.
///
/// The default refuses only peers with a revoked certificate. If a CA or an operator forgets to replace a list, the
/// nodes of the cluster stay connected. [`strict`](Self::strict) refuses peers in that case, too: it prefers an outage
/// to a connection with a peer that may be revoked.
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
    /// Whether only the leaf is looked up, not the intermediates. The default is `false`: the whole chain is looked up.
    /// The key of a revoked intermediate can issue new leaves at will, and a lookup of leaves alone misses those.
    ///
    /// The trusted CA at the end of a path is never looked up: remove it from the CA file to distrust it. If it is both
    /// in that file and on a list, there is a [warning](crate::material::MaterialWarning::RevokedCaInBundle). A leaf
    /// that is itself in the CA file is looked up in the list of the CA that signed it.
    pub leaf_only: bool,
    /// Whether to refuse a peer if the issuer of one of its certificates has no list, with
    /// [`RevocationStatusUnknown`](crate::verifier::Rejection::RevocationStatusUnknown). The default is `false`: a CA
    /// without revocation publishes no list, and most bundles have such a CA.
    pub refuse_unknown: bool,
    /// Whether to refuse a peer if the list for one of its certificates is past its nextUpdate (RFC 5280 section
    /// 5.1.2.5), with [`RevocationListUnusable`](crate::verifier::Rejection::RevocationListUnusable). The default is
    /// `false`: the list stays in use, with a [warning](super::RevocationLists::warnings). A late list is seldom a sign
    /// of an attack, and refusing would stop a cluster. A peer that is on the list is refused in both cases.
    pub refuse_expired: bool,
}

impl RevocationPolicy {
    /// Accepts only peers that are known not to be revoked. The whole chain is looked up, and each issuer in it needs a
    /// current list.
    ///
    /// With this policy and no list, every peer is refused. A list that expires before it is replaced disconnects all
    /// peers that it covers.
    pub fn strict() -> Self {
        Self { leaf_only: false, refuse_unknown: true, refuse_expired: true }
    }
}
