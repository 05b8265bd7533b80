//! Whether a certificate of a path has been revoked (RFC 5280 section 6.3).

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::VerifiedPath;

use super::rejection::{ChainPosition, Rejection};
use super::verified::Validity;
use crate::certificate::signed::Signed;
use crate::certificate::{Certificate, MalformedCertificate, subject_text};
use crate::der::{DerReader, SEQUENCE};
use crate::material::{RevocationList, RevocationLists, RevocationPolicy};
use crate::time::Timestamp;

/// Looks up the certificates of the path that the policy selects, each in the list of its issuer. Returns the last
/// moment at which the result is valid. The CA at the end of the path is not looked up.
///
/// If `now` is `None`, no list counts as expired. A revoked certificate takes precedence over one whose status is
/// unknown: an outdated list proves a revocation, too.
pub(super) fn check_path(
    path: &VerifiedPath<'_>,
    lists: &RevocationLists,
    now: Option<UnixTime>,
) -> Result<UnixTime, Rejection> {
    if answers_nothing(lists) {
        return Ok(Validity::ALWAYS.not_after);
    }
    let looked_up = if lists.policy().leaf_only { 1 } else { usize::MAX };
    let leaf = std::iter::once((ChainPosition::Leaf, &**path.end_entity()));
    let intermediates = || path.intermediate_certificates();
    let certificates = leaf.chain(intermediates().map(|ca| (ChainPosition::Intermediate, ca)));
    let mut issuers = intermediates();
    let mut lookups = Lookups::new(lists.policy(), now);
    for (position, certificate) in certificates.take(looked_up) {
        let list = match issuers.next() {
            Some(issuer) => {
                let key_info = issuer.subject_public_key_info();
                let key = DerReader::single(key_info.as_ref(), SEQUENCE)
                    .map_err(|_| MalformedCertificate::new("the key of an issuer is not valid DER"))?;
                lists.list_of(certificate.issuer(), key)
            }
            None => lists.list_of(certificate.issuer(), &path.anchor().subject_public_key_info),
        };
        lookups.add(position, &certificate.der(), certificate.serial(), list)?;
    }
    lookups.finish()
}

/// Looks up a leaf that is itself an entry of the bundle, in the list of the CA that signed it. One that has signed
/// itself has no issuer.
pub(super) fn check_pinned(
    leaf: &CertificateDer<'_>,
    lists: &RevocationLists,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: Option<UnixTime>,
) -> Result<UnixTime, Rejection> {
    let certificate = Certificate::parse(leaf)?;
    let is_self_signed =
        || Signed::parse(leaf).is_ok_and(|s| s.verify(certificate.public_key_info(), algorithms).is_ok());
    if answers_nothing(lists) || is_self_signed() {
        return Ok(Validity::ALWAYS.not_after);
    }
    let mut lookups = Lookups::new(lists.policy(), now);
    let serial = certificate.serial();
    lookups.add(ChainPosition::Leaf, leaf, serial, lists.list_of_signer(leaf, serial, algorithms))?;
    lookups.finish()
}

fn answers_nothing(lists: &RevocationLists) -> bool {
    lists.iter().len() == 0 && !lists.policy().refuse_unknown
}

/// The results of several lookups.
struct Lookups {
    policy: RevocationPolicy,
    now: Option<UnixTime>,
    /// The last moment at which all lists are current.
    until: UnixTime,
    /// The first certificate whose status is unknown.
    doubt: Option<Rejection>,
}

impl Lookups {
    fn new(policy: RevocationPolicy, now: Option<UnixTime>) -> Self {
        Self { policy, now, until: Validity::ALWAYS.not_after, doubt: None }
    }

    fn add(
        &mut self,
        position: ChainPosition,
        certificate: &[u8],
        serial: &[u8],
        list: Option<&RevocationList>,
    ) -> Result<(), Rejection> {
        let subject = || subject_text(certificate);
        let Some(list) = list else {
            if self.policy.refuse_unknown {
                let issuer = Certificate::parse(certificate)?.issuer_text();
                self.doubt.get_or_insert(Rejection::RevocationStatusUnknown { subject: subject(), issuer });
            }
            return Ok(());
        };
        if list.revokes(serial) {
            return Err(Rejection::Revoked { position, subject: subject() });
        }
        if self.policy.refuse_expired {
            if self.now.is_some_and(|now| list.is_expired(now)) {
                let due = Timestamp(list.next_update());
                let why = format!("the list of {} was to be replaced by {due}", list.issuer());
                self.doubt.get_or_insert(Rejection::RevocationListUnusable { subject: subject(), why });
            }
            let last = Duration::from_secs(list.next_update().as_secs().saturating_sub(1));
            self.until = self.until.min(UnixTime::since_unix_epoch(last));
        }
        Ok(())
    }

    fn finish(self) -> Result<UnixTime, Rejection> {
        self.doubt.map_or(Ok(self.until), Err)
    }
}
