//! The crate etcd-client over the connector, with a real etcd.

#![allow(dead_code, reason = "not everything of the other package's files is used")]

#[path = "../../../tests/etcd/server.rs"]
mod server;
#[path = "../../../tests/etcd/site.rs"]
mod site;

use std::process::Command;

use etcd_client::{Channel, Client, ConnectOptions, Error, Permission, PermissionType};
use typha_tls_etcd::{EtcdError, EtcdUser};

use server::{Etcd, programs};
use site::{Site, argument, client_spec};

/// The client of a component with this certificate, and with a user if there is one.
async fn client(
    site: &Site,
    etcd: &Etcd,
    certificate: &str,
    user: Option<&EtcdUser>,
) -> Result<Client, Error> {
    let options = user.map(|user| ConnectOptions::new().with_user(user.name(), user.password()));
    let channel = site.connector(&etcd.url(), Some(certificate)).channel();
    Client::from_channel(Channel::Tonic(channel), options).await
}

/// The program of the guide puts its key, as the user that is configured.
#[tokio::test(flavor = "multi_thread")]
async fn the_guides_program() {
    let guide = include_str!("../../../../../docs/other-connections.md");
    assert!(guide.contains(include_str!("../../src/main.rs").trim_end()), "the guide shows another program");
    for program in programs() {
        let site = Site::new();
        let etcd = Etcd::start(&program, &site, &[]);
        let run = |user: &[(&str, &str)]| {
            Command::new(env!("CARGO_BIN_EXE_typha-tls-etcd-client"))
                .env("FELIX_ETCDENDPOINTS", etcd.url())
                .env("FELIX_ETCDCAFILE", argument(&site.path("ca.pem")))
                .env("FELIX_ETCDCERTFILE", argument(&site.path("client.pem")))
                .env("FELIX_ETCDKEYFILE", argument(&site.path("client.key")))
                .envs(user.iter().copied())
                .output()
                .unwrap()
        };
        let output = run(&[]);
        assert!(output.status.success(), "{output:?}");
        let mut client = client(&site, &etcd, "client", None).await.unwrap();
        let found = client.get("/calico/ready", None).await.unwrap();
        assert_eq!(found.kvs()[0].value_str().unwrap(), "true");
        // The Common Name of the certificate is no user.
        client.user_add("root", "pw", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
        let output = run(&[]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains("etcdserver: permission denied"), "{text}");
        let output = run(&[("ETCD_USERNAME", "root"), ("ETCD_PASSWORD", "pw")]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_against_the_common_name() {
    for program in programs() {
        let site = Site::new();
        for name in ["root", "felix", "nobody"] {
            site.issue(name, client_spec(name));
        }
        site.issue("nameless", typha_tls::testing::CertificateSpec::unnamed());
        let etcd = Etcd::start(&program, &site, &[]);
        let mut root = client(&site, &etcd, "root", None).await.unwrap();
        root.user_add("root", "pw", None).await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        root.role_add("keys").await.unwrap();
        let permission = Permission::new(PermissionType::Readwrite, "key");
        root.role_grant_permission("keys", permission).await.unwrap();
        root.user_add("felix", "pw", None).await.unwrap();
        root.user_grant_role("felix", "keys").await.unwrap();
        root.user_add("norole", "pw", None).await.unwrap();
        root.auth_enable().await.unwrap();
        let [felix, norole] = ["felix", "norole"].map(|name| EtcdUser::new(name, "pw"));
        for (certificate, user, is_allowed) in [
            ("felix", None, true),
            ("nobody", None, false),
            ("nameless", None, false),
            // The user wins over the Common Name, up and down.
            ("nobody", Some(&felix), true),
            ("nameless", Some(&felix), true),
            ("felix", Some(&norole), false),
        ] {
            let mut client = client(&site, &etcd, certificate, user).await.unwrap();
            let outcome = match client.put("key", "value", None).await {
                Ok(_) => true,
                Err(Error::GRpcStatus(status)) => {
                    assert_eq!(status.message(), "etcdserver: permission denied");
                    false
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!(outcome, is_allowed, "{certificate} {user:?}");
        }
        let wrong = client(&site, &etcd, "felix", Some(&EtcdUser::new("felix", "wrong"))).await;
        let Err(Error::GRpcStatus(status)) = wrong.map(drop) else { panic!("a wrong password is accepted") };
        assert_eq!(status.message(), "etcdserver: authentication failed, invalid user ID or password");
    }
}

/// A refusal reaches the caller of etcd-client with its text and its type.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_typed() {
    for program in programs() {
        let site = Site::new();
        site.issue("server", typha_tls::testing::CertificateSpec::leaf("etcd").dns_san("other"));
        let etcd = Etcd::start(&program, &site, &[]);
        let mut client = client(&site, &etcd, "client", None).await.unwrap();
        let Err(Error::GRpcStatus(status)) = client.get("key", None).await else { panic!("accepted") };
        assert_eq!(EtcdError::of(&status).unwrap().label(), "host_mismatch");
        assert!(status.message().contains("subjectAltName = IP:127.0.0.1"), "{}", status.message());
    }
}
