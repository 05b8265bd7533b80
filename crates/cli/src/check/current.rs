//! The current configuration: its files, and our own certificate.

use std::path::Path;

use rustls::ProtocolVersion;
use rustls_pki_types::UnixTime;
use serde_json::json;
use typha_tls::Role;
use typha_tls::config::{ConfigError, ConfigWarning, FelixConfig, Sources, TlsSettings, TyphaConfig};
use typha_tls::error::WithCauses;
use typha_tls::identity::{IdentityDoubt, RequiredIdentity};
use typha_tls::material::{Credentials, MaterialWarning, RevocationLists, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::verifier::{PeerVerifier, Rejection};
use webpki::EndEntityCert;

use super::own::{self, OwnFiles};
use super::parameters::Parameters;
use super::report::{Line, Report, SEE_PATH};
use super::warnings;

/// The usable parts of one end's configuration.
pub(super) struct Current {
    pub(super) local: Role,
    pub(super) settings: TlsSettings,
    pub(super) bundle: Option<TrustBundle>,
    pub(super) lists: Option<RevocationLists>,
    pub(super) credentials: Option<Credentials>,
}

impl Current {
    /// Checks all files, even if one of them can not be used.
    pub(super) fn check(report: &mut Report, local: Role, settings: TlsSettings, now: UnixTime) -> Self {
        let files = &settings.files;
        let required = format!("{} must present {}", local.peer(), settings.required_peer);
        report.add(Line::info("required_peer", required));
        report.add(policy(&settings.policy));
        let parameters = Parameters::of(local);
        for doubt in settings.required_peer.doubts() {
            report_doubt(report, parameters.of_doubt(&doubt), doubt);
        }

        let bundle = TrustBundle::from_file(&files.ca_file);
        let bundle = bundle
            .map_err(|error| report.add(Line::of_file("ca_file", &error).about(parameters.ca_file)))
            .ok();
        let lists = bundle.as_ref().and_then(|bundle| {
            for name in bundle.names() {
                report.add(Line::info("trusted_ca", name));
            }
            let ca_file = about_ca_file(local, &settings);
            for warning in bundle.warnings(now) {
                report.add(warnings::line(&warning, "").about(&ca_file));
            }
            revocation_lists(report, bundle, &settings, now)
        });

        let credentials = own_files(local, &settings).load(report, &settings.policy);
        let current = Self { local, settings, bundle, lists, credentials };
        if let Some(credentials) = &current.credentials {
            let theirs = Parameters::of(local.peer());
            let own_warnings = current.own_warnings(current.bundle.as_ref(), &current.own_lists(), now);
            for warning in &own_warnings {
                let line = warnings::line(warning, "").about(current.about_own(warning));
                report.add(match warning {
                    MaterialWarning::LeafHasNoIdentity(_) => line.fix(format!(
                        "issue one with the Common Name ({}) or the URI SAN ({}) that {} requires",
                        theirs.common_name,
                        theirs.uri_san,
                        local.peer()
                    )),
                    _ => line,
                });
            }
            current.own_leaf(report, credentials, now);
            current.own_chain(report, own_warnings.iter().any(warnings::is_of_own_chain), now);
        }
        current
    }

    fn own_leaf(&self, report: &mut Report, credentials: &Credentials, now: UnixTime) {
        own::days_left(report, credentials, now);
        if own_identity(credentials).is_some() {
            let detail = format!(
                "{} would have to require one of what we present: {}",
                self.local.peer(),
                credentials.identity()
            );
            report.add(Line::info("own_identity", detail));
        }
    }

    /// Whether our own chain leads to our own CA file. It need not, but most clusters have one CA.
    /// `is_reported` if a warning says why it does not.
    fn own_chain(&self, report: &mut Report, is_reported: bool, now: UnixTime) {
        let Some(bundle) = &self.bundle else { return };
        let peer = self.local.peer();
        let (ours, theirs) = (Parameters::of(self.local), Parameters::of(peer));
        match self.own_verdict(bundle, &self.own_lists(), now) {
            None => {}
            Some(Ok(())) => {
                report.add(Line::info("own_chain", "our chain leads to a CA of our own CA file"));
            }
            Some(Err(Rejection::UnknownCa { .. } | Rejection::CaUsedAsLeaf { .. }))
                if self.is_self_signed() =>
            {
                let detail = "our certificate is self-signed, and our own CA file does not have it";
                report.add(
                    Line::info("own_chain", detail)
                        .about(self.about_cert_file())
                        .fix(format!("have this certificate in {} of {peer}", theirs.ca_file)),
                );
            }
            Some(Err(Rejection::UnknownCa { issuer, .. })) => {
                let detail = format!(
                    "our chain does not lead to our own CA file: {issuer}, which issued its last certificate, is not \
                     in it"
                );
                report.add(Line::info("own_chain", detail).about(self.about_cert_file()).fix(format!(
                    "if {issuer} is an intermediate CA, append its certificate to {}; otherwise {} of {peer} needs \
                     it, if it is a CA of this cluster; never add a CA that you did not make",
                    ours.cert_file, theirs.ca_file
                )));
            }
            Some(Err(Rejection::CaKeyMismatch { issuer, .. })) => {
                let detail = format!(
                    "our chain does not lead to our own CA file: the CA {issuer} in it has another key than the CA \
                     that issued our certificate, so that a {peer} with the same CA file refuses us"
                );
                report.add(Line::warning("own_chain", detail).about(self.about_cert_file()).fix(format!(
                    "have our certificate issued by the CA in {}; or, if you made that CA anew, put its old and its \
                     new certificate there and into {} of {peer}; never add a CA that you did not make",
                    about_ca_file(self.local, &self.settings),
                    theirs.ca_file
                )));
            }
            Some(Err(rejection)) if !is_reported => {
                let detail = format!("a {peer} with our own CA file refuses us: {rejection}");
                report.add(Line::warning("own_chain", detail).split().about(self.about_cert_file()));
            }
            // The warnings about our own chain have said it.
            Some(Err(_)) => {}
        }
    }

    fn is_self_signed(&self) -> bool {
        let leaf = self.credentials.iter().flat_map(Credentials::chain).next();
        let leaf = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
        leaf.is_some_and(|leaf| leaf.subject() == leaf.issuer())
    }

    /// The warnings about our own chain and key, if we had this CA file and these lists.
    pub(super) fn own_warnings(
        &self,
        bundle: Option<&TrustBundle>,
        lists: &RevocationLists,
        at: UnixTime,
    ) -> Vec<MaterialWarning> {
        let Some(credentials) = &self.credentials else { return Vec::new() };
        let TlsSettings { required_peer: required, policy, .. } = &self.settings;
        own::own_warnings(credentials, self.local, required.clone(), policy, bundle, lists, at)
    }

    /// How a peer with this CA file judges our chain; `None` if there is no usable chain.
    pub(super) fn own_verdict(
        &self,
        bundle: &TrustBundle,
        lists: &RevocationLists,
        at: UnixTime,
    ) -> Option<Result<(), Rejection>> {
        let credentials = self.credentials.as_ref()?;
        let lists = own::for_own_chain(lists);
        let required = own_identity(credentials)?;
        let verifier = PeerVerifier::new(bundle.clone(), lists, required, &self.settings.policy);
        Some(verifier.verify(credentials.chain(), self.local, at).map(drop))
    }

    /// Why a peer with our CA file refuses our chain now, unless the chain does not lead to that.
    pub(super) fn own_fault(&self, now: UnixTime) -> Option<Rejection> {
        match self.own_verdict(self.bundle.as_ref()?, &self.own_lists(), now)? {
            Ok(()) | Err(Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. }) => None,
            Err(rejection) => Some(rejection),
        }
    }

    /// The lists for judging our own chain. They are meant for the other end's certificates; if both ends have one CA,
    /// they cover ours, too.
    pub(super) fn own_lists(&self) -> RevocationLists {
        self.lists.as_ref().map(own::for_own_chain).unwrap_or_default()
    }

    /// The verifier for peers now; `None` if the configuration can not be loaded.
    pub(super) fn verifier(&self) -> Option<PeerVerifier> {
        let (bundle, lists) = (self.bundle.clone()?, self.lists.clone()?);
        let required = self.settings.required_peer.clone();
        Some(PeerVerifier::new(bundle, lists, required, &self.settings.policy))
    }

    /// The parameter and the file of our own chain.
    pub(super) fn about_cert_file(&self) -> String {
        own_files(self.local, &self.settings).about_chain()
    }

    /// What a warning about our own chain and key is about.
    pub(super) fn about_own(&self, warning: &MaterialWarning) -> String {
        own_files(self.local, &self.settings).about(warning)
    }
}

/// Reports a doubt about a required identity; `parameter` has the value.
pub(super) fn report_doubt(report: &mut Report, parameter: &str, doubt: IdentityDoubt) {
    report.add(warnings::line(&MaterialWarning::DoubtfulIdentity(doubt), "").about(parameter));
}

fn own_files(local: Role, settings: &TlsSettings) -> OwnFiles<'_> {
    let Parameters { cert_file, key_file, .. } = Parameters::of(local);
    OwnFiles { chain: (cert_file, &settings.files.cert_file), key: (key_file, &settings.files.key_file) }
}

fn about_ca_file(local: Role, settings: &TlsSettings) -> String {
    format!("{} {}", Parameters::of(local).ca_file, settings.files.ca_file.display())
}

fn revocation_lists(
    report: &mut Report,
    bundle: &TrustBundle,
    settings: &TlsSettings,
    now: UnixTime,
) -> Option<RevocationLists> {
    let files = &settings.files;
    let lists = RevocationLists::from_files(&files.crl_files, bundle, settings.policy.provider());
    let lists = report.usable(lists, "crl_file")?.with_policy(files.revocation);
    for list in lists.iter() {
        report.add(Line::info("revocation_list", list.to_string()));
    }
    for warning in lists.warnings(now) {
        report.add(warnings::line(&warning, ""));
    }
    Some(lists)
}

/// The TLS parameters of one end, and the warnings about its configuration.
pub(super) type Loaded = Result<(Option<TlsSettings>, Vec<ConfigWarning>), ConfigError>;

pub(super) fn load(end: Role, sources: &Sources) -> Loaded {
    Ok(if end == Role::Typha {
        let config = TyphaConfig::load(sources)?;
        let warnings = config.warnings().to_vec();
        (config.tls, warnings)
    } else {
        let config = FelixConfig::load(sources)?;
        let warnings = config.warnings().to_vec();
        (config.tls, warnings)
    })
}

/// Returns the settings, or reports the problem as a finding. `other_file` is the file of `--against`.
pub(super) fn usable(
    report: &mut Report,
    end: Role,
    loaded: Loaded,
    other_file: Option<&Path>,
) -> Option<TlsSettings> {
    let settings = loaded.map(|(settings, warnings)| {
        for warning in warnings {
            let line = Line::warning(warning.label(), warning.to_string()).split();
            report.add(line.about(warning.source_of_value));
        }
        settings
    });
    let Parameters { ca_file, cert_file, key_file, common_name, uri_san } = Parameters::of(end);
    let finding = if other_file.is_some() { "against" } else { "configuration" };
    let line = match &settings {
        Ok(Some(_)) => return settings.ok().flatten(),
        Ok(None) => {
            let all = format!("{ca_file}, {cert_file}, {key_file}, and {common_name} or {uri_san}");
            incomplete(Line::error(finding, format!("TLS is not configured on {end}")), &all, other_file)
        }
        Err(error) => {
            let line = Line::error(finding, WithCauses(error).to_string()).split();
            match error {
                ConfigError::File { .. } => line.or_fix(SEE_PATH),
                ConfigError::Incomplete { missing, .. } if other_file.is_some() => {
                    incomplete(line, &missing.join(", "), other_file)
                }
                ConfigError::Value { parameter, .. }
                    if [ca_file, cert_file, key_file].contains(parameter) =>
                {
                    line.or_fix(SEE_PATH)
                }
                ConfigError::Value { parameter, .. } => line.or_fix(&format!("correct {parameter}")),
                ConfigError::WrongEnd { parameter, instead, .. } => {
                    line.fix(format!("set {instead} in place of {parameter}"))
                }
                _ => line.or_fix("correct that file"),
            }
        }
    };
    report.add(line);
    None
}

/// Adds which parameters to set.
fn incomplete(line: Line, missing: &str, other_file: Option<&Path>) -> Line {
    match other_file.map(Path::display) {
        Some(file) => line
            .about(file.to_string())
            .fix(format!("set {missing} in {file}; --against does not read the environment")),
        None => line.fix(format!("set {missing}")),
    }
}

/// The fact about the TLS policy in force.
pub(super) fn policy(policy: &TlsPolicy) -> Line {
    let mut versions: Vec<_> = policy.versions().iter().map(|version| version.version).collect();
    versions.sort_unstable_by_key(|version| u16::from(*version));
    let number = |version: Option<&ProtocolVersion>| match version {
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "1.3",
    };
    let (min, max) = (number(versions.first()), number(versions.last()));
    let suites: Vec<_> = policy.cipher_suites().collect();
    let groups: Vec<_> = policy.key_exchange_groups().collect();
    let protocols: Vec<_> = policy.alpn().map(String::from_utf8_lossy).collect();
    let alpn = if protocols.is_empty() { String::new() } else { format!("; ALPN {}", protocols.join(", ")) };
    let detail = format!(
        "TLS {min} at least, TLS {max} at most; cipher suites {}; groups {}{alpn}",
        suites.join(", "),
        groups.join(", ")
    );
    Line::info("tls_policy", detail).members(json!({
        "tls_min_version": min,
        "tls_max_version": max,
        "cipher_suites": suites,
        "groups": groups,
        "alpn": protocols,
    }))
}

/// The identities in our leaf, one of which the other end must require.
fn own_identity(credentials: &Credentials) -> Option<RequiredIdentity> {
    let identity = credentials.identity();
    let uri_san = identity.uri_sans().find(|uri| RequiredIdentity::uri_san(uri).is_ok());
    RequiredIdentity::new(identity.common_name(), uri_san).ok()
}
