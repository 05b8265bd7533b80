//! Servers that are accepted, and servers that are refused, each with its reason on both ends.

use std::time::{Duration, SystemTime};

use rustls::AlertDescription;
use typha_tls::HandshakeError;
use typha_tls::error::alert_of;
use typha_tls::host::HostConnector;
use typha_tls::material::{RevocationLists, RevocationPolicy};
use typha_tls::stream::Acceptance;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::Rejection;

use crate::site::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn accepted_by_name_and_by_address() {
    let site = Site::new();
    for clients in [Clients::Ignored, Clients::Required] {
        for (address, name) in [
            ("127.0.0.1", NAME),
            ("127.0.0.1", "ETCD-1.example."),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("127.0.0.1", "::1"),
            ("::1", "[::1]"),
            ("::1", NAME),
        ] {
            let server = Server::bind_to(address, server_config(&site.ca, &site.server, clients)).await;
            let (ours, theirs) = server.meet(&site.connector(), name).await;
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            let peer = ours.peer();
            assert_eq!(peer.matched_host(), Some(&host(name)));
            assert_eq!(peer.to_string(), format!("server {} with CN \"etcd\", no URI SAN", host(name)));
            assert_eq!(ours.peer_certificates(), site.server.chain());
            let (acceptance, presented) = match clients {
                Clients::Ignored => (Acceptance::NotAsked, None),
                _ => (Acceptance::Confirmed, Some(site.own.chain())),
            };
            assert_eq!(ours.acceptance(), acceptance);
            assert_eq!(theirs.get_ref().1.peer_certificates(), presented);
        }
    }
}

/// The refusals of servers that are refused whatever host was dialled, and for another host.
#[tokio::test]
async fn refused() {
    let site = Site::new();
    let now = SystemTime::now();
    let issue = |ca: &TestCa, spec| ca.issue(spec).unwrap();
    let other = TestCa::new(CertificateSpec::ca("another-ca")).unwrap();
    let same_name = TestCa::new(CertificateSpec::ca("etcd-ca")).unwrap();
    let without_names = CertificateSpec::leaf(NAME).purpose(Purpose::ServerAuth);
    for (leaf, name, label, alert) in [
        (issue(&site.ca, server_spec()), "etcd-2.example", "host_mismatch", AlertDescription::BadCertificate),
        (issue(&site.ca, server_spec()), "10.0.0.1", "host_mismatch", AlertDescription::BadCertificate),
        (issue(&site.ca, without_names), NAME, "host_mismatch", AlertDescription::BadCertificate),
        (issue(&other, server_spec()), NAME, "unknown_ca", AlertDescription::UnknownCA),
        // The chain is judged before the host.
        (issue(&other, server_spec()), "etcd-2.example", "unknown_ca", AlertDescription::UnknownCA),
        (issue(&same_name, server_spec()), NAME, "ca_key_mismatch", AlertDescription::UnknownCA),
        (TestLeaf::self_signed(server_spec()).unwrap(), NAME, "unknown_ca", AlertDescription::UnknownCA),
        (
            issue(&site.ca, server_spec().valid(now - 2 * HOUR, now - HOUR)),
            NAME,
            "expired",
            AlertDescription::CertificateExpired,
        ),
        (
            issue(&site.ca, server_spec().valid(now + HOUR, now + 2 * HOUR)),
            NAME,
            "not_yet_valid",
            AlertDescription::CertificateExpired,
        ),
        (
            issue(&site.ca, CertificateSpec::leaf("etcd").dns_san(NAME).purpose(Purpose::ClientAuth)),
            NAME,
            "wrong_key_usage",
            AlertDescription::UnsupportedCertificate,
        ),
        (
            issue(&site.ca, CertificateSpec::ca("etcd").dns_san(NAME)),
            NAME,
            "ca_used_as_leaf",
            AlertDescription::UnsupportedCertificate,
        ),
    ] {
        for clients in [Clients::Ignored, Clients::Required] {
            let server = Server::bind(server_config(&site.ca, &leaf, clients)).await;
            let (ours, theirs) = server.meet(&site.connector(), name).await;
            let Err(HandshakeError::Rejected(rejection)) = ours else { panic!("{label}: {ours:?}") };
            assert_eq!(rejection.label(), label, "{rejection}");
            assert_eq!(alert_of(&theirs.unwrap_err()), Some(alert), "{label}");
        }
    }
}

#[tokio::test]
async fn a_mismatch_names_both_hosts() {
    let site = Site::new();
    let server = site.serve(Clients::Required).await;
    let (ours, _) = server.meet(&site.connector(), "etcd-2.example").await;
    let error = ours.unwrap_err();
    let Some(Rejection::HostMismatch(mismatch)) = error.rejection() else { panic!("{error:?}") };
    assert_eq!(mismatch.host, host("etcd-2.example"));
    assert_eq!(mismatch.dns_names, [NAME, "localhost"]);
    let addresses: Vec<_> = mismatch.ip_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1", "::1"]);
    assert!(
        error.to_string().contains("; issue it again with subjectAltName = DNS:etcd-2.example"),
        "{error}"
    );
}

#[tokio::test]
async fn revoked_and_of_unknown_status() {
    let site = Site::new();
    let revoked = site.ca.issue(server_spec()).unwrap();
    let next_update = SystemTime::now() + HOUR;
    let connector = |lists: RevocationLists| {
        let mut config = site.config(Some(&site.own));
        std::sync::Arc::make_mut(&mut config.material).revocation_lists = lists;
        HostConnector::new(config)
    };
    let bundle = site.ca.trust_bundle().unwrap();
    let list = |ca: &TestCa, leaves: &[&TestLeaf], bundle| {
        let list = ca.revocation_list(leaves, next_update).unwrap();
        RevocationLists::from_der([list], bundle, policy().provider()).unwrap()
    };
    let lists = list(&site.ca, &[&revoked], &bundle);
    for (lists, leaf, refused) in [
        (lists.clone(), &site.server, None),
        (lists, &revoked, Some(("revoked", AlertDescription::CertificateRevoked))),
        (
            RevocationLists::none().with_policy(RevocationPolicy::strict()),
            &site.server,
            Some(("revocation_status_unknown", AlertDescription::CertificateUnknown)),
        ),
    ] {
        let server = Server::bind(server_config(&site.ca, leaf, Clients::Required)).await;
        let (ours, theirs) = server.meet(&connector(lists), NAME).await;
        match refused {
            None => assert_eq!(ours.unwrap().acceptance(), Acceptance::Confirmed),
            Some((label, alert)) => {
                assert_eq!(ours.unwrap_err().label(), label);
                assert_eq!(alert_of(&theirs.unwrap_err()), Some(alert));
            }
        }
    }
}

/// A server refuses us: it wants a certificate and we have none, or it does not trust ours.
#[tokio::test]
async fn refused_by_the_server() {
    let site = Site::new();
    let stranger = TestCa::new(CertificateSpec::ca("another-ca")).unwrap().issue(own_spec()).unwrap();
    for (own, alert) in
        [(None, AlertDescription::CertificateRequired), (Some(&stranger), AlertDescription::UnknownCA)]
    {
        let server = site.serve(Clients::Required).await;
        let connector = HostConnector::new(site.config(own));
        let (ours, theirs) = server.meet(&connector, NAME).await;
        let Err(HandshakeError::RefusedByPeer { alert: heard }) = ours else { panic!("{ours:?}") };
        assert_eq!(heard, alert);
        assert!(theirs.is_err());
    }
}

#[tokio::test]
async fn without_a_certificate_where_none_is_needed() {
    let site = Site::new();
    let connector = HostConnector::new(site.config(None));
    for (clients, acceptance) in
        [(Clients::Ignored, Acceptance::NotAsked), (Clients::Requested, Acceptance::Confirmed)]
    {
        let (ours, theirs) = site.serve(clients).await.meet(&connector, NAME).await;
        assert_eq!(ours.unwrap().acceptance(), acceptance);
        assert_eq!(theirs.unwrap().get_ref().1.peer_certificates(), None);
    }
    let (ours, theirs) = site.serve(Clients::Requested).await.meet(&site.connector(), NAME).await;
    assert_eq!(ours.unwrap().acceptance(), Acceptance::Confirmed);
    assert_eq!(theirs.unwrap().get_ref().1.peer_certificates(), Some(site.own.chain()));
}
