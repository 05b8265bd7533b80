//! Finds the peers that would be cut off: it judges each chain by the current and by the planned configuration.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use typha_tls::error::WithCauses;
use typha_tls::material::{MaterialWarning, TrustBundle};
use typha_tls::verifier::{PeerVerifier, Rejection, VerifiedChain};

use super::chain_file::{self, ChainFile};
use super::plan::Plan;
use super::report::Report;
use crate::output;

/// The number of files of each kind.
#[derive(Default)]
struct Tally {
    accepted: usize,
    cut_off: usize,
    newly_accepted: usize,
    refused: usize,
    skipped: usize,
    unusable: usize,
}

/// Reports a line for each file of the directory, and the totals.
pub(super) fn judge(
    report: &mut Report,
    plan: &Plan<'_>,
    dir: &Path,
    before: &PeerVerifier,
    after: &PeerVerifier,
) {
    let names = match chain_file::names(dir) {
        Ok(names) => names,
        Err(error) => return report.error("peers", &format!("{}: {error}", dir.display())),
    };
    let mut tally = Tally::default();
    for name in names {
        let file = name.to_string_lossy();
        match ChainFile::read(&dir.join(&name)) {
            ChainFile::Chain(chain) => {
                let role = plan.current.local.peer();
                let before = before.verify(&chain, role, plan.now);
                let after = after.verify(&chain, role, plan.at);
                tally.verdict(report, plan, &file, before, after);
                check_one_leaf(report, plan, &file, &chain);
            }
            ChainFile::Other(why) => {
                tally.skipped += 1;
                report.info_with("skipped", json!({ "file": file }), why);
            }
            ChainFile::Unusable(why) => {
                tally.unusable += 1;
                report.error_with("peer_file", json!({ "file": file }), &why);
            }
        }
    }
    tally.report(report, dir);
}

impl Tally {
    fn verdict(
        &mut self,
        report: &mut Report,
        plan: &Plan<'_>,
        file: &str,
        before: Result<VerifiedChain, Rejection>,
        after: Result<VerifiedChain, Rejection>,
    ) {
        match (before, after) {
            (Ok(_), Ok(peer)) => {
                self.accepted += 1;
                report.info_with(
                    "accepted",
                    with_file(file, output::peer(&peer)),
                    "accepted now and by the plan",
                );
            }
            (Ok(peer), Err(rejection)) => {
                self.cut_off += 1;
                let detail =
                    format!("would be cut off: {}; {}", WithCauses(&rejection), plan.advice(&rejection));
                let identity = peer.identity();
                let who = json!({
                    "reason": rejection.label(),
                    "common_name": identity.common_name(),
                    "uri_sans": identity.uri_sans().collect::<Vec<_>>(),
                });
                report.error_with("cut_off", with_file(file, who), &detail);
            }
            (Err(rejection), Ok(peer)) => {
                self.newly_accepted += 1;
                let detail = format!("accepted by the plan; refused now ({})", rejection.label());
                report.info_with("newly_accepted", with_file(file, output::peer(&peer)), &detail);
            }
            (
                Err(Rejection::MalformedCertificate(_)),
                Err(rejection @ Rejection::MalformedCertificate(_)),
            ) => {
                self.unusable += 1;
                report.error_with("peer_file", json!({ "file": file }), &WithCauses(&rejection).to_string());
            }
            (Err(before), Err(after)) => {
                self.refused += 1;
                let reason = json!({ "reason": after.label(), "reason_now": before.label() });
                report.info_with(
                    "refused",
                    with_file(file, reason),
                    &format!("refused now and by the plan: {after}"),
                );
            }
        }
    }

    fn report(&self, report: &mut Report, dir: &Path) {
        let judged = self.accepted + self.cut_off + self.newly_accepted + self.refused;
        let numbers = json!({
            "accepted": self.accepted,
            "cut_off": self.cut_off,
            "newly_accepted": self.newly_accepted,
            "refused": self.refused,
            "skipped": self.skipped,
            "unusable": self.unusable,
        });
        report.info_with("summary", numbers, &format!("{} of {judged} would be cut off", self.cut_off));
        if judged == 0 {
            let detail = format!("{}: there is no chain in it, so no peer was judged", dir.display());
            report.warning("no_chain", &detail);
        }
    }
}

/// Judges only the first certificate as a leaf, so it warns if a file holds several leaves.
fn check_one_leaf(report: &mut Report, plan: &Plan<'_>, file: &str, chain: &[CertificateDer<'static>]) {
    let is_no_ca = |certificate: &&CertificateDer<'static>| {
        let bundle = TrustBundle::from_der([(*certificate).clone()]);
        let warnings = bundle.map(|bundle| bundle.warnings(plan.at)).unwrap_or_default();
        warnings.iter().any(|warning| matches!(warning, MaterialWarning::NotACa { .. }))
    };
    let others = chain.iter().skip(1).filter(is_no_ca).count();
    if others > 0 {
        let certificates = if others == 1 { "certificate" } else { "certificates" };
        let detail = format!(
            "not judged, since it stands after the first and is no CA: {others} {certificates}; put each chain into a \
             file of its own"
        );
        report.warning_with("several_leaves", json!({ "file": file }), &detail);
    }
}

fn with_file(file: &str, more: Value) -> Value {
    output::merge(json!({ "file": file }), more)
}
