//! Files that change under a connector, and its live connections when they do.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateRevocationListDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use typha_tls::Connection;
use typha_tls::host::{HostConnector, HostTlsConfig};
use typha_tls::lifetime::{ClosePolicy, CloseReason, ConnectionLifetime};
use typha_tls::material::{HostTlsFiles, TrustBundle};
use typha_tls::policy::TlsPolicy;
use typha_tls::reload::{FileSource, ReloadOptions, Reloader};
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls::verifier::Rejection;

use crate::site::*;

/// The files of a connector that follows them.
struct Followed {
    directory: TempDir,
    connector: HostConnector,
    reloader: Reloader,
}

impl Followed {
    /// Trusts `ca`, and presents `own`. With `list`, the connector has a revocation list.
    fn start(ca: &TestCa, own: &TestLeaf, list: Option<&CertificateRevocationListDer<'_>>) -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut files = HostTlsFiles::new(path("ca.pem")).with_own_files(path("own.pem"), path("own.key"));
        write(&path("ca.pem"), ca.root_pem());
        write(&path("own.pem"), own.chain_pem());
        write(&path("own.key"), own.key_pem());
        if let Some(list) = list {
            write(&path("list.crl"), list);
            files.crl_files = vec![path("list.crl")];
        }
        let config = HostTlsConfig::from_files(&files, policy()).unwrap();
        let mut lifetime = ConnectionLifetime::default();
        lifetime.on_lost_trust = ClosePolicy::CloseWithin(Duration::ZERO);
        let connector = HostConnector::new(config).with_lifetime(lifetime);
        // Nothing is written while the files are read.
        let source = FileSource::of_host(files, policy()).with_settle_time(Duration::ZERO);
        let reloader = connector.follow(source, ReloadOptions::default());
        Self { directory, connector, reloader }
    }

    /// Writes files, and waits until they are in force.
    async fn change(&self, files: &[(&str, &[u8])]) {
        for (name, contents) in files {
            write(&self.path(name), contents);
        }
        bounded(self.reloader.reload_now()).await.unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn dial(&self, server: &Echo, name: &str) -> Connection {
        let dial = self.connector.dial_as(&host("127.0.0.1"), server.address.port(), &host(name));
        bounded(dial).await.unwrap()
    }
}

/// Renamed into place, as a careful tool does it.
fn write(path: &Path, contents: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    std::fs::write(&new, contents).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Whether the connection works, in both directions.
async fn works(connection: &mut Connection) {
    connection.write_all(b"x").await.unwrap();
    connection.flush().await.unwrap();
    assert_eq!(bounded(connection.read_u8()).await.unwrap(), b'x');
}

async fn closed(connection: &Connection) {
    bounded(connection.close_requested().cancelled()).await;
    assert_eq!(connection.close_reason(), Some(CloseReason::LostTrust));
}

#[tokio::test]
async fn renewed_files_are_for_new_connections() {
    let site = Site::new();
    let followed = Followed::start(&site.ca, &site.own, None);
    let server = site.serve(Clients::Required).await;
    let (ours, theirs) = server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap().generation(), 1);
    assert_eq!(theirs.unwrap().get_ref().1.peer_certificates(), Some(site.own.chain()));

    // Our own certificate.
    let renewed = site.ca.issue(own_spec()).unwrap();
    let own = [("own.pem", renewed.chain_pem()), ("own.key", renewed.key_pem())];
    followed.change(&own.each_ref().map(|(name, contents)| (*name, contents.as_bytes()))).await;
    let (ours, theirs) = server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap().generation(), 2);
    assert_eq!(theirs.unwrap().get_ref().1.peer_certificates(), Some(renewed.chain()));

    // The CA: what it did not accept, it accepts, and the reverse.
    let next = TestCa::new(CertificateSpec::ca("next-ca")).unwrap();
    let of_next = next.issue(server_spec()).unwrap();
    let next_server = Server::bind(server_config(&site.ca, &of_next, Clients::Required)).await;
    let (ours, _) = next_server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap_err().label(), "unknown_ca");
    followed.change(&[("ca.pem", next.root_pem().as_bytes())]).await;
    let (ours, _) = next_server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap().generation(), 3);
    let (ours, _) = server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap_err().label(), "unknown_ca");

    // What can not be used changes nothing.
    write(&followed.path("ca.pem"), "no certificate");
    assert_eq!(bounded(followed.reloader.reload_now()).await.unwrap_err().label(), "source");
    let (ours, _) = next_server.meet(&followed.connector, NAME).await;
    assert_eq!(ours.unwrap().generation(), 3);
}

#[tokio::test]
async fn a_server_whose_ca_is_removed_is_left_and_another_one_stays() {
    let (site, next) = (Site::new(), TestCa::new(CertificateSpec::ca("next-ca")).unwrap());
    let of_next = next.issue(server_spec()).unwrap();
    let old_server = site.serve(Clients::Required).await.echo();
    let next_server = Server::bind(server_config(&site.ca, &of_next, Clients::Required)).await.echo();
    let followed = Followed::start(&site.ca, &site.own, None);
    let both = site.ca.root_pem() + &next.root_pem();
    followed.change(&[("ca.pem", both.as_bytes())]).await;
    let mut leaving = followed.dial(&old_server, NAME).await;
    let mut staying = followed.dial(&next_server, NAME).await;
    works(&mut leaving).await;

    followed.change(&[("ca.pem", next.root_pem().as_bytes())]).await;
    closed(&leaving).await;
    assert_eq!(leaving.lost_trust().unwrap().label(), "unknown_ca");
    works(&mut staying).await;
    assert_eq!((staying.lost_trust(), staying.close_reason()), (None, None));
}

#[tokio::test]
async fn a_server_that_is_revoked_is_left_and_another_one_stays() {
    let site = Site::new();
    let other = site.ca.issue(server_spec()).unwrap();
    let next_update = SystemTime::now() + Duration::from_secs(3600);
    let list = |revoked: &[&TestLeaf]| site.ca.revocation_list(revoked, next_update).unwrap();
    let server = site.serve(Clients::Required).await.echo();
    let other_server = Server::bind(server_config(&site.ca, &other, Clients::Required)).await.echo();
    let followed = Followed::start(&site.ca, &site.own, Some(&list(&[])));
    let (mut leaving, mut staying) =
        (followed.dial(&server, NAME).await, followed.dial(&other_server, NAME).await);
    works(&mut leaving).await;

    followed.change(&[("list.crl", &list(&[&site.server]))]).await;
    closed(&leaving).await;
    assert_eq!(leaving.lost_trust().unwrap().label(), "revoked");
    works(&mut staying).await;
    assert_eq!((staying.lost_trust(), staying.close_reason()), (None, None));
    let refused = followed.connector.dial_as(&host("127.0.0.1"), server.address.port(), &host(NAME));
    assert_eq!(bounded(refused).await.unwrap_err().label(), "revoked");
}

/// A live connection is verified again for the host that it was dialled for, which is not that of its address.
#[tokio::test]
async fn verified_again_for_the_same_host() {
    let site = Site::new();
    let only_name = CertificateSpec::leaf("etcd").dns_san(NAME).purpose(Purpose::ServerAuth);
    let leaf = site.ca.issue(only_name).unwrap();
    let server = Server::bind(server_config(&site.ca, &leaf, Clients::Required)).await.echo();
    let other = TestCa::new(CertificateSpec::ca("another-ca")).unwrap();
    let mut lifetime = ConnectionLifetime::default();
    lifetime.on_lost_trust = ClosePolicy::ReportOnly;
    let connector = site.connector().with_lifetime(lifetime);
    let dial = connector.dial_as(&host("127.0.0.1"), server.address.port(), &host(NAME));
    let mut connection = bounded(dial).await.unwrap();

    let trusting = |cas: &[&TestCa], policy: TlsPolicy| {
        let mut config = config_of(&site.ca, Some(&site.own), policy);
        let roots = cas.iter().map(|ca| ca.root().clone());
        std::sync::Arc::make_mut(&mut config.material).trust_bundle = TrustBundle::from_der(roots).unwrap();
        config
    };
    // Each time it is verified with nothing in the cache.
    for (cas, expected) in [
        (&[&other][..], Some("unknown_ca")),
        (&[&other, &site.ca], None),
        (&[&other], Some("unknown_ca")),
        (&[&site.ca], None),
    ] {
        connector.replace(trusting(cas, policy()));
        bounded(async {
            while connection.lost_trust().as_ref().map(Rejection::label) != expected {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    assert_eq!(connection.peer().matched_host(), Some(&host(NAME)));
    assert_eq!(connection.close_reason(), None);
    works(&mut connection).await;
}
