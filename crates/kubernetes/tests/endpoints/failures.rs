//! An API server that refuses, fails, is slow, is not there, or is another one.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use typha_tls::dialer::EndpointSource as _;
use typha_tls::testing::{CertificateSpec, TestCa};
use typha_tls::verifier::Rejection;
use typha_tls_kubernetes::KubernetesError;

use crate::api_server::{Answer, ApiServer, TOKEN, ask, config, kubeconfig, source};
use crate::listing::{ready, slice};

fn one_typha() -> Answer {
    Answer::Slices(vec![slice("IPv4", json!([ready("10.0.0.1", "n")]))])
}

#[tokio::test]
async fn denied_names_the_permission() {
    let server = ApiServer::start(vec![Answer::Failure(403, "endpointslices is \"forbidden\"\n")]).await;
    let error = ask(&server.source().await).await.unwrap_err();
    assert!(
        matches!(
            error.cause(),
            KubernetesError::Forbidden { namespace, message }
                if namespace == "kube-system" && message == "endpointslices is \"forbidden\"\n"
        ),
        "{error:?}"
    );
    assert_eq!(
        error.text(),
        "the API server denies access (403); grant our account the verb \"list\" on the resource \"endpointslices\" \
         of the API group \"discovery.k8s.io\" in the namespace kube-system; it says \"endpointslices is \
         \\\"forbidden\\\"\\n\""
    );
}

#[tokio::test]
async fn failures_are_shown_as_they_are() {
    let cases = [
        (Answer::Failure(500, "etcd: no leader"), 500, r#""etcd: no leader""#, ""),
        (Answer::Text(500, "boom\u{1b}[31m\n".to_owned()), 500, r#""boom\u{1b}[31m""#, ""),
        (Answer::Text(502, String::new()), 502, r#""""#, ""),
        (Answer::Text(302, "elsewhere".to_owned()), 302, r#""elsewhere""#, ""),
        (Answer::Failure(503, "starting"), 503, r#""starting""#, " (it is overloaded or starting)"),
        (Answer::Failure(429, "slow down"), 429, r#""slow down""#, " (it is overloaded or starting)"),
        (
            Answer::Text(404, "404 page not found".to_owned()),
            404,
            r#""404 page not found""#,
            " (there are EndpointSlices of discovery.k8s.io/v1 since Kubernetes 1.21; see that the address is that of \
             an API server)",
        ),
    ];
    for (answer, status, said, hint) in cases {
        let server = ApiServer::start(vec![answer, one_typha()]).await;
        let source = server.source().await;
        let error = ask(&source).await.unwrap_err();
        assert!(
            matches!(error.cause(), KubernetesError::Answered { status: found, .. } if *found == status),
            "{error:?}"
        );
        assert_eq!(error.text(), format!("the API server answered {status}: {said}{hint}"));
        // One request: whoever asks decides whether and when to ask again.
        assert_eq!(server.requests().len(), 1);
        assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:5473 n"]);
        assert_eq!(server.accepted(), 1, "the connection is good");
    }
}

#[tokio::test]
async fn a_long_message_is_cut() {
    let server = ApiServer::start(vec![Answer::Text(500, "x".repeat(100_000))]).await;
    let error = ask(&server.source().await).await.unwrap_err();
    assert_eq!(
        error.text(),
        format!("the API server answered 500: \"{}\"... (99880 bytes more)", "x".repeat(120))
    );
}

#[tokio::test]
async fn a_silent_server_costs_the_timeout() {
    let server = ApiServer::start(vec![Answer::Silence, one_typha()]).await;
    let source = server.source().await.with_timeout(Duration::from_millis(300));
    let start = Instant::now();
    let error = ask(&source).await.unwrap_err();
    let took = start.elapsed();
    assert!(matches!(error.cause(), KubernetesError::TimedOut { .. }), "{error:?}");
    assert_eq!(
        error.text(),
        "no complete answer of the API server after 300ms; see whether it is overloaded, or raise with_timeout"
    );
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    server.until_open(0).await;
    let source = source.with_timeout(Duration::from_secs(20));
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:5473 n"]);
}

/// Only the wait for the silent server is real; nothing else happens on this runtime.
#[tokio::test]
async fn the_timeout_is_a_little_less_than_an_attempt_may_take() {
    let server = ApiServer::start(vec![Answer::Silence]).await;
    let source = server.source().await;
    let asked = async {
        server.until_asked(1).await;
        tokio::time::pause();
        std::future::pending::<()>().await;
    };
    let start = tokio::time::Instant::now();
    let error = tokio::select! {
        outcome = ask(&source) => outcome.unwrap_err(),
        () = asked => unreachable!(),
    };
    assert_eq!(
        error.text(),
        "no complete answer of the API server after 8s; see whether it is overloaded, or raise with_timeout"
    );
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(8) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing() {
    let server = ApiServer::start(vec![Answer::Silence, one_typha()]).await;
    let source = server.source().await;
    tokio::select! {
        _ = source.endpoints() => unreachable!("it is not answered"),
        () = server.until_asked(1) => {}
    }
    server.until_open(0).await;
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:5473 n"]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn another_ca_is_not_trusted() {
    let server = ApiServer::start(vec![one_typha()]).await;
    let other = TestCa::new(CertificateSpec::ca("another")).unwrap();
    let cluster = json!({ "certificate-authority-data": BASE64.encode(other.root_pem()) });
    let source = source(config(&kubeconfig(&server.url(), cluster, json!({ "token": TOKEN }))).await);
    let error = ask(&source).await.unwrap_err();
    assert!(matches!(error.rejection(), Rejection::UnknownCa { .. }), "{error:?}");
    assert_eq!(
        error.text(),
        format!(
            "no TLS connection with the API server: could not connect to {0}: the certificate of \
             CN=\"kube-apiserver\" is issued by CN=\"kubernetes\", which is not in the CA file; if that is an \
             intermediate CA, append its certificate to the certificate file of the peer; otherwise add it to the CA \
             file, if it is a CA of this cluster",
            server.address
        )
    );
    assert!(server.requests().is_empty(), "the token was sent");
}

#[tokio::test]
async fn the_name_is_checked_and_can_be_configured() {
    let leaf = CertificateSpec::leaf("kube-apiserver").dns_san("kubernetes.default.svc");
    let server = ApiServer::start_with(leaf, vec![one_typha()]).await;
    let error = ask(&server.source().await).await.unwrap_err();
    assert!(
        matches!(error.rejection(), Rejection::HostMismatch(mismatch) if mismatch.host.to_string() == "127.0.0.1"),
        "{error:?}"
    );
    assert_eq!(
        error.text(),
        format!(
            "no TLS connection with the API server: could not connect to {0}: the server's certificate is not \
             valid for the host 127.0.0.1: it is valid for the DNS names [\"kubernetes.default.svc\"]; connect to a \
             host that it has, or issue it again with subjectAltName = IP:127.0.0.1",
            server.address
        )
    );
    assert!(server.requests().is_empty());

    let mut config = config(&server.kubeconfig(json!({ "token": TOKEN }))).await;
    config.tls_server_name = Some("kubernetes.default.svc".to_owned());
    assert_eq!(ask(&source(config)).await.unwrap(), ["10.0.0.1:5473 n"]);
}

#[tokio::test]
async fn nobody_listens() {
    let server = ApiServer::start(vec![one_typha()]).await;
    let listener = std::net::TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut config = config(&server.kubeconfig(json!({ "token": TOKEN }))).await;
    config.cluster_url = format!("https://{address}").parse().unwrap();
    let error = ask(&source(config)).await.unwrap_err();
    assert!(matches!(error.cause(), KubernetesError::Unreachable(_)), "{error:?}");
    assert_eq!(
        error.text(),
        format!(
            "the API server can not be reached: could not connect to {address}: no TCP connection: \
             Connection refused (os error 111)"
        )
    );
}
