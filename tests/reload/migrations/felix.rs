//! A Felix, put together as a program that embeds it does; it stays connected to each Typha.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use typha_tls::Connection;
use typha_tls::Role;
use typha_tls::config::FelixConfig;
use typha_tls::dialer::{DialerError, DialerLimits, DialerPhase, DialerState, FelixDialer};
use typha_tls::error::WithCauses;
use typha_tls::identity::MatchedBy;
use typha_tls::reload::{Reloaded, Reloader};
use typha_tls::testing::{TestCa, TestLeaf};

use super::bounded;
use super::files::Files;
use super::site::Manner;
use super::typha::mark;

pub(crate) struct Felix {
    pub(crate) files: Files,
    pub(crate) reloader: Reloader,
    /// One for each Typha.
    pub(crate) links: Vec<Link>,
}

/// What keeps one connection alive.
pub(crate) struct Link {
    typha: SocketAddr,
    dialer: FelixDialer,
    asks: mpsc::UnboundedSender<oneshot::Sender<Answer>>,
    _run: AbortOnDropHandle<()>,
}

/// What a connection that works says of itself.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Which one of its link it is, from 1.
    pub(crate) nth: u32,
    pub(crate) matched_by: MatchedBy,
    /// Why its Typha is trusted no longer.
    pub(crate) lost: Option<String>,
    /// Our leaf, as Typha has it.
    pub(crate) own_leaf: u64,
}

/// What the two ends of a new connection presented.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Presented {
    pub(crate) typha: u64,
    pub(crate) felix: u64,
}

impl Felix {
    pub(crate) fn start(ca: &TestCa, leaf: &TestLeaf, typhas: &[SocketAddr], manner: &Manner) -> Self {
        let files = Files::new(Role::Felix, ca, leaf);
        let config = FelixConfig::load(&files.sources()).unwrap();
        let connector = config.connector().unwrap();
        let source = config.source().with_settle_time(manner.settle_time);
        let reloader = connector.follow(source, manner.options.clone());
        let link = |&typha: &SocketAddr| {
            let dialer = FelixDialer::new(connector.clone(), vec![typha]);
            Link::start(typha, dialer.with_limits(limits()).with_lifetime(manner.lifetime.clone()))
        };
        Self { files, reloader, links: typhas.iter().map(link).collect() }
    }

    /// Has the files read.
    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let outcome = self.reloader.reload_now().await;
        outcome.map_err(|error| self.files.without_dir(&WithCauses(&*error).to_string()))
    }
}

/// Impatient, and told of a refusal at once.
fn limits() -> DialerLimits {
    let mut limits = DialerLimits::default();
    (limits.backoff_first, limits.backoff_cap) = (Duration::from_millis(20), Duration::from_millis(300));
    limits.max_rounds = Some(1);
    limits
}

impl Link {
    fn start(typha: SocketAddr, dialer: FelixDialer) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let run = AbortOnDropHandle::new(tokio::spawn(run(dialer.clone(), asked)));
        Self { typha, dialer, asks, _run: run }
    }

    /// What the connection says, once there is one.
    pub(crate) async fn ask(&self) -> Answer {
        let answer = async {
            loop {
                let (ask, answer) = oneshot::channel();
                self.asks.send(ask).unwrap();
                if let Ok(answer) = answer.await {
                    return answer;
                }
            }
        };
        bounded("an answer on a connection", answer).await
    }

    /// Waits until the connection is this one of the link.
    pub(crate) async fn is_nth(&self, nth: u32) -> Answer {
        bounded("another connection", async {
            loop {
                let answer = self.ask().await;
                assert!(answer.nth <= nth, "{answer:?}");
                if answer.nth == nth {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.dialer.state().borrow().is_connected()
    }

    /// Why there is no connection, as it stands in the state of the dialer.
    pub(crate) async fn trouble(&self) -> String {
        let is_refused = |state: &DialerState| {
            matches!(state.phase, DialerPhase::BackingOff { .. })
                && matches!(state.last_error.as_deref(), Some(DialerError::Dial(_)))
        };
        let mut state = self.dialer.state();
        let state = bounded("a refusal", state.wait_for(is_refused)).await.unwrap();
        self.without_address(&WithCauses(&**state.last_error.as_ref().unwrap()))
    }

    /// Makes a connection beside the one that there is, and uses it.
    pub(crate) async fn new_connection(&self) -> Result<Presented, String> {
        let connection = bounded("a new connection", self.dialer.connect()).await;
        let mut stream = connection.map_err(|error| self.without_address(&WithCauses(&error)))?;
        let typha = mark(&stream.peer_certificates()[0]);
        stream.write_u8(0).await.unwrap();
        let felix = bounded("an answer", stream.read_u64()).await.unwrap();
        let _ = stream.shutdown().await;
        Ok(Presented { typha, felix })
    }

    fn without_address(&self, text: &impl std::fmt::Display) -> String {
        text.to_string().replace(&self.typha.to_string(), "TYPHA")
    }
}

type Asked = Arc<Mutex<mpsc::UnboundedReceiver<oneshot::Sender<Answer>>>>;

async fn run(dialer: FelixDialer, asked: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>) {
    let (mut nth, asked) = (0, Arc::new(Mutex::new(asked)));
    // Not an async closure: what borrows from one can not be spawned.
    let handler = move |connection| {
        nth += 1;
        serve(connection, nth, asked.clone())
    };
    dialer.run(CancellationToken::new(), handler).await;
}

async fn serve(mut connection: Connection, nth: u32, asked: Asked) -> io::Result<()> {
    let mut asked = asked.lock().await;
    let dropping = connection.close_requested().clone();
    loop {
        let ask = tokio::select! {
            biased;
            () = dropping.cancelled() => return connection.shutdown().await,
            // Typha says something only if it is asked.
            end = connection.read_u8() => return end.map(drop),
            Some(ask) = asked.recv() => ask,
        };
        connection.write_u8(0).await?;
        let own_leaf = connection.read_u64().await?;
        let lost = connection.lost_trust().map(|rejection| rejection.to_string());
        let _ = ask.send(Answer { nth, matched_by: connection.peer().matched_by(), lost, own_leaf });
    }
}
