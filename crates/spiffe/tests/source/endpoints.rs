//! Where the agent is.

use std::process::Command;
use std::time::Duration;

use tempfile::tempdir;
use typha_tls::RequiredIdentity;
use typha_tls::error::WithCauses;
use typha_tls::policy::TlsPolicy;
use typha_tls_spiffe::{SpiffeSource, SpiffeSourceBuilder};

use crate::agent::{Agent, Says, endpoint};
use crate::domain::{Domain, FELIX, TYPHA};

/// Says that this process is one that `connected` started.
const ROLE: &str = "SPIFFE_SOURCE_TEST_CHILD";

fn builder() -> SpiffeSourceBuilder {
    let peer = RequiredIdentity::uri_san(FELIX).unwrap();
    SpiffeSource::builder(peer, TlsPolicy::builder().build().unwrap())
}

#[tokio::test]
async fn only_a_unix_socket_will_do() {
    for (endpoint, problem) in [
        ("tcp://127.0.0.1:8081", "over TCP our key would cross a network in the clear"),
        ("https://agent.example", "endpoint socket URI scheme must be unix: or tcp:"),
        ("unix://host/agent.sock", "unix: endpoint socket URI must not include an authority"),
        ("unix://", "unix: endpoint socket URI must include a path"),
    ] {
        let error = builder().endpoint(endpoint).connect().await.unwrap_err();
        assert_eq!(
            WithCauses(&error).to_string(),
            format!(
                "\"{endpoint}\" is no endpoint of a Workload API over a Unix socket: {problem}; it is to be like \
                 unix:///run/spire/agent-sockets/spire-agent.sock"
            )
        );
    }
}

/// Runs in the processes that `connected` starts, in an environment of their own.
#[tokio::test]
async fn child() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    match builder().connect_timeout(Duration::from_secs(30)).connect().await {
        Ok(source) => println!("\noutcome {source:?}"),
        Err(error) => println!("\noutcome {}", WithCauses(&error)),
    }
}

/// What comes of it with this in the environment variable.
async fn connected(variable: Option<String>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "endpoints::child", "--nocapture"]).env(ROLE, "1");
    command.env_remove("SPIFFE_ENDPOINT_SOCKET");
    command.envs(variable.map(|value| ("SPIFFE_ENDPOINT_SOCKET", value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().find_map(|line| line.strip_prefix("outcome ")).unwrap().to_owned()
}

#[tokio::test]
async fn the_environment_has_the_default() {
    let (dir, domain) = (tempdir().unwrap(), Domain::example("ca"));
    let _agent = Agent::start(dir.path(), Says::Svids((&domain.svid(TYPHA)).into()));
    let endpoint = endpoint(dir.path());
    assert_eq!(
        connected(Some(endpoint.clone())).await,
        format!("SpiffeSource {{ endpoint: {endpoint:?}, .. }}")
    );
    let unset = "no endpoint of the Workload API is given, and SPIFFE_ENDPOINT_SOCKET is not set";
    for variable in [None, Some(String::new())] {
        assert_eq!(connected(variable).await, unset);
    }
}
