//! Which CAs are removed and added when a CA file is replaced.

use std::collections::HashSet;
use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::error::WithCauses;
use typha_tls::material::{TrustBundle, read_chain};

use super::report::{Line, Report};

/// A certificate of a CA file.
struct Authority {
    der: CertificateDer<'static>,
    /// The name for people, with a part of the key.
    label: String,
    name: Vec<u8>,
    key: Vec<u8>,
}

/// Reports the differences between two valid CA files; the new one is judged at the time `at`.
pub(super) fn report(report: &mut Report, old_file: &Path, new_file: &Path, at: UnixTime) {
    let (old, new) = match (authorities(old_file), authorities(new_file)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(problem), _) | (_, Err(problem)) => {
            return report.add(Line::error("with_ca_file", problem).split().or_fix("copy the file again"));
        }
    };
    let stays = |authority: &Authority, others: &[Authority]| others.iter().any(|a| a.der == authority.der);
    let gone: Vec<_> = old.iter().filter(|authority| !stays(authority, &new)).collect();
    let come: Vec<_> = new.iter().filter(|authority| !stays(authority, &old)).collect();
    if gone.is_empty() && come.is_empty() {
        let detail = format!("{} has the same CAs as now", new_file.display());
        report.add(Line::info("cas_unchanged", detail));
    }
    for authority in gone {
        let label = &authority.label;
        let same_name = || new.iter().filter(|other| other.name == authority.name);
        let mut same_key = same_name().filter(|other| other.key == authority.key).peekable();
        report.add(if same_key.peek().is_some() && !same_key.any(|other| other.is_usable(at)) {
            let detail = format!(
                "of {label} only a certificate is left that is no CA or not valid: what it issued will be refused"
            );
            let fix = format!("keep the one of now in {}", new_file.display());
            Line::warning("ca_unusable", detail).fix(fix)
        } else if same_name().any(|other| other.key == authority.key) {
            let detail =
                format!("{label} gets another certificate of the same name and key: what it issued stays good");
            Line::info("ca_renewed", detail)
        } else if same_name().next().is_some() {
            let detail = format!(
                "{label} is replaced by a CA of the same name and another key: what the old one issued will be \
                 refused"
            );
            let fix = format!("keep both in {} until everything is issued anew", new_file.display());
            Line::warning("ca_replaced", detail).fix(fix)
        } else {
            let detail = format!(
                "{label}: what it issued will be refused, unless another trusted CA has also signed it"
            );
            Line::info("ca_removed", detail)
        });
    }
    for authority in come {
        let label = &authority.label;
        let same_name = || old.iter().filter(|other| other.name == authority.name);
        let detail = if same_name().next().is_none() {
            label.clone()
        } else if same_name().all(|other| other.key != authority.key) {
            format!("{label}, of the same name and another key")
        } else if same_name().any(|other| stays(other, &new)) {
            format!("{label}, another certificate of the same name and key")
        } else {
            continue;
        };
        report.add(Line::info("ca_added", detail));
    }
}

/// The keys of the CAs of this name in two valid CA files, if both files have such a CA and none with the same key.
pub(super) fn different_keys(name: &str, file: &Path, other: &Path) -> Option<String> {
    let [ours, theirs] = [file, other].map(|file| {
        let mut named = authorities(file).unwrap_or_default();
        named.retain(|ca| ca.label.rsplit_once(" (").is_some_and(|(subject, _)| subject == name));
        named
    });
    let is_shared = ours.iter().any(|ca| theirs.iter().any(|other| other.key == ca.key));
    if is_shared || ours.is_empty() || theirs.is_empty() {
        return None;
    }
    let labels = ours.iter().chain(&theirs).filter_map(|ca| ca.label.rsplit_once(" ("));
    let mut keys: Vec<_> =
        labels.map(|(_, key)| key.trim_start_matches("key ").trim_end_matches(')')).collect();
    keys.dedup();
    Some(keys.join(", "))
}

fn authorities(path: &Path) -> Result<Vec<Authority>, String> {
    let mut seen = HashSet::new();
    let certificates = read_chain(path).map_err(|error| WithCauses(&error).to_string())?;
    let new = certificates.into_iter().filter(|der| seen.insert(der.clone()));
    new.map(|der| Authority::new(der).map_err(|problem| format!("{}: {problem}", path.display()))).collect()
}

impl Authority {
    fn new(der: CertificateDer<'static>) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| text(&error))?;
        let (name, key) = (anchor.subject.to_vec(), anchor.subject_public_key_info.to_vec());
        let bundle = TrustBundle::from_der([der.clone()]).map_err(|error| text(&error))?;
        let label = bundle.names().collect();
        Ok(Self { der, label, name, key })
    }

    /// Whether it is a CA, and valid at that time.
    fn is_usable(&self, at: UnixTime) -> bool {
        TrustBundle::from_der([self.der.clone()]).is_ok_and(|bundle| bundle.warnings(at).is_empty())
    }
}
