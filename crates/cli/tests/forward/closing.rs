//! A sidecar that has to close its connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use crate::rig::{Pair, rest};

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

/// When one has to close, the programs at the plain sides end in order if they do so in time.
#[test]
fn a_shutdown_lets_both_ends_end_in_order() {
    for ends in ["typha", "felix"] {
        let pair = Pair::new();
        let [client, server] = pair.connect();
        let Pair { typha, felix, .. } = pair;
        // The program at the plain side of the sidecar that ends: it ends when it sees the end.
        let (near, far) = if ends == "typha" { (server, client) } else { (client, server) };
        let near = thread::spawn(move || {
            let seen = rest(&near);
            (&near).write_all(b"last words").unwrap();
            drop(near);
            seen
        });
        let far = thread::spawn(move || rest(&far));
        let (ending, _other) = if ends == "typha" { (typha, felix) } else { (felix, typha) };
        let (code, lines) = ending.terminate();
        assert_eq!(code, Some(0));
        assert_eq!(near.join().unwrap(), (vec![], Ok(())), "{ends}");
        assert_eq!(far.join().unwrap(), (b"last words".to_vec(), Ok(())), "{ends}");
        let closed = lines.iter().filter(|line| line["event"] == "closed").count();
        assert_eq!(closed, 1, "{lines:?}");
    }
}

/// A program that does not end in time is cut off, and its stream is not taken for whole.
#[test]
fn a_shutdown_cuts_off_who_does_not_end() {
    for ends in ["typha", "felix"] {
        let pair = Pair::new();
        let [client, server] = pair.connect();
        let Pair { typha, felix, .. } = pair;
        let (_near, far) = if ends == "typha" { (server, client) } else { (client, server) };
        let (ending, _other) = if ends == "typha" { (typha, felix) } else { (felix, typha) };
        assert_eq!(ending.terminate().0, Some(0));
        assert_eq!(rest(&far), (vec![], RESET), "{ends}");
    }
}

/// A second signal does not wait for programs that do not end. They see no end in order, but for what they have seen.
#[test]
fn a_second_signal_resets_everything() {
    for ends in ["typha", "felix"] {
        let pair = Pair::new();
        let (ending, other) =
            if ends == "typha" { (pair.typha, pair.felix) } else { (pair.felix, pair.typha) };
        let connect = || {
            let client = if ends == "typha" { other.connect() } else { ending.connect() };
            [client, pair.backend.accept()]
        };
        let connections: Vec<_> = (0..5).map(|_| connect()).collect();
        for _ in 0..5 {
            ending.next("accepted");
        }
        ending.signal("TERM");
        assert_eq!(ending.terminate().0, Some(0));
        for [client, server] in &connections {
            let (near, far) = if ends == "typha" { (server, client) } else { (client, server) };
            assert_eq!(rest(far), (vec![], RESET), "{ends}");
            let mut near = near;
            let error = loop {
                if let Err(error) = near.write_all(b"x") {
                    break error;
                }
            };
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        }
    }
}

/// Although the other direction keeps the sidecar busy.
#[test]
fn what_has_arrived_is_carried_before_the_end() {
    for _ in 0..5 {
        let pair = Pair::with(&[], &["--stats-interval", "0.05"]);
        let [mut client, server] = pair.connect();
        let floods = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                while floods.load(Relaxed) {
                    let _ = (&server).write(&[7; 1_000_000]);
                }
            });
            let mut reading = client.try_clone().unwrap();
            scope.spawn(move || while reading.read(&mut [0; 1_000_000]).is_ok_and(|length| length > 0) {});
            pair.felix.next_where(|line| line["forwarded"]["bytes_received"].as_u64() > Some(10_000_000));
            pair.typha.signal("STOP");
            client.write_all(b"the last message").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            // It is on its way, and is there when the sidecar looks.
            pair.felix.next_where(|line| line["forwarded"]["bytes_sent"] == 16);
            pair.typha.signal("TERM");
            pair.typha.signal("CONT");
            assert_eq!(rest(&server), (b"the last message".to_vec(), Ok(())));
            floods.store(false, Relaxed);
            server.shutdown(Shutdown::Both).unwrap();
        });
    }
}

/// It has ended its direction, so it needs no sign to do so.
#[test]
fn a_program_that_waits_for_an_answer_still_gets_it() {
    for ends in ["typha", "felix"] {
        let pair = Pair::new();
        let [client, server] = pair.connect();
        let (near, mut far) = if ends == "typha" { (server, client) } else { (client, server) };
        (&near).write_all(b"question").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&far), (b"question".to_vec(), Ok(())));
        let ending = if ends == "typha" { pair.typha } else { pair.felix };
        thread::scope(|scope| {
            scope.spawn(move || {
                // Later than a program would get the sign to end.
                thread::sleep(Duration::from_millis(350));
                far.write_all(b"answer").unwrap();
            });
            let (code, lines) = ending.terminate();
            assert_eq!(code, Some(0));
            let line =
                lines.iter().find(|line| line["event"] == "closed" || line["event"] == "ended").unwrap();
            assert_eq!(line["received"], 6, "{line}");
        });
        assert_eq!(rest(&near), (b"answer".to_vec(), Ok(())), "{ends}");
    }
}
