//! Our own chain and key: what every peer says about them.

use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};
use typha_tls::error::WithCauses;
use typha_tls::material::{
    Credentials, Material, MaterialError, MaterialWarning, RevocationLists, RevocationPolicy, TrustBundle,
    read_chain,
};
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, TestCa};
use typha_tls::{RequiredIdentity, Role, TlsConfig};

use super::report::{Line, Report};
use super::warnings;

/// The files of our chain and key, and the parameters or flags that name them.
#[derive(Clone, Copy)]
pub(super) struct OwnFiles<'a> {
    pub(super) chain: (&'a str, &'a Path),
    pub(super) key: (&'a str, &'a Path),
}

/// What was read from the files.
pub(super) struct Own {
    /// The chain, leaf first; also if the key is not usable.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether a finding says that every peer refuses the chain.
    pub(super) is_refused: bool,
}

/// The other ends, whose rules are not all those of this library.
#[derive(Clone, Copy)]
pub(super) enum Peers {
    Browsers,
    /// A program that verifies certificates with Go's `crypto/x509`.
    Go(&'static str),
}

impl Peers {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Browsers => "browsers",
            Self::Go(name) => name,
        }
    }

    /// Whether these peers may accept what this library refuses with this label. Go accepts a leaf that is marked as a
    /// CA, and RSA keys of 1024 bits, for example.
    pub(super) fn may_accept(self, label: &str) -> bool {
        let is_refused_by_go = matches!(
            label,
            "ca_key_mismatch"
                | "ca_unusable"
                | "expired"
                | "host_mismatch"
                | "invalid_signature"
                | "name_constraint_violation"
                | "no_certificate"
                | "not_yet_valid"
                | "path_too_long"
                | "unhandled_critical_extension"
                | "unknown_ca"
                | "unsupported_algorithm"
                | "wrong_key_usage"
        );
        matches!(self, Self::Go(_)) && !is_refused_by_go
    }
}

impl OwnFiles<'_> {
    /// The parameter and the file of the chain.
    pub(super) fn about_chain(&self) -> String {
        let (name, path) = self.chain;
        format!("{name} {}", path.display())
    }

    /// What a warning about the chain and the key is about.
    pub(super) fn about(&self, warning: &MaterialWarning) -> String {
        match warning {
            MaterialWarning::KeyAccessibleByOthers { .. } => self.key.0.to_owned(),
            _ => self.about_chain(),
        }
    }

    /// Reads the files. Reports an error as a finding.
    pub(super) fn load(&self, report: &mut Report, policy: &TlsPolicy) -> Option<Credentials> {
        let credentials = Credentials::from_files(self.chain.1, self.key.1, policy.provider());
        credentials.map_err(|error| report.add(self.unusable(&error))).ok()
    }

    fn unusable(&self, error: &MaterialError) -> Line {
        let line = Line::of_file("cert_file_and_key_file", error);
        let ((chain, chain_path), (key, _)) = (self.chain, self.key);
        if let MaterialError::KeyMismatch { chain: chain_file, key: key_file } = error {
            return line.about(key).fix(format!(
                "set {key} to the key that {chain} was issued for, or issue a certificate for this key: openssl x509 \
                 -in {chain_file} -noout -pubkey and openssl pkey -in {key_file} -pubout must print the same"
            ));
        }
        let is_chain = match error {
            MaterialError::EncryptedKey(_)
            | MaterialError::NoPrivateKey { .. }
            | MaterialError::SeveralPrivateKeys { .. }
            | MaterialError::UnusableKey { .. } => false,
            error => WithCauses(error).to_string().starts_with(&format!("{}: ", chain_path.display())),
        };
        line.about(if is_chain { chain } else { key })
    }

    /// Checks the files of an end that is not judged by its identity. `peers` are those that refuse a bad chain. `None`
    /// if there is no chain.
    pub(super) fn check(
        &self,
        report: &mut Report,
        role: Role,
        policy: &TlsPolicy,
        peers: Peers,
        now: UnixTime,
    ) -> Option<Own> {
        let Some(credentials) = self.load(report, policy) else {
            let chain = read_chain(self.chain.1).ok()?;
            return Some(Own { chain, is_refused: false });
        };
        // Nobody requires a name, so any will do. The CAs of the peers are not known, so a CA that has issued nothing
        // takes their place.
        let required = RequiredIdentity::common_name("any").ok()?;
        let unrelated =
            TestCa::new(CertificateSpec::ca("unrelated")).and_then(|ca| ca.trust_bundle()).ok()?;
        let lists = RevocationLists::none();
        let mut warnings = own_warnings(&credentials, role, required, policy, Some(&unrelated), &lists, now);
        warnings.retain(|warning| !matches!(warning, MaterialWarning::LeafHasNoIdentity(_)));
        for warning in &warnings {
            let line = match warning {
                MaterialWarning::OwnChainRefused { reason, detail } if peers.may_accept(reason) => {
                    let problem = format!(
                        "this check refuses our certificate, and {} (Go) may accept it ({reason}): {detail}",
                        peers.name()
                    );
                    Line::warning(warning.label(), problem).split().or_fix("issue a new one")
                }
                MaterialWarning::OwnChainRefused { reason, detail } => {
                    let problem =
                        format!("{} will probably refuse our certificate ({reason}): {detail}", peers.name());
                    Line::error(warning.label(), problem).split().or_fix("issue a new one")
                }
                MaterialWarning::LeafIsCa { subject } => {
                    let problem = format!("our certificate {subject} is marked as a CA: ");
                    let line = match peers {
                        Peers::Browsers => {
                            Line::error(warning.label(), problem + "Firefox refuses it as that of a server")
                        }
                        Peers::Go(name) => {
                            let others = format!("{name} (Go) allows that, but other programs refuse it");
                            Line::warning(warning.label(), problem + &others)
                        }
                    };
                    line.fix("issue one without the cA flag")
                }
                warning => warnings::line(warning, ""),
            };
            report.add(line.about(self.about(warning)));
        }
        days_left(report, &credentials, now);
        let is_refused = warnings.iter().any(warnings::is_of_own_chain);
        Some(Own { chain: credentials.chain().to_vec(), is_refused })
    }
}

/// The warnings about our own chain and key, if we had this CA file and these lists.
pub(super) fn own_warnings(
    credentials: &Credentials,
    role: Role,
    required: RequiredIdentity,
    policy: &TlsPolicy,
    bundle: Option<&TrustBundle>,
    lists: &RevocationLists,
    at: UnixTime,
) -> Vec<MaterialWarning> {
    // Most is known without a CA file: as if the last certificate of our chain were the CA.
    let bundle = bundle.cloned().or_else(|| TrustBundle::from_der(credentials.chain().last().cloned()).ok());
    let Some(bundle) = bundle else { return credentials.warnings(at) };
    let mut material = Material::new(bundle.clone(), credentials.clone());
    material.revocation_lists = for_own_chain(lists);
    let others = [bundle.warnings(at), material.revocation_lists.warnings(at)].concat();
    let mut warnings = TlsConfig::new(material, required, policy.clone()).warnings(role, at);
    warnings.retain(|warning| {
        !others.contains(warning) && !matches!(warning, MaterialWarning::DoubtfulIdentity(_))
    });
    warnings
}

/// Only proof of revocation counts here. An unknown status of our own certificate is for the other end to judge.
pub(super) fn for_own_chain(lists: &RevocationLists) -> RevocationLists {
    lists.clone().with_policy(RevocationPolicy::default())
}

/// Says how long our certificate lasts, unless it has expired.
pub(super) fn days_left(report: &mut Report, credentials: &Credentials, now: UnixTime) {
    if let Some(left) = credentials.not_after().as_secs().checked_sub(now.as_secs()) {
        let left = match left / 86_400 {
            0 | 1 => format!("{} hours", left / 3600),
            days => format!("{days} days"),
        };
        report.add(Line::info("days_left", format!("our certificate expires in {left}")));
    }
}
