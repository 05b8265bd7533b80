//! Certificates of five minutes, renewed again and again under load; and what happens when a renewal is left out.

use std::time::Duration;

use rustls::AlertDescription;
use rustls_pki_types::UnixTime;
use typha_tls::HandshakeError;
use typha_tls::testing::{FELIX_COMMON_NAME, TYPHA_COMMON_NAME};
use typha_tls::verifier::{ChainPosition, Rejection};

use super::held::bounded;
use super::recorded::{ExpiryWarnings, Warning};
use super::short_lived::{LIFETIME, Site, is_alive};

const RENEWALS: u64 = 20;

fn warning(name: &str, message: &str) -> Warning {
    let subject = format!("CN=\"{name}\"");
    ("own_leaf".to_owned(), subject.clone(), format!("our certificate {subject} {message}"))
}

/// Both ends warn of their own leaf in these words.
fn assert_warned(found: Vec<Warning>, message: &str) {
    assert_eq!(found.len(), 2, "{found:?}");
    for ((kind, subject, text), name) in found.into_iter().zip([FELIX_COMMON_NAME, TYPHA_COMMON_NAME]) {
        let (expected_kind, expected_subject, expected_text) = warning(name, message);
        assert_eq!((kind, subject), (expected_kind, expected_subject));
        assert!(text.starts_with(&expected_text), "{text}");
    }
}

fn assert_expired(error: &HandshakeError, name: &str, end: UnixTime) {
    let expected = Rejection::Expired {
        position: ChainPosition::Leaf,
        subject: format!("CN=\"{name}\""),
        not_after: end,
        now: UnixTime::since_unix_epoch(Duration::from_secs(end.as_secs() + 1)),
    };
    assert_eq!(error.rejection(), Some(&expected));
}

#[tokio::test]
async fn leaves_of_five_minutes_are_renewed_under_load() {
    let (warnings, _guard) = ExpiryWarnings::record();
    let site = Site::new().await;
    let mut from_before = Vec::new();
    let renewing = async {
        for renewal in 1..=RENEWALS {
            from_before.push(site.good_connection().await);
            // Two thirds of the lifetime.
            for _ in 0..5 {
                site.everybody_connects().await;
                site.clock.advance(Duration::from_secs(LIFETIME * 2 / 3 / 5));
            }
            site.everybody_connects().await;
            if renewal % 2 == 0 {
                site.renew_typha(renewal + 1).await;
                site.everybody_connects().await;
                site.renew_felix(renewal + 1).await;
            } else {
                site.renew_felix(renewal + 1).await;
                site.everybody_connects().await;
                site.renew_typha(renewal + 1).await;
            }
        }
        site.everybody_connects().await;
    };
    site.under_load(renewing).await;
    for stream in &mut from_before {
        assert!(bounded(is_alive(stream)).await);
    }
    site.assert_state(RENEWALS);

    // Renewed in time, nobody was warned.
    site.look().await;
    assert_eq!(warnings.take(), []);

    // One renewal is left out.
    let end = site.clock.now().as_secs() + LIFETIME;
    let left = |seconds: u64| site.clock.set(UnixTime::since_unix_epoch(Duration::from_secs(end - seconds)));
    let waiting = async {
        for (from, to) in [(100, 51), (50, 26), (25, 0)] {
            left(from + 1);
            site.look().await;
            assert_eq!(warnings.take(), []);
            for seconds in [from, from - 1, to] {
                left(seconds);
                site.look().await;
                site.everybody_connects().await;
                match seconds == from {
                    true => assert_warned(warnings.take(), &format!("expires in {from} seconds, at ")),
                    false => assert_eq!(warnings.take(), [], "{seconds}"),
                }
            }
        }
    };
    site.under_load(waiting).await;

    // The first second in which nobody gets in.
    site.clock.advance(Duration::from_secs(1));
    site.look().await;
    assert_warned(warnings.take(), "expired 1 seconds ago, at ");
    let expired = Some(AlertDescription::CertificateExpired);
    let end = UnixTime::since_unix_epoch(Duration::from_secs(end));
    let (typha, felix) = bounded(site.connect()).await;
    assert_expired(&felix.unwrap_err(), TYPHA_COMMON_NAME, end);
    assert_eq!(typha.unwrap_err().alert(), expired);
    site.renew_typha(RENEWALS + 2).await;
    let (typha, felix) = bounded(site.connect()).await;
    assert_expired(&typha.unwrap_err(), FELIX_COMMON_NAME, end);
    assert_eq!(felix.unwrap_err().alert(), expired);
    site.renew_felix(RENEWALS + 2).await;
    bounded(site.good_connection()).await;
    for stream in &mut from_before {
        assert!(bounded(is_alive(stream)).await);
    }
    site.look().await;
    assert_eq!(warnings.take(), []);
    site.assert_state(RENEWALS + 1);
    println!("{RENEWALS} renewals of both ends, {} handshakes, none failed", site.handshakes.get());
}
