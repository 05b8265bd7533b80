//! `check etcd --connect` at a real etcd: accepted and refused.

use serde_json::{Value, json};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa};

use super::server::findings;
use super::site::{DAY, check, close_to_others, only, spec};
use crate::server::{Etcd, programs};
use crate::site::{Site, argument};

/// The exit code and the lines for a Felix with the certificate `client`.
fn connect(site: &Site, etcd: &Etcd) -> (Option<i32>, Vec<Value>) {
    let path = |name| argument(&site.path(name));
    close_to_others(site.path("client.key"));
    let text = format!(
        "EtcdEndpoints={}\nEtcdCaFile={}\nEtcdCertFile={}\nEtcdKeyFile={}\n",
        etcd.url(),
        path("ca.pem"),
        path("client.pem"),
        path("client.key")
    );
    site.write("felix.cfg", &text);
    check(&["etcd", "--connect", "--config", &path("felix.cfg")])
}

#[test]
fn etcd_accepts_us() {
    let now = std::time::SystemTime::now();
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        site.issue("client", spec("felix", Purpose::ClientAuth));
        let (code, lines) = connect(&site, &etcd);
        let connected = only(&lines, "connected");
        assert_eq!((code, findings(&lines)), (Some(0), vec![]));
        assert_eq!(
            ["endpoint", "host", "acceptance"].map(|member| connected[member].clone()),
            [json!(etcd.url()), json!("127.0.0.1"), json!("confirmed")]
        );
        // As Go does, etcd accepts a leaf that is marked as a CA.
        let as_ca = CertificateSpec::ca("felix").purpose(Purpose::ClientAuth);
        site.issue("client", as_ca.valid(now - DAY, now + 60 * DAY));
        let (_, lines) = connect(&site, &etcd);
        assert_eq!(findings(&lines), ["warning leaf_is_ca"]);
        assert_eq!(only(&lines, "connected")["acceptance"], "confirmed");
    }
}

#[test]
fn etcd_refuses_us() {
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let refused = |expected: &[&str]| {
            let (code, lines) = connect(&site, &etcd);
            assert_eq!(
                (code, findings(&lines)),
                (Some(1), expected.iter().map(ToString::to_string).collect())
            );
            let line = only(&lines, "connect");
            assert_eq!((&line["endpoint"], &line["reason"]), (&json!(etcd.url()), &json!("refused_by_peer")));
            (line["alert"].as_str().unwrap().to_owned(), line["detail"].as_str().unwrap().to_owned())
        };
        let other = TestCa::new(CertificateSpec::ca("other")).unwrap();
        site.issue_by(&other, "client", spec("felix", Purpose::ClientAuth));
        let (alert, _) = refused(&["error connect"]);
        assert_eq!(alert, if program.is_old { "bad_certificate" } else { "unknown_ca" });

        site.issue("client", spec("felix", Purpose::ServerAuth));
        let (alert, detail) = refused(&["error leaf_lacks_purpose", "error connect"]);
        assert_eq!(alert, "bad_certificate");
        let expected = "etcd refused us with the alert bad_certificate: our certificate CN=\"felix\" has an extended \
                        key usage without clientAuth: every peer will refuse it; issue one with extendedKeyUsage = \
                        clientAuth";
        assert_eq!(detail, format!("{}: {expected}", etcd.url()));
    }
}
