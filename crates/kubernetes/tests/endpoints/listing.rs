//! What is asked, and what is made of slices that lead to Typhas.

use serde_json::{Value, json};

use crate::api_server::{Answer, ApiServer, ask};

const LIST: &str = "GET /apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices\
                    ?&labelSelector=kubernetes.io%2Fservice-name%3Dcalico-typha&limit=500";

/// A slice as Kubernetes writes it, with the port of Typha beside that of its metrics.
pub(crate) fn slice(address_type: &str, endpoints: Value) -> Value {
    with_ports(
        address_type,
        endpoints,
        json!([
            { "name": "calico-typha-metrics", "port": 9093, "protocol": "TCP" },
            { "name": "calico-typha", "port": 5473, "protocol": "TCP" },
        ]),
    )
}

pub(crate) fn with_ports(address_type: &str, endpoints: Value, ports: Value) -> Value {
    json!({
        "metadata": {
            "name": "calico-typha-x7xrz",
            "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": "calico-typha" },
            "managedFields": [{ "manager": "kube-controller-manager", "operation": "Update" }],
        },
        "addressType": address_type,
        "endpoints": endpoints,
        "ports": ports,
    })
}

pub(crate) fn ready(address: &str, node: &str) -> Value {
    json!({
        "addresses": [address],
        "conditions": { "ready": true, "serving": true, "terminating": false },
        "nodeName": node,
        "targetRef": { "kind": "Pod", "name": "calico-typha-1" },
        "zone": "a",
    })
}

#[tokio::test]
async fn both_families_with_their_nodes() {
    let server = ApiServer::start(vec![Answer::Slices(vec![
        slice("IPv4", json!([ready("10.0.0.1", "node-1"), ready("10.0.0.2", "node-2")])),
        slice("IPv6", json!([ready("fd00::1", "node-1")])),
    ])])
    .await;
    let typhas = ask(&server.source().await).await.unwrap();
    assert_eq!(typhas, ["10.0.0.1:5473 node-1", "10.0.0.2:5473 node-2", "[fd00::1]:5473 node-1"]);
    assert_eq!(server.requests(), [LIST]);
}

#[tokio::test]
async fn an_address_is_listed_once() {
    let server = ApiServer::start(vec![Answer::Slices(vec![
        slice("IPv4", json!([{ "addresses": ["10.0.0.1"] }, ready("10.0.0.2", "node-2")])),
        slice(
            "IPv4",
            json!([ready("10.0.0.2", "node-2"), ready("10.0.0.1", "node-1"), ready("10.0.0.3", "")]),
        ),
        // The same address with another port is another Typha.
        with_ports(
            "IPv4",
            json!([ready("10.0.0.1", "node-1")]),
            json!([{ "name": "calico-typha", "port": 5474 }]),
        ),
    ])])
    .await;
    let typhas = ask(&server.source().await).await.unwrap();
    assert_eq!(
        typhas,
        ["10.0.0.1:5473 node-1", "10.0.0.2:5473 node-2", "10.0.0.3:5473 -", "10.0.0.1:5474 node-1"]
    );
}

#[tokio::test]
async fn only_those_that_are_ready_or_do_not_say() {
    let server = ApiServer::start(vec![Answer::Slices(vec![slice(
        "IPv4",
        json!([
            { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false, "serving": true, "terminating": true } },
            { "addresses": ["10.0.0.3"], "conditions": { "ready": null } },
            { "addresses": ["10.0.0.4"], "conditions": {} },
            { "addresses": ["10.0.0.5"], "conditions": null },
            { "addresses": ["10.0.0.6"] },
        ]),
    )])])
    .await;
    let typhas = ask(&server.source().await).await.unwrap();
    assert_eq!(
        typhas,
        ["10.0.0.1:5473 -", "10.0.0.3:5473 -", "10.0.0.4:5473 -", "10.0.0.5:5473 -", "10.0.0.6:5473 -"]
    );
}

#[tokio::test]
async fn all_addresses_of_an_endpoint() {
    let endpoint = json!({ "addresses": ["10.0.0.1", "10.0.1.1"], "nodeName": "node-1" });
    let server = ApiServer::start(vec![Answer::Slices(vec![slice("IPv4", json!([endpoint]))])]).await;
    let typhas = ask(&server.source().await).await.unwrap();
    assert_eq!(typhas, ["10.0.0.1:5473 node-1", "10.0.1.1:5473 node-1"]);
}

#[tokio::test]
async fn the_port_is_that_of_the_name_and_tcp() {
    let endpoint = |last: u8| json!([{ "addresses": [format!("10.0.0.{last}")] }]);
    let server = ApiServer::start(vec![Answer::Slices(vec![
        with_ports(
            "IPv4",
            endpoint(1),
            json!([{ "name": "metrics", "port": 1 }, { "name": "calico-typha", "port": 11 }]),
        ),
        with_ports(
            "IPv4",
            endpoint(2),
            json!([
                { "name": "calico-typha", "port": 2, "protocol": "UDP" },
                { "name": "calico-typha", "port": 12, "protocol": "TCP" },
            ]),
        ),
        with_ports("IPv4", endpoint(3), json!([{ "name": "calico-typha", "port": 13, "protocol": "SCTP" }])),
        with_ports("IPv4", endpoint(4), json!([{ "name": "calico-typha", "port": null }])),
        with_ports("IPv4", endpoint(5), json!([{ "name": null, "port": 15 }])),
        with_ports("IPv4", endpoint(6), json!(null)),
        with_ports(
            "FQDN",
            json!([{ "addresses": ["typha.example"] }]),
            json!([{ "name": "calico-typha", "port": 17 }]),
        ),
    ])])
    .await;
    let source = server.source().await;
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:11 -", "10.0.0.2:12 -"]);
    assert_eq!(ask(&source.with_port_name("metrics")).await.unwrap(), ["10.0.0.1:1 -"]);
}

#[tokio::test]
async fn page_by_page() {
    let page = |last: u8| vec![slice("IPv4", json!([ready(&format!("10.0.0.{last}"), "n")]))];
    let server = ApiServer::start(vec![
        Answer::Page(page(1), "to/ken=1 &x"),
        Answer::Page(vec![], "token2"),
        Answer::Slices(page(3)),
    ])
    .await;
    let typhas = ask(&server.source().await).await.unwrap();
    assert_eq!(typhas, ["10.0.0.1:5473 n", "10.0.0.3:5473 n"]);
    assert_eq!(
        server.requests(),
        [LIST.to_owned(), format!("{LIST}&continue=to%2Fken%3D1+%26x"), format!("{LIST}&continue=token2")]
    );
}

#[tokio::test]
async fn each_call_asks_anew_on_the_same_connection() {
    let answer =
        |last: u8| Answer::Slices(vec![slice("IPv4", json!([ready(&format!("10.0.0.{last}"), "n")]))]);
    let server = ApiServer::start(vec![answer(1), Answer::Slices(vec![]), answer(2)]).await;
    let source = server.source().await;
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.1:5473 n"]);
    ask(&source).await.unwrap_err();
    assert_eq!(ask(&source).await.unwrap(), ["10.0.0.2:5473 n"]);
    assert_eq!(server.requests(), [LIST, LIST, LIST]);
    assert_eq!(server.accepted(), 1);
    server.until_open(1).await;
    drop(source);
    server.until_open(0).await;
}
