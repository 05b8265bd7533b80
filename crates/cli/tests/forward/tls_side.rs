//! The side with TLS: streams without an orderly end, and certificates that change under live connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Instant;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use typha_tls::RequiredIdentity;
use typha_tls::testing::{CertificateSpec, Purpose, TYPHA_COMMON_NAME, TestCa, connector};

use crate::rig::{Backend, Pair, SOON, Site, rest};

/// TCP can end without TLS's own end: then the stream may be cut off, and the program must not take it for whole.
#[test]
fn an_end_without_close_notify_is_a_reset() {
    let (site, backend) = (Site::new(), Backend::new());
    let typha = site.typha(&backend.address().to_string(), &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
        let felix = connector(&site.pki.ca, &site.pki.felix, required).unwrap();
        let mut tls = felix.connect_tcp(TcpStream::connect(&typha.address).await.unwrap()).await.unwrap();
        tls.write_all(b"the first half").await.unwrap();
        tls.flush().await.unwrap();
        let mut server = backend.accept();
        let mut received = [0; 14];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"the first half");
        SockRef::from(tls.get_ref()).shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&server), (vec![], Err(ErrorKind::ConnectionReset)));
        let broken = typha.next("broken_off");
        assert_eq!(broken["side"], "tls");
        // An end in order, for comparison.
        let mut tls = felix.connect_tcp(TcpStream::connect(&typha.address).await.unwrap()).await.unwrap();
        tls.write_all(b"all").await.unwrap();
        tls.shutdown().await.unwrap();
        assert_eq!(rest(&backend.accept()), (b"all".to_vec(), Ok(())));
    });
}

/// However short the time for the shutdown is.
#[test]
fn a_shutdown_that_cuts_off_is_a_reset() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for timeout in ["0", "1", "5"] {
        let (site, backend) = (Site::new(), Backend::new());
        let typha = site.typha(&backend.address().to_string(), &["--shutdown-timeout", timeout]);
        let required = RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap();
        let felix = connector(&site.pki.ca, &site.pki.felix, required).unwrap();
        runtime.block_on(async {
            let mut tls = felix.connect_tcp(TcpStream::connect(&typha.address).await.unwrap()).await.unwrap();
            let mut server = backend.accept();
            server.write_all(b"a part").unwrap();
            tls.read_exact(&mut [0; 6]).await.unwrap();
            typha.signal("TERM");
            let ended = tls.read(&mut [0]).await.unwrap_err();
            assert_eq!(ended.kind(), ErrorKind::ConnectionReset, "{timeout} s: {ended}");
        });
    }
}

/// Waits until both sidecars use their new files.
fn reload(pair: &Pair) {
    for daemon in [&pair.typha, &pair.felix] {
        daemon.signal("HUP");
        let line = daemon.next_where(|line| line["event"] == "reloaded" || line["event"] == "reload_failed");
        assert_eq!(line["event"], "reloaded", "{line}");
    }
}

/// Certificates are renewed again and again, and the CA once, while connections carry data.
fn renewals(connections: usize, times: usize) {
    // Files are read on SIGHUP only, so that each has one line.
    let on_signal = ["--reload-interval", "0"];
    let pair = Pair::with(&on_signal, &on_signal);
    let mut connections: Vec<_> = (0..connections).map(|_| pair.connect()).collect();
    let exchange = |connections: &mut Vec<[std::net::TcpStream; 2]>| {
        for [client, server] in connections {
            for (from, to) in [(&*client, &*server), (&*server, &*client)] {
                let (mut from, mut to) = (from, to);
                from.write_all(b"some data").unwrap();
                let mut received = [0; 9];
                to.read_exact(&mut received).unwrap();
                assert_eq!(&received, b"some data");
            }
        }
    };
    let renew = |ca: &TestCa| {
        for (name, common_name, purpose) in
            [("felix", "typha-client", Purpose::ClientAuth), ("typha", "typha-server", Purpose::ServerAuth)]
        {
            let leaf = ca.issue(CertificateSpec::leaf(common_name).purpose(purpose)).unwrap();
            pair.site.write_leaf(name, &leaf);
        }
    };
    for _ in 0..times {
        renew(&pair.site.pki.ca);
        reload(&pair);
        exchange(&mut connections);
    }
    // A second CA beside the first, certificates of it, and the first one goes.
    let second = TestCa::new(CertificateSpec::ca("calico-typha-ca-2")).unwrap();
    let first = pair.site.pki.ca.root_pem();
    pair.site.write("ca.pem", &(first + &second.root_pem()));
    reload(&pair);
    renew(&second);
    reload(&pair);
    exchange(&mut connections);
    let mut of_second: Vec<_> = (0..5).map(|_| pair.connect()).collect();
    pair.site.write("ca.pem", &second.root_pem());
    pair.typha.signal("HUP");
    pair.felix.signal("HUP");
    // Those of the first CA go, and the others stay.
    for _ in 0..connections.len() {
        assert_eq!(pair.typha.next("lost_trust")["reason"], "unknown_ca");
    }
    let began = Instant::now();
    for [client, server] in &connections {
        for end in [client, server] {
            let (received, _) = rest(end);
            assert_eq!(received, b"");
        }
    }
    assert!(began.elapsed() < SOON, "they are still there");
    exchange(&mut of_second);
    exchange(&mut vec![pair.connect()]);
}

#[test]
fn renewals_under_live_connections() {
    renewals(20, 4);
}

#[test]
#[ignore = "of the real size"]
fn renewals_under_two_hundred_connections() {
    renewals(200, 20);
}
