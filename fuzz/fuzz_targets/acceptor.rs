//! Typha's end against arbitrary bytes, and against Felixes whose bytes are changed on their way.
//!
//! Input: who the client is and how it ends; then, for mere bytes, these; for a Felix, where its stream is changed, how
//! many bytes are lost there, and what takes their place.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::time::Instant;
use typha_tls::policy::TlsPolicy;
use typha_tls::{FelixConnector, TlsConfig, TyphaAcceptor};
use typha_tls_fuzz::fixtures::{
    FELIX, FELIX_KEY, POLICY, STRANGER, STRANGER_KEY, TLS12, TYPHA, TYPHA_KEY, UNTRUSTED, UNTRUSTED_KEY,
    material, required_felix, required_typha,
};
use typha_tls_fuzz::input::Input;

static ACCEPTOR: LazyLock<TyphaAcceptor> = LazyLock::new(|| {
    let config = TlsConfig::new(material(TYPHA, TYPHA_KEY), required_felix(), POLICY.clone());
    TyphaAcceptor::new(config).with_handshake_timeout(LIMIT)
});

const LIMIT: Duration = Duration::from_secs(10);

/// The clients, and whether they are to be accepted.
static FELIXES: LazyLock<[(FelixConnector, bool); 4]> = LazyLock::new(|| {
    [
        (connector(FELIX, FELIX_KEY, &POLICY), true),
        (connector(FELIX, FELIX_KEY, &TLS12), true),
        (connector(STRANGER, STRANGER_KEY, &POLICY), false),
        (connector(UNTRUSTED, UNTRUSTED_KEY, &TLS12), false),
    ]
});

fn connector(chain: &[u8], key: &[u8], policy: &TlsPolicy) -> FelixConnector {
    FelixConnector::new(TlsConfig::new(material(chain, key), required_typha(), policy.clone()))
}

/// What happens to the bytes of a Felix.
struct Change {
    position: usize,
    lost: usize,
    inserted: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let client = input.byte();
    let stays_open = client & 0x80 != 0;
    let felix = usize::from(client & 0x7f).checked_sub(1).map(|index| &FELIXES[index % FELIXES.len()]);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing").block_on(async {
        let (typha_io, wire) = duplex(64 * 1024);
        let mut is_changed = true;
        match felix {
            None => drop(tokio::spawn(send(wire, input.rest().to_vec(), stays_open))),
            Some((connector, _)) => {
                let (position, lost) = (input.number(), input.byte().into());
                let change = Change { position, lost, inserted: input.rest().to_vec() };
                is_changed = change.lost > 0 || !change.inserted.is_empty();
                let (felix_io, tap) = duplex(64 * 1024);
                let handshake = connector.connect(felix_io);
                tokio::spawn(async move {
                    let stream = handshake.await;
                    // Kept, since dropping it would close the connection under Typha.
                    tokio::time::sleep(2 * LIMIT).await;
                    drop(stream);
                });
                tokio::spawn(forward(tap, wire, change));
            }
        }
        let begin = Instant::now();
        let outcome = ACCEPTOR.accept(typha_io).await;
        assert!(begin.elapsed() <= LIMIT + Duration::from_millis(2), "{:?}", begin.elapsed());
        match outcome {
            Ok(stream) => {
                assert!(felix.is_some_and(|(_, is_good)| *is_good), "{stream:?}");
                let peer = stream.peer();
                assert_eq!(required_felix().check(peer.identity()), Ok(peer.matched_by()));
            }
            Err(error) => {
                let is_good = felix.is_some_and(|(_, is_good)| *is_good);
                assert!(is_changed || !is_good, "an untouched handshake failed: {error:?}");
                let text = error.to_string();
                assert!(text.len() < 1024 && text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text:?}");
            }
        }
    });
});

async fn send(wire: DuplexStream, bytes: Vec<u8>, stays_open: bool) {
    let (mut answer, mut to_typha) = split(wire);
    if to_typha.write_all(&bytes).await.is_ok() && stays_open {
        tokio::time::sleep(2 * LIMIT).await;
    }
    let _ = to_typha.shutdown().await;
    // Read, so that Typha can always write.
    let _ = tokio::io::copy(&mut answer, &mut tokio::io::sink()).await;
}

/// Passes on what both ends send, with the change to what Felix does.
async fn forward(felix: DuplexStream, typha: DuplexStream, change: Change) {
    let (mut from_felix, mut to_felix) = split(felix);
    let (mut from_typha, mut to_typha) = split(typha);
    tokio::spawn(async move { tokio::io::copy(&mut from_typha, &mut to_felix).await });
    let mut head = vec![0; change.position];
    let mut position = 0;
    // Not read_exact: what comes before the change is needed for the handshake to go on.
    while let (true, Ok(received @ 1..)) =
        (position < head.len(), from_felix.read(&mut head[position..]).await)
    {
        let end = position + received;
        if to_typha.write_all(&head[position..end]).await.is_err() {
            return;
        }
        position = end;
    }
    let mut lost = vec![0; change.lost];
    let _ = from_felix.read_exact(&mut lost).await;
    if to_typha.write_all(&change.inserted).await.is_ok() {
        let _ = tokio::io::copy(&mut from_felix, &mut to_typha).await;
        let _ = to_typha.shutdown().await;
    }
}
