//! Stays connected to the agent and keeps its last answer.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::StreamExt as _;
use spiffe::transport::{Endpoint, TransportError};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::error::SpiffeError;
use crate::selection::Selection;
use typha_tls::TlsConfig;
use typha_tls::error::WithCauses;

/// The state of the agent as far as known.
#[derive(Default)]
pub(crate) struct Known {
    /// The last answer. A lost connection does not change it.
    pub(crate) answer: Option<Result<TlsConfig, SpiffeError>>,
    /// The current problem with the answer or the connection.
    pub(crate) problem: Option<SpiffeError>,
    /// The number of different answers.
    pub(crate) revision: u64,
}

/// An agent answers at once; one that is silent for this long hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The first pause between attempts. It doubles up to `LONGEST_PAUSE`; jitter adds at most as much again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// With jitter 5 s, the interval at which SPIRE's agent learns of new registrations. An attempt costs one local
/// connection.
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);

/// Follows the agent; never ends.
pub(crate) async fn follow(endpoint: Endpoint, selection: Selection, known: watch::Sender<Known>) {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter();
    let mut follower = Follower { endpoint, selection, known, had_config: false };
    let mut pause = pauses.build();
    loop {
        let problem = follower.until_disconnected().await;
        follower.failed(problem);
        if std::mem::take(&mut follower.had_config) {
            pause = pauses.build();
        }
        sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

struct Follower {
    endpoint: Endpoint,
    selection: Selection,
    known: watch::Sender<Known>,
    /// Whether this connection gave a usable configuration.
    had_config: bool,
}

impl Follower {
    /// Follows one connection to its end, and returns why it ended.
    async fn until_disconnected(&mut self) -> SpiffeError {
        let endpoint = self.endpoint.clone();
        let first_answer = async {
            let client = WorkloadApiClient::connect(endpoint).await?;
            let mut answers = client.stream_x509_contexts().await?;
            let first = answers.next().await;
            Ok((answers, first))
        };
        let (mut answers, mut answer) = match timeout(ANSWER_WITHIN, first_answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => return problem_of(&error),
            Err(_) => return SpiffeError::Silent { after: ANSWER_WITHIN },
        };
        loop {
            match answer {
                Some(Ok(context)) => self.answered(&context),
                Some(Err(error)) => match problem_of(&error) {
                    // The stream continues, and the next message may be usable.
                    problem @ SpiffeError::Malformed { .. } => self.failed(problem),
                    ended => return ended,
                },
                None => return SpiffeError::Disconnected { cause: "it ended the stream".to_owned() },
            }
            answer = answers.next().await;
        }
    }

    fn answered(&mut self, context: &X509Context) {
        match self.selection.config(context) {
            Ok(config) => {
                self.had_config = true;
                self.publish(config);
            }
            Err(problem) => self.failed(problem),
        }
    }

    fn publish(&self, config: TlsConfig) {
        self.known.send_modify(|known| {
            if known.problem.take().is_some() {
                info!("the SPIFFE agent gives a usable answer again");
            }
            // An agent repeats its answer on each new connection.
            if !matches!(&known.answer, Some(Ok(last)) if last.is_same_as(&config)) {
                known.answer = Some(Ok(config));
                known.revision += 1;
            }
        });
    }

    fn failed(&self, problem: SpiffeError) {
        self.known.send_modify(|known| {
            let text = WithCauses(&problem).to_string();
            let is_same = |last: &SpiffeError| WithCauses(last).to_string() == text;
            if !known.problem.as_ref().is_some_and(is_same) {
                warn!(problem = text, "the SPIFFE agent gives nothing new; trying again");
            }
            if problem.is_an_answer() && !matches!(&known.answer, Some(Err(last)) if is_same(last)) {
                known.answer = Some(Err(problem.clone()));
                known.revision += 1;
            }
            known.problem = Some(problem);
        });
    }
}

fn problem_of(error: &WorkloadApiError) -> SpiffeError {
    match error {
        WorkloadApiError::NoIdentityIssued => {
            SpiffeError::NoIdentity { message: "no identity issued".to_owned() }
        }
        WorkloadApiError::PermissionDenied(message) => SpiffeError::NoIdentity { message: message.clone() },
        WorkloadApiError::Transport(TransportError::Status(status)) => {
            SpiffeError::Disconnected { cause: format!("{}: {}", status.code(), status.message()) }
        }
        WorkloadApiError::Transport(_) => SpiffeError::Disconnected { cause: WithCauses(error).to_string() },
        // Its text includes its causes.
        other => SpiffeError::Malformed { problem: other.to_string() },
    }
}
