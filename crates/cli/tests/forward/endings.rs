//! Each way in which a connection can end arrives at the other end as what it was, through both sidecars.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use crate::rig::{Pair, reset, rest};

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

/// Half-closes: the end that closes first still receives.
#[test]
fn a_half_close_leaves_the_other_direction_open() {
    let pair = Pair::new();
    for closes_first in [0, 1] {
        let mut ends = pair.connect();
        ends.rotate_left(closes_first);
        let [mut first, mut second] = ends;
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&second), (b"question".to_vec(), Ok(())));
        for _ in 0..3 {
            second.write_all(b"answer").unwrap();
            let mut answer = [0; 6];
            first.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer");
        }
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&first), (vec![], Ok(())));
        for daemon in [&pair.typha, &pair.felix] {
            let line = daemon.next("ended");
            let (of_client, of_server) = if closes_first == 0 { (8, 18) } else { (18, 8) };
            // Each counts from its side with TLS.
            let (received, sent) = match std::ptr::eq(daemon, &pair.typha) {
                true => (of_client, of_server),
                false => (of_server, of_client),
            };
            assert_eq!((line["received"].as_u64(), line["sent"].as_u64()), (Some(received), Some(sent)));
        }
    }
}

#[test]
fn both_may_close_at_once_and_without_data() {
    let pair = Pair::new();
    for _ in 0..20 {
        let ends = pair.connect();
        for end in &ends {
            end.shutdown(Shutdown::Write).unwrap();
        }
        for end in &ends {
            assert_eq!(rest(end), (vec![], Ok(())));
        }
    }
}

/// A reset at any point is a reset at the other end, and never an end in order.
#[test]
fn a_reset_stays_a_reset() {
    let pair = Pair::new();
    for resets in [0, 1] {
        for (sends, half_closed_by_other) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut ends = pair.connect();
            ends.rotate_left(resets);
            let [mut first, mut second] = ends;
            // Both sidecars are connected.
            first.write_all(b"x").unwrap();
            second.read_exact(&mut [0]).unwrap();
            if half_closed_by_other {
                second.shutdown(Shutdown::Write).unwrap();
                assert_eq!(first.read(&mut [0]).unwrap(), 0);
            }
            if sends {
                first.write_all(b"some").unwrap();
                let mut some = [0; 4];
                second.read_exact(&mut some).unwrap();
            }
            reset(first);
            let what = format!("{resets} resets; sends: {sends}, half-closed: {half_closed_by_other}");
            assert_eq!(rest(&second), (vec![], RESET), "{what}");
            for daemon in [&pair.typha, &pair.felix] {
                daemon.next("broken_off");
            }
        }
    }
}

/// What is still on its way when both sidecars are done arrives.
#[test]
fn a_slow_reader_gets_everything_and_the_end() {
    let pair = Pair::new();
    for reads in [0, 1] {
        let mut ends = pair.connect();
        ends.rotate_left(reads);
        let [reads, mut sends] = ends;
        reads.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&sends), (vec![], Ok(())));
        sends.write_all(&vec![7; 500_000]).unwrap();
        drop(sends);
        for daemon in [&pair.typha, &pair.felix] {
            daemon.next("ended");
        }
        let (received, ended) = rest(&reads);
        assert_eq!((received.len(), ended), (500_000, Ok(())));
    }
}

/// The end that has closed both directions reads no more: whoever writes to it learns it.
#[test]
fn whoever_writes_to_a_closed_end_gets_an_error() {
    let pair = Pair::new();
    for closes in [0, 1] {
        let mut ends = pair.connect();
        ends.rotate_left(closes);
        let [closed, mut writes] = ends;
        drop(closed);
        assert_eq!(rest(&writes), (vec![], Ok(())));
        let error = loop {
            if let Err(error) = writes.write_all(&[7; 4096]) {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
}

/// A process that dies takes its connections with it: neither end sees an end in order.
#[test]
fn the_death_of_a_sidecar_is_no_end_in_order() {
    for dies in ["typha", "felix"] {
        let mut pair = Pair::new();
        let [mut client, mut server] = pair.connect();
        client.write_all(b"some").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        let dying = if dies == "typha" { &mut pair.typha } else { &mut pair.felix };
        dying.process.kill().unwrap();
        for end in [&client, &server] {
            assert_eq!(rest(end), (vec![], RESET), "{dies}");
        }
    }
}

/// The side of a sidecar that is not read at the moment, because the other one takes no more.
#[test]
fn a_reset_is_seen_although_nothing_is_read() {
    let pair = Pair::new();
    for resets in [0, 1] {
        let mut ends = pair.connect();
        ends.rotate_left(resets);
        let [mut first, stalls] = ends;
        first.write_all(b"x").unwrap();
        (&stalls).read_exact(&mut [0]).unwrap();
        first.set_nonblocking(true).unwrap();
        // As much as all buffers on the way take.
        let mut last = Instant::now();
        while last.elapsed() < Duration::from_millis(500) {
            match first.write(&[7; 65536]) {
                Ok(1..) => last = Instant::now(),
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
        reset(first);
        let (near, far) = if resets == 0 { (&pair.felix, &pair.typha) } else { (&pair.typha, &pair.felix) };
        assert_eq!(near.next("broken_off")["side"], "plain");
        assert_eq!(far.next("broken_off")["side"], "tls");
        let (received, ended) = rest(&stalls);
        assert!(received.len() > 65536, "{}", received.len());
        assert_eq!(ended, RESET);
    }
}

/// A program that has ended its direction, and resets before it has the answer.
#[test]
fn a_reset_is_seen_after_a_half_close() {
    let pair = Pair::new();
    for resets in [0, 1] {
        let mut ends = pair.connect();
        ends.rotate_left(resets);
        let [mut first, mut second] = ends;
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&second), (b"question".to_vec(), Ok(())));
        reset(first);
        let (near, far) = if resets == 0 { (&pair.felix, &pair.typha) } else { (&pair.typha, &pair.felix) };
        assert_eq!(near.next("broken_off")["side"], "plain");
        // The answer has no place to go.
        let error = loop {
            if let Err(error) = second.write_all(&[7; 4096]) {
                break error;
            }
        };
        assert_eq!(far.next("broken_off")["side"], "tls");
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
}

/// An end that answers and closes while the other one still sends: the answer and its end arrive, as without sidecars.
#[test]
fn an_answer_arrives_although_the_question_has_no_place_to_go() {
    let pair = Pair::new();
    for answers in [0, 1] {
        for size in [1000, 100_000] {
            for _ in 0..10 {
                let mut ends = pair.connect();
                ends.rotate_left(answers);
                let [mut answering, asking] = ends;
                // Both sidecars are connected.
                (&asking).write_all(b"x").unwrap();
                answering.read_exact(&mut [0]).unwrap();
                let sending = asking.try_clone().unwrap();
                let sending = thread::spawn(move || while (&sending).write_all(&vec![7; size]).is_ok() {});
                answering.read_exact(&mut [0; 1000]).unwrap();
                answering.write_all(b"not you").unwrap();
                drop(answering);
                let mut answer = [0; 7];
                (&asking).read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"not you");
                drop(asking);
                sending.join().unwrap();
            }
        }
    }
}
