//! A client of the API that is made when it is first needed, and anew when it did not work.

use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use crate::setup_error::KubernetesSetupError;
use crate::{credentials, https};
use typha_tls::policy::TlsPolicy;

/// Where a client comes from.
pub(crate) enum Origin {
    Client(kube::Client),
    Config(Box<kube::Config>),
    Environment,
}

pub(crate) struct LazyClient {
    origin: Origin,
    policy: Option<TlsPolicy>,
    state: Mutex<State>,
}

enum State {
    None,
    Making(oneshot::Receiver<Made>),
    Ready(kube::Client),
}

type Made = Result<kube::Client, KubernetesSetupError>;

impl LazyClient {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, policy: None, state: Mutex::new(State::None) }
    }

    pub(crate) fn set_policy(&mut self, policy: TlsPolicy) {
        self.policy = Some(policy);
    }

    /// Making a client reads files and may run an exec plugin, which blocks and can not be stopped. So a caller that
    /// gives up leaves it to the next one: there is never more than one.
    pub(crate) async fn get(&self) -> Made {
        let config = match &self.origin {
            Origin::Client(client) => return Ok(client.clone()),
            Origin::Config(config) => Some(config),
            Origin::Environment => None,
        };
        let mut state = self.state.lock().await;
        loop {
            let made = match &mut *state {
                State::None => {
                    *state = State::Making(make_aside(config.cloned(), self.policy.clone())?);
                    continue;
                }
                State::Making(outcome) => outcome.await.unwrap_or_else(|_| Err(panicked())),
                State::Ready(client) => return Ok(client.clone()),
            };
            *state = match &made {
                Ok(client) => State::Ready(client.clone()),
                Err(_) => State::None,
            };
            return made;
        }
    }

    /// Has the next call make a new client. Where one is being made already, there is nothing to forget.
    pub(crate) fn forget(&self) {
        if let Ok(mut state) = self.state.try_lock()
            && matches!(*state, State::Ready(_))
        {
            *state = State::None;
        }
    }
}

/// In a thread of its own: one of tokio's would hold up the end of the runtime for as long as an exec plugin hangs.
fn make_aside(
    config: Option<Box<kube::Config>>,
    policy: Option<TlsPolicy>,
) -> Result<oneshot::Receiver<Made>, KubernetesSetupError> {
    let runtime = Handle::current();
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("kubernetes-credentials".to_owned())
        .spawn(move || {
            let _context = runtime.enter();
            // Nobody waits for it when the source is gone.
            let _ = sender.send(make(config, policy));
        })
        .map_err(KubernetesSetupError::Thread)?;
    Ok(receiver)
}

fn make(config: Option<Box<kube::Config>>, policy: Option<TlsPolicy>) -> Made {
    let config = match config {
        Some(config) => *config,
        None => credentials::infer()?,
    };
    let policy = match policy {
        Some(policy) => policy,
        None => TlsPolicy::builder().build()?,
    };
    https::client(&config, &policy)
}

/// kube panics over a token that makes no header, and what an exec plugin prints can not be looked at before it does.
fn panicked() -> KubernetesSetupError {
    let problem =
        "kube can not read them (is there an end of line in the token that the exec plugin prints?)";
    KubernetesSetupError::Credentials { problem: problem.to_owned() }
}
