//! What is left of a listener's best rate when twice as many Felixes come.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::version::TLS13;
use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use typha_tls::FelixConnector;
use typha_tls::testing::{CertificateSpec, KeyType, Purpose, TYPHA_COMMON_NAME};

use crate::hostile::{connector, pki};
use crate::other_process::OtherProcess;
use crate::site::raise_descriptor_limit;

const MEASURED: Duration = Duration::from_secs(5);
/// Until the queue is full and caches are warm.
const WARM_UP: Duration = Duration::from_secs(3);
/// Felixes at a time, in the closed loop.
const CLOSED: usize = 64;

/// One Felix that goes as soon as it is in, or has been turned away.
async fn come_and_go(felix: FelixConnector, typha: std::net::SocketAddr, from: u8) {
    let socket = TcpSocket::new_v4().unwrap();
    let options = SockRef::from(&socket);
    options.set_reuse_address(true).unwrap();
    // No ports are kept waiting after a reset.
    options.set_linger(Some(Duration::ZERO)).unwrap();
    // An address has its share: that of all counts here.
    socket.bind((Ipv4Addr::new(127, 0, 2, from), 0).into()).unwrap();
    if let Ok(tcp) = socket.connect(typha).await {
        let _ = felix.connect_tcp(tcp).await;
    }
}

/// Handshakes per second.
async fn rate(typha: &mut OtherProcess) -> f64 {
    sleep(WARM_UP).await;
    let (before, began) = (typha.report(), Instant::now());
    sleep(MEASURED).await;
    let (after, took) = (typha.report(), began.elapsed());
    let busy = (after.processor_time - before.processor_time).as_secs_f64() / took.as_secs_f64();
    println!("{before:?}\n{after:?}\nTypha's processor was busy for {:.0} %", busy * 100.0);
    (after.accepted - before.accepted) as f64 / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "takes 20 s and four processors; for the release build"]
async fn twice_as_many_felixes_as_can_be_served_do_not_lower_the_rate() {
    raise_descriptor_limit();
    // A Typha whose handshakes are dear, so that a load of twice what it can do fits beside it on one machine.
    let mut pki = pki();
    let spec =
        CertificateSpec::leaf(TYPHA_COMMON_NAME).purpose(Purpose::ServerAuth).key_type(KeyType::Rsa2048);
    pki.typha = pki.ca.issue(spec).unwrap();
    let felix = connector(&pki, &TLS13);
    let mut typha = OtherProcess::start(&pki, None);
    let address = typha.address();

    let stop = Arc::new(AtomicBool::new(false));
    let mut felixes = JoinSet::new();
    for index in 0..CLOSED {
        let (felix, stop) = (felix.clone(), stop.clone());
        felixes.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                come_and_go(felix.clone(), address, (index % 16) as u8).await;
            }
        });
    }
    let peak = rate(&mut typha).await;
    stop.store(true, Ordering::Relaxed);
    felixes.join_all().await;

    let arrivals = 2.0 * peak;
    let came = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = came.clone();
    let load = tokio::spawn(async move {
        let (began, mut felixes) = (Instant::now(), JoinSet::new());
        loop {
            let due = (began.elapsed().as_secs_f64() * arrivals) as u64;
            for index in counted.load(Ordering::Relaxed)..due {
                felixes.spawn(come_and_go(felix.clone(), address, (index % 16) as u8));
                counted.store(index + 1, Ordering::Relaxed);
            }
            while felixes.try_join_next().is_some() {}
            sleep(Duration::from_millis(1)).await;
        }
    });
    let before = (typha.report().total, Instant::now());
    let goodput = rate(&mut typha).await;
    let ended = (typha.report().total - before.0) as f64 / before.1.elapsed().as_secs_f64();
    load.abort();
    println!(
        "peak {peak:.0}/s; {arrivals:.0}/s came, of which Typha has ended {ended:.0}/s: {goodput:.0}/s got in ({:.0} %)",
        goodput / peak * 100.0
    );
    // Else it is the load that was too little.
    assert!(ended >= 1.5 * peak, "{ended:.0}/s only");
    assert!(goodput >= 0.9 * peak, "{goodput:.0}/s of {peak:.0}/s");
}
