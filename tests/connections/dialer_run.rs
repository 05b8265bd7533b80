//! `FelixDialer::run`: one connection is kept alive, and its state can be watched.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use typha_tls::Connection;
use typha_tls::dialer::{
    DialError, DialerError, DialerLimits, DialerPhase, DialerState, FelixDialer, TyphaEndpoint,
};
use typha_tls::testing::{TYPHA_COMMON_NAME, TestPki};

use crate::dialing::{Typha, closed, expired_connector, silent};

/// Far beyond what any of it takes.
const LONG: Duration = Duration::from_secs(60);

fn dialer(pki: &TestPki, typhas: impl IntoIterator<Item = SocketAddr>) -> FelixDialer {
    FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(typhas))
}

/// The state, as soon as it is as wanted.
async fn until(
    state: &mut watch::Receiver<DialerState>,
    wanted: impl FnMut(&DialerState) -> bool,
) -> DialerState {
    timeout(LONG, state.wait_for(wanted)).await.expect("the state is never reached").unwrap().clone()
}

fn is_backing_off(state: &DialerState) -> bool {
    matches!(state.phase, DialerPhase::BackingOff { .. })
}

/// Reads until Typha ends the connection.
async fn serve(mut connection: Connection) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while connection.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Runs it beside the test, and stops it when the test is through.
async fn beside<T>(
    run: impl Future<Output = ()>,
    cancel: &CancellationToken,
    test: impl Future<Output = T>,
) -> T {
    let test = async {
        let result = test.await;
        cancel.cancel();
        result
    };
    timeout(LONG, async { tokio::join!(run, test) }).await.expect("it does not stop").1
}

#[tokio::test]
async fn connects_again_whenever_the_handler_returns() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = dialer(&pki, [typha.address]);
    let state = dialer.state();
    assert!(matches!(state.borrow().phase, DialerPhase::Idle) && !state.borrow().is_connected());
    let (cancel, calls) = (CancellationToken::new(), AtomicUsize::new(0));
    let ends = Mutex::new(Vec::new());
    dialer
        .run(cancel.clone(), async |mut connection| {
            ends.lock().unwrap().push(Instant::now());
            let connected = state.borrow().clone();
            assert!(connected.is_connected() && connected.last_error.is_none());
            assert!(matches!(connected.phase, DialerPhase::Connected { endpoint, peer }
                if endpoint == TyphaEndpoint::new(typha.address) && &peer == connection.peer().identity()
                    && peer.common_name() == Some(TYPHA_COMMON_NAME)));
            assert_eq!(connection.read_u16().await?, typha.address.port());
            connection.shutdown().await?;
            if calls.fetch_add(1, SeqCst) == 2 {
                cancel.cancel();
            }
            ends.lock().unwrap().push(Instant::now());
            io::Result::Ok(())
        })
        .await;
    assert_eq!(calls.load(SeqCst), 3);
    assert_eq!(typha.outcomes(3).await, ["accepted"; 3]);
    let (last, ends) = (state.borrow().clone(), ends.into_inner().unwrap());
    assert!(matches!(last.phase, DialerPhase::Stopped) && last.last_error.is_none() && !last.is_connected());
    // A short delay, then a longer one, though every end was clean: they were short.
    let (first, second) = (ends[2] - ends[1], ends[4] - ends[3]);
    assert!(first >= Duration::from_millis(100) && first < Duration::from_secs(5), "{first:?}");
    assert!(second >= Duration::from_millis(200) && second < Duration::from_secs(5), "{second:?}");
}

#[tokio::test]
async fn a_connection_that_lived_long_begins_the_back_off_anew() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let mut limits = DialerLimits::default();
    (limits.backoff_first, limits.backoff_cap) = (Duration::from_millis(40), Duration::from_millis(400));
    let dialer = dialer(&pki, [typha.address]).with_limits(limits);
    let (cancel, mut state) = (CancellationToken::new(), dialer.state());
    let mut calls = 0;
    let handler = async |_| {
        calls += 1;
        if calls == 5 {
            // Longer than the cap.
            tokio::time::sleep(Duration::from_millis(450)).await;
        }
        io::Result::Ok(())
    };
    let test = async {
        let mut waits = Vec::new();
        while waits.len() < 6 {
            state.changed().await.unwrap();
            let state = state.borrow_and_update();
            if let DialerPhase::BackingOff { until } = state.phase {
                waits.push(until - state.since);
            }
        }
        waits
    };
    let waits = beside(dialer.run(cancel.clone(), handler), &cancel, test).await;
    for (wait, base) in waits.iter().zip([40, 80, 160, 200, 40, 80]) {
        let base = Duration::from_millis(base);
        assert!(*wait > base.mul_f32(0.9) && *wait <= 2 * base, "{waits:?}");
    }
}

#[tokio::test]
async fn a_typha_whose_handler_fails_is_avoided() {
    let pki = TestPki::new().unwrap();
    let (own, other) =
        (Typha::start(pki.acceptor().unwrap()).await, Typha::start(pki.acceptor().unwrap()).await);
    let own_endpoint = TyphaEndpoint::new(own.address).on_node("own");
    let source = vec![own_endpoint.clone(), other.address.into()];
    let dialer = FelixDialer::new(pki.connector().unwrap(), source).with_node_name("own");
    let (cancel, state) = (CancellationToken::new(), dialer.state());
    let mut greeted = Vec::new();
    dialer
        .run(cancel.clone(), async |mut connection| {
            greeted.push(connection.read_u16().await?);
            match greeted.len() {
                1 => return Err(io::Error::other("it talks nonsense")),
                2 => {
                    let error = state.borrow().last_error.clone().unwrap();
                    assert!(
                        matches!(&*error, DialerError::Handler { endpoint, .. } if *endpoint == own_endpoint)
                    );
                    assert_eq!(error.to_string(), format!("the connection to {} failed", own.address));
                    assert_eq!(error.source().unwrap().to_string(), "it talks nonsense");
                }
                3 => {}
                _ => cancel.cancel(),
            }
            Ok(())
        })
        .await;
    let other = other.address.port();
    assert_eq!(greeted, [own.address.port(), other, other, other]);
}

#[tokio::test]
async fn goes_on_while_there_is_no_typha() {
    let pki = TestPki::new().unwrap();
    let (socket, address) = closed();
    let mut limits = DialerLimits::default();
    (limits.max_rounds, limits.backoff_cap) = (Some(1), Duration::from_millis(200));
    let dialer = dialer(&pki, [address]).with_limits(limits);
    let (cancel, mut state) = (CancellationToken::new(), dialer.state());
    let test = async {
        let waiting = until(&mut state, is_backing_off).await;
        let error = waiting.last_error.unwrap();
        assert!(
            matches!(&*error, DialerError::Dial(DialError::TriesUsedUp { attempts, .. }) if attempts.len() == 1)
        );
        let DialerPhase::BackingOff { until: again } = waiting.phase else { panic!() };
        let wait = again - waiting.since;
        assert!(wait >= Duration::from_millis(99) && wait <= Duration::from_millis(200), "{wait:?}");
        // Typha comes.
        let typha = Typha::on(socket.listen(16).unwrap(), pki.acceptor().unwrap());
        let connected = until(&mut state, DialerState::is_connected).await;
        assert!(connected.last_error.is_some(), "what was last is kept");
        // And crashes.
        typha.crash().await;
        let waiting = until(&mut state, is_backing_off).await;
        assert!(matches!(&*waiting.last_error.unwrap(), DialerError::Handler { .. }));
    };
    beside(dialer.run(cancel.clone(), serve), &cancel, test).await;
    assert_eq!(state.borrow().phase, DialerPhase::Stopped);
}

/// The handler waits for more than Typha sends before it ends the connection in order. After three short connections,
/// the other Typha comes first, without an error.
#[tokio::test]
async fn a_typha_that_ends_the_connection_in_order_is_not_blamed() {
    let pki = TestPki::new().unwrap();
    let (own, other) =
        (Typha::start(pki.acceptor().unwrap()).await, Typha::start(pki.acceptor().unwrap()).await);
    let endpoints = [TyphaEndpoint::new(own.address).on_node("own"), other.address.into()];
    let dialer = FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(endpoints)).with_node_name("own");
    let (cancel, mut connected_to) = (CancellationToken::new(), Vec::new());
    let state = dialer.state();
    let handler = async |mut connection: Connection| {
        connected_to.push(connection.peer_address());
        if connected_to.len() == 4 {
            cancel.cancel();
        }
        connection.shutdown().await?;
        // Two bytes come, then the end.
        connection.read_exact(&mut [0; 100]).await.map(|_| ())
    };
    timeout(LONG, dialer.run(cancel.clone(), handler)).await.unwrap();
    assert_eq!(connected_to, [own.address, own.address, own.address, other.address]);
    assert!(state.borrow().last_error.is_none());
}

/// Its write fails, since Typha has closed in order.
#[tokio::test]
async fn a_typha_that_has_closed_is_not_blamed_for_a_write_that_fails() {
    let pki = TestPki::new().unwrap();
    let acceptor = pki.acceptor().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept_tcp(tcp).await.unwrap().shutdown().await;
        }
    });
    let dialer = dialer(&pki, [address]);
    let (cancel, mut connections) = (CancellationToken::new(), 0);
    let state = dialer.state();
    let handler = async |mut connection: Connection| {
        connections += 1;
        if connections == 2 {
            cancel.cancel();
            return io::Result::Ok(());
        }
        // A handler that only writes.
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            connection.write_all(b"data").await?;
            connection.flush().await?;
        }
    };
    timeout(LONG, dialer.run(cancel.clone(), handler)).await.unwrap();
    assert!(state.borrow().last_error.is_none(), "{:?}", state.borrow().last_error);
}

#[tokio::test]
async fn a_typha_that_is_lost_after_long_is_not_blamed() {
    let pki = TestPki::new().unwrap();
    for (backoff_cap, is_blamed) in [(Duration::from_millis(2), false), (Duration::from_secs(600), true)] {
        let typha = Typha::start(pki.acceptor().unwrap()).await;
        let mut limits = DialerLimits::default();
        (limits.backoff_first, limits.backoff_cap) = (Duration::from_millis(1), backoff_cap);
        let dialer = dialer(&pki, [typha.address]).with_limits(limits);
        let (cancel, mut state) = (CancellationToken::new(), dialer.state());
        let test = async {
            until(&mut state, DialerState::is_connected).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            typha.crash().await;
            until(&mut state, |state| !state.is_connected()).await.last_error
        };
        let last_error = beside(dialer.run(cancel.clone(), serve), &cancel, test).await;
        let is_handler = last_error.is_some_and(|error| matches!(*error, DialerError::Handler { .. }));
        assert_eq!(is_handler, is_blamed);
    }
}

#[tokio::test]
async fn a_failed_attempt_is_in_the_state_while_others_are_tried() {
    let pki = TestPki::new().unwrap();
    let ((_listener, silent), (_socket, closed)) = (silent().await, closed());
    let endpoints = [TyphaEndpoint::new(closed).on_node("own"), silent.into()];
    let dialer = FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(endpoints)).with_node_name("own");
    let (cancel, mut state) = (CancellationToken::new(), dialer.state());
    let test = async {
        let trying = until(&mut state, |state| state.last_error.is_some()).await;
        let error = trying.last_error.unwrap();
        assert!(matches!(&*error, DialerError::Attempt { endpoint, source }
            if endpoint.address == closed && source.label() == "dial"));
        assert_eq!(error.to_string(), format!("the attempt to connect to {closed} failed"));
        let trying = DialerPhase::Connecting { endpoint: Some(silent.into()) };
        until(&mut state, |state| state.phase == trying).await;
    };
    beside(dialer.run(cancel.clone(), serve), &cancel, test).await;
}

#[tokio::test]
async fn our_own_fault_is_in_the_state_and_it_goes_on() {
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = FelixDialer::new(expired_connector(&pki), vec![typha.address]);
    let (cancel, mut state) = (CancellationToken::new(), dialer.state());
    let test = async {
        let waiting = until(&mut state, |state| state.last_error.is_some()).await;
        assert!(is_backing_off(&waiting));
        assert!(matches!(&*waiting.last_error.unwrap(), DialerError::Dial(error) if error.is_own_fault()));
        assert_eq!(typha.outcomes(2).await, ["expired", "expired"]);
    };
    beside(dialer.run(cancel.clone(), serve), &cancel, test).await;
}

#[tokio::test]
async fn stops_in_every_phase() {
    let pki = TestPki::new().unwrap();
    let ((_listener, silent), (_socket, nobody)) = (silent().await, closed());
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let mut limits = DialerLimits::default();
    (limits.backoff_first, limits.backoff_cap) = (LONG, 2 * LONG);
    // The back-off inside a connect, and that between two.
    for (address, max_rounds, wanted) in [
        (silent, None, "Connecting"),
        (nobody, None, "BackingOff"),
        (nobody, Some(1), "BackingOff"),
        (typha.address, None, "Connected"),
    ] {
        limits.max_rounds = max_rounds;
        let dialer = dialer(&pki, [address]).with_limits(limits.clone());
        let (cancel, mut state) = (CancellationToken::new(), dialer.state());
        let is_wanted = |state: &DialerState| match &state.phase {
            DialerPhase::Connecting { endpoint } => wanted == "Connecting" && endpoint.is_some(),
            phase => format!("{phase:?}").starts_with(wanted),
        };
        // A handler that ends when it is asked to is not dropped.
        let mut ended = false;
        let handler = async |_| {
            cancel.cancelled().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            ended = true;
            io::Result::Ok(())
        };
        let test = until(&mut state, is_wanted);
        beside(dialer.run(cancel.clone(), handler), &cancel, test).await;
        assert_eq!(ended, wanted == "Connected");
        assert_eq!(state.borrow().phase, DialerPhase::Stopped);

        // Dropped, it stops too.
        let dialer = dialer.clone();
        let mut state = dialer.state();
        {
            let run = dialer.run(CancellationToken::new(), serve);
            tokio::select! {
                () = run => panic!("it was not cancelled"),
                _ = until(&mut state, is_wanted) => {}
            }
        }
        assert_eq!(state.borrow().phase, DialerPhase::Stopped);
    }
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_dropped_after_a_second() {
    struct Dropped<'a>(&'a AtomicUsize);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let pki = TestPki::new().unwrap();
    let typha = Typha::start(pki.acceptor().unwrap()).await;
    let dialer = dialer(&pki, [typha.address]);
    let (cancel, dropped, began) = (CancellationToken::new(), AtomicUsize::new(0), Mutex::new(None));
    dialer
        .run(cancel.clone(), async |_| {
            let _dropped = Dropped(&dropped);
            *began.lock().unwrap() = Some(Instant::now());
            cancel.cancel();
            std::future::pending::<io::Result<()>>().await
        })
        .await;
    let took = began.into_inner().unwrap().unwrap().elapsed();
    assert!(took >= Duration::from_millis(999) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(dropped.load(SeqCst), 1);
}

/// A whole cluster loses its Typha.
#[tokio::test(flavor = "multi_thread")]
async fn many_felixes_fail_over() {
    let felixes = if cfg!(debug_assertions) { 100 } else { 500 };
    let pki = TestPki::new().unwrap();
    let (first, second) =
        (Typha::start(pki.acceptor().unwrap()).await, Typha::start(pki.acceptor().unwrap()).await);
    let cancel = CancellationToken::new();
    let (mut runs, mut states) = (tokio::task::JoinSet::new(), Vec::new());
    for _ in 0..felixes {
        let found = [TyphaEndpoint::new(first.address).on_node("own"), second.address.into()];
        let dialer = FelixDialer::new(pki.connector().unwrap(), Vec::from_iter(found)).with_node_name("own");
        states.push(dialer.state());
        let cancel = cancel.clone();
        runs.spawn(async move { dialer.run(cancel, async |connection| serve(connection).await).await });
    }
    let connected_to = |address: SocketAddr| {
        move |state: &DialerState| match &state.phase {
            DialerPhase::Connected { endpoint, .. } => endpoint.address == address,
            _ => false,
        }
    };
    for state in &mut states {
        until(state, connected_to(first.address)).await;
    }
    let (first_address, began) = (first.address, Instant::now());
    first.crash().await;
    for state in &mut states {
        let state = until(state, connected_to(second.address)).await;
        let error = state.last_error.unwrap();
        assert!(
            matches!(&*error, DialerError::Handler { endpoint, .. } if endpoint.address == first_address)
        );
    }
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(second.outcomes(felixes).await, vec!["accepted"; felixes]);
    cancel.cancel();
    while let Some(run) = timeout(LONG, runs.join_next()).await.unwrap() {
        run.unwrap();
    }
}

/// Not run: it compiles if a `run` can be moved to a task, with handlers of every kind.
#[expect(dead_code, reason = "compiling it is the test")]
fn can_be_spawned(dialer: FelixDialer, cancel: CancellationToken) {
    let clone = dialer.clone();
    let (token, text) = (cancel.clone(), String::new());
    tokio::spawn({
        let cancel = cancel.clone();
        async move {
            dialer
                .run(cancel, async move |connection| {
                    tokio::select! {
                        () = token.cancelled() => {}
                        () = async { drop((connection, &text)) } => {}
                    }
                    Ok::<_, String>(())
                })
                .await;
        }
    });
    tokio::spawn(async move { clone.run(cancel, serve).await });
}
