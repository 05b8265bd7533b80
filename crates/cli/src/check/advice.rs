//! The remedy for a certificate that a plan would refuse.

use std::path::Path;

use typha_tls::verifier::{ChainPosition, Rejection};

/// What to do before the change is made. `ca_file` is the new CA file, if it changes.
pub(super) fn text(rejection: &Rejection, ca_file: Option<&Path>) -> String {
    let new = ca_file.map(|file| file.display().to_string());
    match (rejection, new) {
        (Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. }, Some(new)) => {
            format!("re-issue it by a CA of {new} first, or keep the old CA in {new} until then")
        }
        (Rejection::Expired { position: ChainPosition::Ca, .. }, _) => {
            "re-issue it by a CA that lasts longer first, and have that in the CA file".to_owned()
        }
        (Rejection::Expired { position: ChainPosition::Intermediate, .. }, _) => {
            "renew that intermediate first, and have the peer send the new one".to_owned()
        }
        (Rejection::Expired { .. }, _) => "renew it first".to_owned(),
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
        _ => "re-issue it first".to_owned(),
    }
}
