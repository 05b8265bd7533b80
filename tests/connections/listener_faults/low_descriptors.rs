//! A process that runs out of file descriptors: it survives, rests meanwhile, and is back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use typha_tls::{AuthenticatedStream, FelixConnector};

use super::other_process::{OtherProcess, Report};
use super::site::{HANG, bounded};
use crate::hostile::{connector, pki};

/// Tries until it is in. Counts the tries.
async fn insist(
    felix: FelixConnector,
    typha: std::net::SocketAddr,
    tries: Arc<AtomicU64>,
    in_service: mpsc::Sender<AuthenticatedStream<TcpStream>>,
) {
    loop {
        tries.fetch_add(1, Ordering::Relaxed);
        let tcp = TcpStream::connect(typha).await;
        let Ok(tcp) = tcp else { continue };
        match felix.connect_tcp(tcp).await {
            Ok(stream) => return in_service.send(stream).await.unwrap(),
            // It was silent for a moment when descriptors ran out.
            Err(error) => assert_eq!(error.label(), "io", "{error}"),
        }
    }
}

async fn until(what: &str, typha: &mut OtherProcess, is_so: impl Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + HANG;
    loop {
        let report = typha.report();
        if is_so(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "not so: {what}; {report:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_descriptors_is_survived() {
    /// At least; there may be gaps among those that it has.
    const DESCRIPTORS: u64 = 16;
    const FELIXES: u64 = 40;
    let pki = pki();
    let felix = connector(&pki, &TLS13).with_handshake_timeout(HANG);
    let mut typha = OtherProcess::start(&pki, Some(DESCRIPTORS));
    let (in_service, mut served) = mpsc::channel(1);
    let tries = Arc::new(AtomicU64::new(0));
    for _ in 0..FELIXES {
        tokio::spawn(insist(felix.clone(), typha.address(), tries.clone(), in_service.clone()));
    }
    let mut holders = Vec::new();
    for _ in 0..DESCRIPTORS {
        holders.push(bounded("a connection", served.recv()).await.unwrap());
    }
    // Every 500 ms by then. A connection that finds a gap is accepted.
    let before = until("it lacks descriptors", &mut typha, |report| report.accept_errors >= 8).await;
    while let Ok(stream) = served.try_recv() {
        holders.push(stream);
        sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    assert_eq!((before.active, before.accepted), (holders.len() as u64, before.active), "{before:?}");
    assert!((DESCRIPTORS..FELIXES).contains(&before.active), "{before:?}");
    sleep(Duration::from_secs(2)).await;
    let after = typha.report();
    let spent = after.processor_time - before.processor_time;
    assert!(spent < began.elapsed() / 4, "{spent:?} of {:?}", began.elapsed());
    let errors = after.accept_errors - before.accept_errors;
    assert!((1..=20).contains(&errors), "{errors} errors of accept()");
    assert_eq!((after.active, after.accepted), (before.active, before.accepted), "{after:?}");

    let freed = Instant::now();
    drop(holders);
    let mut in_all = before.accepted;
    while in_all < FELIXES {
        drop(bounded("a connection", served.recv()).await.unwrap());
        in_all += 1;
        if in_all == before.accepted + 1 {
            assert!(freed.elapsed() < Duration::from_secs(1), "{:?}", freed.elapsed());
        }
    }
    let tries = tries.load(Ordering::Relaxed);
    let report =
        until("all are counted", &mut typha, |report| report.total >= tries && report.active == 0).await;
    assert_eq!((report.accepted, report.waiting, report.total), (FELIXES, 0, tries), "{report:?}");
}
