//! The real kube-apiserver, with etcd behind it. The test builds it first, which takes minutes:
//!
//! ```sh
//! cargo test -p typha-tls-kubernetes --test kube_apiserver -- --ignored --nocapture
//! ```
//!
//! It needs Go 1.26 or later, and `etcd` (on Debian: `apt-get install etcd-server`).

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail this way")]

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tempfile::TempDir;
use typha_tls::dialer::EndpointSource as _;
use typha_tls::error::{HandshakeError, WithCauses};
use typha_tls::host::HttpsError;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::Rejection;
use typha_tls_kubernetes::{KubernetesEndpoints, calico_config, client, connection_error};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster {
    dir: TempDir,
    url: String,
    ca: TestCa,
    // Stopped in this order.
    _api_server: Process,
    _etcd: Process,
}

fn build() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kube-apiserver");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube_apiserver/build.sh");
    assert!(Command::new(script).arg(&directory).status().unwrap().success(), "it can not be built");
    directory.join("kube-apiserver")
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Cluster {
    fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let log = |name: &str| File::create(path(name)).unwrap();
        let ca = TestCa::new(CertificateSpec::ca("kubernetes")).unwrap();
        let leaf = CertificateSpec::leaf("kube-apiserver").ip_san(Ipv4Addr::LOCALHOST.into());
        let leaf = ca.issue(leaf.purpose(Purpose::ServerAuth)).unwrap();
        fs::write(path("ca.crt"), ca.root_pem()).unwrap();
        fs::write(path("server.crt"), leaf.chain_pem()).unwrap();
        fs::write(path("server.key"), leaf.key_pem()).unwrap();
        fs::write(path("tokens.csv"), "good-token,felix,1\n").unwrap();

        let etcd_url = format!("http://127.0.0.1:{}", free_port());
        let etcd = Command::new("etcd")
            .args(["--name", "t", "--data-dir", &path("etcd"), "--log-outputs", "stderr", "--logger", "zap"])
            .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", "http://127.0.0.1:0"])
            .args(["--initial-advertise-peer-urls", "http://127.0.0.1:0"])
            .args(["--initial-cluster", "t=http://127.0.0.1:0", "--unsafe-no-fsync"])
            .stderr(log("etcd.log"))
            .spawn()
            .unwrap();
        let port = free_port().to_string();
        let api_server = Command::new(program)
            .args(["--etcd-servers", &etcd_url, "--secure-port", &port, "--bind-address", "127.0.0.1"])
            .args(["--advertise-address", "192.0.2.1", "--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--tls-cert-file", &path("server.crt"), "--tls-private-key-file", &path("server.key")])
            .args(["--client-ca-file", &path("ca.crt"), "--token-auth-file", &path("tokens.csv")])
            .args(["--anonymous-auth=false", "--authorization-mode", "AlwaysAllow"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &path("server.crt")])
            .args(["--service-account-signing-key-file", &path("server.key"), "--cert-dir", &path("certs")])
            .stderr(log("api.log"))
            .spawn()
            .unwrap();
        Self {
            url: format!("https://127.0.0.1:{port}"),
            dir,
            ca,
            _api_server: Process(api_server),
            _etcd: Process(etcd),
        }
    }

    fn write(&self, name: &str, contents: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn config(&self, variables: &[(&str, String)]) -> kube::Config {
        let cluster = [
            ("K8S_API_ENDPOINT", self.url.clone()),
            ("K8S_CA_FILE", self.dir.path().join("ca.crt").to_str().unwrap().to_owned()),
        ];
        calico_config(cluster.iter().chain(variables).cloned()).unwrap()
    }

    fn by_certificate(&self, leaf: &TestLeaf) -> kube::Config {
        let certificate = self.write("client.crt", &leaf.chain_pem());
        let key = self.write("client.key", &leaf.key_pem());
        self.config(&[("K8S_CERT_FILE", certificate), ("K8S_KEY_FILE", key)])
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("api.log")).unwrap()
    }
}

fn user(ca: &TestCa) -> TestLeaf {
    ca.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap()
}

/// The endpoints of the API server's own service, or why there are none.
async fn list(config: &kube::Config) -> Result<Vec<String>, String> {
    let source = KubernetesEndpoints::from_config(config.clone(), "default", "kubernetes").unwrap();
    let found = source.with_port_name("https").endpoints().await;
    found
        .map(|found| found.iter().map(ToString::to_string).collect())
        .map_err(|error| WithCauses(&error).to_string())
}

#[tokio::test]
#[ignore = "builds kube-apiserver, which takes minutes"]
async fn the_real_kube_apiserver() {
    let program = tokio::task::spawn_blocking(build).await.unwrap();
    let cluster = Cluster::start(&program);
    let own = ["192.0.2.1:".to_owned() + cluster.url.rsplit(':').next().unwrap()];

    // By a token. It serves after some seconds, and lists itself after some more.
    let by_token = cluster.config(&[("K8S_API_TOKEN", "good-token".to_owned())]);
    let serves = async {
        while list(&by_token).await.as_deref() != Ok(&own) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(120), serves).await.is_err() {
        panic!("{:?}\n{}", list(&by_token).await, cluster.log());
    }
    // By a certificate.
    assert_eq!(list(&cluster.by_certificate(&user(&cluster.ca))).await.as_deref(), Ok(&own[..]));
    // Any other use of kube, with both.
    let mut both = cluster.by_certificate(&user(&cluster.ca));
    both.auth_info.token = Some("good-token".to_owned().into());
    let policy = || TlsPolicy::builder().build().unwrap();
    let version = client(&both, policy()).unwrap().apiserver_version().await.unwrap();
    println!("kube-apiserver {} {}", version.git_version, version.go_version);

    // A certificate of another CA, and another token.
    let foreign = TestCa::new(CertificateSpec::ca("foreign")).unwrap();
    let begin = "the Typhas of the Kubernetes service default/kubernetes can not be found: the API server does not \
                 accept our credentials (401)";
    let end = "; see that the token or the client certificate is of this cluster and has not expired; it says \
               \"Unauthorized\"";
    assert_eq!(
        list(&cluster.by_certificate(&user(&foreign))).await.unwrap_err(),
        format!(
            "{begin}. We have a client certificate (CN \"felix\", no URI SAN). A wrong one is refused in this way \
             only: its CA must be in --client-ca-file of the API server, and it must be for clientAuth{end}"
        )
    );
    let wrong_token = cluster.config(&[("K8S_API_TOKEN", "bad-token".to_owned())]);
    assert_eq!(list(&wrong_token).await.unwrap_err(), format!("{begin}{end}"));

    // Another CA, and another host.
    let mut other_ca = by_token.clone();
    other_ca.root_cert_file = Some(cluster.write("foreign.crt", &foreign.root_pem()).into());
    let mut other_host = by_token.clone();
    other_host.tls_server_name = Some("kubernetes".to_owned());
    for (config, label) in [(other_ca, "unknown_ca"), (other_host, "host_mismatch")] {
        let error = client(&config, policy()).unwrap().apiserver_version().await.unwrap_err();
        let Some(HttpsError::Dial(dial)) = connection_error(&error) else { panic!("{error:?}") };
        let Some(HandshakeError::Rejected(rejected)) = dial.handshake() else { panic!("{dial:?}") };
        assert_eq!(Rejection::label(rejected), label);
    }

    // A new certificate, under one client.
    let config = cluster.by_certificate(&user(&cluster.ca));
    let client = client(&config, policy()).unwrap();
    client.apiserver_version().await.unwrap();
    cluster.by_certificate(&user(&foreign));
    let refused = async {
        while client.apiserver_version().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    cluster.by_certificate(&user(&cluster.ca));
    let accepted = async {
        while client.apiserver_version().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), accepted).await.unwrap();
}
