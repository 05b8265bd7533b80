//! The lines of the library's warnings about material.

use typha_tls::material::MaterialWarning;

use super::report::Line;

/// The line of a warning; `prefix` says which plan or file it is about. If every peer refuses us, or we refuse every
/// peer, it is an error.
pub(super) fn line(warning: &MaterialWarning, prefix: &str) -> Line {
    let text = format!("{prefix}{warning}");
    let level = match warning {
        // Kubernetes' own default; who can read it there is in the same container.
        MaterialWarning::KeyAccessibleByOthers { on_kubernetes_volume: true, .. }
        | MaterialWarning::KeyInCertificateFile { on_kubernetes_volume: true, .. } => Line::info,
        MaterialWarning::NoRevocationList => Line::error,
        warning if is_of_own_chain(warning) => Line::error,
        _ => Line::warning,
    };
    match (remedy(&text), warning) {
        // Alone, the library's remedy does not say which one.
        (Some((problem, _)), MaterialWarning::LeafLacksPurpose { purpose, .. }) => {
            level(warning.label(), problem).fix(format!("issue one with extendedKeyUsage={purpose}"))
        }
        (Some((problem, remedy)), _) => level(warning.label(), problem).fix(remedy),
        (None, _) => level(warning.label(), &text),
    }
}

/// Whether every peer refuses our own chain for this reason.
pub(super) fn is_of_own_chain(warning: &MaterialWarning) -> bool {
    matches!(
        warning,
        MaterialWarning::LeafExpired { .. }
            | MaterialWarning::LeafIsCa { .. }
            | MaterialWarning::LeafLacksPurpose { .. }
            | MaterialWarning::LeafNotYetValid { .. }
            | MaterialWarning::OwnChainRefused { .. }
    )
}

/// Splits the remedy off, with which the library's warnings end. A name in quotes is never split.
fn remedy(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once("; ").filter(|(_, remedy)| !remedy.contains('"'))
}

#[cfg(test)]
mod tests {
    use super::remedy;

    #[test]
    fn the_last_statement_is_the_remedy() {
        assert_eq!(remedy("it expired: x; y; renew it"), Some(("it expired: x; y", "renew it")));
        assert_eq!(remedy("CN=\"a; b\" expired"), None);
        assert_eq!(remedy("it expired"), None);
    }
}
