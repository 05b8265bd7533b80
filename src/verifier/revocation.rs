//! Whether a certificate of a path has been revoked (RFC 5280 section 6.3).

use std::time::Duration;

use rustls_pki_types::UnixTime;
use webpki::VerifiedPath;

use super::rejection::{ChainPosition, Rejection};
use super::verified::Validity;
use crate::certificate::{Certificate, MalformedCertificate, subject_text};
use crate::der::{DerReader, SEQUENCE};
use crate::material::{BundleEntry, RevocationLists};
use crate::time::Timestamp;

/// Looks up the certificates of the path that the policy selects, each in the list of its issuer. Returns the last
/// moment at which the result is valid. `anchor` is the CA at the end of the path; it is not looked up.
///
/// If `now` is `None`, no list counts as expired. A revoked certificate takes precedence over one whose status is
/// unknown: an outdated list proves a revocation, too.
pub(super) fn check_path(
    path: &VerifiedPath<'_>,
    anchor: &BundleEntry,
    lists: &RevocationLists,
    now: Option<UnixTime>,
) -> Result<UnixTime, Rejection> {
    let policy = lists.policy();
    let leaf = path.end_entity();
    let intermediates = || path.intermediate_certificates();
    // A pinned leaf is its own CA.
    let is_pinned = leaf.der() == anchor.der && intermediates().next().is_none();
    let answers_nothing = lists.iter().len() == 0 && !policy.refuse_unknown;
    if is_pinned || answers_nothing {
        return Ok(Validity::ALWAYS.not_after);
    }
    let looked_up = if policy.leaf_only { 1 } else { usize::MAX };
    let leaf = std::iter::once((ChainPosition::Leaf, &**leaf));
    let certificates = leaf.chain(intermediates().map(|ca| (ChainPosition::Intermediate, ca)));
    let mut issuers = intermediates();
    let mut until = Validity::ALWAYS.not_after;
    let mut doubt = None;
    for (position, certificate) in certificates.take(looked_up) {
        let subject = || subject_text(&certificate.der());
        let list = match issuers.next() {
            Some(issuer) => {
                let key_info = issuer.subject_public_key_info();
                let key = DerReader::single(key_info.as_ref(), SEQUENCE)
                    .map_err(|_| MalformedCertificate::new("the key of an issuer is not valid DER"))?;
                lists.list_of(certificate.issuer(), key)
            }
            None => lists.list_of(certificate.issuer(), &path.anchor().subject_public_key_info),
        };
        let Some(list) = list else {
            if policy.refuse_unknown {
                let issuer = Certificate::parse(&certificate.der())?.issuer_text();
                doubt.get_or_insert(Rejection::RevocationStatusUnknown { subject: subject(), issuer });
            }
            continue;
        };
        if list.revokes(certificate.serial()) {
            return Err(Rejection::Revoked { position, subject: subject() });
        }
        if policy.refuse_expired {
            if now.is_some_and(|now| list.is_expired(now)) {
                let due = Timestamp(list.next_update());
                let why = format!("the list of {} was to be replaced by {due}", list.issuer());
                doubt.get_or_insert(Rejection::RevocationListUnusable { subject: subject(), why });
            }
            let last = Duration::from_secs(list.next_update().as_secs().saturating_sub(1));
            until = until.min(UnixTime::since_unix_epoch(last));
        }
    }
    doubt.map_or(Ok(until), Err)
}
