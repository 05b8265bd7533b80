//! A client of the API that is made at its first use. It follows its files, so that it is made again only for a
//! kubeconfig or an exec plugin.

use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};

use crate::client::{ApiClient, api_client};
use crate::credentials::infer_config;
use crate::setup_error::KubernetesSetupError;
use typha_tls::policy::TlsPolicy;

/// The time limit of a connection. It is less than that of a listing, so that the reason is known by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);

/// How a client is made.
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
    Ready(Box<ApiClient>),
}

type Made = Result<ApiClient, KubernetesSetupError>;

impl LazyClient {
    pub(crate) fn new(origin: Origin) -> Self {
        Self { origin, policy: None, state: Mutex::new(State::None) }
    }

    pub(crate) fn set_policy(&mut self, policy: TlsPolicy) {
        self.policy = Some(policy);
    }

    /// Returns the client; the first call makes it. That reads files and may run an exec plugin, which blocks and can
    /// not be stopped. If a caller gives up, the next one gets the result, so that only one runs at a time.
    pub(crate) async fn get(&self) -> Made {
        let config = match &self.origin {
            Origin::Client(client) => return Ok(ApiClient { client: client.clone(), connector: None }),
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
                State::Ready(client) => return Ok(*client.clone()),
            };
            *state = match &made {
                Ok(client) => State::Ready(Box::new(client.clone())),
                Err(_) => State::None,
            };
            return made;
        }
    }

    /// Makes the next call create a new client, if another kubeconfig or another run of an exec plugin may help. A
    /// client that is still being created stays.
    pub(crate) fn forget(&self) {
        let may_help = match &self.origin {
            Origin::Client(_) => false,
            Origin::Config(config) => config.auth_info.exec.is_some(),
            Origin::Environment => true,
        };
        if may_help
            && let Ok(mut state) = self.state.try_lock()
            && matches!(*state, State::Ready(_))
        {
            *state = State::None;
        }
    }
}

/// Makes a client in a thread of its own. A blocking thread of tokio would delay the shutdown of the runtime while an
/// exec plugin hangs.
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
            // The receiver is gone if the source was dropped.
            let _ = sender.send(make(config, policy));
        })
        .map_err(KubernetesSetupError::Thread)?;
    Ok(receiver)
}

fn make(config: Option<Box<kube::Config>>, policy: Option<TlsPolicy>) -> Made {
    let mut config = match config {
        Some(config) => *config,
        None => infer_config()?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let policy = match policy {
        Some(policy) => policy,
        None => TlsPolicy::builder().build()?,
    };
    api_client(&config, policy)
}

/// kube panics if the token can not be an HTTP header. The output of an exec plugin can not be checked before that.
fn panicked() -> KubernetesSetupError {
    let problem =
        "kube can not read them (is there an end of line in the token that the exec plugin prints?)";
    KubernetesSetupError::Credentials { problem: problem.to_owned() }
}
