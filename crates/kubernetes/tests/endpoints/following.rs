//! One client for the whole program: it follows the CA, the client certificate and the token.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::error::HandshakeError;
use typha_tls::host::HttpsError;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::Rejection;
use typha_tls_kubernetes::{calico_config, client, connection_error};

use crate::api_server::{Answer, ApiServer, TOKEN, kubeconfig, no_process_default};

fn version() -> Answer {
    Answer::Text(200, include_str!("version.json").to_owned())
}

/// A kubeconfig on the disk, with a cluster and a user that name files in its directory.
struct Files(TempDir);

impl Files {
    fn new(server: &ApiServer, cluster: Value, user: Value) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.replace("config", &kubeconfig(&server.url(), cluster, user).to_string());
        files.replace("ca.crt", &server.ca.root_pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As a volume does: at once.
    fn replace(&self, name: &str, contents: &str) {
        fs::write(self.path("new"), contents).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn replace_leaf(&self, leaf: &TestLeaf) {
        // One file, as kubelet has it.
        self.replace("client.pem", &format!("{}{}", leaf.chain_pem(), leaf.key_pem()));
    }

    fn client(&self) -> kube::Client {
        let config = calico_config([("KUBECONFIG", self.path("config"))]).unwrap();
        client(&config, TlsPolicy::builder().build().unwrap()).unwrap()
    }
}

fn user_leaf(ca: &TestCa, name: &str) -> TestLeaf {
    ca.issue(CertificateSpec::leaf(name).purpose(Purpose::ClientAuth)).unwrap()
}

fn server_leaf(ca: &TestCa) -> TestLeaf {
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    ca.issue(CertificateSpec::leaf("kube-apiserver").ip_san(address).purpose(Purpose::ServerAuth)).unwrap()
}

/// The label of what went wrong, or the HTTP status.
async fn ask(client: &kube::Client) -> Result<(), String> {
    let outcome = client.apiserver_version().await;
    no_process_default();
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.code.to_string()),
        Err(error) => Err(connection_error(&error).unwrap_or_else(|| panic!("{error:?}")).label().to_owned()),
    }
}

/// Asks until the outcome is this one, as files are followed in the background.
async fn until(client: &kube::Client, expected: Result<(), &str>) {
    let is_so = async {
        while ask(client).await.as_ref().map_err(String::as_str) != expected.as_ref().map_err(|label| *label)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_so).await.unwrap();
}

#[tokio::test]
async fn the_ca_changes_under_one_client() {
    let server = ApiServer::start(vec![version()]).await;
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), json!({ "token": TOKEN }));
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));

    // Both CAs during the change: the old server is accepted, then the new one.
    let new = TestCa::new(CertificateSpec::ca("kubernetes-2")).unwrap();
    files.replace("ca.crt", &format!("{}{}", server.ca.root_pem(), new.root_pem()));
    server.present(&server_leaf(&new));
    server.close_all();
    until(&client, Ok(())).await;
    // The new one alone.
    files.replace("ca.crt", &new.root_pem());
    server.present(&server_leaf(&server.ca));
    let refused = async {
        loop {
            server.close_all();
            if ask(&client).await == Err("unknown_ca".to_owned()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    server.present(&server_leaf(&new));
    assert_eq!(ask(&client).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_is_refused_is_given_a_typed_reason() {
    let server = ApiServer::start(vec![version()]).await;
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), json!({ "token": TOKEN }));
    let client = files.client();
    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    let any = || CertificateSpec::leaf("kube-apiserver");
    let spec = || any().purpose(Purpose::ServerAuth);
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    let foreign = TestCa::new(CertificateSpec::ca("foreign")).unwrap();
    for (leaf, label, is_it) in [
        (
            server.ca.issue(spec().dns_san("kubernetes")).unwrap(),
            "host_mismatch",
            (|rejection| matches!(rejection, Rejection::HostMismatch(_))) as fn(&Rejection) -> bool,
        ),
        (server_leaf(&foreign), "unknown_ca", |rejection| matches!(rejection, Rejection::UnknownCa { .. })),
        (
            server.ca.issue(spec().ip_san(address).valid(now - 2 * hour, now - hour)).unwrap(),
            "expired",
            |rejection| matches!(rejection, Rejection::Expired { .. }),
        ),
        (
            server.ca.issue(any().ip_san(address).purpose(Purpose::ClientAuth)).unwrap(),
            "wrong_key_usage",
            |rejection| matches!(rejection, Rejection::WrongKeyUsage { .. }),
        ),
    ] {
        server.present(&leaf);
        let error = client.apiserver_version().await.unwrap_err();
        let reason = connection_error(&error).unwrap();
        assert_eq!(reason.label(), label);
        let HttpsError::Dial(dial) = reason else { panic!("{reason:?}") };
        let Some(HandshakeError::Rejected(rejected)) = dial.handshake() else { panic!("{dial:?}") };
        assert!(is_it(rejected), "{rejected:?}");
    }
    assert!(server.requests().is_empty(), "the token was sent");
}

#[tokio::test]
async fn a_new_client_certificate_is_presented_by_the_same_client() {
    let server = ApiServer::start(vec![version()]).await;
    let [first, second] = ["felix", "felix-2"].map(|name| user_leaf(&server.ca, name));
    // As kubelet has it: the CA as data, the certificate and the key in one file.
    let cluster = json!({ "certificate-authority-data": BASE64.encode(server.ca.root_pem()) });
    let user = json!({ "client-certificate": "client.pem", "client-key": "client.pem" });
    let files = Files::new(&server, cluster, user);
    files.replace_leaf(&first);
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    assert_eq!(ask(&client).await, Ok(()));
    assert_eq!(server.accepted(), 1, "the connection is kept");
    assert_eq!(server.clients(), [Some(first.chain()[0].clone()), Some(first.chain()[0].clone())]);

    files.replace_leaf(&second);
    let presented = async {
        while server.clients().last().unwrap().as_ref() != Some(&second.chain()[0]) {
            assert_eq!(ask(&client).await, Ok(()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), presented).await.unwrap();
    assert_eq!(ask(&client).await, Ok(()));
    assert_eq!(server.accepted(), 2, "one connection for each certificate");
    // The first one is of no use any more.
    server.until_open(1).await;

    // A file that can not be used changes nothing.
    files.replace("client.pem", "half a certificate");
    assert_eq!(ask(&client).await, Ok(()));
}

/// The server wants another token. The old one is sent once.
async fn the_next_token_is_read(server: &ApiServer, files: &Files, client: &kube::Client) {
    server.set_token("next");
    files.replace("token", "next");
    assert_eq!(ask(client).await, Err("401".to_owned()));
    assert_eq!(ask(client).await, Ok(()));
}

#[tokio::test]
async fn a_token_is_read_again_after_a_refusal() {
    let server = ApiServer::start(vec![version()]).await;
    let user = json!({ "tokenFile": "token" });
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), user);
    files.replace("token", &format!("{TOKEN}\n"));
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    the_next_token_is_read(&server, &files, &client).await;

    // Without its file, the last one is sent.
    fs::remove_file(files.path("token")).unwrap();
    server.set_token("third");
    assert_eq!(ask(&client).await, Err("401".to_owned()));
    server.set_token("next");
    assert_eq!(ask(&client).await, Ok(()));
    // An unusable one is not sent.
    server.set_token("third");
    assert_eq!(ask(&client).await, Err("401".to_owned()));
    files.replace("token", "a\nb");
    server.set_token("next");
    assert_eq!(ask(&client).await, Ok(()));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_token_file_wins_over_a_token_beside_it() {
    let server = ApiServer::start(vec![version()]).await;
    let cluster = json!({ "certificate-authority": "ca.crt" });
    let files = Files::new(&server, cluster.clone(), json!({ "token": "other", "tokenFile": "token" }));
    files.replace("token", TOKEN);
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    the_next_token_is_read(&server, &files, &client).await;

    // Until the file can be read, the token is sent.
    let files = Files::new(&server, cluster, json!({ "token": "next", "tokenFile": "token" }));
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    server.set_token("third");
    files.replace("token", "third");
    assert_eq!(ask(&client).await, Err("401".to_owned()));
    assert_eq!(ask(&client).await, Ok(()));
}

#[tokio::test]
async fn a_token_is_read_again_after_a_minute() {
    let server = ApiServer::start(vec![version()]).await;
    let user = json!({ "tokenFile": "token" });
    let cluster = json!({ "certificate-authority-data": BASE64.encode(server.ca.root_pem()) });
    let files = Files::new(&server, cluster, user);
    files.replace("token", TOKEN);
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    files.replace("token", "next");
    server.set_token("next");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    assert_eq!(ask(&client).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_and_a_token_go_together() {
    let server = ApiServer::start(vec![version()]).await;
    let foreign = TestCa::new(CertificateSpec::ca("foreign")).unwrap();
    let user =
        json!({ "client-certificate": "client.pem", "client-key": "client.pem", "tokenFile": "token" });
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), user);
    // A wrong certificate leaves the token to the API server.
    files.replace_leaf(&user_leaf(&foreign, "felix"));
    files.replace("token", TOKEN);
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    server.set_token("another");
    assert_eq!(ask(&client).await, Err("401".to_owned()));
}

#[tokio::test]
async fn a_connection_broken_by_the_server_is_replaced() {
    let server = ApiServer::start(vec![version()]).await;
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), json!({ "token": TOKEN }));
    let client = files.client();
    assert_eq!(ask(&client).await, Ok(()));
    server.close_all();
    server.until_open(0).await;
    assert_eq!(ask(&client).await, Ok(()));
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn parallel_requests_share_a_few_connections() {
    let server = ApiServer::start(vec![version()]).await;
    let files = Files::new(&server, json!({ "certificate-authority": "ca.crt" }), json!({ "token": TOKEN }));
    let client = files.client();
    for _ in 0..4 {
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client).await })
            })
            .collect();
        for request in requests {
            assert_eq!(request.await.unwrap(), Ok(()));
        }
        // By then, every connection is back in the pool: all run on this thread.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((server.requests().len(), server.accepted()), (32, 8));
}

#[test]
fn paths_are_relative_to_the_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    let ca = TestCa::new(CertificateSpec::ca("kubernetes")).unwrap();
    fs::write(directory.path().join("ca.crt"), ca.root_pem()).unwrap();
    let cluster = json!({ "certificate-authority": "ca.crt" });
    fs::write(&path, kubeconfig("https://192.0.2.1", cluster, json!({})).to_string()).unwrap();
    let config = calico_config([("KUBECONFIG", &path)]).unwrap();
    assert_eq!(config.root_cert_file.as_deref(), Some(&*Path::new(directory.path()).join("ca.crt")));
}
