//! Handshakes over a link that is slow and loses packets.

use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use typha_tls::listener::ListenerLimits;

use crate::hostile::{acceptor, connector, pki};
use crate::hosts::{Hosts, bounded, listen};
use crate::inside::inside;

const FELIXES: usize = 20;
/// Typha's bound, and Felix's.
const BOUND: Duration = Duration::from_secs(10);

#[test]
fn handshakes_complete_over_a_bad_link() {
    inside("bad_link::handshakes_complete_over_a_bad_link", || async {
        let hosts = Hosts::new()?;
        let netem = hosts.queue(&["netem", "delay", "10ms", "loss", "5%"]);
        if let Err(reason) = &netem {
            eprintln!(
                "no netem, so neither its delay nor its loss: a narrow link with a short queue instead ({reason})"
            );
            hosts.queue(&["tbf", "rate", "1mbit", "burst", "2kb", "latency", "50ms"])?;
        }
        let pki = pki();
        let acceptor = acceptor(&pki, &TLS13).with_handshake_timeout(BOUND);
        let (mut listener, typha) = listen(acceptor, ListenerLimits::default()).await;
        let handle = listener.handle();
        let felix = connector(&pki, &TLS13).with_handshake_timeout(BOUND);
        let felixes = hosts.felix(move || async move {
            let mut felixes = JoinSet::new();
            for _ in 0..FELIXES {
                let felix = felix.clone();
                felixes.spawn(async move {
                    // As Calico bounds it.
                    let tcp = timeout(BOUND, TcpStream::connect(typha)).await.unwrap().unwrap();
                    let began = Instant::now();
                    let mut stream = felix.connect_tcp(tcp).await.unwrap();
                    let took = began.elapsed();
                    stream.write_all(b"hello").await.unwrap();
                    stream.flush().await.unwrap();
                    let mut heard = [0; 5];
                    stream.read_exact(&mut heard).await.unwrap();
                    assert_eq!(&heard, b"hello");
                    took
                });
            }
            felixes.join_all().await
        });
        let mut echoes = JoinSet::new();
        for _ in 0..FELIXES {
            let mut connection = bounded("a connection", listener.accept()).await.unwrap();
            echoes.spawn(async move {
                let mut heard = [0; 5];
                connection.read_exact(&mut heard).await.unwrap();
                connection.write_all(&heard).await.unwrap();
                connection.flush().await.unwrap();
                // Until Felix has gone.
                let _ = connection.read(&mut heard).await;
            });
        }
        let took = bounded("the Felixes", felixes).await.unwrap();
        bounded("the echoes", echoes.join_all()).await;
        let stats = handle.stats();
        assert_eq!((took.len(), stats.accepted), (FELIXES, FELIXES as u64), "{stats:?}");
        assert_eq!(
            (stats.not_accepted(), stats.queued, stats.in_handshake, stats.active),
            (0, 0, 0, 0),
            "{stats:?}"
        );
        let slowest = took.into_iter().max().unwrap();
        assert!(slowest < BOUND, "{slowest:?}");
        if netem.is_ok() {
            assert!(slowest >= Duration::from_millis(40), "{slowest:?} is less than two round trips");
        }
        eprintln!("{FELIXES} of {FELIXES}, the slowest in {slowest:?}; {}", Hosts::queue_report().trim());
        Ok(())
    });
}
