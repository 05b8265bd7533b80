//! Answers that lead to no Typha: the error says which of the reasons it was.

use serde_json::{Value, json};
use typha_tls_kubernetes::KubernetesError;

use crate::api_server::{Answer, ApiServer, Failed, ask};
use crate::listing::{ready, slice, with_ports};

async fn failure(slices: Vec<Value>) -> Failed {
    let server = ApiServer::start(vec![Answer::Slices(slices)]).await;
    ask(&server.source().await).await.unwrap_err()
}

fn not_ready(address: &str) -> Value {
    json!({ "addresses": [address], "conditions": { "ready": false } })
}

#[tokio::test]
async fn no_slices() {
    let error = failure(vec![]).await;
    assert!(matches!(error.cause(), KubernetesError::NoSlices), "{error:?}");
    assert_eq!(
        error.text(),
        "there is no EndpointSlice of the service; see that a service of this name exists in this namespace"
    );
}

#[tokio::test]
async fn no_endpoints() {
    let text = "the EndpointSlices of the service list no addresses of the families IPv4 and IPv6; see that pods of \
                Typha run and that the service selects them";
    // As Kubernetes writes it for a service without pods.
    let empty = with_ports("IPv4", json!(null), json!(null));
    let named = slice("FQDN", json!([{ "addresses": ["typha.example"] }]));
    for slices in
        [vec![empty.clone()], vec![slice("IPv6", json!([]))], vec![named.clone()], vec![empty, named]]
    {
        let error = failure(slices).await;
        assert!(matches!(error.cause(), KubernetesError::NoEndpoints), "{error:?}");
        assert_eq!(error.text(), text);
    }
}

#[tokio::test]
async fn no_port_of_the_name() {
    let endpoints = json!([ready("10.0.0.1", "n")]);
    let ports = json!([{ "name": "calico-typha", "port": 5473, "protocol": "UDP" }, { "name": "x\n", "port": 1 }, {}]);
    let error = failure(vec![
        with_ports("IPv4", endpoints.clone(), ports.clone()),
        with_ports("IPv4", endpoints, ports),
        // Without endpoints, ports do not count.
        with_ports("IPv6", json!([]), json!([{ "name": "calico-typha", "port": 5473 }])),
        with_ports("IPv6", json!([]), json!([{ "name": "unused", "port": 1 }])),
    ])
    .await;
    assert!(
        matches!(
            error.cause(),
            KubernetesError::NoPort { port_name, ports }
                if port_name == "calico-typha" && *ports == [" any/TCP", "calico-typha 5473/UDP", "x\n 1/TCP"]
        ),
        "{error:?}"
    );
    assert_eq!(
        error.text(),
        "the endpoints of the service have no TCP port with the name \"calico-typha\", but [\" any/TCP\", \
         \"calico-typha 5473/UDP\", \"x\\n 1/TCP\"]; name Typha's port \"calico-typha\", or use with_port_name"
    );
}

#[tokio::test]
async fn none_is_ready() {
    let error = failure(vec![
        slice("IPv4", json!([not_ready("10.0.0.1"), not_ready("10.0.0.2")])),
        slice("IPv6", json!([not_ready("fd00::1")])),
        // Of another port; does not count.
        with_ports("IPv4", json!([ready("10.0.0.9", "n")]), json!([{ "name": "metrics", "port": 1 }])),
    ])
    .await;
    assert!(matches!(error.cause(), KubernetesError::NoneReady { endpoints: 3 }), "{error:?}");
    assert_eq!(
        error.text(),
        "none of the 3 endpoints of the service is ready; see why the readiness probes of Typha's pods fail"
    );
}

#[tokio::test]
async fn what_is_no_address_is_left_out() {
    let bad = json!({ "addresses": ["typha\u{1b}[1m"] });
    let server = ApiServer::start(vec![
        Answer::Slices(vec![slice("IPv4", json!([bad, ready("10.0.0.1", "n")]))]),
        Answer::Slices(vec![slice("IPv4", json!([bad]))]),
        Answer::Slices(vec![slice("IPv4", json!([{ "addresses": null }]))]),
    ])
    .await;
    let source = server.source().await;
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:5473 n"]);
    for problem in [r#""typha\u{1b}[1m" in an EndpointSlice is no address"#, "endpoints without addresses"] {
        let error = ask(&source).await.unwrap_err();
        assert!(
            matches!(error.cause(), KubernetesError::Malformed { problem: found } if found == problem),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_list() {
    let begin = "the answer is not that of a working Kubernetes API: ";
    for (sent, problem) in [
        ("<html>", r#""expected value at line 1 column 1""#),
        ("{}", r#""missing field `kind` at line 1 column 2""#),
        (r#"{"kind":"Pod\nList","items":[]}"#, r#"it sent "Pod\nList", not an EndpointSliceList"#),
        (
            r#"{"kind":"EndpointSliceList","items":[{"addressType":"IPv4","ports":[{"port":"5\n"}]}]}"#,
            r#""invalid type: string \"5\\n\", expected u16 at line 1 column 81""#,
        ),
    ] {
        let server = ApiServer::start(vec![Answer::Text(200, sent.to_owned())]).await;
        let error = ask(&server.source().await).await.unwrap_err();
        assert!(matches!(error.cause(), KubernetesError::Malformed { .. }), "{error:?}");
        assert_eq!(error.text(), format!("{begin}{problem}"));
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_taken_in() {
    let half = " ".repeat(17 * 1024 * 1024);
    let page = r#"{"kind":"EndpointSliceList","metadata":{"continue":"x"},"items":[]}"#;
    let server = ApiServer::start(vec![Answer::Text(200, format!("{half}{page}"))]).await;
    let source = server.source().await.with_timeout(std::time::Duration::from_secs(60));
    let error = ask(&source).await.unwrap_err();
    assert!(matches!(error.cause(), KubernetesError::TooLarge { limit: 33_554_432 }), "{error:?}");
    assert_eq!(error.text(), "the answer of the API server is larger than 33554432 bytes");
    // The second page was one too many.
    assert_eq!(server.requests().len(), 2);
}
