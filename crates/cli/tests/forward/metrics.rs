//! `--metrics`: the page for Prometheus against the JSON statistics, and the probes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::rig::{Backend, Daemon, Pair, Site, bounded, rest};

/// The status and the body of an answer.
pub(crate) fn get(daemon: &Daemon, path: &str) -> (u16, String) {
    request(daemon, "GET", path)
}

fn request(daemon: &Daemon, method: &str, path: &str) -> (u16, String) {
    let mut http = bounded(TcpStream::connect(daemon.metrics.as_ref().unwrap()).unwrap());
    write!(http, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The samples of the page: name with labels, and value.
pub(crate) fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let base = name.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| base.strip_suffix(suffix))
                .unwrap_or(base);
            assert!(types.contains_key(base), "{name} has no type");
            assert!(
                samples.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                "{name} is there twice"
            );
        }
    }
    samples
}

/// The samples that the JSON statistics stand for.
fn of_statistics(stats: &Value) -> BTreeMap<String, f64> {
    let mut expected = BTreeMap::new();
    let mut add = |name: String, value: &Value| {
        expected.insert(name, value.as_f64().unwrap());
    };
    for (member, name) in [
        ("accepted", "typha_connections_accepted"),
        ("active", "typha_connections_active"),
        ("unreleased", "typha_connections_unreleased"),
        ("queued", "typha_handshakes_queued"),
        ("in_handshake", "typha_handshakes_in_progress"),
        ("probed", "typha_connections_probed"),
        ("accept_errors", "typha_accept_errors"),
    ] {
        add(name.to_owned(), &stats[member]);
    }
    for (member, name, label) in [
        ("matched", "typha_connections_matched", "by"),
        ("refused", "typha_handshakes_refused", "reason"),
        ("failed", "typha_handshakes_failed", "reason"),
        ("timed_out", "typha_handshakes_timed_out", "phase"),
        ("shed", "typha_connections_shed", "cause"),
        ("dropped", "typha_connections_dropped", "reason"),
        ("lost_trust", "typha_connections_lost_trust", "reason"),
    ] {
        for (value, count) in stats[member].as_object().unwrap() {
            // A label without an event has no sample.
            if count != 0 {
                add(format!("{name}{{{label}=\"{value}\"}}"), count);
            }
        }
    }
    let seconds = &stats["handshake_seconds"];
    add("typha_handshake_seconds_count".to_owned(), &seconds["count"]);
    add("typha_handshake_seconds_sum".to_owned(), &seconds["sum"]);
    for bucket in seconds["buckets"].as_array().unwrap() {
        let bound = bucket[0].as_f64().map_or("+Inf".to_owned(), |bound| bound.to_string());
        add(format!("typha_handshake_seconds_bucket{{le=\"{bound}\"}}"), &bucket[1]);
    }
    let is_reachable = stats["forwarded"]["backend_reachable"].as_bool().expect("it was connected to");
    expected.insert("typha_backend_reachable".to_owned(), is_reachable.into());
    expected.extend(of_forwarding(stats));
    expected
}

fn of_forwarding(stats: &Value) -> BTreeMap<String, f64> {
    let forwarded = &stats["forwarded"];
    [
        ("active", "typha_forwarded_active"),
        ("in_order", "typha_forwarded_ended{how=\"in_order\"}"),
        ("closed", "typha_forwarded_ended{how=\"closed\"}"),
        ("broken_off", "typha_forwarded_ended{how=\"broken_off\"}"),
        ("failed", "typha_forward_failed"),
        ("bytes_received", "typha_forwarded_bytes{direction=\"received\"}"),
        ("bytes_sent", "typha_forwarded_bytes{direction=\"sent\"}"),
    ]
    .into_iter()
    .map(|(member, name)| (name.to_owned(), forwarded[member].as_f64().unwrap()))
    .collect()
}

/// The samples but those of the configuration, which the statistics do not have.
fn of_page(daemon: &Daemon) -> BTreeMap<String, f64> {
    let (status, page) = get(daemon, "/metrics");
    assert_eq!(status, 200);
    let mut samples = samples(&page);
    for (name, value) in [
        ("typha_tls_reloads{outcome=\"replaced\"}", 0.0),
        ("typha_tls_reloads{outcome=\"failed\"}", 0.0),
        ("typha_tls_snapshot_generation", 1.0),
        ("typha_tls_last_reload_successful", 1.0),
    ] {
        assert_eq!(samples.remove(name), Some(value), "{name}");
    }
    let certificates = samples.len();
    samples.retain(|name, _| !name.starts_with("typha_tls_certificate_not_after_seconds{"));
    assert_eq!(certificates - samples.len(), 2);
    samples
}

#[test]
fn the_page_has_what_the_statistics_have() {
    let options = ["--metrics", "127.0.0.1:0", "--stats-interval", "0.1"];
    let pair = Pair::with(&options, &options);
    let stranger = pair.site.felix_as("stranger", &pair.typha, "127.0.0.1:0", &[]);
    let _ = rest(&stranger.connect());
    drop(TcpStream::connect(&pair.typha.address).unwrap());
    let [mut client, mut server] = pair.connect();
    client.write_all(b"some").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    drop((client, server));
    let [_client, _server] = pair.connect();
    let of_typha = pair.typha.next_where(|line| {
        let all = [
            &line["accepted"],
            &line["probed"],
            &line["refused"]["identity_mismatch"],
            &line["forwarded"]["in_order"],
            &line["forwarded"]["active"],
        ];
        line["event"] == "stats"
            && all.map(Value::as_u64) == [Some(2), Some(1), Some(1), Some(1), Some(1)]
            && line["in_handshake"] == 0
    });
    let (mut page, mut expected) = (of_page(&pair.typha), of_statistics(&of_typha));
    let [sum, expected_sum] = [&mut page, &mut expected].map(|samples| {
        // Its parts are added in another order.
        samples.remove("typha_handshake_seconds_sum").unwrap()
    });
    assert!((sum - expected_sum).abs() < 1e-6 * sum, "{sum} {expected_sum}");
    assert_eq!(page, expected);
    let of_felix = pair.felix.next_where(|line| {
        let forwarded = &line["forwarded"];
        line["event"] == "stats" && forwarded["in_order"] == 1 && forwarded["active"] == 1
    });
    assert_eq!(of_page(&pair.felix), of_forwarding(&of_felix));
}

#[test]
fn connects_of_felix_that_fail_are_counted() {
    let (site, backend) = (Site::new(), Backend::new());
    let typha = site.typha(&backend.address().to_string(), &[]);
    let options = ["--metrics", "127.0.0.1:0", "--stats-interval", "0.1"];
    let stranger = site.felix_as("stranger", &typha, "127.0.0.1:0", &options);
    let _ = rest(&stranger.connect());
    let stats = stranger.next_where(|line| line["connects_failed"]["refused_by_peer"] == 1);
    let mut expected = of_forwarding(&stats);
    expected.insert("typha_connects_failed{reason=\"refused_by_peer\"}".to_owned(), 1.0);
    assert_eq!(of_page(&stranger), expected);
}

#[test]
fn the_probes() {
    let (site, backend) = (Site::new(), Backend::new());
    let address = backend.address().to_string();
    let metrics = ["--metrics", "127.0.0.1:0"];
    let typha = site.typha(&address, &metrics);
    let ok = (200, "ok\n".to_owned());
    assert_eq!(get(&typha, "/healthz"), ok);
    assert_eq!(get(&typha, "/readyz"), ok);
    let felix = site.felix(&typha, "127.0.0.1:0", &metrics);
    assert_eq!(get(&felix, "/healthz"), ok);
    assert_eq!(get(&felix, "/readyz"), ok);
    let stranger = site.felix_as("stranger", &typha, "127.0.0.1:0", &metrics);
    let (status, text) = get(&stranger, "/readyz");
    assert_eq!(status, 503);
    assert!(text.contains("access_denied"), "{text}");
    assert_eq!(get(&stranger, "/healthz"), ok);
    assert_eq!(request(&typha, "POST", "/metrics"), (405, "use GET or HEAD\n".to_owned()));
    assert_eq!(
        get(&typha, "/other"),
        (404, "there is no such page; the pages are /metrics, /healthz and /readyz\n".to_owned())
    );
    // Without the program behind it, it is not ready.
    drop(backend);
    let gone = site.typha(&address, &metrics);
    let refused = format!(
        "can not connect to {address} without TLS; check that the program there is running: Connection refused \
         (os error 111)\n"
    );
    assert_eq!(get(&gone, "/readyz"), (503, refused));
    assert_eq!(get(&gone, "/healthz"), ok);
}
