//! What is usable but will probably not do what its owner expects.

use std::path::PathBuf;

use rustls_pki_types::UnixTime;
use thiserror::Error;

use crate::time::Timestamp;

/// Something about usable material that its owner should know. The text says what it means and what to do.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum MaterialWarning {
    /// A CA of the bundle has expired.
    #[error(
        "the CA {subject} expired at {}: nothing it issued is accepted; remove it, or add its successor",
        Timestamp(*not_after)
    )]
    CaExpired {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// A CA of the bundle is not valid yet.
    #[error(
        "the CA {subject} is not valid before {}: nothing it issued is accepted until then; check the clock",
        Timestamp(*not_before)
    )]
    CaNotYetValid {
        /// Its subject.
        subject: String,
        /// The begin of its validity.
        not_before: UnixTime,
    },
    /// The private key can be read by every user of the machine.
    #[error("the private key {} is accessible by every user (mode {mode:04o}); chmod 600 it", path.display())]
    KeyAccessibleByOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Our own leaf has expired.
    #[error(
        "our certificate {subject} expired at {}: every peer will refuse it; issue a new one",
        Timestamp(*not_after)
    )]
    LeafExpired {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// Our own leaf is marked as a CA.
    #[error(
        "our certificate {subject} is marked as a CA: peers will refuse it as a leaf; issue one without the cA flag"
    )]
    LeafIsCa {
        /// Its subject.
        subject: String,
    },
    /// Our own leaf has an extended key usage without the one of its role.
    #[error(
        "our certificate {subject} has an extended key usage without {purpose}: every peer will refuse it; issue one \
         with it"
    )]
    LeafLacksPurpose {
        /// Its subject.
        subject: String,
        /// What is missing: `clientAuth` for Felix, `serverAuth` for Typha.
        purpose: &'static str,
    },
    /// Our own leaf is not valid yet.
    #[error(
        "our certificate {subject} is not valid before {}: every peer will refuse it until then; check the clock",
        Timestamp(*not_before)
    )]
    LeafNotYetValid {
        /// Its subject.
        subject: String,
        /// The begin of its validity.
        not_before: UnixTime,
    },
    /// There is no revocation list, and who is on none is to be refused: that is everybody.
    #[error(
        "there is no revocation list, but whoever has none for its issuer is to be refused: every peer will be; add \
         the lists of the CAs"
    )]
    NoRevocationList,
    /// An entry of the bundle is no CA.
    #[error(
        "{subject} in the CA bundle is no CA ({why}): it issues nothing, and counts only as itself; put the CA that \
         issued it there"
    )]
    NotACa {
        /// Its subject.
        subject: String,
        /// What it lacks.
        why: &'static str,
    },
    /// A revocation list is past its nextUpdate.
    #[error(
        "the revocation list of {issuer} was to be replaced by {}: {}; install a current one",
        Timestamp(*next_update),
        if *refuses {
            "every peer with a certificate of that CA will be refused"
        } else {
            "it is still used, but does not know who was revoked since"
        }
    )]
    RevocationListExpired {
        /// The CA that it is of.
        issuer: String,
        /// When it should have been replaced.
        next_update: UnixTime,
        /// Whether peers with a certificate of that CA are refused for it; see
        /// [`RevocationPolicy::refuse_expired`](super::RevocationPolicy::refuse_expired).
        refuses: bool,
    },
    /// A revocation list says that it will be made in the future.
    #[error(
        "the revocation list of {issuer} is of {}, which is in the future: it is used all the same; check the clock",
        Timestamp(*this_update)
    )]
    RevocationListNotYetValid {
        /// The CA that it is of.
        issuer: String,
        /// When it says that it will be made.
        this_update: UnixTime,
    },
    /// A revocation list was made before the one of the same CA that it is to replace.
    #[error(
        "the revocation list of {issuer} is of {}, and older than the one in force, of {}: it may not know who was \
         revoked since; install the current one, or restart if it is meant",
        Timestamp(*this_update),
        Timestamp(*in_force)
    )]
    RevocationListOlder {
        /// The CA that it is of.
        issuer: String,
        /// When it was made.
        this_update: UnixTime,
        /// When the one in force was made.
        in_force: UnixTime,
    },
    /// A CA of the bundle is on a revocation list. What stands in the bundle is not looked up, so that it is trusted
    /// all the same.
    #[error(
        "the CA {subject} was revoked by {issuer}, but stands in the CA bundle itself: what it issued is accepted all \
         the same; remove it from there"
    )]
    RevokedCaInBundle {
        /// Its subject.
        subject: String,
        /// The CA that revokes it.
        issuer: String,
    },
}

impl MaterialWarning {
    /// A stable label, such as `leaf_expired`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CaExpired { .. } => "ca_expired",
            Self::CaNotYetValid { .. } => "ca_not_yet_valid",
            Self::KeyAccessibleByOthers { .. } => "key_accessible_by_others",
            Self::LeafExpired { .. } => "leaf_expired",
            Self::LeafIsCa { .. } => "leaf_is_ca",
            Self::LeafLacksPurpose { .. } => "leaf_lacks_purpose",
            Self::LeafNotYetValid { .. } => "leaf_not_yet_valid",
            Self::NoRevocationList => "no_revocation_list",
            Self::NotACa { .. } => "not_a_ca",
            Self::RevocationListExpired { .. } => "revocation_list_expired",
            Self::RevocationListNotYetValid { .. } => "revocation_list_not_yet_valid",
            Self::RevocationListOlder { .. } => "revocation_list_older",
            Self::RevokedCaInBundle { .. } => "revoked_ca_in_bundle",
        }
    }
}
