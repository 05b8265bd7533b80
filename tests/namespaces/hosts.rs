//! Two hosts and the link between them. Typha's is where the test runs, Felix's is entered by threads of their own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use typha_tls::TyphaAcceptor;
use typha_tls::listener::{ListenerLimits, ListenerStats, TyphaListener};

use crate::inside::{Guard, tried};

const TYPHA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TYPHAS_LINK: &str = "typha0";
const FELIXS_LINK: &str = "felix0";
/// Beyond it, something hangs.
const HANG: Duration = Duration::from_secs(40);

pub(crate) struct Hosts {
    /// A process whose only purpose is to be on Felix's host.
    felix: Guard,
}

impl Hosts {
    /// # Errors
    ///
    /// What is missing here.
    pub(crate) fn new() -> Result<Self, String> {
        // It ends with this process, whose end closes its input.
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "echo here; exec cat"]);
        let mut holder =
            holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let stdout = holder.stdout.take();
        let this = Self { felix: Guard(holder) };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(|e| e.to_string())?;
        }
        let process = this.felix.0.id().to_string();
        ip(&["link", "add", "name", TYPHAS_LINK, "type", "veth", "peer", "name", FELIXS_LINK])?;
        ip(&["link", "set", FELIXS_LINK, "netns", &process])?;
        ip(&["addr", "add", "192.0.2.1/24", "dev", TYPHAS_LINK])?;
        ip(&["link", "set", TYPHAS_LINK, "up"])?;
        this.on_felixs_host(|| {
            ip(&["addr", "add", "192.0.2.2/24", "dev", FELIXS_LINK])?;
            ip(&["link", "set", FELIXS_LINK, "up"])
        })?;
        Ok(this)
    }

    /// Sets how both ends of the link queue what they send. Returns whether this system can do it.
    pub(crate) fn queue(&self, discipline: &[&str]) -> Result<(), String> {
        tc(TYPHAS_LINK, discipline)?;
        self.on_felixs_host(|| tc(FELIXS_LINK, discipline))
    }

    /// What Typha's end of the link says of its queue.
    pub(crate) fn queue_report() -> String {
        tried(Command::new("tc").args(["-s", "qdisc", "show", "dev", TYPHAS_LINK])).unwrap()
    }

    /// Breaks the link. Felix's end goes: Typha's host can still send, and gets no answer.
    pub(crate) fn cut(&self) {
        self.on_felixs_host(|| ip(&["link", "set", FELIXS_LINK, "down"])).unwrap();
    }

    pub(crate) fn heal(&self) {
        self.on_felixs_host(|| ip(&["link", "set", FELIXS_LINK, "up"])).unwrap();
    }

    fn on_felixs_host<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let host = self.felixs_host();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter(&host);
                act()
            });
            thread.join().unwrap()
        })
    }

    /// Runs something on Felix's host, beside this one.
    pub(crate) fn felix<T: Send + 'static, F: Future<Output = T>>(
        &self,
        act: impl FnOnce() -> F + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let host = self.felixs_host();
        let (done, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            enter(&host);
            // Its sockets are made by this thread.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = done.send(runtime.block_on(act()));
        });
        outcome
    }

    fn felixs_host(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.felix.0.id())).unwrap()
    }
}

fn enter(host: &File) {
    move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    tried(Command::new("ip").args(arguments)).map(drop)
}

fn tc(link: &str, discipline: &[&str]) -> Result<(), String> {
    tried(Command::new("tc").args(["qdisc", "replace", "dev", link, "root"]).args(discipline)).map(drop)
}

/// Typha on its host.
pub(crate) async fn listen(acceptor: TyphaAcceptor, limits: ListenerLimits) -> (TyphaListener, SocketAddr) {
    let listener = TyphaListener::builder(acceptor).limits(limits).bind((TYPHA, 0)).await.unwrap();
    let address = listener.local_addr();
    (listener, address)
}

/// Waits until the counts are as wanted.
pub(crate) async fn until(
    what: &str,
    stats: impl Fn() -> ListenerStats,
    is_so: impl Fn(&ListenerStats) -> bool,
) {
    let deadline = Instant::now() + HANG;
    while !is_so(&stats()) {
        assert!(Instant::now() < deadline, "not so: {what}; {:?}", stats());
        sleep(Duration::from_millis(2)).await;
    }
}

/// The outcome, which must come before the test is taken to hang.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(HANG, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}
