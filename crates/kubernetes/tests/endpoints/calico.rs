//! Calico's environment variables.

use std::fs;
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};
use typha_tls_kubernetes::{KubernetesSetupError, calico_config, client};

use crate::api_server::{Answer, ApiServer, TOKEN, kubeconfig};

/// A kubeconfig that has everything, in a home directory.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let ca = TestCa::new(CertificateSpec::ca("kubernetes")).unwrap();
    fs::create_dir(home.path().join(".kube")).unwrap();
    fs::write(home.path().join(".kube/ca.crt"), ca.root_pem()).unwrap();
    let cluster = json!({ "certificate-authority": "ca.crt", "tls-server-name": "kubernetes" });
    let (certificate, key) = ("client-certificate-data", "client-key-data");
    let user = json!({ certificate: "YQ==", key: "YQ==", "username": "u", "password": "p" });
    let mut config = kubeconfig("https://of-file:6443", cluster, user);
    config["clusters"].as_array_mut().unwrap().push(json!({
        "name": "d", "cluster": { "server": "https://of-other-context:6443", "insecure-skip-tls-verify": true }
    }));
    config["contexts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "y", "context": { "cluster": "d", "user": "u" } }));
    fs::write(home.path().join(".kube/config"), config.to_string()).unwrap();
    home
}

fn load(home: &TempDir, variables: &[(&str, &str)]) -> Result<kube::Config, KubernetesSetupError> {
    calico_config(variables.iter().copied().chain([("HOME", home.path().to_str().unwrap())]))
}

fn problem(home: &TempDir, variables: &[(&str, &str)]) -> String {
    load(home, variables).unwrap_err().to_string()
}

#[test]
fn the_base_is_the_kubeconfig_of_the_home_directory() {
    let home = home();
    let config = load(&home, &[]).unwrap();
    assert_eq!(config.cluster_url, "https://of-file:6443/");
    assert_eq!(config.root_cert_file.as_deref(), Some(&*home.path().join(".kube/ca.crt")));
    assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
}

#[test]
fn kubeconfig_counts_more_than_the_home_directory() {
    let (home, other) = (home(), tempfile::tempdir().unwrap());
    let path = other.path().join("config");
    fs::write(&path, kubeconfig("https://of-variable:6443", json!({}), json!({})).to_string()).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(load(&home, &[("KUBECONFIG", path)]).unwrap().cluster_url, "https://of-variable:6443/");
    // Of several, the first that sets something counts.
    let both = format!("{path}:{}", home.path().join(".kube/config").display());
    assert_eq!(load(&home, &[("KUBECONFIG", &both)]).unwrap().cluster_url, "https://of-variable:6443/");
    assert_eq!(
        problem(&home, &[("KUBECONFIG", "/nowhere/config")]),
        "the kubeconfig can not be used: /nowhere/config: No such file or directory (os error 2)"
    );
}

#[test]
fn a_variable_with_the_prefix_counts_more() {
    let home = home();
    let variables = [("CALICO_K8S_API_ENDPOINT", "https://a:1"), ("K8S_API_ENDPOINT", "https://b:1")];
    assert_eq!(load(&home, &variables).unwrap().cluster_url, "https://a:1/");
    let empty = [("CALICO_K8S_API_ENDPOINT", ""), ("K8S_API_ENDPOINT", "https://b:1")];
    assert_eq!(load(&home, &empty).unwrap().cluster_url, "https://of-file:6443/");
}

#[test]
fn k8s_api_endpoint() {
    let home = home();
    // Without KUBECONFIG, the kubeconfig of the home directory does not count then.
    let alone = load(&home, &[("K8S_API_ENDPOINT", "https://k8s:6443")]).unwrap();
    assert_eq!(alone.cluster_url, "https://k8s:6443/");
    assert_eq!((alone.root_cert_file, alone.auth_info.username), (None, None));
    let path = home.path().join(".kube/config");
    let both = [("KUBECONFIG", path.to_str().unwrap()), ("K8S_API_ENDPOINT", "k8s:6443")];
    let config = load(&home, &both).unwrap();
    assert_eq!(config.cluster_url, "https://k8s:6443/", "a host with its port");
    assert_eq!(config.tls_server_name, None, "it was that of the other server");
    assert_eq!(config.root_cert_file.as_deref(), Some(&*home.path().join(".kube/ca.crt")));
    let server = |url: &str| format!("the address of the API server, {url:?},");
    for (url, expected) in [
        (
            "http://felix:secret@k8s:6443/secret",
            format!("{} does not begin with https://; write https://HOST:PORT", server("http://k8s:6443")),
        ),
        ("https://", "it is no URL; write https://HOST:PORT".to_owned()),
        ("https://felix:secret@a b", "it is no URL; write https://HOST:PORT".to_owned()),
        (
            "https://felix:secret@k8s:6443/secret",
            format!(
                "{} has a user (USER@ or USER:PASSWORD@), which is not supported in a URL; remove it from the URL, \
                 and set a token or a client certificate",
                server("https://k8s:6443")
            ),
        ),
        (
            "felix:secret",
            format!(
                "{} has a port that is no TCP port; write https://HOST:PORT with a port from 1 to 65535",
                server("https://felix")
            ),
        ),
        (
            "https://*.k8s",
            "the address of the API server can not be used: the host \"*.k8s\" is a wildcard; give the name of one \
             server"
                .to_owned(),
        ),
    ] {
        let expected = format!("the parameter K8S_API_ENDPOINT can not be used: {expected}");
        assert_eq!(problem(&home, &[("K8S_API_ENDPOINT", url)]), expected);
    }
}

#[test]
fn a_proxy_of_the_kubeconfig() {
    let home = home();
    let path = home.path().join(".kube/config");
    for (proxy, is_one) in [("", false), ("http://felix:secret@proxy:3128", true), ("a b", true)] {
        let cluster = json!({ "proxy-url": proxy });
        fs::write(&path, kubeconfig("https://of-file:6443", cluster, json!({})).to_string()).unwrap();
        match load(&home, &[]) {
            Ok(config) => assert_eq!((config.proxy_url, is_one), (None, false)),
            Err(error) => {
                assert!(matches!(error, KubernetesSetupError::Proxy), "{error:?}");
                assert!(is_one);
            }
        }
    }
}

/// An exec plugin is told what the kubeconfig has.
#[test]
fn no_proxy_is_passed_to_an_exec_plugin() {
    let home = home();
    let user = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/plugin", "provideClusterInfo": true
    } });
    let config = kubeconfig("https://of-file:6443", json!({}), user).to_string();
    fs::write(home.path().join(".kube/config"), config).unwrap();
    let cluster = load(&home, &[]).unwrap().auth_info.exec.unwrap().cluster.unwrap();
    assert_eq!((cluster.server.as_deref(), cluster.proxy_url), (Some("https://of-file:6443"), None));
}

/// The service account of a pod, which no test has.
#[test]
fn a_pod_is_found_by_its_variables() {
    if Path::new("/var/run/secrets/kubernetes.io/serviceaccount").exists() {
        return; // A pod after all.
    }
    let pod = |host, port| {
        let pod = [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)];
        calico_config(pod).unwrap_err().to_string()
    };
    for (host, port, problem) in [
        (
            "",
            "443",
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so that this is no pod",
        ),
        ("a b", "443", "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address"),
        (
            "fd00::1",
            "443",
            "\"failed to read the default namespace: No such file or directory (os error 2)\"",
        ),
    ] {
        let error = pod(host, port);
        assert!(
            error.ends_with(&format!("the service account of a pod can not be used: {problem}")),
            "{error}"
        );
    }
}

#[test]
fn k8s_ca_file() {
    let home = home();
    let config = load(&home, &[("K8S_CA_FILE", "/etc/k8s/ca.pem")]).unwrap();
    assert_eq!(config.root_cert_file.as_deref(), Some(Path::new("/etc/k8s/ca.pem")));
    // It turns the verification on again.
    let other = [("K8S_CURRENT_CONTEXT", "y"), ("K8S_CA_FILE", "/etc/k8s/ca.pem")];
    assert!(load(&home, &other[..1]).unwrap().accept_invalid_certs);
    assert!(!load(&home, &other).unwrap().accept_invalid_certs);
}

#[test]
fn k8s_cert_file_and_k8s_key_file() {
    let home = home();
    let both = [("K8S_CERT_FILE", "/c.pem"), ("K8S_KEY_FILE", "/k.pem")];
    let auth = load(&home, &both).unwrap().auth_info;
    assert_eq!(
        (auth.client_certificate.as_deref(), auth.client_key.as_deref()),
        (Some("/c.pem"), Some("/k.pem"))
    );
    assert!(auth.client_certificate_data.is_none() && auth.client_key_data.is_none());
    assert_eq!(
        problem(&home, &both[..1]),
        "the parameter K8S_CERT_FILE can not be used: K8S_KEY_FILE is not set; set both or neither"
    );
    assert_eq!(
        problem(&home, &both[1..]),
        "the parameter K8S_KEY_FILE can not be used: K8S_CERT_FILE is not set; set both or neither"
    );
}

#[test]
fn k8s_api_token() {
    let home = home();
    for variables in [
        &[("K8S_API_TOKEN", "t")][..],
        &[("CALICO_K8SAPITOKEN", "t"), ("K8S_API_TOKEN", "other")],
        &[("CALICO_K8S_API_TOKEN", "t"), ("K8S_API_TOKEN", "other")],
        &[("K8SAPITOKEN", "t"), ("CALICO_K8S_API_TOKEN", "other")],
        &[("CALICO_K8SAPITOKEN", "t"), ("K8SAPITOKEN", "other")],
        &[("CALICO_K8SAPITOKEN", ""), ("K8SAPITOKEN", "other"), ("K8S_API_TOKEN", "t")],
    ] {
        let config = load(&home, variables).unwrap();
        assert_eq!(config.auth_info.token.as_ref().unwrap().expose_secret(), "t");
        // kube would take the password first.
        assert_eq!(config.auth_info.username, None);
    }
    let user = json!({ "tokenFile": "token" });
    let path = home.path().join(".kube/config");
    fs::write(path, kubeconfig("https://of-file:6443", json!({}), user).to_string()).unwrap();
    assert!(load(&home, &[]).unwrap().auth_info.token_file.is_some());
    // The client would take the file first.
    assert_eq!(load(&home, &[("K8S_API_TOKEN", "t")]).unwrap().auth_info.token_file, None);
}

#[test]
fn k8s_current_context() {
    let home = home();
    let config = load(&home, &[("K8S_CURRENT_CONTEXT", "y")]).unwrap();
    assert_eq!(config.cluster_url, "https://of-other-context:6443/");
    assert_eq!(config.root_cert_file, None);
    assert_eq!(
        problem(&home, &[("K8S_CURRENT_CONTEXT", "z")]),
        "the kubeconfig can not be used: \"failed to load current context: z\""
    );
    assert_eq!(
        problem(&home, &[("K8S_CURRENT_CONTEXT", "y"), ("K8S_API_ENDPOINT", "https://k8s")]),
        "the parameter K8S_CURRENT_CONTEXT can not be used: there is no kubeconfig that could have the context; set \
         KUBECONFIG, or remove it"
    );
}

#[test]
fn k8s_insecure_skip_tls_verify() {
    let home = home();
    for value in ["", "false", "0", "F"] {
        assert!(load(&home, &[("K8S_INSECURE_SKIP_TLS_VERIFY", value)]).is_ok());
    }
    for value in ["true", "1", "yes"] {
        assert_eq!(
            problem(&home, &[("K8S_INSECURE_SKIP_TLS_VERIFY", value)]),
            "the parameter K8S_INSECURE_SKIP_TLS_VERIFY can not be used: it turns off the verification of the API \
             server, which is not supported; remove it, and set K8S_CA_FILE to the cluster's CAs"
        );
    }
}

#[tokio::test]
async fn the_parameters_are_enough_for_a_client() {
    let server = ApiServer::start(vec![Answer::Text(200, include_str!("version.json").to_owned())]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let leaf = server.ca.issue(CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth)).unwrap();
    for (name, contents) in
        [("ca.pem", server.ca.root_pem()), ("cert.pem", leaf.chain_pem()), ("key.pem", leaf.key_pem())]
    {
        fs::write(path(name), contents).unwrap();
    }
    let policy = || TlsPolicy::builder().build().unwrap();
    let cluster = [("K8S_API_ENDPOINT", server.url()), ("K8S_CA_FILE", path("ca.pem"))];
    let by_certificate = [("K8S_CERT_FILE", path("cert.pem")), ("K8S_KEY_FILE", path("key.pem"))];
    let config = calico_config(cluster.iter().chain(&by_certificate).cloned()).unwrap();
    client(&config, policy()).unwrap().apiserver_version().await.unwrap();
    let by_token = [("K8S_API_TOKEN", TOKEN.to_owned())];
    let config = calico_config(cluster.iter().chain(&by_token).cloned()).unwrap();
    client(&config, policy()).unwrap().apiserver_version().await.unwrap();
    assert_eq!(server.clients(), [Some(leaf.chain()[0].clone()), None]);

    let config = calico_config([("K8S_API_ENDPOINT", server.url())]).unwrap();
    let Err(error) = client(&config, policy()) else { panic!("the CAs of the system are trusted") };
    assert!(matches!(error, KubernetesSetupError::NoCertificateAuthority), "{error:?}");
}
