//! The remedy for a certificate that is refused, or that a plan would refuse.

use std::path::Path;

use typha_tls::verifier::{ChainPosition, Rejection};

use super::current::Current;
use super::parameters::Parameters;

/// What to do about a peer that is refused today.
pub(super) fn today(rejection: &Rejection, current: &Current) -> String {
    let (ours, theirs) = (Parameters::of(current.local), Parameters::of(current.local.peer()));
    let ca_file = format!("{} {}", ours.ca_file, current.settings.files.ca_file.display());
    match rejection {
        Rejection::UnknownCa { .. } => format!(
            "add the CA that issued it to {ca_file}; or, if an intermediate issued it, append that to {} of the peer",
            theirs.cert_file
        ),
        Rejection::CaKeyMismatch { .. } => {
            format!("add the CA that issued it to {ca_file}, or re-issue it with the CA that is there")
        }
        Rejection::Expired { position: ChainPosition::Ca, .. } => {
            format!("renew that CA in {ca_file}, or re-issue the certificate with another CA of it")
        }
        Rejection::IdentityMismatch(_) => format!(
            "re-issue it with a name that is required, or set {} or {} to a name that it has",
            ours.common_name, ours.uri_san
        ),
        Rejection::NotYetValid { .. } => "check both clocks".to_owned(),
        Rejection::Revoked { .. } => "issue a new one; if that is not meant, take it off the list".to_owned(),
        Rejection::RevocationListUnusable { .. } => "install a current list".to_owned(),
        Rejection::RevocationStatusUnknown { .. } => {
            "add the list of its issuer (--crl-file), or do not be strict (--crl-strict)".to_owned()
        }
        Rejection::Expired { position: ChainPosition::Intermediate, .. } => {
            format!("renew that intermediate in {} of the peer", theirs.cert_file)
        }
        Rejection::Expired { .. } => "renew it".to_owned(),
        other => reissue(other),
    }
}

/// What to do before the change is made. `ca_file` is the new CA file, if it changes.
pub(super) fn planned(rejection: &Rejection, ca_file: Option<&Path>) -> String {
    let new = ca_file.map(|file| file.display().to_string());
    match (rejection, new) {
        (Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. }, Some(new)) => {
            format!("re-issue it by a CA of {new} first, or keep the old CA in {new} until then")
        }
        (Rejection::Expired { position: ChainPosition::Ca, .. }, _) => {
            "re-issue it by a CA that lasts longer first, and have that in the CA file".to_owned()
        }
        (Rejection::IdentityMismatch(_), _) => {
            "re-issue it with the new name first, or require the old name, too, until then: of a Common Name and a URI \
             SAN, either suffices"
                .to_owned()
        }
        (Rejection::Revoked { .. }, _) => {
            "if that is not meant, take it off the list; otherwise do so first".to_owned()
        }
        (Rejection::RevocationListUnusable { .. } | Rejection::RevocationStatusUnknown { .. }, _) => {
            "do so first, or be strict only after that".to_owned()
        }
        (Rejection::Expired { position: ChainPosition::Intermediate, .. }, _) => {
            "renew that intermediate first, and have the peer send the new one".to_owned()
        }
        (Rejection::Expired { .. }, _) => "renew it first".to_owned(),
        _ => format!("{} first", reissue(rejection)),
    }
}

/// The property that a new certificate must have.
fn reissue(rejection: &Rejection) -> String {
    match rejection {
        Rejection::CaUsedAsLeaf { .. } => "re-issue it with basicConstraints=CA:FALSE".to_owned(),
        Rejection::UnhandledCriticalExtension { .. } => "re-issue it without that extension".to_owned(),
        Rejection::UnsupportedAlgorithm { .. } | Rejection::UnsupportedKeySize { .. } => {
            "re-issue it for another key, such as ECDSA on P-256, signed with SHA-256".to_owned()
        }
        Rejection::UnsupportedVersion { .. } => {
            "re-issue it as version 3 (openssl x509 -req -extfile FILE, with its extensions in FILE)"
                .to_owned()
        }
        Rejection::WrongKeyUsage { purpose, .. } => format!("re-issue it with extendedKeyUsage={purpose}"),
        _ => "re-issue it".to_owned(),
    }
}
