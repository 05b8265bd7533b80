//! The planned configuration: CAs removed and added, and whether peers still accept us.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use typha_tls::RequiredIdentity;
use typha_tls::identity::IdentityDoubt;
use typha_tls::material::{MaterialWarning, RevocationLists, RevocationPolicy, TrustBundle};
use typha_tls::verifier::Rejection;

use super::advice;
use super::ca_changes;
use super::current::{self, Current};
use super::parameters::Parameters;
use super::report::{Line, Report};
use super::warnings;
use crate::verify::parse_time;

/// The planned changes. Everything else stays as it is.
#[derive(Args)]
pub(super) struct PlanOptions {
    /// Directory with one PEM chain of the other end per file, leaf first: reports which peers are refused today, and
    /// which the plan would disconnect
    #[arg(long, value_name = "DIR")]
    pub(super) peers: Option<PathBuf>,
    /// The planned CA file
    #[arg(long, value_name = "NEW")]
    with_ca_file: Option<PathBuf>,
    /// The planned revocation lists, in place of those of --crl-file; may be given several times, `none` for none
    #[arg(long = "with-crl-file", value_name = "FILE")]
    with_crl_files: Vec<PathBuf>,
    /// Plan to use the lists as with --crl-strict
    #[arg(long, requires = "with_crl_files")]
    with_crl_strict: bool,
    /// The planned required Common Name of the other end; `none` for none
    #[arg(long, value_name = "CN", requires = "peers", value_parser = NonEmptyStringValueParser::new())]
    with_cn: Option<String>,
    /// The planned required URI SAN of the other end; `none` for none
    #[arg(long, value_name = "URI", requires = "peers", value_parser = NonEmptyStringValueParser::new())]
    with_uri_san: Option<String>,
    /// The time at which to judge the plan, such as 2026-01-31T12:00:00Z; the current configuration is judged now
    /// [default: now]
    #[arg(long, value_name = "RFC3339-TIME", value_parser = parse_time)]
    pub(super) at: Option<UnixTime>,
}

/// The usable parts of the planned configuration.
pub(super) struct Plan<'a> {
    pub(super) options: &'a PlanOptions,
    pub(super) current: &'a Current,
    pub(super) now: UnixTime,
    pub(super) at: UnixTime,
}

impl PlanOptions {
    /// The planned CA file, if it changes.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.with_ca_file.as_deref()
    }

    /// `None` if the lists stay as they are.
    fn crl_files(&self) -> Option<&[PathBuf]> {
        match &*self.with_crl_files {
            [] => None,
            [none] if none.to_str().is_some_and(is_none) => Some(&[]),
            files => Some(files),
        }
    }

    /// Whether anything changes that also decides about our own chain.
    pub(super) fn changes_material(&self) -> bool {
        self.with_ca_file.is_some() || !self.with_crl_files.is_empty() || self.at.is_some()
    }

    /// Whether anything changes for peers.
    pub(super) fn plans_something(&self) -> bool {
        self.changes_material() || self.with_cn.is_some() || self.with_uri_san.is_some()
    }
}

/// Explicitly unset, as in Calico's parameters.
fn is_none(value: &str) -> bool {
    value.eq_ignore_ascii_case("none")
}

impl Plan<'_> {
    pub(super) fn bundle(&self, report: &mut Report) -> Option<TrustBundle> {
        let Some(file) = self.options.ca_file() else {
            let bundle = self.current.bundle.clone()?;
            self.new_warnings(report, &bundle.warnings(self.now), bundle.warnings(self.at));
            return Some(bundle);
        };
        let bundle = report.usable(TrustBundle::from_file(file), "with_ca_file")?;
        let prefix = format!("{}: {}", file.display(), self.then());
        for warning in bundle.warnings(self.at) {
            report.add(warnings::line(&warning, &prefix));
        }
        if self.current.bundle.is_some() {
            ca_changes::report(report, &self.current.settings.files.ca_file, file, self.at);
        }
        Some(bundle)
    }

    pub(super) fn lists(&self, report: &mut Report, bundle: &TrustBundle) -> Option<RevocationLists> {
        let settings = &self.current.settings;
        let planned = self.options.crl_files();
        let files = planned.unwrap_or(&settings.files.crl_files);
        // With the same CA file, the error was already reported for the current configuration.
        if planned.is_none() && self.options.ca_file().is_none() && self.current.lists.is_none() {
            return None;
        }
        let lists = match RevocationLists::from_files(files, bundle, settings.policy.provider()) {
            Ok(lists) => lists.with_policy(self.revocation_policy()),
            Err(error) => {
                let line = Line::of_file("with_crl_file", &error);
                report.add(match planned {
                    Some(_) => line,
                    None => line.fix(
                        "change the lists together with the CA file (--with-crl-file); otherwise the new configuration \
                         will not load",
                    ),
                });
                return None;
            }
        };
        if planned.is_some() {
            for list in lists.iter() {
                report.add(Line::info("planned_revocation_list", list.to_string()));
            }
            for warning in lists.warnings(self.at) {
                report.add(warnings::line(&warning, &self.then()));
            }
        } else {
            self.new_warnings(report, &lists.warnings(self.now), lists.warnings(self.at));
        }
        if let Some(former) = &self.current.lists {
            let provider = settings.policy.provider();
            for warning in lists.replacement_warnings(former, bundle, provider, self.at) {
                report.add(warnings::line(&warning, &self.then()));
            }
        }
        Some(lists)
    }

    fn revocation_policy(&self) -> RevocationPolicy {
        let mut policy = self.current.settings.files.revocation;
        if self.options.with_crl_strict {
            (policy.refuse_unknown, policy.refuse_expired) = (true, true);
        }
        policy
    }

    pub(super) fn required(&self, report: &mut Report) -> Option<RequiredIdentity> {
        let (options, required) = (self.options, &self.current.settings.required_peer);
        if options.with_cn.is_none() && options.with_uri_san.is_none() {
            return Some(required.clone());
        }
        let common_name = planned_name(options.with_cn.as_deref(), required.required_common_name());
        let uri_san = planned_name(options.with_uri_san.as_deref(), required.required_uri_san());
        let planned = RequiredIdentity::new(common_name, uri_san);
        let planned = planned.map_err(|error| {
            let line = Line::error("with_identity", error.to_string()).split();
            report.add(line.fix("correct --with-cn or --with-uri-san: one name at least must be required"));
        });
        let planned = planned.ok()?;
        let detail = format!("{} will have to present {planned}", self.current.local.peer());
        report.add(Line::info("planned_peer", detail));
        let known = required.doubts();
        for doubt in planned.doubts().into_iter().filter(|doubt| !known.contains(doubt)) {
            current::report_doubt(report, self.of_doubt(&doubt), doubt);
        }
        Some(planned)
    }

    /// The flag or the parameter of a doubtful name.
    fn of_doubt(&self, doubt: &IdentityDoubt) -> &'static str {
        let parameters = Parameters::of(self.current.local);
        match parameters.of_doubt(doubt) {
            name if name == parameters.common_name && self.options.with_cn.is_some() => "--with-cn",
            uri if uri == parameters.uri_san && self.options.with_uri_san.is_some() => "--with-uri-san",
            parameter => parameter,
        }
    }

    /// Whether our own chain leads to the planned CA file: peers with the same file judge us by it.
    pub(super) fn own_chain(&self, report: &mut Report, bundle: &TrustBundle, lists: &RevocationLists) {
        let current = self.current;
        let before = current.own_warnings(current.bundle.as_ref(), &current.own_lists(), self.now);
        let mut after = current.own_warnings(Some(bundle), lists, self.at);
        // The verdict below says it with the plan in mind.
        after.retain(|warning| !matches!(warning, MaterialWarning::OwnChainRefused { .. }));
        let is_reported = after.iter().any(warnings::is_of_own_chain);
        self.new_warnings(report, &before, after);
        let Some(after) = current.own_verdict(bundle, lists, self.at) else { return };
        let before = current.bundle.as_ref();
        let before = before.and_then(|bundle| current.own_verdict(bundle, &current.own_lists(), self.now));
        let peer = current.local.peer();
        let line = match (before, after) {
            (_, Ok(())) => {
                Line::info("planned_own_chain", "our chain leads to a CA of our CA file as it will be")
            }
            (_, Err(_)) if is_reported => return,
            (Some(Err(before)), Err(after)) if before.label() == after.label() => {
                let detail = match after {
                    Rejection::UnknownCa { .. } | Rejection::CaKeyMismatch { .. } => format!(
                        "our chain does not lead to our CA file as it will be, nor does it now: {peer} has another"
                    ),
                    after => format!("our own chain would be refused, as it is now: {after}"),
                };
                Line::info("planned_own_chain", detail)
            }
            (_, Err(rejection)) => {
                let detail = format!(
                    "a {peer} with the CA file and the lists as they will be would refuse us ({}): {rejection}",
                    rejection.label()
                );
                self.advise(Line::warning("planned_own_chain", detail), &rejection, "our certificate")
            }
        };
        report.add(line);
    }

    /// Warnings that only the planned time causes.
    fn new_warnings(&self, report: &mut Report, before: &[MaterialWarning], after: Vec<MaterialWarning>) {
        for warning in after.iter().filter(|warning| !before.contains(warning)) {
            report.add(warnings::line(warning, &self.then()));
        }
    }

    /// The prefix of texts that are about the planned time.
    fn then(&self) -> String {
        if self.at == self.now { String::new() } else { format!("as of {}: ", moment(self.at)) }
    }

    /// Adds the remedy for a certificate that would be refused, which is `it` or `our certificate`.
    pub(super) fn advise(&self, line: Line, rejection: &Rejection, what: &str) -> Line {
        if let Rejection::IdentityMismatch(mismatch) = rejection {
            let of_doubt = |doubt: &IdentityDoubt| self.of_doubt(doubt).to_owned();
            if let Some(fix) = advice::correct_doubtful(&mismatch.required, of_doubt) {
                return line.fix(fix);
            }
        }
        advice::planned(line, rejection, what, self.options.ca_file())
    }
}

fn planned_name<'a>(planned: Option<&'a str>, current: Option<&'a str>) -> Option<&'a str> {
    match planned {
        Some(value) => Some(value).filter(|value| !is_none(value)),
        None => current,
    }
}

fn moment(time: UnixTime) -> String {
    let moment = i64::try_from(time.as_secs()).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{} s after 1970", time.as_secs()))
}
