//! The tracing events: one for each connection, with stable names, escaped, and inside a span that carries the address.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use typha_tls::testing::{self, CertificateSpec, TestCa, TestLeaf, TestPki};
use typha_tls::{RequiredIdentity, TlsConfig};
use x509_parser::extensions::ParsedExtension;

#[derive(Clone, Debug)]
struct Recorded {
    level: Level,
    span: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Recorded>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with("typha_tls") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let span = context.event_span(event).map(|span| span.name());
        self.0.lock().unwrap().push(Recorded { level: *event.metadata().level(), span, fields: fields.0 });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Performs one handshake over TCP, and returns the events of Typha's end and of Felix's end.
async fn events_of(
    acceptor: typha_tls::TyphaAcceptor,
    connector: typha_tls::FelixConnector,
) -> (Vec<Recorded>, Vec<Recorded>, [String; 2]) {
    let (typha_events, felix_events) = (Recorder::default(), Recorder::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let felix_tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (typha_tcp, felix_address) = listener.accept().await.unwrap();
    let addresses = [felix_address.to_string(), listener.local_addr().unwrap().to_string()];
    crate::subscribers::let_all_be_asked();
    let subscriber = |recorder: &Recorder| tracing_subscriber::registry().with(recorder.clone());
    use tracing::instrument::WithSubscriber as _;
    let typha =
        async { drop(acceptor.accept_tcp(typha_tcp).await) }.with_subscriber(subscriber(&typha_events));
    let felix =
        async { drop(connector.connect_tcp(felix_tcp).await) }.with_subscriber(subscriber(&felix_events));
    tokio::join!(typha, felix);
    let take = |recorder: Recorder| recorder.0.lock().unwrap().clone();
    (take(typha_events), take(felix_events), addresses)
}

/// The serial number and the fingerprint of a leaf, by other means.
fn numbers(leaf: &TestLeaf) -> (String, String) {
    let der = leaf.chain().first().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let hash = suite.common.hash_provider.hash(der);
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
    (hex(&certificate.tbs_certificate.serial.to_bytes_be()), hex(hash.as_ref()))
}

/// The subject key identifier of a CA.
fn key_identifier(ca: &CertificateDer<'_>) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(ca).unwrap();
    let key = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    key.unwrap().iter().map(|octet| format!("{octet:02x}")).collect()
}

fn assert_event(events: &[Recorded], level: Level, expected: &[(&str, &str)]) {
    assert_eq!(events.len(), 1, "{events:?}");
    for event in events {
        assert_eq!((event.level, event.span), (level, Some("handshake")));
        let (ca, found): (Vec<_>, Vec<_>) =
            event.fields.iter().map(|(name, value)| (*name, &**value)).partition(|(name, _)| *name == "ca");
        assert_eq!(found, expected);
        // Its name ends in something of the key.
        assert!(ca.iter().all(|(_, ca)| ca.starts_with("CN=\"calico-typha-ca\" (key ")), "{ca:?}");
        assert_eq!(ca.len(), usize::from(level == Level::INFO));
    }
}

#[tokio::test]
async fn an_accepted_connection() {
    let pki = TestPki::new().unwrap();
    let (acceptor, connector) = (pki.acceptor().unwrap(), pki.connector().unwrap());
    // The field `alpn` is there with a list only.
    let (typha, felix, _) = events_of(acceptor.clone(), connector.clone()).await;
    assert!([typha, felix].iter().all(|events| !events[0].fields.contains_key("alpn")));
    let with_alpn = |mut config: TlsConfig| {
        config.policy = config.policy.with_alpn(["h2"]).unwrap();
        config
    };
    acceptor.replace(with_alpn(acceptor.config()));
    connector.replace(with_alpn(connector.config()));
    let (typha, felix, [felix_address, typha_address]) = events_of(acceptor, connector).await;
    let (felix_numbers, typha_numbers) = (numbers(&pki.felix), numbers(&pki.typha));
    fn expected<'a>(
        name: &'a str,
        uri: &'a str,
        address: &'a str,
        (serial, sha256): &'a (String, String),
    ) -> [(&'static str, &'a str); 11] {
        [
            ("alpn", "\"h2\""),
            ("cipher_suite", "TLS_AES_128_GCM_SHA256"),
            ("common_name", name),
            ("group", "X25519MLKEM768"),
            ("matched_by", "both"),
            ("message", "connection accepted"),
            ("peer_address", address),
            ("serial", serial),
            ("sha256", sha256),
            ("tls_version", "1.3"),
            ("uri_sans", uri),
        ]
    }
    assert_event(
        &typha,
        Level::INFO,
        &expected(
            "\"typha-client\"",
            "[\"spiffe://cluster.local/ns/calico-system/sa/calico-node\"]",
            &felix_address,
            &felix_numbers,
        ),
    );
    assert_event(
        &felix,
        Level::INFO,
        &expected(
            "\"typha-server\"",
            "[\"spiffe://cluster.local/ns/calico-system/sa/calico-typha\"]",
            &typha_address,
            &typha_numbers,
        ),
    );
}

#[tokio::test]
async fn a_refused_connection_shows_nothing_unescaped() {
    let pki = TestPki::new().unwrap();
    let ca = TestCa::new(CertificateSpec::ca("ca")).unwrap();
    let forger =
        ca.issue(CertificateSpec::leaf("evil\n2026-01-01 INFO connection accepted\u{1b}[2J")).unwrap();
    let required = RequiredIdentity::common_name("typha-client").unwrap();
    let acceptor = testing::acceptor(&ca, &pki.typha, required).unwrap();
    let required = RequiredIdentity::common_name("typha-server").unwrap();
    let connector = testing::connector(&pki.ca, &forger, required).unwrap();
    let (typha, felix, [felix_address, typha_address]) = events_of(acceptor, connector).await;
    let (serial, _) = numbers(&forger);
    assert_event(
        &typha,
        Level::WARN,
        &[
            ("authority_key_id", &key_identifier(ca.root())),
            (
                "detail",
                "peer certificate does not have required CN: required CN \"typha-client\", but presented CN \
                 \"evil\\n2026-01-01 INFO connection accepted\\u{1b}[2J\", no URI SAN",
            ),
            ("message", "connection refused"),
            ("peer_address", &felix_address),
            ("reason", "identity_mismatch"),
            ("serial", &serial),
        ],
    );
    assert_event(
        &felix,
        Level::WARN,
        &[
            (
                "detail",
                "the peer refused us: access_denied (our certificate is good, but has neither the Common Name nor the \
                 URI SAN that the peer requires)",
            ),
            ("message", "connection refused"),
            ("peer_address", &typha_address),
            ("reason", "refused_by_peer"),
        ],
    );
}
