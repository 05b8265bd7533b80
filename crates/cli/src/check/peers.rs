//! Finds the peers that would be cut off: it judges each chain by the current and by the planned configuration.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use serde_json::json;
use typha_tls::error::WithCauses;
use typha_tls::material::{MaterialWarning, TrustBundle};
use typha_tls::verifier::{PeerVerifier, RejectedPeer, Rejection, VerifiedChain};

use super::advice;
use super::chain_file::{self, ChainFile};
use super::plan::Plan;
use super::report::{Line, Report};
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
        Err(error) => {
            let line = Line::error("peers", format!("{}: {error}", dir.display())).split();
            let see_path = "see whether the path is right and this user may read the directory";
            return report.add(line.or_fix(see_path));
        }
    };
    let mut tally = Tally::default();
    for name in names {
        let file = name.to_string_lossy();
        match ChainFile::read(&dir.join(&name)) {
            ChainFile::Chain(chain) => {
                let role = plan.current.local.peer();
                let before = before.verify(&chain, role, plan.now);
                let after = after.verify(&chain, role, plan.at);
                tally.verdict(report, plan, &file, &chain, before, after);
                check_one_leaf(report, plan, &file, &chain);
            }
            ChainFile::Other(why) => {
                tally.skipped += 1;
                report.add(Line::info("skipped", why).file(&file));
            }
            ChainFile::Unusable(why) => {
                tally.unusable += 1;
                let line = Line::error("peer_file", why).file(&file);
                report.add(line.split().or_fix("copy the file again"));
            }
        }
    }
    tally.report(report, plan, dir);
}

impl Tally {
    fn verdict(
        &mut self,
        report: &mut Report,
        plan: &Plan<'_>,
        file: &str,
        chain: &[CertificateDer<'static>],
        before: Result<VerifiedChain, Rejection>,
        after: Result<VerifiedChain, Rejection>,
    ) {
        let planned = plan.options.plans_something();
        let leaf = |rejection| output::leaf(&RejectedPeer::new(rejection, chain.first()));
        let line = match (before, after) {
            (Ok(_), Ok(peer)) => {
                self.accepted += 1;
                let detail = if planned { "accepted now and by the plan" } else { "accepted" };
                Line::info("accepted", detail).file(file).members(output::peer(&peer))
            }
            (Ok(peer), Err(rejection)) => {
                self.cut_off += 1;
                let line = Line::error("cut_off", format!("would be cut off: {}", WithCauses(&rejection)));
                plan.advise(line, &rejection, "it")
                    .file(file)
                    .members(json!({ "reason": rejection.label() }))
                    .members(output::names(&peer))
                    .members(leaf(rejection))
            }
            (Err(rejection), Ok(peer)) => {
                self.newly_accepted += 1;
                let detail = format!("accepted by the plan; refused now ({})", rejection.label());
                Line::info("newly_accepted", detail).file(file).members(output::peer(&peer))
            }
            (
                Err(Rejection::MalformedCertificate(_)),
                Err(rejection @ Rejection::MalformedCertificate(_)),
            ) => {
                self.unusable += 1;
                let line = Line::error("peer_file", WithCauses(&rejection).to_string()).file(file);
                line.split().or_fix("copy the file again, or issue the certificate again")
            }
            (Err(before), Err(after)) => {
                self.refused += 1;
                let members = json!({ "reason": after.label(), "reason_now": before.label() });
                let line = match planned {
                    // The plan changes nothing for this peer.
                    true => {
                        Line::info("refused", format!("refused now and by the plan: {}", WithCauses(&after)))
                    }
                    false => {
                        let line = Line::error("refused", format!("refused today: {}", WithCauses(&after)));
                        advice::today(line, &after, plan.current)
                    }
                };
                line.file(file).members(members).members(leaf(after))
            }
        };
        report.add(line);
    }

    fn report(&self, report: &mut Report, plan: &Plan<'_>, dir: &Path) {
        let judged = self.accepted + self.cut_off + self.newly_accepted + self.refused;
        let numbers = json!({
            "accepted": self.accepted,
            "cut_off": self.cut_off,
            "newly_accepted": self.newly_accepted,
            "refused": self.refused,
            "skipped": self.skipped,
            "unusable": self.unusable,
        });
        let are = if self.refused == 1 { "is" } else { "are" };
        let detail = match (plan.options.plans_something(), self.refused) {
            (false, refused) => format!("{refused} of {judged} peers {are} refused today"),
            (true, 0) => format!("{} of {judged} would be cut off", self.cut_off),
            (true, refused) => {
                format!(
                    "{} of {judged} would be cut off; {refused} {are} refused today, and by the plan",
                    self.cut_off
                )
            }
        };
        report.add(Line::info("summary", detail).members(numbers));
        if judged == 0 {
            let detail = format!("{}: there is no chain in it, so no peer was judged", dir.display());
            let fix = "put the chain of each peer into a PEM file of its own there, leaf first";
            report.add(Line::warning("no_chain", detail).fix(fix));
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
        let detail =
            format!("not judged, since it stands after the first and is no CA: {others} {certificates}");
        let line = Line::warning("several_leaves", detail).file(file);
        report.add(line.fix("put each chain into a file of its own"));
    }
}
