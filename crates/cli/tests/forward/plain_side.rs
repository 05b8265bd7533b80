//! The side without TLS: Unix sockets, their users, and what is not allowed by default.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::{Backend, Daemon, SOON, Site, bounded, command, reset, rest};

fn ping(mut client: UnixStream, server: &UnixListener) {
    client.write_all(b"ping").unwrap();
    let (mut server, _) = server.accept().unwrap();
    let mut received = [0; 4];
    server.read_exact(&mut received).unwrap();
    server.write_all(&received).unwrap();
    client.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"ping");
}

#[test]
fn unix_sockets_at_both_ends() {
    let site = Site::new();
    let [of_felix, of_typha] = ["felix.sock", "typha.sock"].map(|name| site.path(name));
    let server = UnixListener::bind(&of_typha).unwrap();
    let typha = site.typha(&format!("unix:{of_typha}"), &[]);
    let felix = site.felix(&typha, &format!("unix:{of_felix}"), &[]);
    assert_eq!(felix.address, format!("unix:{of_felix}"));
    assert_eq!(fs::metadata(&of_felix).unwrap().permissions().mode() & 0o777, 0o600);
    ping(UnixStream::connect(&of_felix).unwrap(), &server);
    // The socket in use is not taken over.
    let second = run_felix(&site, &typha.address, &["--listen", &format!("unix:{of_felix}")]);
    assert_eq!(second.status.code(), Some(5), "{second:?}");
    let text = String::from_utf8(second.stderr).unwrap();
    let in_use = format!(
        "typha-tls: can not listen at unix:{of_felix}; stop the program that uses it, or give another address: Address \
         already in use (os error 98)\n"
    );
    assert!(text.ends_with(&in_use), "{text}");
    assert_eq!(felix.terminate().0, Some(0));
    assert!(!fs::exists(&of_felix).unwrap(), "the socket is left");
    // One that a killed process has left is replaced.
    drop(UnixListener::bind(&of_felix).unwrap());
    let felix = site.felix(&typha, &format!("unix:{of_felix}"), &[]);
    ping(UnixStream::connect(&of_felix).unwrap(), &server);
    drop(felix);
    // Any other file is kept.
    let file = site.path("file");
    fs::write(&file, "precious").unwrap();
    let refused = run_felix(&site, &typha.address, &["--listen", &format!("unix:{file}")]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn the_users_of_a_unix_socket() {
    let site = Site::new();
    let (backend, socket) = (Backend::new(), site.path("felix.sock"));
    let typha = site.typha(&backend.address().to_string(), &[]);
    let our_uid = fs::metadata(site.dir.path()).unwrap().uid();
    let address = format!("unix:{socket}");
    let other = (our_uid + 1).to_string();
    let felix = site.felix(&typha, &address, &["--allow-uid", &other]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    let mut client = UnixStream::connect(&socket).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let refused = felix.next("refused_local");
    assert_eq!(refused["uid"].as_u64(), Some(our_uid.into()));
    assert_eq!(
        refused["detail"],
        format!("the user with UID {our_uid} may not connect; allow it with --allow-uid {our_uid}")
    );
    drop(felix);
    let ours = our_uid.to_string();
    let _felix = site.felix(&typha, &address, &["--allow-uid", &other, "--allow-uid", &ours]);
    let mut client = UnixStream::connect(&socket).unwrap();
    client.write_all(b"x").unwrap();
    backend.accept().read_exact(&mut [0]).unwrap();
}

fn run_felix(site: &Site, typha: &str, more: &[&str]) -> Output {
    let config = site.path("felix.cfg");
    command(&[&["felix", "--config", &config, "--connect", typha], more].concat()).output().unwrap()
}

/// By default, nothing leaves the machine without TLS.
#[test]
fn the_network_needs_a_flag() {
    let site = Site::new();
    let config = site.path("typha.cfg");
    let typha = |forward: &str| {
        let arguments = ["typha", "--config", &config, "--listen", "127.0.0.1:0", "--forward", forward];
        command(&arguments).output().unwrap()
    };
    let remedy = "everything would cross the network without TLS; use a loopback address or unix:PATH, or give \
                  --allow-unencrypted-network";
    for address in ["192.0.2.1:5473", "[2001:db8::1]:5473", "[::ffff:192.0.2.1]:5473"] {
        let text = format!("typha-tls: {address} is not a loopback address: {remedy}\n");
        for output in [typha(address), run_felix(&site, "127.0.0.1:1", &["--listen", address])] {
            assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(2), &*text));
        }
    }
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = run_felix(&site, "127.0.0.1:1", &["--listen", address]);
        let text = format!("typha-tls: {address} is not a loopback address: {remedy}\n");
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(2), &*text));
    }
    // The loopback network of IPv4 is larger than one address.
    let backend = Backend::new();
    let sidecar = site.typha(&backend.address().to_string(), &[]);
    drop(site.felix(&sidecar, "127.0.0.9:0", &[]));
    drop(site.felix(&sidecar, "[::ffff:127.0.0.9]:0", &[]));
    let felix = site.felix(&sidecar, "0.0.0.0:0", &["--allow-unencrypted-network"]);
    assert!(felix.address.starts_with("0.0.0.0:"));
    // Without a side without TLS, it does nothing.
    for end in ["typha", "felix"] {
        let output = command(&[end, "--allow-unencrypted-network"]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("the following required arguments were not provided"), "{text}");
    }
}

/// Calico's own configuration names the sidecar, and the command reads the same parameters.
#[test]
fn the_command_itself_is_no_target() {
    let site = Site::new();
    let port = Backend::new().address().port();
    let ours = format!("127.0.0.1:{port}");
    let remedy = "give the address of a Typha with --connect, --dns, --kubernetes-service or TyphaAddr";
    for listen in [&ours, &format!("0.0.0.0:{port}")] {
        let output = run_felix(&site, &ours, &["--listen", listen, "--allow-unencrypted-network"]);
        let text = format!("typha-tls: {ours} is the address of this command itself; {remedy}\n");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.ends_with(&text), "{stderr}");
    }
    let remedy = "give another address with --forward, or with --listen (ServerHost and ServerPort)";
    for listen in [&ours, &format!("[::]:{port}")] {
        let arguments =
            ["typha", "--config", &site.path("typha.cfg"), "--listen", listen, "--forward", &ours];
        let output = command(&arguments).output().unwrap();
        let text = format!("typha-tls: {ours} is the address of this command itself; {remedy}\n");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.ends_with(&text), "{stderr}");
    }
}

#[test]
fn a_unix_socket_that_can_not_be_bound() {
    let site = Site::new();
    let missing = format!("unix:{}", site.path("missing/socket"));
    let output = run_felix(&site, "127.0.0.1:1", &["--listen", &missing]);
    let text = format!(
        "typha-tls: can not listen at {missing}; create the directory of the socket: No such file or directory (os \
         error 2)\n"
    );
    assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(5), &*text));
    let output = run_felix(&site, "127.0.0.1:1", &["--listen", &format!("unix:/{}", "x".repeat(107))]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the path of a Unix socket has at most 107 bytes; give a shorter one"), "{text}");
}

/// A Typha or Felix whose TLS was left on gets no answer that it understands.
#[test]
fn a_program_that_speaks_tls_is_named() {
    let (site, backend) = (Site::new(), Backend::new());
    let log = site.path("log");
    let typha = site.typha_logging(&backend.address().to_string(), &log);
    let felix = site.felix(&typha, "127.0.0.1:0", &[]);
    for start in [&b"plain"[..], b"\x16\x03\x01\x02\x00"] {
        let mut client = felix.connect();
        let mut server = backend.accept();
        server.write_all(start).unwrap();
        // It is carried all the same.
        let mut received = [0; 5];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, start);
    }
    let warning =
        "the program without TLS speaks TLS: remove its TLS parameters (docs/in-front-of-calico.md)";
    let count = || fs::read_to_string(&log).unwrap().matches(warning).count();
    let began = Instant::now();
    while count() == 0 && began.elapsed() < SOON {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(), 1);
}

/// Typha may start after its sidecar, with other settings than the operator believes.
#[cfg(target_os = "linux")]
#[test]
fn a_backend_that_is_open_to_the_network_is_named() {
    let site = Site::new();
    let port = Backend::new().address().port();
    let forward = format!("127.0.0.1:{port}");
    let log = site.path("log");
    let typha = site.typha_logging(&forward, &log);
    let felix = site.felix(&typha, "127.0.0.1:0", &[]);
    let warning = format!(
        "the port of the backend is also open to the network: whoever reaches it needs no certificate; let the \
         backend listen at a loopback address only (Typha: ServerHost = 127.0.0.1) backend={forward} \
         open=0.0.0.0:{port}"
    );
    let count = || fs::read_to_string(&log).unwrap().matches(&warning).count();
    assert_eq!(count(), 0);
    for _ in 0..2 {
        let backend = TcpListener::bind(("0.0.0.0", port)).unwrap();
        for _ in 0..2 {
            let mut client = felix.connect();
            client.write_all(b"x").unwrap();
            backend.accept().unwrap().0.read_exact(&mut [0]).unwrap();
            drop(client);
            typha.next("ended");
        }
        let began = Instant::now();
        while count() == 0 && began.elapsed() < SOON {
            thread::sleep(Duration::from_millis(20));
        }
        drop(backend);
        // It is gone in between.
        let _ = rest(&felix.connect());
        typha.next("forward_failed");
    }
    assert_eq!(count(), 1, "the backend comes and goes, and there is one warning");
}

/// The place of a program that has given up is free while Typha does not answer.
#[test]
fn a_program_that_is_gone_is_not_waited_for() {
    let site = Site::new();
    // It accepts, and says nothing.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, config) = (stalled.local_addr().unwrap().to_string(), site.path("felix.cfg"));
    let arguments = ["felix", "--connect", &address, "--config", &config, "--listen", "127.0.0.1:0"];
    let felix =
        Daemon::start(&[&arguments[..], &["--max-connections", "1", "--stats-interval", "60"]].concat());
    for _ in 0..2 {
        let client = felix.connect();
        let (typha, _) = stalled.accept().unwrap();
        reset(client);
        let (hello, _) = rest(&bounded(typha));
        assert!(!hello.is_empty());
    }
    for _ in 0..2 {
        let refused = felix.next("refused");
        let detail = "the local program reset its connection before a Typha accepted us";
        assert_eq!((&refused["reason"], &refused["detail"]), (&json!("local_reset"), &json!(detail)));
    }
    let (code, lines) = felix.terminate();
    assert_eq!(code, Some(0));
    assert_eq!(lines.last().unwrap()["connects_failed"], json!({ "local_reset": 2 }));
}
