//! The workers: each end of each implementation against each other one. Nothing here depends on speed.

mod pki;
mod worker;

use serde_json::{Value, json};

use pki::Pki;
use worker::{Implementation, Worker, implementations};

use Implementation::{Bare, BareAes128, Direct, Go, Ours};

fn number(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {answer}"))
}

/// How long a request for handshakes or data takes. Each client makes at least one handshake.
const MILLIS: u64 = 10;

/// Handshakes of two clients.
fn handshakes(felix: &mut Worker, typha: &Worker) -> Value {
    felix.ask(&json!({
        "request": "handshakes", "address": typha.address(), "clients": 2, "millis": MILLIS, "rides": false,
    }))
}

/// All rounds succeeded, and Typha's end has counted the same.
fn assert_all_completed(answer: &Value, typha: &mut Worker, case: &str) {
    assert_eq!(number(answer, "failed"), 0, "{case}: {answer}");
    assert_eq!(answer["first_failure"], Value::Null, "{case}");
    assert_ne!(number(answer, "completed"), 0, "{case}");
    let expected = [number(answer, "completed"), 0, number(answer, "resumed")];
    assert_eq!(typha.new_counts(), expected, "{case}");
}

fn assert_cpu_time(answer: &Value, case: &str) {
    let [user, system] = ["user_nanos", "system_nanos"].map(|part| number(&answer["cpu"], part));
    assert_ne!(user + system, 0, "{case}: {answer}");
}

/// No round succeeded; returns why the first did not.
fn assert_all_failed(answer: &Value, typha: &mut Worker, case: &str) -> String {
    assert_eq!(number(answer, "completed"), 0, "{case}: {answer}");
    assert_ne!(number(answer, "failed"), 0, "{case}: {answer}");
    typha.wait_for_counts([0, number(answer, "failed"), 0]);
    let why = answer["first_failure"].as_str().unwrap().to_owned();
    assert!(!why.is_empty(), "{case}");
    why
}

#[test]
fn every_felix_shakes_hands_with_every_typha() {
    let pki = Pki::new();
    let (mut typhas, mut felixes) = (start_all(&pki.typha()), start_all(&pki.felix()));
    for_each_pair(&mut typhas, &mut felixes, |theirs, typha, mine, felix| {
        let case = format!("{mine:?} to {theirs:?}");
        let answer = handshakes(felix, typha);
        assert_all_completed(&answer, typha, &case);
        assert_eq!(number(&answer, "resumed"), 0, "{case}");
        assert!(number(&answer, "elapsed_nanos") >= MILLIS * 1_000_000, "{case}: {answer}");
        assert_cpu_time(&answer, &case);
        let rounds = answer["rounds_nanos"].as_array().unwrap();
        assert_eq!(rounds.len() as u64, number(&answer, "completed"), "{case}: {answer}");
        assert!(rounds.iter().all(|nanos| nanos.as_u64().unwrap() > 0), "{case}: {answer}");
        assert_eq!(number(&answer, "fresh"), 0, "{case}");
        for end in [typha, felix] {
            let usage = end.usage();
            assert_cpu_time(&usage, &case);
            assert_ne!(number(&usage, "resident_bytes"), 0, "{case}");
        }
    });
    for (_, worker) in typhas.into_iter().chain(felixes) {
        worker.finish();
    }
}

#[test]
fn every_group_and_version_can_be_chosen() {
    let pki = Pki::new();
    let mut typhas = start_all(&pki.typha());
    let groups = ["x25519", "X25519MLKEM768", "secp256r1", "secp384r1"].map(|group| ("1.3", group));
    for (mine, (version, group)) in product(implementations(), groups.into_iter().chain([("1.2", "x25519")]))
    {
        if (mine, version) == (Ours, "1.2") {
            continue;
        }
        let mut setup = pki.felix();
        setup["groups"] = json!([group]);
        setup["max_version"] = json!(version);
        let mut felix = Worker::start(mine, &setup);
        for (theirs, typha) in &mut typhas {
            let answer = handshakes(&mut felix, typha);
            let case = format!("{mine:?} to {theirs:?} by TLS {version}, {group}");
            assert_all_completed(&answer, typha, &case);
            let negotiated = (&answer["negotiated"]["version"], group_of(&answer, mine));
            assert_eq!(negotiated, (&json!(version), group), "{case}");
        }
    }
}

/// Go reports it since 1.25.
fn group_of(answer: &Value, mine: Implementation) -> &str {
    let group = &answer["negotiated"]["group"];
    if mine == Go && group.is_null() { "x25519" } else { group.as_str().unwrap() }
}

#[test]
fn a_typha_with_aes_128_first_gets_it() {
    let pki = Pki::new();
    let negotiated = |theirs, mine| {
        let typha = Worker::start(theirs, &pki.typha());
        let answer = handshakes(&mut Worker::start(mine, &pki.felix()), &typha);
        answer["negotiated"]["cipher_suite"].as_str().unwrap().to_owned()
    };
    // The bare Felix prefers AES-256, and the bare Typha lets it.
    for (theirs, mine, suite) in [
        (Bare, Bare, "TLS_AES_256_GCM_SHA384"),
        (Bare, BareAes128, "TLS_AES_128_GCM_SHA256"),
        (BareAes128, Bare, "TLS_AES_128_GCM_SHA256"),
        (Ours, Bare, "TLS_AES_128_GCM_SHA256"),
    ] {
        assert_eq!(negotiated(theirs, mine), suite, "{mine:?} to {theirs:?}");
    }
}

#[test]
fn the_first_byte_may_ride() {
    let pki = Pki::new();
    let mut felix = Worker::start(Ours, &pki.felix());
    for (theirs, mut typha) in start_all(&pki.typha()) {
        let answer = felix.ask(&json!({
            "request": "handshakes", "address": typha.address(), "clients": 1, "millis": MILLIS, "rides": true,
        }));
        assert_all_completed(&answer, &mut typha, &format!("{theirs:?}"));
    }
}

#[test]
fn fresh_leaves_are_used_up() {
    let pki = Pki::new();
    let chains = json!({ "file": pki.fresh_leaves(7), "chain_length": 1 });
    // Every second turn takes one: the sixteenth would be for the eighth.
    for (theirs, (share, completed)) in product(implementations(), [(1.0, 7), (0.5, 15)]) {
        let mut typha = Worker::start(theirs, &pki.typha());
        let mut felix = Worker::start(Bare, &pki.felix());
        let case = format!("{theirs:?}, share {share}");
        felix.ask(
            &json!({ "request": "leaves", "usual": null, "fresh": { "chains": chains, "share": share } }),
        );
        // Each request begins with the first one.
        for requests in [1, 2] {
            let answer = felix.ask(&json!({
                "request": "handshakes", "address": typha.address(), "clients": 2, "millis": 10_000, "rides": false,
            }));
            assert_eq!((number(&answer, "completed"), number(&answer, "fresh")), (completed, 7), "{case}");
            assert_eq!(number(&typha.usage(), "accepted"), requests * completed, "{case}");
        }
    }
}

#[test]
fn usual_leaves_are_taken_in_turn() {
    let pki = Pki::new();
    let chains = json!({ "file": pki.fresh_leaves(3), "chain_length": 1 });
    let typha = Worker::start(Ours, &pki.typha());
    let mut felix = Worker::start(Bare, &pki.felix());
    felix.ask(&json!({ "request": "leaves", "usual": chains, "fresh": null }));
    let answer = handshakes(&mut felix, &typha);
    assert_eq!((number(&answer, "failed"), number(&answer, "fresh")), (0, 0), "{answer}");
    assert!(number(&answer, "completed") > 0);
}

#[test]
fn a_loop_ends_at_its_first_failure() {
    let pki = Pki::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for mine in implementations() {
        let answer = Worker::start(mine, &pki.felix()).ask(&json!({
            "request": "handshakes", "address": closed, "clients": 2, "millis": 10_000, "rides": false,
        }));
        assert_eq!((number(&answer, "completed"), number(&answer, "failed")), (0, 2), "{mine:?}");
    }
}

#[test]
fn held_connections_stay() {
    let pki = Pki::new();
    let (mut typhas, mut felixes) = (start_all(&pki.typha()), start_all(&pki.felix()));
    for_each_pair(&mut typhas, &mut felixes, |theirs, typha, mine, felix| {
        let case = format!("{mine:?} to {theirs:?}");
        let held = number(
            &felix.ask(&json!({ "request": "hold", "address": typha.address(), "connections": 0 })),
            "held",
        );
        // More and fewer than are opened at once.
        for (connections, more) in [(40, 40), (3, 43)] {
            let answer = felix
                .ask(&json!({ "request": "hold", "address": typha.address(), "connections": connections }));
            let expected = json!({ "held": held + more, "failed": 0, "first_failure": null });
            assert_eq!(answer, expected, "{case}");
            assert_eq!(typha.new_counts(), [connections, 0, 0], "{case}");
        }
    });
}

/// What Typha sent last on the connection before may still be counted.
fn settled_bulk_bytes(typha: &mut Worker) -> u64 {
    let mut last = number(&typha.usage(), "bulk_bytes");
    for _ in 0..100 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let now = number(&typha.usage(), "bulk_bytes");
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("Typha goes on sending: {last} bytes");
}

#[test]
fn bulk_data_flow_both_ways() {
    let pki = Pki::new();
    let (mut typhas, mut felixes) = (start_all(&pki.typha()), start_all(&pki.felix()));
    for_each_pair(&mut typhas, &mut felixes, |theirs, typha, mine, felix| {
        for direction in ["to_typha", "to_felix"] {
            let case = format!("{mine:?} and {theirs:?}, {direction}");
            let before = settled_bulk_bytes(typha);
            let answer = felix.ask(&json!({
                "request": "bulk", "address": typha.address(), "direction": direction, "millis": MILLIS,
            }));
            assert_ne!(number(&answer, "bytes"), 0, "{case}");
            assert!(number(&answer, "elapsed_nanos") >= MILLIS * 1_000_000, "{case}: {answer}");
            assert_cpu_time(&answer, &case);
            // Typha has sent more than Felix has read, and has received all that Felix has sent.
            let bytes = number(&typha.usage(), "bulk_bytes") - before;
            let (felix, exact) = (number(&answer, "bytes"), direction == "to_typha");
            assert!(if exact { bytes == felix } else { bytes >= felix }, "{case}: {bytes} and {felix}");
            assert_eq!(typha.new_counts(), [1, 0, 0], "{case}");
        }
    });
}

#[test]
fn small_requests_are_answered() {
    let pki = Pki::new();
    for implementation in [Ours, Bare, Direct] {
        let mut typha = Worker::start(implementation, &pki.typha());
        let mut felix = Worker::start(implementation, &pki.felix());
        let request = json!({ "request": "echo", "address": typha.address(), "millis": MILLIS });
        let rounds = felix.ask(&request)["rounds_nanos"].as_array().unwrap().clone();
        assert!(!rounds.is_empty() && rounds.iter().all(|nanos| nanos.as_u64().unwrap() > 0), "{rounds:?}");
        assert_eq!(typha.new_counts(), [1, 0, 0], "{implementation:?}");
        felix.finish();
        typha.finish();
    }
}

#[test]
fn both_ends_meet_in_memory() {
    let pki = Pki::new();
    for implementation in [Ours, Bare] {
        let mut worker = Worker::start(implementation, &pki.memory());
        let answer = worker.ask(&json!({ "request": "in_memory", "millis": MILLIS }));
        for name in ["completed", "typha_nanos", "felix_nanos"] {
            assert_ne!(number(&answer, name), 0, "{implementation:?}: {answer}");
        }
    }
}

#[test]
fn the_floor_is_measured_for_every_key_and_group() {
    for key_type in pki::KEY_TYPES {
        let pki = Pki::with_keys(key_type);
        let mut worker = Worker::start(Ours, &pki.memory());
        for group in ["x25519", "X25519MLKEM768", "secp256r1", "secp384r1"] {
            let answer = worker.ask(&json!({ "request": "floor", "group": group, "millis": 5 }));
            for name in ["key_exchange_nanos", "sign_nanos", "verify_nanos"] {
                assert!(answer[name].as_f64().unwrap() > 0.0, "{key_type:?}, {group}: {answer}");
            }
        }
    }
}

#[test]
fn a_typha_of_ours_or_go_refuses_another_identity() {
    let pki = Pki::new();
    let mut setup = pki.typha();
    setup["required"] = json!({ "common_name": "somebody-else", "uri_san": null });
    let (mut typhas, mut felixes) = (start_some(&setup, |theirs| theirs != Bare), start_all(&pki.felix()));
    for_each_pair(&mut typhas, &mut felixes, |theirs, typha, mine, felix| {
        let answer = handshakes(felix, typha);
        let why = assert_all_failed(&answer, typha, &format!("{mine:?} to {theirs:?}"));
        // Go closes before it has read everything, which may destroy its alert.
        if theirs == Ours {
            let alert = match mine {
                Ours => "the peer refused us: access_denied",
                Bare | BareAes128 => "received fatal alert: AccessDenied",
                Go => "remote error: tls: access denied",
                Direct => unreachable!("it knows no TLS"),
            };
            assert!(why.contains(alert), "{mine:?}: {why}");
        }
    });
}

#[test]
fn a_felix_of_ours_or_go_refuses_another_identity() {
    let pki = Pki::new();
    let mut setup = pki.felix();
    setup["required"] = json!({ "common_name": null, "uri_san": "spiffe://somebody/else" });
    let (mut typhas, mut felixes) = (start_all(&pki.typha()), start_some(&setup, |mine| mine != Bare));
    for_each_pair(&mut typhas, &mut felixes, |theirs, typha, mine, felix| {
        let answer = handshakes(felix, typha);
        let why = assert_all_failed(&answer, typha, &format!("{mine:?} to {theirs:?}"));
        let reason = if mine == Ours { "does not have required URI SAN" } else { "identity refused" };
        assert!(why.contains(reason), "{mine:?}: {why}");
    });
}

#[test]
fn only_the_others_resume() {
    let pki = Pki::new();
    for (theirs, mut typha) in start_all(&pki.typha()) {
        for (mine, version) in product(implementations(), ["1.2", "1.3"]) {
            if mine == Ours && version == "1.2" {
                continue;
            }
            let case = format!("{mine:?} to {theirs:?} by TLS {version}");
            let mut setup = pki.felix();
            setup["max_version"] = json!(version);
            setup["resumption"] = json!(true);
            let mut felix = Worker::start(mine, &setup);
            // One round, or few; by the second request there is a session to resume.
            let [first, second] = [(); 2].map(|()| {
                felix.ask(&json!({
                    "request": "handshakes", "address": typha.address(), "clients": 1, "millis": 1, "rides": false,
                }))
            });
            assert_eq!(
                [&first, &second].map(|answer| number(answer, "failed")),
                [0, 0],
                "{case}: {first} {second}"
            );
            // In TLS 1.2, Go's client resumes by tickets alone, which rustls's server does not give by default.
            let foreign = (mine, theirs, version) == (Go, Bare, "1.2");
            let resumes = theirs != Ours && mine != Ours && !foreign;
            assert_eq!(
                number(&first, "resumed"),
                if resumes { number(&first, "completed") - 1 } else { 0 },
                "{case}"
            );
            assert_eq!(
                number(&second, "resumed"),
                if resumes { number(&second, "completed") } else { 0 },
                "{case}"
            );
            let resumed = number(&first, "resumed") + number(&second, "resumed");
            assert_eq!(typha.new_counts()[2], resumed, "{case}");
        }
    }
}

#[test]
fn what_a_worker_cannot_do_ends_it() {
    let pki = Pki::new();
    let leaves = json!({
        "request": "leaves", "fresh": null, "usual": { "file": pki.fresh_leaves(1), "chain_length": 1 },
    });
    for mine in implementations().into_iter().filter(|mine| *mine != Bare) {
        let stderr = Worker::start(mine, &pki.felix()).fail(&leaves);
        assert!(stderr.contains("other leaves are for the bare Felix only"), "{mine:?}: {stderr}");
    }
    for theirs in implementations() {
        let stderr = Worker::start(theirs, &pki.typha())
            .fail(&json!({ "request": "floor", "group": "x25519", "millis": 5 }));
        assert!(stderr.contains("this end cannot do what the request asks for"), "{theirs:?}: {stderr}");
    }
    let mut setup = pki.felix();
    setup["max_version"] = json!("1.2");
    let stderr = Worker::refused(Ours, &setup);
    assert!(stderr.contains("measure TLS 1.2 with the bare one"), "{stderr}");
}

#[test]
fn a_felix_without_a_typha_reports_failures() {
    let pki = Pki::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for mine in implementations() {
        let mut felix = Worker::start(mine, &pki.felix());
        let answer = felix.ask(&json!({ "request": "hold", "address": closed, "connections": 2 }));
        assert_eq!((number(&answer, "held"), number(&answer, "failed")), (0, 2), "{mine:?}");
        let why = answer["first_failure"].as_str().unwrap().to_lowercase();
        assert!(why.contains("connection refused"), "{mine:?}: {why}");
    }
}

/// A worker of each implementation.
fn start_all(setup: &Value) -> Vec<(Implementation, Worker)> {
    start_some(setup, |_| true)
}

fn start_some(setup: &Value, wanted: fn(Implementation) -> bool) -> Vec<(Implementation, Worker)> {
    let wanted = implementations().into_iter().filter(|implementation| wanted(*implementation));
    wanted.map(|implementation| (implementation, Worker::start(implementation, setup))).collect()
}

/// Each Typha with each Felix.
fn for_each_pair(
    typhas: &mut [(Implementation, Worker)],
    felixes: &mut [(Implementation, Worker)],
    mut test: impl FnMut(Implementation, &mut Worker, Implementation, &mut Worker),
) {
    for (theirs, typha) in typhas {
        for (mine, felix) in &mut *felixes {
            test(*theirs, typha, *mine, felix);
        }
    }
}

fn product<A: Copy, B: Clone>(
    a: impl IntoIterator<Item = A>,
    b: impl IntoIterator<Item = B> + Clone,
) -> Vec<(A, B)> {
    a.into_iter().flat_map(|a| b.clone().into_iter().map(move |b| (a, b))).collect()
}
