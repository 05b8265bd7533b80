//! Programs behind Typha's sidecar that are gone, come back or do not answer, and clients that must not reach them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;

use serde_json::json;

use crate::rig::{Backend, Pair, Site, rest};

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

#[test]
fn one_that_is_gone_and_comes_back() {
    let site = Site::new();
    let backend = Backend::new();
    let address = backend.address();
    drop(backend);
    let typha = site.typha(&address.to_string(), &["--stats-interval", "60"]);
    let felix = site.felix(&typha, "127.0.0.1:0", &[]);
    for _ in 0..3 {
        let client = felix.connect();
        assert_eq!(rest(&client), (vec![], RESET));
        let failed = typha.next("forward_failed");
        let refused = format!(
            "can not connect to {address} without TLS; check that the program there is running: Connection refused \
             (os error 111)"
        );
        assert_eq!(failed["detail"], refused);
        assert_eq!(felix.next("broken_off")["side"], "tls");
    }
    let backend = TcpListener::bind(address).unwrap();
    let mut client = felix.connect();
    client.write_all(b"ping").unwrap();
    let (mut server, _) = backend.accept().unwrap();
    let mut received = [0; 4];
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"ping");
    drop((client, server));
    let (code, lines) = typha.terminate();
    assert_eq!((code, &lines.last().unwrap()["forwarded"]["failed"]), (Some(0), &json!(3)));
}

/// It accepts nothing, or reads nothing: the connections of others go on.
#[test]
fn one_that_stalls() {
    let pair = Pair::new();
    // The system completes these connections, and nobody reads from them.
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let client = pair.felix.connect();
            let server = pair.backend.accept();
            (client, server)
        })
        .collect();
    for (client, _) in &stalled {
        client.set_nonblocking(true).unwrap();
        let mut client = client;
        // As much as all buffers on the way take.
        while client.write(&[7; 65536]).is_ok() {}
    }
    let [mut client, mut server] = pair.connect();
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut [0; 4]).unwrap();
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
}

/// Who is not accepted gets no connection to the program, not even an empty one.
#[test]
fn only_who_is_accepted_reaches_it() {
    let (site, backend) = (Site::new(), Backend::new());
    let typha = site.typha(&backend.address().to_string(), &[]);
    let stranger = site.felix_as("stranger", &typha, "127.0.0.1:0", &[]);
    for _ in 0..5 {
        let mut client = stranger.connect();
        // What is sent meanwhile goes nowhere.
        let _ = client.write_all(b"let me in");
        let (received, ended) = rest(&client);
        assert!(received.is_empty() && ended == RESET, "{ended:?}");
        let refused = stranger.next("refused");
        assert_eq!(
            (&refused["reason"], &refused["alert"]),
            (&json!("refused_by_peer"), &json!("access_denied"))
        );
        assert_eq!(typha.next("refused")["reason"], "identity_mismatch");
    }
    // A good one after them is the first that it sees.
    let felix = site.felix(&typha, "127.0.0.1:0", &[]);
    let mut client = felix.connect();
    client.write_all(b"hello").unwrap();
    let mut received = [0; 5];
    backend.accept().read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hello");
}
