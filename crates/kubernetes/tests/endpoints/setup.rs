//! Kubeconfigs that can not be used: the error says what is wrong, and nothing is sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose};
use typha_tls_kubernetes::{KubernetesError, KubernetesSetupError};

use crate::api_server::{Answer, ApiServer, Failed, TOKEN, ask, config, kubeconfig, source};

async fn failure(config: kube::Config) -> Failed {
    let error = ask(&source(config)).await.unwrap_err();
    assert!(matches!(error.cause(), KubernetesError::Setup(_)), "{error:?}");
    assert!(!format!("{error:?}").contains(TOKEN) && !format!("{error:?}").contains("secret"));
    error
}

#[tokio::test]
async fn the_server_must_be_authenticated() {
    let server = ApiServer::start(vec![Answer::Slices(vec![])]).await;
    let good = config(&server.kubeconfig(json!({ "token": TOKEN }))).await;

    let mut insecure = good.clone();
    insecure.accept_invalid_certs = true;
    let error = failure(insecure).await;
    assert_eq!(
        error.text(),
        "the kubeconfig has insecure-skip-tls-verify, which is not supported; give it the cluster's \
         certificate-authority instead"
    );

    let no_ca = config(&kubeconfig(&server.url(), json!({}), json!({ "token": TOKEN }))).await;
    let error = failure(no_ca).await;
    assert_eq!(
        error.text(),
        "the kubeconfig has no certificate-authority for the API server, and the CAs of the system are not trusted \
         for it; set certificate-authority in it, or K8S_CA_FILE, to the cluster's CAs"
    );

    let mut plain = good.clone();
    plain.cluster_url = "http://felix:secret@127.0.0.1:1/secret".parse().unwrap();
    let error = failure(plain).await;
    assert_eq!(
        error.text(),
        "the address of the API server, \"http://127.0.0.1:1\", does not begin with https://; write https://HOST:PORT"
    );

    let mut user = good.clone();
    user.cluster_url = format!("https://felix:secret@{}/secret", server.address).parse().unwrap();
    let error = failure(user).await;
    assert_eq!(
        error.text(),
        format!(
            "the address of the API server, \"https://{}\", has a user (USER@ or USER:PASSWORD@), which is not \
             supported in a URL; remove it from the URL, and set a token or a client certificate",
            server.address
        )
    );

    for port in ["99999", "0"] {
        let mut no_port = good.clone();
        no_port.cluster_url = format!("https://127.0.0.1:{port}").parse().unwrap();
        let error = failure(no_port).await;
        assert_eq!(
            error.text(),
            "the address of the API server, \"https://127.0.0.1\", has a port that is no TCP port; write \
             https://HOST:PORT with a port from 1 to 65535"
        );
    }

    let mut unspecified = good.clone();
    unspecified.cluster_url = "https://0.0.0.0:6443".parse().unwrap();
    let error = failure(unspecified).await;
    assert_eq!(
        error.text(),
        "the address of the API server can not be used: the host 0.0.0.0 is not the address of one server; give the \
         name or the address that the certificate has"
    );

    let mut garbage = good.clone();
    garbage.root_cert = Some(vec![vec![0x30, 0x00]]);
    let error = failure(garbage).await;
    assert!(error.text().starts_with(
        "the certificates for the Kubernetes API can not be used: certificate-authority-data: certificate 1 is unusable"
    ));
    assert!(matches!(error.cause(), KubernetesError::Setup(KubernetesSetupError::Material(_))), "{error:?}");

    let mut name = good.clone();
    name.tls_server_name = Some("a b".to_owned());
    let error = failure(name).await;
    assert_eq!(
        error.text(),
        "the tls-server-name \"a b\" of the kubeconfig is not a host name; correct it or remove it"
    );

    let mut proxy = good;
    proxy.proxy_url = Some("http://proxy:3128".parse().unwrap());
    let error = failure(proxy).await;
    assert_eq!(
        error.text(),
        "a proxy for the API server is configured (proxy-url of the kubeconfig, or proxy_url of a kube::Config, which \
         kube sets from HTTPS_PROXY, too), which is not supported; remove it, or give a client of your own"
    );
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn client_certificates_that_are_none() {
    let server = ApiServer::start(vec![Answer::Slices(vec![])]).await;
    let spec = || CertificateSpec::leaf("felix").purpose(Purpose::ClientAuth);
    let (leaf, other) = (server.ca.issue(spec()).unwrap(), server.ca.issue(spec()).unwrap());
    let (certificate, key) = (BASE64.encode(leaf.chain_pem()), BASE64.encode(leaf.key_pem()));
    let user = |certificate: &str, key: &str| -> Value {
        json!({ "client-certificate-data": certificate, "client-key-data": key })
    };
    let incomplete = "the client certificate of the kubeconfig can not be used: ";
    let unusable = "the certificates for the Kubernetes API can not be used: ";
    for (user, begin, problem) in [
        (
            json!({ "client-certificate-data": certificate }),
            incomplete,
            "it has client-certificate without client-key; set both, or neither",
        ),
        (
            json!({ "client-key-data": key }),
            incomplete,
            "it has client-key without client-certificate; set both, or neither",
        ),
        (
            user("~", &key),
            incomplete,
            "client-certificate-data is not valid Base64; write the output of base64 -w0",
        ),
        (
            user(&key, &key),
            unusable,
            "client-certificate-data: there is no certificate (a PEM block CERTIFICATE) in it: it has a private key, \
             so this file and the key file may be swapped; put the certificate chain here, leaf first, in PEM",
        ),
        (
            user(&certificate, &certificate),
            unusable,
            "client-key-data: there is no private key (a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY) in \
             it: it has a certificate, so this file and the certificate file may be swapped; put the private key here, \
             in PEM",
        ),
        (
            user(&certificate, &BASE64.encode(other.key_pem())),
            unusable,
            "client-key-data: the private key does not belong to the certificate in client-certificate-data",
        ),
        (
            json!({ "client-certificate": "/nowhere/tls.crt", "client-key-data": key }),
            unusable,
            "/nowhere/tls.crt: it can not be read: No such file or directory (os error 2)",
        ),
    ] {
        let error = failure(config(&server.kubeconfig(user)).await).await;
        assert_eq!(error.text(), format!("{begin}{problem}"));
    }
}

#[tokio::test]
async fn tokens_that_are_none() {
    let server = ApiServer::start(vec![Answer::Slices(vec![])]).await;
    for (user, problem) in [
        (json!({ "token": "a\nb" }), "the token has characters that no token has, such as the end of a line"),
        (json!({ "tokenFile": "/dev/null" }), "/dev/null: it has no token"),
        (json!({ "tokenFile": "/nowhere/token" }), "/nowhere/token: No such file or directory (os error 2)"),
        (
            json!({ "exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/plugin",
                "interactiveMode": "Never"
            } }),
            "the exec plugin of the kubeconfig can not be started: No such file or directory (os error 2)",
        ),
    ] {
        let error = failure(config(&server.kubeconfig(user)).await).await;
        assert_eq!(
            error.text(),
            format!("the credentials for the Kubernetes API can not be used: {problem}")
        );
    }
}
