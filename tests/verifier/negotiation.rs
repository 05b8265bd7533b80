//! What two ends agree on by their policies.

use std::time::Duration;

use typha_tls::error::{HandshakeError, HandshakePhase};
use typha_tls::identity::RequiredIdentity;
use typha_tls::policy::{TlsPolicy, TlsPolicyBuilder};
use typha_tls::stream::{Acceptance, TlsFacts};
use typha_tls::testing::{
    FELIX_COMMON_NAME, HandshakeResult, TYPHA_COMMON_NAME, TestPki, handshake, material,
};
use typha_tls::{AcceptanceMode, FelixConnector, TlsConfig, TyphaAcceptor};

/// A pair with these policies.
pub(crate) fn pair(typha: TlsPolicyBuilder, felix: TlsPolicyBuilder) -> (TyphaAcceptor, FelixConnector) {
    let pki = TestPki::new().unwrap();
    let (typha, felix) = (typha.build().unwrap(), felix.build().unwrap());
    let acceptor = TlsConfig::new(
        material(&pki.ca, &pki.typha, typha.provider()).unwrap(),
        RequiredIdentity::common_name(FELIX_COMMON_NAME).unwrap(),
        typha,
    );
    let connector = TlsConfig::new(
        material(&pki.ca, &pki.felix, felix.provider()).unwrap(),
        RequiredIdentity::common_name(TYPHA_COMMON_NAME).unwrap(),
        felix,
    );
    (TyphaAcceptor::new(acceptor), FelixConnector::new(connector))
}

pub(crate) async fn shake(
    typha: TlsPolicyBuilder,
    felix: TlsPolicyBuilder,
) -> (HandshakeResult, HandshakeResult) {
    let (acceptor, connector) = pair(typha, felix);
    handshake(&acceptor, &connector).await
}

/// What both ends say that they agreed on.
pub(crate) async fn agreed(typha: TlsPolicyBuilder, felix: TlsPolicyBuilder) -> TlsFacts {
    let (typha, felix) = shake(typha, felix).await;
    let facts = typha.unwrap().tls().clone();
    assert_eq!(facts, *felix.unwrap().tls());
    facts
}

fn defaults() -> TlsPolicyBuilder {
    TlsPolicy::builder()
}

#[tokio::test]
async fn typhas_order_of_suites_decides() {
    let (aes_128, aes_256, chacha) =
        ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256");
    let order = |suites: &[&str]| defaults().cipher_suites(&suites.join(","));
    for (typha, felix, suite) in [
        (defaults(), defaults(), aes_128),
        (defaults(), order(&[aes_256, aes_128, chacha]), aes_128),
        (defaults(), order(&[chacha, aes_256]), aes_256),
        (defaults(), order(&[chacha]), chacha),
        (order(&[aes_256, aes_128]), defaults(), aes_256),
        (order(&[chacha, aes_128]), defaults(), chacha),
    ] {
        assert_eq!(agreed(typha, felix).await.cipher_suite(), suite);
    }
    // In TLS 1.2 alike: a list without suites of 1.3 leaves those, so that one without 1.3 takes a provider.
    let tls12 = |names: &str| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_none());
        let provider = defaults().provider(provider.into());
        if names.is_empty() { provider } else { provider.cipher_suites(names) }
    };
    let (aes_128, aes_256) =
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    let facts = agreed(defaults(), tls12("")).await;
    assert_eq!((facts.version(), facts.cipher_suite().as_str()), ("1.2", aes_128));
    let facts = agreed(defaults().cipher_suites(aes_256), tls12("")).await;
    assert_eq!((facts.version(), facts.cipher_suite().as_str()), ("1.2", aes_256));
}

#[tokio::test]
async fn the_hybrid_group_comes_first_and_the_classical_one_can_be_fixed() {
    let groups = |names: &str| defaults().key_exchange_groups(names);
    for (typha, felix, group) in [
        (defaults(), defaults(), "X25519MLKEM768"),
        (defaults(), groups("x25519"), "x25519"),
        (groups("x25519"), defaults(), "x25519"),
        (groups("x25519"), groups("x25519"), "x25519"),
        (groups("secp256r1"), defaults(), "secp256r1"),
    ] {
        assert_eq!(agreed(typha, felix).await.group(), group);
    }
    let (typha, felix) = shake(groups("x25519"), groups("X25519MLKEM768")).await;
    assert_eq!(typha.unwrap_err().label(), "tls");
    assert_eq!(felix.unwrap_err().label(), "refused_by_peer");
}

#[tokio::test(start_paused = true)]
async fn the_ticket_is_the_sign_of_acceptance() {
    let wait = Duration::from_secs(3);
    for (ticket, mode, expected) in [
        (true, AcceptanceMode::Required, Ok(Acceptance::Confirmed)),
        (true, AcceptanceMode::Off, Ok(Acceptance::Unconfirmed)),
        (false, AcceptanceMode::Auto(wait), Ok(Acceptance::Unconfirmed)),
        (false, AcceptanceMode::Off, Ok(Acceptance::Unconfirmed)),
        (false, AcceptanceMode::Required, Err(HandshakePhase::AwaitingAcceptance)),
    ] {
        let (acceptor, connector) = pair(defaults().acceptance_ticket(ticket), defaults());
        let (typha, felix) = handshake(&acceptor, &connector.with_acceptance(mode)).await;
        typha.unwrap();
        match felix {
            Ok(felix) => assert_eq!(Ok(felix.acceptance()), expected, "{ticket} {mode:?}"),
            Err(HandshakeError::TimedOut { phase, .. }) => {
                assert_eq!(Err(phase), expected, "{ticket} {mode:?}");
            }
            Err(error) => assert_eq!(error.to_string(), "", "{ticket} {mode:?}"),
        }
    }
}
