//! Typhas to be stormed: the command, ends of this crate in this process, and raw sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{FELIX_COMMON_NAME, material};
use typha_tls::{RequiredIdentity, TlsConfig, TyphaAcceptor};

use super::running::{Pki, command, kill};

/// A running `typha-tls typha`.
pub(crate) struct TyphaCommand {
    process: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl TyphaCommand {
    pub(crate) fn start(pki: &Pki, more: &[&str]) -> Self {
        Self::start_with(&pki.path("typha.cfg"), more)
    }

    /// Another one in its place.
    pub(crate) fn with_handshake_timeout(self, pki: &Pki, seconds: &str) -> Self {
        let config = std::fs::read_to_string(pki.path("typha.cfg")).unwrap();
        let config = format!("{config}ServerHandshakeTimeoutSecs = {seconds}\n");
        Self::start_with(&pki.write("typha-with-timeout.cfg", &config), &[])
    }

    fn start_with(config: &str, more: &[&str]) -> Self {
        let arguments = [&["typha", "--listen", "127.0.0.1:0", "--config", config], more].concat();
        let mut process = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let listening: Value = serde_json::from_str(&first).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        Self { process, stdout, address }
    }

    /// Ends it when it has printed as much, and nothing else: how many it accepted, and how many it refused for which
    /// reason, such as `5 accepted, 3 io`.
    pub(crate) fn assert_saw(mut self, expected: &str) {
        let count = |part: &str| part.split_once(' ').unwrap().0.parse::<usize>().unwrap();
        let mut seen = BTreeMap::<_, usize>::new();
        let mut left = expected.split(", ").map(count).sum::<usize>();
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            let printed: Value = serde_json::from_str(&line).unwrap();
            let reason = printed.get("reason").unwrap_or(&printed["event"]);
            *seen.entry(reason.as_str().unwrap().to_owned()).or_default() += 1;
            line.clear();
            left -= 1;
            if left == 0 {
                kill("TERM", &self.process);
                break;
            }
        }
        let mut more = String::new();
        self.stdout.read_to_string(&mut more).unwrap();
        let nothing_more = more.starts_with("{\"event\":\"shut_down\",") && more.lines().count() == 1;
        assert!(nothing_more, "{more}");
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        let seen: Vec<_> = seen.iter().map(|(what, count)| format!("{count} {what}")).collect();
        assert_eq!(seen.join(", "), expected);
    }
}

impl Drop for TyphaCommand {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a [`Typha`] does with those that it has accepted.
#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    /// Closes every second one at once, from the first on.
    CloseEverySecond,
    /// Reads until they close.
    Serve,
}

/// What a [`Typha`] has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) closed_cleanly: AtomicUsize,
    pub(crate) open: Mutex<BTreeSet<usize>>,
}

/// A Typha in this process.
pub(crate) struct Typha {
    pub(crate) address: String,
    seen: Arc<Seen>,
    _runtime: Runtime,
}

impl Typha {
    pub(crate) fn start(pki: &Pki, policy: &TlsPolicy, behaviour: Behaviour) -> Self {
        let material = material(&pki.pki.ca, &pki.pki.typha, policy.provider()).unwrap();
        let required = RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap();
        let acceptor = TyphaAcceptor::new(TlsConfig::new(material, required, policy.clone()));
        Self::serve(move |number, tcp, seen| {
            let handshake = acceptor.accept_tcp(tcp);
            async move {
                let mut stream = handshake.await.unwrap();
                seen.open.lock().unwrap().insert(number);
                if matches!(behaviour, Behaviour::CloseEverySecond) && number.is_multiple_of(2) {
                    return;
                }
                if stream.read(&mut [0]).await.is_ok_and(|length| length == 0) {
                    seen.open.lock().unwrap().remove(&number);
                    seen.closed_cleanly.fetch_add(1, Relaxed);
                }
            }
        })
    }

    /// One that asks for no certificate.
    pub(crate) fn start_unasking(pki: &Pki) -> Self {
        let typha = &pki.pki.typha;
        let config =
            ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(typha.chain().to_vec(), typha.key())
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(move |_, tcp, _| {
            let handshake = acceptor.accept(tcp);
            async move {
                let mut stream = handshake.await.unwrap();
                let _ = stream.read(&mut [0]).await;
                let _ = stream.shutdown().await;
            }
        })
    }

    fn serve<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(usize, tokio::net::TcpStream, Arc<Seen>) -> F + Send + 'static,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Seen::default());
        let of_typha = seen.clone();
        runtime.spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(number, tcp, of_typha.clone()));
            }
        });
        Self { address, seen, _runtime: runtime }
    }

    /// Waits until Typha has seen it.
    pub(crate) fn wait_for(&self, what: impl Fn(&Seen) -> bool) {
        let begun = Instant::now();
        while !what(&self.seen) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not happen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The numbers of those that are open.
    pub(crate) fn open(&self) -> Vec<usize> {
        self.seen.open.lock().unwrap().iter().copied().collect()
    }
}

/// Reads a whole ClientHello.
pub(crate) fn hello(tcp: &mut TcpStream) -> Vec<u8> {
    read_record(tcp, |length| length)
}

/// Reads as much as a stalled one sends.
pub(crate) fn half_a_hello(tcp: &mut TcpStream) {
    read_record(tcp, |length| (5 + length) / 2 - 5);
}

fn read_record(tcp: &mut TcpStream, part: impl Fn(usize) -> usize) -> Vec<u8> {
    let mut header = [0; 5];
    tcp.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 22, "not a handshake record");
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let mut rest = vec![0; part(length)];
    tcp.read_exact(&mut rest).unwrap();
    assert_eq!(rest[0], 1, "not a ClientHello");
    rest
}

/// Closes by a reset.
pub(crate) fn reset(tcp: TcpStream) {
    let socket = socket2::SockRef::from(&tcp);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
}
