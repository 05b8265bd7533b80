//! What both ends agree on: version, application protocol, server name; and that no session is resumed.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind, SupportedProtocolVersion};
use typha_tls::HandshakeError;
use typha_tls::error::alert_of;
use typha_tls::host::HostConnector;
use typha_tls::policy::TlsPolicy;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{CertificateSpec, TestCa};

use crate::site::*;

fn speaking(version: &SupportedProtocolVersion) -> TlsPolicy {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.version().version == version.version);
    TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap()
}

#[tokio::test]
async fn both_versions() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let connector = HostConnector::new(config_of(&site.ca, Some(&site.own), speaking(version)));
        let (ours, theirs) = server.meet(&connector, NAME).await;
        let ours = ours.unwrap();
        assert_eq!((ours.tls().version(), ours.acceptance()), (name, Acceptance::Confirmed));
        assert_eq!(theirs.unwrap().get_ref().1.protocol_version(), Some(version.version));

        // Whatever the version, the reasons are the same.
        let (ours, theirs) = server.meet(&connector, "etcd-2.example").await;
        assert_eq!(ours.unwrap_err().label(), "host_mismatch");
        assert_eq!(alert_of(&theirs.unwrap_err()), Some(AlertDescription::BadCertificate));
        let without = HostConnector::new(config_of(&site.ca, None, speaking(version)));
        let (ours, _) = server.meet(&without, NAME).await;
        let Err(HandshakeError::RefusedByPeer { alert }) = ours else { panic!("{ours:?}") };
        assert_eq!(alert, AlertDescription::CertificateRequired);
    }
}

#[tokio::test]
async fn application_protocols() {
    let site = Site::new();
    let connector = |ours: &[&str]| {
        let policy = TlsPolicy::builder().alpn(ours.iter().copied()).build().unwrap();
        HostConnector::new(config_of(&site.ca, Some(&site.own), policy))
    };
    let server = async |theirs: &[&str]| {
        let mut config = server_config(&site.ca, &site.server, Clients::Required);
        config.alpn_protocols = theirs.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Server::bind(config).await
    };
    for (our_list, their_list, agreed) in [
        (&["h2"][..], &["h2"][..], Some("h2")),
        (&["h2", "http/1.1"], &["http/1.1"], Some("http/1.1")),
        (&["http/1.1", "h2"], &["h2", "http/1.1"], Some("h2")),
        (&[], &["h2"], None),
        (&[], &[], None),
    ] {
        let (ours, theirs) = server(their_list).await.meet(&connector(our_list), NAME).await;
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours.tls().alpn(), agreed.map(str::as_bytes), "{our_list:?} {their_list:?}");
        assert_eq!(theirs.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
    }
    // None in common: the server says so. A server that does not use ALPN says nothing, so we do.
    let (ours, theirs) = server(&["http/1.1"]).await.meet(&connector(&["h2"]), NAME).await;
    let Err(HandshakeError::RefusedByPeer { alert }) = ours else { panic!("{ours:?}") };
    assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    assert!(theirs.is_err());
    let (ours, _) = server(&[]).await.meet(&connector(&["h2"]), NAME).await;
    let error = ours.unwrap_err();
    let HandshakeError::NoApplicationProtocol { ours, theirs } = &error else { panic!("{error:?}") };
    assert_eq!((&**ours, &**theirs), (&["h2".to_owned()][..], &[][..]));
}

#[tokio::test]
async fn names_are_sent_and_addresses_are_not() {
    let site = Site::new();
    let server = site.serve(Clients::Ignored).await;
    for (name, sent) in [
        (NAME, Some(NAME)),
        // As RFC 6066 section 3 wants it: without the final dot. Case does not matter.
        ("ETCD-1.Example.", Some(NAME)),
        ("localhost", Some("localhost")),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
    ] {
        let (ours, theirs) = server.meet(&site.connector(), name).await;
        ours.unwrap();
        assert_eq!(theirs.unwrap().get_ref().1.server_name(), sent, "{name}");
    }
}

/// The server hands out tickets and keeps sessions, and would resume one.
#[tokio::test]
async fn no_session_is_resumed() {
    let site = Site::new();
    let other = TestCa::new(CertificateSpec::ca("another-ca")).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut config = server_config(&site.ca, &site.server, Clients::Required);
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        let server = Server::bind(config).await;
        let config = |ca| config_of(ca, Some(&site.own), speaking(version));
        let connector = HostConnector::new(config(&site.ca));
        for _ in 0..2 {
            let (ours, theirs) = server.meet(&connector, NAME).await;
            assert_eq!(ours.unwrap().peer_certificates(), site.server.chain());
            assert_eq!(theirs.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
        // The same server, the same name that it knows us by: the host and the CA are checked each time.
        let (ours, _) = server.meet(&connector, "etcd-2.example").await;
        assert_eq!(ours.unwrap_err().label(), "host_mismatch");
        assert_eq!(connector.replace(config(&other)), 2);
        let (ours, theirs) = server.meet(&connector, NAME).await;
        assert_eq!(ours.unwrap_err().label(), "unknown_ca");
        assert_eq!(alert_of(&theirs.unwrap_err()), Some(AlertDescription::UnknownCA));
        assert_eq!(connector.replace(config(&site.ca)), 3);
        let (ours, theirs) = server.meet(&connector, NAME).await;
        assert_eq!(ours.unwrap().generation(), 3);
        assert_eq!(theirs.unwrap().get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// A server that may be verified for one of two hosts: each connection has its own.
#[tokio::test]
async fn one_connector_for_many_hosts() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    let connector = site.connector();
    for _ in 0..2 {
        for (name, is_valid) in
            [(NAME, true), ("etcd-2.example", false), ("127.0.0.1", true), ("10.0.0.1", false)]
        {
            let (ours, _) = server.meet(&connector, name).await;
            if is_valid {
                assert_eq!(ours.unwrap().peer().matched_host(), Some(&host(name)));
            } else {
                assert_eq!(ours.unwrap_err().label(), "host_mismatch");
            }
        }
    }
}
