//! The remedy for a certificate that is refused, or that a plan would refuse.

use std::path::Path;

use typha_tls::identity::{IdentityDoubt, RequiredIdentity};
use typha_tls::verifier::{ChainPosition, Rejection};

use super::current::Current;
use super::parameters::Parameters;
use super::report::Line;

/// Adds what to do about a peer that is refused today. Where nothing more can be said, it is what the library says.
pub(super) fn today(line: Line, rejection: &Rejection, current: &Current) -> Line {
    let (ours, theirs) = (Parameters::of(current.local), Parameters::of(current.local.peer()));
    let ca_file = format!("{} {}", ours.ca_file, current.settings.files.ca_file.display());
    let advice = match rejection {
        Rejection::UnknownCa { issuer, .. } => format!(
            "if {issuer} is an intermediate CA, append its certificate to {} of the peer; otherwise add it to \
             {ca_file}, if it is a CA of this cluster",
            theirs.cert_file
        ),
        Rejection::CaKeyMismatch { .. } => format!(
            "re-issue it by the CA that is in {ca_file}; or, if you made that CA anew, put its old and its new \
             certificate there; never add a CA that you did not make"
        ),
        Rejection::Expired { position: ChainPosition::Ca, .. } => {
            format!("renew that CA in {ca_file}, or re-issue the certificate by another CA of it")
        }
        Rejection::Expired { position: ChainPosition::Intermediate, .. } => {
            format!("renew that intermediate in {} of the peer", theirs.cert_file)
        }
        Rejection::Expired { .. } => "renew it".to_owned(),
        Rejection::IdentityMismatch(_) => {
            let required = &current.settings.required_peer;
            correct_doubtful(required, |doubt| ours.of_doubt(doubt).to_owned()).unwrap_or_else(|| {
                format!(
                    "re-issue it with a name that is required, or set {} to a name that it has",
                    ours.of_identity(required)
                )
            })
        }
        Rejection::NotYetValid { .. } => "check both clocks".to_owned(),
        Rejection::Revoked { .. } => "issue a new one; if that is not meant, take it off the list".to_owned(),
        Rejection::RevocationStatusUnknown { .. } => {
            "add the list of its issuer (--crl-file), or remove --crl-strict".to_owned()
        }
        Rejection::WrongKeyUsage { position: ChainPosition::Leaf, purpose, .. } => {
            format!("issue it again with extendedKeyUsage = {purpose}")
        }
        _ => return line.split().or_fix("re-issue it"),
    };
    line.split().fix(advice)
}

/// Adds what to do before the change is made. `what` is the certificate that would be refused: `it` of a peer, or `our
/// certificate`. `ca_file` is the new CA file, if it changes.
pub(super) fn planned(line: Line, rejection: &Rejection, what: &str, ca_file: Option<&Path>) -> Line {
    let new = ca_file.map(|file| file.display().to_string());
    let advice = match (rejection, new) {
        (Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. }, Some(new)) => {
            format!("re-issue {what} by a CA of {new} first, or keep the old CA in {new} until then")
        }
        (Rejection::Expired { position: ChainPosition::Ca, .. }, _) => {
            format!("re-issue {what} by a CA that lasts longer first, and have that in the CA file")
        }
        (Rejection::Expired { position: ChainPosition::Intermediate, .. }, _) => {
            "renew that intermediate first, and put the new one into the chain file".to_owned()
        }
        (Rejection::Expired { .. }, _) => "renew it first".to_owned(),
        (Rejection::IdentityMismatch(_), _) => {
            "re-issue it with the new name first, or require the old name, too, until then: of a Common Name and a URI \
             SAN, either suffices"
                .to_owned()
        }
        (Rejection::Revoked { .. }, _) => {
            "issue a new one first; if that is not meant, take it off the list".to_owned()
        }
        (Rejection::RevocationListUnusable { .. }, _) => {
            "install a current list first, or be strict only after that".to_owned()
        }
        (Rejection::RevocationStatusUnknown { .. }, _) => {
            "add the list of its issuer first (--with-crl-file), or be strict only after that".to_owned()
        }
        _ => return line.split().or_fix(&format!("re-issue {what}")),
    };
    line.split().fix(advice)
}

/// What to do about a mismatch if a required name is probably not the one that was meant. `of_doubt` says where it is.
pub(super) fn correct_doubtful(
    required: &RequiredIdentity,
    of_doubt: impl Fn(&IdentityDoubt) -> String,
) -> Option<String> {
    let doubtful: Vec<_> = required.doubts().iter().map(of_doubt).collect();
    (!doubtful.is_empty()).then(|| format!("correct {} (see doubtful_identity)", doubtful.join(" and ")))
}
