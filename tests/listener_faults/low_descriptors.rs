//! A process that runs out of file descriptors: it survives, rests meanwhile, and is back at once.

use std::time::Duration;

use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::hostile::{connector, pki};
use crate::other_process::OtherProcess;
use crate::site::{HANG, bounded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_descriptors_is_survived() {
    /// At least; there may be gaps among those that it has.
    const DESCRIPTORS: u64 = 16;
    const SILENT: u64 = 40;
    let pki = pki();
    let felix = connector(&pki, &TLS13);
    let mut typha = OtherProcess::start(&pki, Some(DESCRIPTORS));
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(typha.address()).await.unwrap());
    }
    let deadline = Instant::now() + HANG;
    while typha.report().accept_errors == 0 {
        assert!(Instant::now() < deadline, "it never lacks descriptors");
        sleep(Duration::from_millis(5)).await;
    }
    let (before, began) = (typha.report(), Instant::now());
    assert!((DESCRIPTORS..SILENT).contains(&before.waiting), "{before:?}");
    sleep(Duration::from_secs(2)).await;
    let after = typha.report();
    let spent = after.processor_time - before.processor_time;
    assert!(spent < began.elapsed() / 4, "{spent:?} of {:?}", began.elapsed());
    // Every 500 ms in the end.
    let errors = after.accept_errors - before.accept_errors;
    assert!((1..=20).contains(&errors), "{errors} errors of accept()");
    assert_eq!((after.waiting, after.total), (before.waiting, 0), "{after:?}");

    drop(silent);
    let freed = Instant::now();
    let tcp = TcpStream::connect(typha.address()).await.unwrap();
    let stream = bounded("a handshake", felix.connect_tcp(tcp)).await.unwrap();
    let took = freed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(stream);
    let deadline = Instant::now() + HANG;
    while typha.report().total < SILENT + 1 {
        assert!(Instant::now() < deadline, "{:?}", typha.report());
        sleep(Duration::from_millis(5)).await;
    }
    let report = typha.report();
    assert_eq!((report.accepted, report.probed, report.total), (1, SILENT, SILENT + 1), "{report:?}");
}
