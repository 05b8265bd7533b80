//! Material that is usable but probably not intended.

use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;
use thiserror::Error;

use crate::file::Permissions;
use crate::identity::{IdentityDoubt, PeerIdentity};
use crate::time::Timestamp;

/// What to do about a file that others can access. On a volume of a Secret, chmod is not possible.
fn permissions_remedy(path: &Path, on_kubernetes_volume: bool) -> String {
    match on_kubernetes_volume {
        true => "set defaultMode: 0400 for that volume in the manifest of the pod, and, if the process does not run as \
                 root, fsGroup in its securityContext"
            .to_owned(),
        false => format!("chmod 600 {}", path.display()),
    }
}

/// A probable mistake in usable material. The text states the consequence and, after a semicolon, the remedy.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum MaterialWarning {
    /// A CA of the bundle has expired. Label: `ca_expired`.
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
    /// A CA of the bundle expires soon: in less than 30 days, or in the last third of its lifetime if that is shorter.
    /// Label: `ca_expires_soon`.
    #[error(
        "the CA {subject} expires at {}, and nothing it issued is accepted after that; add its successor to the CA \
         file, then have the successor issue the certificates of the other end",
        Timestamp(*not_after)
    )]
    CaExpiresSoon {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// A CA of the bundle is not valid yet. Label: `ca_not_yet_valid`.
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
    /// The required Common Name or URI SAN is probably not the one that was meant. Label: `doubtful_identity`.
    #[error("{0}")]
    DoubtfulIdentity(IdentityDoubt),
    /// Every user of the machine can access the private key. Label: `key_accessible_by_others`.
    #[error(
        "the private key {} is accessible by every user (mode {mode:04o}); {}",
        path.display(),
        permissions_remedy(path, *on_kubernetes_volume)
    )]
    KeyAccessibleByOthers {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether the file is on a volume of a Kubernetes Secret. There, every user means every user of the container.
        on_kubernetes_volume: bool,
    },
    /// A CA file or certificate file has a private key, too, and users other than its owner can access it. On a
    /// volume of a Kubernetes Secret, only access by every user counts. Label: `key_in_certificate_file`.
    #[error(
        "the certificate file {} also has a private key, and users other than its owner can access it (mode \
         {mode:04o}); if it is not the key file of this end, move the private key to a safe place; otherwise {}",
        path.display(),
        permissions_remedy(path, *on_kubernetes_volume)
    )]
    KeyInCertificateFile {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether the file is on a volume of a Kubernetes Secret.
        on_kubernetes_volume: bool,
    },
    /// Our own leaf has expired. Label: `leaf_expired`.
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
    /// Our own leaf expires soon: in less than 30 days, or in the last third of its lifetime if that is shorter. Label:
    /// `leaf_expires_soon`.
    #[error(
        "our certificate {subject} expires at {}, and every peer refuses us after that; issue a new one, and see why \
         it was not renewed",
        Timestamp(*not_after)
    )]
    LeafExpiresSoon {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// Our own leaf has neither a Common Name nor a URI SAN that a peer could require. Label: `no_identity`.
    #[error(
        "our certificate has no name that a peer could require ({0}); issue one with a Common Name or a URI SAN"
    )]
    LeafHasNoIdentity(PeerIdentity),
    /// Our own leaf is marked as a CA. Label: `leaf_is_ca`.
    #[error(
        "our certificate {subject} is marked as a CA: peers will refuse it as a leaf; issue one without the cA flag"
    )]
    LeafIsCa {
        /// Its subject.
        subject: String,
    },
    /// Our own leaf has an extended key usage that lacks its role's purpose. Label: `leaf_lacks_purpose`.
    #[error(
        "our certificate {subject} has an extended key usage without {purpose}: every peer will refuse it; issue one \
         with extendedKeyUsage = {purpose}"
    )]
    LeafLacksPurpose {
        /// Its subject.
        subject: String,
        /// The missing purpose: `clientAuth` for Felix, `serverAuth` for Typha.
        purpose: &'static str,
    },
    /// Our own leaf is not valid yet. Label: `leaf_not_yet_valid`.
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
    /// There is no revocation list, but the policy refuses peers whose issuer has none: every peer. Label:
    /// `no_revocation_list`.
    #[error(
        "there is no revocation list, but the policy refuses peers whose issuer has none: every peer will be refused; \
         add the lists of the CAs"
    )]
    NoRevocationList,
    /// An entry of the bundle is no CA. Label: `not_a_ca`.
    #[error(
        "{subject} in the CA file is no CA ({why}): it issues nothing, and is accepted only as a peer's own \
         certificate; if that is not intended, put the CA that issued it into the CA file"
    )]
    NotACa {
        /// Its subject.
        subject: String,
        /// Why it is no CA.
        why: &'static str,
    },
    /// The verifier of this crate refuses our own chain, whatever CAs the peer trusts. Label: `own_chain_refused`.
    #[error("every peer that uses this library will refuse our own certificate ({reason}): {detail}")]
    OwnChainRefused {
        /// The label of the [`Rejection`](crate::verifier::Rejection).
        reason: &'static str,
        /// Its text.
        detail: String,
    },
    /// An entry of the bundle that is no CA has expired, so a peer that presents it is refused. Label: `pin_expired`.
    #[error(
        "{subject} in the CA file is no CA, and expired at {}: it is not even accepted as a peer's own certificate; \
         remove it, or replace it by its successor",
        Timestamp(*not_after)
    )]
    PinExpired {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// An entry of the bundle that is no CA is not valid yet, so a peer that presents it is refused. Label:
    /// `pin_not_yet_valid`.
    #[error(
        "{subject} in the CA file is no CA, and is not valid before {}: until then it is not even accepted as a peer's \
         own certificate; check the clock",
        Timestamp(*not_before)
    )]
    PinNotYetValid {
        /// Its subject.
        subject: String,
        /// The begin of its validity.
        not_before: UnixTime,
    },
    /// A revocation list is past its nextUpdate. Label: `revocation_list_expired`.
    #[error(
        "the revocation list of {issuer} was to be replaced by {}: {}; install a current one",
        Timestamp(*next_update),
        if *refuses {
            "every peer with a certificate of that CA will be refused"
        } else {
            "it is still used, but lacks certificates that were revoked since"
        }
    )]
    RevocationListExpired {
        /// The issuer of the list.
        issuer: String,
        /// Its nextUpdate.
        next_update: UnixTime,
        /// Whether peers with a certificate of that CA are refused; see
        /// [`RevocationPolicy::refuse_expired`](super::RevocationPolicy::refuse_expired).
        refuses: bool,
    },
    /// The new lists have none of a CA that is still trusted and had a list. Label:
    /// `revocation_list_missing`.
    #[error(
        "there is no revocation list of {issuer}, which is still trusted and had one: its revoked certificates would \
         be accepted; put the list back, remove the CA (for an intermediate CA: the CA above it) from the CA file \
         too, or restart the daemon to use no list"
    )]
    RevocationListMissing {
        /// The issuer of the list that was in force.
        issuer: String,
    },
    /// A revocation list has a thisUpdate in the future. Label: `revocation_list_not_yet_valid`.
    #[error(
        "the revocation list of {issuer} is of {}, which is in the future: it is used nevertheless; check the clock",
        Timestamp(*this_update)
    )]
    RevocationListNotYetValid {
        /// The issuer of the list.
        issuer: String,
        /// Its thisUpdate.
        this_update: UnixTime,
    },
    /// A revocation list is older than the newest list of the same CA that is or was in force. Label:
    /// `revocation_list_older`.
    #[error(
        "the revocation list of {issuer} is of {}, and older than the newest one so far, of {}: it may lack \
         certificates that were revoked since; install the current one, or restart if this one is intended",
        Timestamp(*this_update),
        Timestamp(*in_force)
    )]
    RevocationListOlder {
        /// The issuer of the list.
        issuer: String,
        /// Its thisUpdate.
        this_update: UnixTime,
        /// The thisUpdate of that newest list.
        in_force: UnixTime,
    },
    /// A CA of the bundle is on a revocation list. Entries of the bundle are not looked up, so the CA stays trusted.
    /// Label: `revoked_ca_in_bundle`.
    #[error(
        "the CA {subject} was revoked by {issuer}, but is itself in the CA file: certificates that it issued are \
         still accepted; remove it from the CA file"
    )]
    RevokedCaInBundle {
        /// Its subject.
        subject: String,
        /// The CA that revoked it.
        issuer: String,
    },
}

impl MaterialWarning {
    /// For a certificate file that has a private key, if others can access it.
    pub(super) fn of_key_in_certificate_file(permissions: &Permissions) -> Option<Self> {
        let Permissions { path, mode, on_kubernetes_volume } = permissions.clone();
        // With fsGroup, Kubernetes gives the group of the pod access.
        let others = if on_kubernetes_volume { 0o006 } else { 0o077 };
        (mode & others != 0).then_some(Self::KeyInCertificateFile { path, mode, on_kubernetes_volume })
    }

    /// A stable label, such as `leaf_expired`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CaExpired { .. } => "ca_expired",
            Self::CaExpiresSoon { .. } => "ca_expires_soon",
            Self::CaNotYetValid { .. } => "ca_not_yet_valid",
            Self::DoubtfulIdentity(_) => "doubtful_identity",
            Self::KeyAccessibleByOthers { .. } => "key_accessible_by_others",
            Self::KeyInCertificateFile { .. } => "key_in_certificate_file",
            Self::LeafExpired { .. } => "leaf_expired",
            Self::LeafExpiresSoon { .. } => "leaf_expires_soon",
            Self::LeafHasNoIdentity(_) => "no_identity",
            Self::LeafIsCa { .. } => "leaf_is_ca",
            Self::LeafLacksPurpose { .. } => "leaf_lacks_purpose",
            Self::LeafNotYetValid { .. } => "leaf_not_yet_valid",
            Self::NoRevocationList => "no_revocation_list",
            Self::NotACa { .. } => "not_a_ca",
            Self::OwnChainRefused { .. } => "own_chain_refused",
            Self::PinExpired { .. } => "pin_expired",
            Self::PinNotYetValid { .. } => "pin_not_yet_valid",
            Self::RevocationListExpired { .. } => "revocation_list_expired",
            Self::RevocationListMissing { .. } => "revocation_list_missing",
            Self::RevocationListNotYetValid { .. } => "revocation_list_not_yet_valid",
            Self::RevocationListOlder { .. } => "revocation_list_older",
            Self::RevokedCaInBundle { .. } => "revoked_ca_in_bundle",
        }
    }
}
