//! The lines of the library's warnings about material.

use typha_tls::material::MaterialWarning;

use super::report::Line;

/// The line of a warning; `prefix` says which plan or file it is about. If every peer refuses us, or we refuse every
/// peer, or a daemon refuses the new lists, it is an error.
pub(super) fn line(warning: &MaterialWarning, prefix: &str) -> Line {
    let text = format!("{prefix}{warning}");
    let level = match warning {
        // Kubernetes' own default; who can read it there is in the same container.
        MaterialWarning::KeyAccessibleByOthers { on_kubernetes_volume: true, .. }
        | MaterialWarning::KeyInCertificateFile { on_kubernetes_volume: true, .. } => Line::info,
        MaterialWarning::NoRevocationList
        | MaterialWarning::RevocationListMissing { .. }
        | MaterialWarning::RevocationListOlder { .. } => Line::error,
        warning if is_of_own_chain(warning) => Line::error,
        _ => Line::warning,
    };
    let line = level(warning.label(), &text);
    match warning {
        // It is our own.
        MaterialWarning::OwnChainRefused { reason: "revoked", .. } => {
            line.split().fix("issue a new one; if that is not meant, take it off the list")
        }
        _ => line.split().or_fix("issue a new one"),
    }
}

/// Whether every peer refuses our own chain for this reason.
pub(super) fn is_of_own_chain(warning: &MaterialWarning) -> bool {
    matches!(
        warning,
        MaterialWarning::LeafExpired { .. }
            | MaterialWarning::LeafHasNoIdentity(_)
            | MaterialWarning::LeafIsCa { .. }
            | MaterialWarning::LeafLacksPurpose { .. }
            | MaterialWarning::LeafNotYetValid { .. }
            | MaterialWarning::OwnChainRefused { .. }
    )
}
