//! The same clock, and connections that are there already: reported once each time, and closed only if that is wanted.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use typha_tls::Connection;
use typha_tls::dialer::FelixDialer;
use typha_tls::lifetime::LostTrust;
use typha_tls::lifetime::{ClosePolicy, CloseReason, ConnectionLifetime};
use typha_tls::listener::FailedHandshake;
use typha_tls::{AuthenticatedStream, FelixConnector, HandshakeError, TyphaAcceptor, TyphaListener};

use super::clock_of_handshakes::verdict;
use super::held::bounded;
use super::validities::{PARTS, Part, STEPS, Site};

/// Nothing but expiry may close anything.
fn lifetime(on_expiry: ClosePolicy) -> ConnectionLifetime {
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
    lifetime.on_expiry = on_expiry;
    lifetime
}

/// Has the reviews look, which they do every 5 s. Nothing else is under way that would be in a hurry.
async fn look() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// As [`look`], until what it leads to is there.
async fn look_until(is_there: impl Fn() -> bool) {
    look().await;
    bounded(async {
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Why the peer of a connection would not be accepted. Who is good is looked at again only when something has expired,
/// and not when a clock has gone back before everything began.
fn standing(part: Part, at: i64, before: Option<&'static str>) -> Option<&'static str> {
    match part.verdict(at) {
        Err(("not_yet_valid", _)) if before.is_none() => None,
        verdict => verdict.err().map(|(reason, _)| reason),
    }
}

fn site(part: Part) -> Site {
    Site::new(part, "1.3", "TLS_AES_128_GCM_SHA256")
}

/// A Typha that judges, and tells everything.
struct Typha {
    listener: TyphaListener,
    lost: mpsc::UnboundedReceiver<LostTrust>,
    failed: mpsc::UnboundedReceiver<FailedHandshake>,
}

impl Typha {
    async fn start(site: &Site, on_expiry: ClosePolicy) -> Self {
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let (failed_sender, failed) = mpsc::unbounded_channel();
        let builder = TyphaListener::builder(site.judging_typha())
            .lifetime(lifetime(on_expiry))
            .on_lost_trust(move |loss| lost_sender.send(loss).unwrap())
            .on_failed_handshake(move |failed| failed_sender.send(failed).unwrap());
        Self { listener: builder.bind("127.0.0.1:0").await.unwrap(), lost, failed }
    }

    async fn felix(&self, felix: &FelixConnector) -> Result<AuthenticatedStream<TcpStream>, HandshakeError> {
        let tcp = TcpStream::connect(self.listener.local_addr()).await.unwrap();
        bounded(felix.connect_tcp(tcp)).await
    }

    async fn pair(&mut self, felix: &FelixConnector) -> (Connection, AuthenticatedStream<TcpStream>) {
        let felix = self.felix(felix).await.unwrap();
        (bounded(self.listener.accept()).await.unwrap(), felix)
    }

    fn reports(&mut self) -> Vec<(&'static str, bool)> {
        std::iter::from_fn(|| self.lost.try_recv().ok())
            .map(|loss| (loss.rejection.label(), loss.closes))
            .collect()
    }
}

/// A Felix that judges, connected to a Typha that echoes.
async fn connected_felix(
    site: &Site,
    felix: &FelixConnector,
    on_expiry: ClosePolicy,
) -> (Connection, TcpListener, TyphaAcceptor) {
    let (typha, listener) = (site.typha(false), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let endpoints = vec![listener.local_addr().unwrap()];
    let dialer = FelixDialer::new(felix.clone(), endpoints).with_lifetime(lifetime(on_expiry));
    let serving = async {
        let mut stream = typha.accept_tcp(listener.accept().await.unwrap().0).await.unwrap();
        tokio::spawn(async move {
            while let Ok(byte) = stream.read_u8().await {
                stream.write_u8(byte).await.unwrap();
            }
        });
    };
    let (felix, ()) = bounded(async { tokio::join!(dialer.connect(), serving) }).await;
    (felix.unwrap(), listener, typha)
}

#[tokio::test]
async fn connections_of_typha_stay_and_each_crossing_is_reported_once() {
    for part in PARTS {
        let site = site(part);
        let mut typha = Typha::start(&site, ClosePolicy::ReportOnly).await;
        let (mut connection, mut felix) = typha.pair(&site.felix(false)).await;
        let mut before = None;
        for at in STEPS {
            site.turn_clock(at);
            let now = standing(part, at, before);
            let lost = || connection.lost_trust().map(|rejection| rejection.label());
            look_until(|| lost() == now).await;
            look().await;
            assert_eq!((lost(), connection.close_reason()), (now, None), "{part:?} at {at}");
            let report = now.filter(|_| now != before).map(|reason| (reason, false));
            assert_eq!(typha.reports(), Vec::from_iter(report), "{part:?} at {at}");
            before = now;
            felix.write_u8(7).await.unwrap();
            assert_eq!(bounded(connection.read_u8()).await.unwrap(), 7);
        }
    }
}

#[tokio::test]
async fn connections_of_felix_stay() {
    for part in PARTS {
        let site = site(part);
        let (mut felix, ..) = connected_felix(&site, &site.judging_felix(), ClosePolicy::ReportOnly).await;
        let mut before = None;
        for at in STEPS {
            site.turn_clock(at);
            let now = standing(part, at, before);
            let lost = || felix.lost_trust().map(|rejection| rejection.label());
            look_until(|| lost() == now).await;
            look().await;
            assert_eq!((lost(), felix.close_reason()), (now, None), "{part:?} at {at}");
            before = now;
            felix.write_u8(7).await.unwrap();
            assert_eq!(bounded(felix.read_u8()).await.unwrap(), 7);
        }
    }
}

#[tokio::test]
async fn expiry_closes_a_connection_of_typha_if_that_is_wanted() {
    for part in [Part::Ca, Part::Leaf, Part::StrictList] {
        let site = site(part);
        let mut typha = Typha::start(&site, ClosePolicy::CloseWithin(Duration::ZERO)).await;
        let connector = site.felix(false);
        let (mut connection, mut felix) = typha.pair(&connector).await;
        for at in [part.last(), -1000, 0, part.last()] {
            site.turn_clock(at);
            look().await;
            assert_eq!(connection.close_reason(), None, "{part:?} at {at}");
        }
        assert_eq!(typha.reports(), []);
        site.turn_clock(part.last() + 1);
        look_until(|| connection.close_reason().is_some()).await;
        assert_eq!(connection.close_reason(), Some(CloseReason::Expired));
        let (reason, alert) = part.verdict(part.last() + 1).unwrap_err();
        assert_eq!(typha.reports(), [(reason, true)]);
        // After the grace.
        assert_eq!(bounded(connection.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert_eq!(bounded(felix.read(&mut [0])).await.unwrap(), 0);
        drop((connection, felix));

        let refused = typha.felix(&connector).await;
        let failed = bounded(typha.failed.recv()).await.unwrap().error;
        assert_eq!(verdict(Err::<(), _>(failed), refused), Err((reason, alert)));
        site.turn_clock(part.last());
        typha.pair(&connector).await;
        assert_eq!(typha.reports(), []);
    }
}

#[tokio::test]
async fn expiry_closes_a_connection_of_felix_if_that_is_wanted() {
    for part in [Part::Ca, Part::Leaf, Part::StrictList] {
        let site = site(part);
        let connector = site.judging_felix();
        let (mut felix, listener, typha) =
            connected_felix(&site, &connector, ClosePolicy::CloseWithin(Duration::ZERO)).await;
        for at in [part.last(), -1000, 0, part.last()] {
            site.turn_clock(at);
            look().await;
            assert_eq!(felix.close_reason(), None, "{part:?} at {at}");
        }
        site.turn_clock(part.last() + 1);
        look_until(|| felix.close_reason().is_some()).await;
        assert_eq!(felix.close_reason(), Some(CloseReason::Expired));
        assert_eq!(bounded(felix.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);

        let connect = async || {
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let accepting = async { typha.accept_tcp(listener.accept().await.unwrap().0).await };
            let (felix, typha) = bounded(async { tokio::join!(connector.connect_tcp(tcp), accepting) }).await;
            verdict(felix, typha)
        };
        assert_eq!(connect().await, part.verdict(part.last() + 1));
        site.turn_clock(part.last());
        assert_eq!(connect().await, Ok(()));
    }
}
