//! The ways in which a Felix authenticates itself, and that new credentials need no restart.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use typha_tls::dialer::EndpointSource as _;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};
use typha_tls_kubernetes::{KubernetesEndpoints, KubernetesError};

use crate::api_server::{Answer, ApiServer, TOKEN, ask, config, no_process_default, source};
use crate::listing::{ready, slice};

fn one_typha() -> Vec<Answer> {
    vec![Answer::Slices(vec![slice("IPv4", json!([ready("10.0.0.1", "n")]))])]
}

const ONE_TYPHA: [&str; 1] = ["10.0.0.1:5473 n"];

#[tokio::test]
async fn a_wrong_token() {
    let server = ApiServer::start(one_typha()).await;
    for user in [json!({ "token": "bad" }), json!({})] {
        let error = ask(&source(config(&server.kubeconfig(user)).await)).await.unwrap_err();
        assert!(
            matches!(
                error.cause(),
                KubernetesError::Unauthorized { message, certificate: None } if message == "Unauthorized"
            ),
            "{error:?}"
        );
        assert_eq!(
            error.text(),
            "the API server does not accept our credentials (401); see that the token or the client certificate is of \
             this cluster and has not expired; it says \"Unauthorized\""
        );
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_after_a_refusal() {
    let server = ApiServer::start(one_typha()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "expired").unwrap();
    let source = source(config(&server.kubeconfig(json!({ "tokenFile": path }))).await);
    let error = ask(&source).await.unwrap_err();
    assert!(matches!(error.cause(), KubernetesError::Unauthorized { .. }), "{error:?}");
    fs::write(&path, TOKEN).unwrap();
    assert_eq!(ask(&source).await.unwrap(), ONE_TYPHA);
}

#[tokio::test]
async fn a_client_certificate() {
    let server = ApiServer::start(one_typha()).await;
    let leaf = server.ca.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
    let in_data = json!({
        "client-certificate-data": BASE64.encode(leaf.chain_pem()),
        "client-key-data": BASE64.encode(leaf.key_pem()),
    });
    assert_eq!(ask(&source(config(&server.kubeconfig(in_data)).await)).await.unwrap(), ONE_TYPHA);

    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    fs::write(&certificate, leaf.chain_pem()).unwrap();
    fs::write(&key, leaf.key_pem()).unwrap();
    let in_files = json!({ "client-certificate": certificate, "client-key": key });
    assert_eq!(ask(&source(config(&server.kubeconfig(in_files)).await)).await.unwrap(), ONE_TYPHA);
}

#[tokio::test]
async fn a_wrong_client_certificate() {
    let server = ApiServer::start(one_typha()).await;
    let foreign = TestCa::new(CertificateSpec::ca("foreign")).unwrap();
    let leaf = foreign.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
    let user = json!({
        "client-certificate-data": BASE64.encode(leaf.chain_pem()),
        "client-key-data": BASE64.encode(leaf.key_pem()),
    });
    let error = ask(&source(config(&server.kubeconfig(user)).await)).await.unwrap_err();
    assert!(matches!(error.cause(), KubernetesError::Unauthorized { certificate: Some(_), .. }), "{error:?}");
    assert_eq!(
        error.text(),
        "the API server does not accept our credentials (401). We have a client certificate (CN \"felix\", no URI \
         SAN). A wrong one is refused in this way only: its CA must be in --client-ca-file of the API server, and it \
         must be for clientAuth; see that the token or the client certificate is of this cluster and has not expired; \
         it says \"Unauthorized\""
    );
}

/// A kubeconfig's user whose token an exec plugin prints: a shell script.
fn plugin(directory: &Path, script: &str) -> Value {
    let path = directory.join("plugin");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": path, "interactiveMode": "Never" } })
}

fn exec_credential(token: &str) -> String {
    json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": token } })
        .to_string()
}

#[tokio::test]
async fn an_exec_plugin() {
    let server = ApiServer::start(one_typha()).await;
    let directory = tempfile::tempdir().unwrap();
    let user = plugin(directory.path(), &format!("echo '{}'", exec_credential(TOKEN)));
    assert_eq!(ask(&source(config(&server.kubeconfig(user)).await)).await.unwrap(), ONE_TYPHA);
}

/// A plugin that notes each run in the file `runs`, and ends when there is a file `go`, after 20 s at the latest.
fn slow_plugin(directory: &Path) -> Value {
    let script = format!(
        "cd {}\necho run >> runs\nfor i in $(seq 400); do [ -e go ] && break; sleep 0.05; done\necho '{}'",
        directory.display(),
        exec_credential(TOKEN)
    );
    plugin(directory, &script)
}

#[tokio::test]
async fn a_slow_exec_plugin_runs_once_for_all_who_gave_up() {
    let server = ApiServer::start(one_typha()).await;
    let directory = tempfile::tempdir().unwrap();
    let source = source(config(&server.kubeconfig(slow_plugin(directory.path()))).await)
        .with_timeout(Duration::from_millis(200));
    for _ in 0..3 {
        let error = ask(&source).await.unwrap_err();
        assert!(matches!(error.cause(), KubernetesError::TimedOut { .. }), "{error:?}");
    }
    fs::write(directory.path().join("go"), "").unwrap();
    let source = source.with_timeout(Duration::from_secs(20));
    assert_eq!(ask(&source).await.unwrap(), ONE_TYPHA);
    assert_eq!(fs::read_to_string(directory.path().join("runs")).unwrap(), "run\n");
}

#[test]
fn a_slow_exec_plugin_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::start(one_typha()).await;
        let source = source(config(&server.kubeconfig(slow_plugin(directory.path()))).await)
            .with_timeout(Duration::from_millis(200));
        ask(&source).await.unwrap_err();
    });
    let start = Instant::now();
    drop(runtime);
    let took = start.elapsed();
    fs::write(directory.path().join("go"), "").unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn an_exec_plugin_that_fails_is_not_quoted() {
    let server = ApiServer::start(one_typha()).await;
    let directory = tempfile::tempdir().unwrap();
    let certificate = json!({ "status": { "clientCertificateData": "c", "clientKeyData": "k" } });
    for (script, problem) in [
        (
            format!("echo {TOKEN}; echo {TOKEN} >&2; exit 3"),
            "the exec plugin of the kubeconfig failed: exit status: 3",
        ),
        (
            format!("echo '{{ {TOKEN}'"),
            "the exec plugin of the kubeconfig printed no ExecCredential with a status",
        ),
        (
            format!("printf '%s' '{}'", exec_credential("good-\ntoken")),
            "kube can not read them (is there an end of line in the token that the exec plugin prints?)",
        ),
        (
            format!("echo '{certificate}'"),
            "the exec plugin of the kubeconfig gave no token; one that gives a certificate is not supported",
        ),
    ] {
        let user = plugin(directory.path(), &script);
        let error = ask(&source(config(&server.kubeconfig(user)).await)).await.unwrap_err();
        assert_eq!(
            error.text(),
            format!("the credentials for the Kubernetes API can not be used: {problem}")
        );
        assert!(!format!("{error:?}").contains(TOKEN));
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_policy_of_ones_own() {
    let server = ApiServer::start(one_typha()).await;
    let policy = TlsPolicy::builder().min_version("1.3").key_exchange_groups("x25519").build().unwrap();
    let source = server.source().await.with_policy(policy);
    assert_eq!(ask(&source).await.unwrap(), ONE_TYPHA);
}

#[tokio::test]
async fn a_client_of_ones_own() {
    no_process_default();
    let slices = json!({
        "kind": "EndpointSliceList",
        "items": [slice("IPv4", json!([ready("10.0.0.1", "n")]))],
    });
    let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
        let is_it =
            request.uri().path() == "/apis/discovery.k8s.io/v1/namespaces/calico-system/endpointslices";
        let answer = hyper::Response::builder()
            .status(if is_it { 200 } else { 404 })
            .body(http_body_util::Full::from(slices.to_string()));
        async move { answer }
    });
    let client = kube::Client::new(service, "default");
    let source = KubernetesEndpoints::new(client, "calico-system", "typha").unwrap();
    assert_eq!(
        format!("{source:?}"),
        "KubernetesEndpoints { namespace: \"calico-system\", service: \"typha\", port_name: \"calico-typha\", \
         timeout: 8s, .. }"
    );
    let typhas = source.endpoints().await.unwrap();
    assert_eq!(typhas.len(), 1);
    no_process_default();
}
