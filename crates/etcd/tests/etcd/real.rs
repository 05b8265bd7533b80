//! Connections to a real etcd: what works, and what the operator reads when it refuses us.

use std::fs;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tonic::Code;
use typha_tls::stream::Acceptance;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};
use typha_tls_etcd::{EtcdConnector, EtcdError};

use crate::rpc::{Watch, get, put};
use crate::server::{Etcd, programs};
use crate::site::{SOON, Site, argument, client_spec, server_spec};

/// The text of the refusal, with `URL` in place of the endpoint.
async fn refusal(connector: &EtcdConnector, etcd: &Etcd) -> String {
    let error = connector.connect().await.unwrap_err();
    error.to_string().replace(&etcd.url(), "URL")
}

const REQUIRED: &str = "etcd requires a client certificate (--client-cert-auth), and we have none; set the parameters \
                        for a certificate and its key";
const REQUIRED_OR_NOTHING_IN_COMMON: &str = "etcd requires a client certificate, and we have none, or no TLS version \
                                             or cipher suite is in common; set the parameters for a certificate and \
                                             its key, or change TLS_MIN_VERSION and TLS_CIPHER_SUITES here";
const NOT_ACCEPTED: &str = "etcd does not accept our certificate: its --trusted-ca-file lacks our CA (etcd reads that \
                            file at its start only), --client-cert-allowed-hostname does not match our certificate, or \
                            our serial number is on --client-crl-file; see etcd's log";
const UNKNOWN_CA: &str = "etcd's --trusted-ca-file lacks the CA of our certificate; add it there and restart etcd, \
                          which reads that file at its start only. If an intermediate CA issued our certificate, \
                          append that CA's certificate to our certificate file";
const REVOKED: &str = "etcd closed the connection right after the handshake, without an alert: the serial number of \
                       our certificate is on its revocation list (--client-crl-file), also if another CA issued that \
                       list, or etcd can not read that file; issue a new certificate, or write the list again as DER";
const NOT_TLS: &str = "the server closed the connection, or does not speak TLS; see in etcd's --listen-client-urls \
                       whether this is its client port, and whether its scheme is https";

fn refused_with(alert: &str, explanation: &str) -> String {
    format!("could not connect to etcd: URL: etcd refused us with the alert {alert}: {explanation}")
}

#[tokio::test(flavor = "multi_thread")]
async fn put_get_and_watch() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        for (connector, version) in
            site.connectors(&etcd.url(), Some("client")).into_iter().zip(["1.3", "1.2"])
        {
            let connection = connector.connect().await.unwrap();
            assert_eq!(
                (connection.tls().version(), connection.acceptance()),
                (version, Acceptance::Confirmed)
            );
            let channel = connector.channel();
            put(&channel, "a", "1").await.unwrap();
            assert_eq!(get(&channel, "a").await.unwrap().as_deref(), Some("1"));
            assert_eq!(get(&channel, "b").await.unwrap(), None);
            let mut watch = Watch::start(&channel, "a").await;
            put(&channel, "a", "2").await.unwrap();
            assert_eq!(watch.next().await.unwrap(), "2");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let [over_13, over_12] = site.connectors(&etcd.url(), None);
        let (alert_13, alert_12) = match program.is_old {
            true => ("bad_certificate", "bad_certificate"),
            false => ("certificate_required", "handshake_failure"),
        };
        let over_12_text = if program.is_old { REQUIRED } else { REQUIRED_OR_NOTHING_IN_COMMON };
        assert_eq!(refusal(&over_13, &etcd).await, refused_with(alert_13, REQUIRED));
        assert_eq!(refusal(&over_12, &etcd).await, refused_with(alert_12, over_12_text));
        // A client of gRPC gets the same text, and the typed error.
        let status = put(&over_13.channel(), "a", "1").await.unwrap_err();
        let error = EtcdError::of(&status).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, &*error.to_string()));
        assert_eq!(error.label(), "refused_by_peer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
        site.issue_by(&other, "other", client_spec("felix"));
        let text = if program.is_old {
            refused_with("bad_certificate", NOT_ACCEPTED)
        } else {
            refused_with("unknown_ca", UNKNOWN_CA)
        };
        for connector in site.connectors(&etcd.url(), Some("other")) {
            assert_eq!(refusal(&connector, &etcd).await, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_servers_only() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        site.issue("wrong", CertificateSpec::leaf("felix").purpose(Purpose::ServerAuth));
        let text = refused_with(
            "bad_certificate",
            "our certificate CN=\"felix\" has an extended key usage without clientAuth: every peer will refuse it; \
             issue one with extendedKeyUsage = clientAuth",
        );
        for connector in site.connectors(&etcd.url(), Some("wrong")) {
            assert_eq!(refusal(&connector, &etcd).await, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        site.issue("expired", client_spec("felix").valid(at(1_700_000_000), at(1_700_000_060)));
        let alert = if program.is_old { "bad_certificate" } else { "certificate_expired" };
        let text = refused_with(
            alert,
            "our certificate CN=\"felix\" expired at 2023-11-14T22:14:20Z: every peer will refuse it; issue a new one",
        );
        for connector in site.connectors(&etcd.url(), Some("expired")) {
            assert_eq!(refusal(&connector, &etcd).await, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_allowed_host_name() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &["--client-cert-allowed-hostname", "other.example"]);
        let text = refused_with("bad_certificate", NOT_ACCEPTED);
        for connector in site.connectors(&etcd.url(), Some("client")) {
            assert_eq!(refusal(&connector, &etcd).await, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_revocation_list() {
    for program in programs() {
        let site = Site::new();
        let revoked = site.issue("revoked", client_spec("felix"));
        let list =
            site.ca.revocation_list(&[&revoked], SystemTime::now() + Duration::from_secs(3600)).unwrap();
        fs::write(site.path("list.der"), &list).unwrap();
        let etcd = Etcd::start(&program, &site, &["--client-crl-file", &argument(&site.path("list.der"))]);
        let text = format!("could not connect to etcd: URL: {REVOKED}");
        for connector in site.connectors(&etcd.url(), Some("revoked")) {
            assert_eq!(refusal(&connector, &etcd).await, text);
        }
        let good = site.connector(&etcd.url(), Some("client"));
        put(&good.channel(), "a", "1").await.unwrap();
        // Without the file, etcd refuses everybody.
        fs::remove_file(site.path("list.der")).unwrap();
        assert_eq!(refusal(&good, &etcd).await, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_not_valid_for_the_host() {
    for program in programs() {
        let site = Site::new();
        site.issue("server", CertificateSpec::leaf("127.0.0.1").purpose(Purpose::ServerAuth));
        let etcd = Etcd::start(&program, &site, &[]);
        assert_eq!(
            refusal(&site.connector(&etcd.url(), Some("client")), &etcd).await,
            "could not connect to etcd: URL: the server's certificate is not \
             valid for the host 127.0.0.1: it has neither a DNS name nor an IP address as subject alternative name \
             (only its Common Name is 127.0.0.1, and that does not count); issue it again with subjectAltName = \
             IP:127.0.0.1"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_without_its_own_certificate() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        fs::remove_file(site.path("server.pem")).unwrap();
        assert_eq!(
            refusal(&site.connector(&etcd.url(), Some("client")), &etcd).await,
            refused_with("internal_error", "etcd can not read its own certificate or key; see etcd's log")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_without_tls() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start_at(&program, "http://127.0.0.1:0", None, &[]);
        assert_eq!(
            refusal(&site.connector(&etcd.url(), Some("client")), &etcd).await,
            format!("could not connect to etcd: URL: {NOT_TLS}")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_is_lost_and_comes_back() {
    for program in programs() {
        let site = Site::new();
        let mut etcds: Vec<_> = (0..3).map(|_| Etcd::start(&program, &site, &[])).collect();
        // They are three clusters of one member, so that the key tells which one has answered.
        for (index, etcd) in etcds.iter().enumerate() {
            let channel = site.connector(&etcd.url(), Some("client")).channel();
            put(&channel, "who", &index.to_string()).await.unwrap();
        }
        let endpoints: Vec<_> = etcds.iter().map(Etcd::url).collect();
        let channel = site.connector(&endpoints.join(","), Some("client")).channel();
        let who = async || get(&channel, "who").await.unwrap().unwrap();
        assert_eq!(who().await, "0");
        let lost = etcds.remove(0);
        let port = lost.port;
        drop(lost);
        // The request that notices it may fail; the next one goes to another endpoint.
        let deadline = Instant::now() + SOON;
        while get(&channel, "who").await.is_err() {
            assert!(Instant::now() < deadline, "no other endpoint is used");
        }
        assert_eq!(who().await, "1");
        // The last good one stays, also when the first is back.
        let back = Etcd::start_at(&program, &format!("https://127.0.0.1:{port}"), Some(&site), &[]);
        assert_eq!(who().await, "1");
        drop(etcds);
        let deadline = Instant::now() + SOON;
        while get(&channel, "who").await.is_err() {
            assert!(Instant::now() < deadline, "the first endpoint is not used again");
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(get(&channel, "who").await.unwrap(), None, "it has lost its data");
        drop(back);
    }
}

/// Certificates and our CA file are renewed while a watch runs. The watch stays, and new connections use the new files.
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_renewed_under_a_watch() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let connector = site.connector(&etcd.url(), Some("client"));
        let channel = connector.channel();
        let mut watch = Watch::start(&channel, "a").await;
        // etcd's certificate and ours, by the same CA; and another CA beside it in our file.
        let second = TestCa::new(CertificateSpec::ca("second")).unwrap();
        site.issue("server", server_spec().common_name("renewed"));
        site.issue("client", client_spec("renewed"));
        site.write("ca.pem", &(site.ca.root_pem() + &second.root_pem()));
        connector.reloader().unwrap().reload_now().await.unwrap();
        put(&channel, "a", "1").await.unwrap();
        assert_eq!(watch.next().await.unwrap(), "1");
        let renewed = connector.connect().await.unwrap();
        assert_eq!(renewed.peer().identity().common_name(), Some("renewed"));
        // etcd gets a certificate of the second CA.
        site.issue_by(&second, "server", server_spec().common_name("of the second"));
        let moved = connector.connect().await.unwrap();
        assert_eq!(moved.peer().ca().split(" (").next(), Some("CN=\"second\""));
        put(&channel, "a", "2").await.unwrap();
        assert_eq!(watch.next().await.unwrap(), "2");
        // The first CA goes: a connection of it is no longer trusted, and will be closed within a minute.
        site.write("ca.pem", &second.root_pem());
        connector.reloader().unwrap().reload_now().await.unwrap();
        let deadline = Instant::now() + SOON;
        while renewed.lost_trust().is_none() {
            assert!(Instant::now() < deadline, "it is still trusted");
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(renewed.lost_trust().unwrap().label(), "unknown_ca");
        assert!(moved.lost_trust().is_none());
    }
}
