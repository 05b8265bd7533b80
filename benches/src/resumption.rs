//! A Felix that would resume, against each Typha, in both versions of TLS.

use std::time::Instant;

use super::contest::{Contest, Course, Load, all_succeeded, in_order};
use super::context::Context;
use super::cores::Assignment;
use super::figures::{Figure, PeerResult, peer_name};
use super::mode::{Mode, Tls};
use super::pace::{Pace, millis};
use super::process::BenchError;
use super::protocol::{Handshakes, Implementation, Request};
use super::report::WorkResult;

pub(crate) fn resumption(
    context: &Context,
    title: &str,
    mode: Mode,
    deadline: Instant,
) -> Result<WorkResult, BenchError> {
    let material = context.material(&mode)?;
    let assignment = Assignment::one_for_typha(&context.cores);
    let course = Course::new(context, mode, &assignment, Load::Neutral);
    let mut contest = Contest::start(course, &material)?;
    let felix =
        |tls| context.felix(Implementation::Bare, &Mode { tls, ..mode }, &material, &assignment.felix, true);
    let mut felixes = [felix(Tls::V13)?, felix(Tls::V12)?];
    let mut results = contest.results();
    let mut pace = Pace::new(deadline, felixes.len() * results.len(), context.rounds);
    while let Some(round) = pace.next_round() {
        for (index, result) in in_order(&mut results, round) {
            context.progress.show(title, peer_name(result.peer));
            let (mut completed, mut resumed) = (0, 0);
            for felix in &mut felixes {
                let typha = contest.typha(index)?;
                let (address, clients) = (typha.address()?, context.clients);
                let millis = millis(pace.slice());
                let request = Request::Handshakes { address, clients, millis, rides: false };
                let answer: Handshakes = felix.ask(&request, pace.slice())?;
                all_succeeded(felix, typha.name(), answer.failed, answer.first_failure.as_deref())?;
                completed += answer.completed;
                resumed += answer.resumed;
            }
            result.completed += completed;
            result.resumed += resumed;
            let share = resumed as f64 / completed.max(1) as f64;
            result.add([(Figure::ResumedShare, share)].into());
        }
    }
    let peers = results.into_iter().map(PeerResult::finish).collect();
    Ok(WorkResult::new(title, mode, &assignment, None, None, peers))
}
