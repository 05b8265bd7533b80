//! A CA, certificates and the files of both ends.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use tempfile::TempDir;
use typha_tls::config::Sources;
use typha_tls::policy::TlsPolicy;
use typha_tls::testing::{CertificateSpec, Purpose, TestCa, TestLeaf};
use typha_tls_etcd::{EtcdConfig, EtcdConnector};

/// How long anything may take that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Site {
    pub(crate) ca: TestCa,
    pub(crate) dir: TempDir,
}

impl Site {
    /// Writes `ca.pem`, and the certificates of a server (`server`) and a client (`client`) for this machine.
    pub(crate) fn new() -> Self {
        let ca = TestCa::new(CertificateSpec::ca("etcd-ca")).unwrap();
        let site = Self { ca, dir: tempfile::tempdir().unwrap() };
        site.write("ca.pem", &site.ca.root_pem());
        site.issue("server", server_spec());
        site.issue("client", client_spec("felix"));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file as a whole.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        fs::write(self.path("new"), contents).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// Writes `NAME.pem` and `NAME.key` of a leaf of our CA.
    pub(crate) fn issue(&self, name: &str, spec: CertificateSpec) -> TestLeaf {
        self.issue_by(&self.ca, name, spec)
    }

    pub(crate) fn issue_by(&self, ca: &TestCa, name: &str, spec: CertificateSpec) -> TestLeaf {
        let leaf = ca.issue(spec).unwrap();
        self.write(&format!("{name}.key"), &leaf.key_pem());
        self.write(&format!("{name}.pem"), &leaf.chain_pem());
        leaf
    }

    /// The connector of a component that has the certificate `client`, or none.
    pub(crate) fn connector(&self, endpoints: &str, client: Option<&str>) -> EtcdConnector {
        self.config(endpoints, client).connector().unwrap()
    }

    /// The connectors of such a component over TLS 1.3, and over TLS 1.2 alone.
    pub(crate) fn connectors(&self, endpoints: &str, client: Option<&str>) -> [EtcdConnector; 2] {
        let config = self.config(endpoints, client);
        let mut old = config.clone();
        let mut provider = (**old.policy.provider()).clone();
        provider.cipher_suites.retain(|suite| suite.version().version == ProtocolVersion::TLSv1_2);
        old.policy = TlsPolicy::builder().provider(Arc::new(provider)).build().unwrap();
        [config, old].map(|config| config.connector().unwrap())
    }

    fn config(&self, endpoints: &str, client: Option<&str>) -> EtcdConfig {
        let file = |name: String| self.path(&name).display().to_string();
        let mut variables =
            vec![("ETCD_ENDPOINTS", endpoints.to_owned()), ("ETCD_CA_CERT_FILE", file("ca.pem".to_owned()))];
        if let Some(name) = client {
            variables.push(("ETCD_CERT_FILE", file(format!("{name}.pem"))));
            variables.push(("ETCD_KEY_FILE", file(format!("{name}.key"))));
        }
        EtcdConfig::environment(&Sources::none().with_environment(variables)).unwrap()
    }
}

pub(crate) fn server_spec() -> CertificateSpec {
    let spec = CertificateSpec::leaf("etcd").dns_san("localhost").ip_san(IpAddr::V4(Ipv4Addr::LOCALHOST));
    spec.purpose(Purpose::ServerAuth).purpose(Purpose::ClientAuth)
}

pub(crate) fn client_spec(common_name: &str) -> CertificateSpec {
    CertificateSpec::leaf(common_name).purpose(Purpose::ClientAuth)
}

/// A path as an argument of a process.
pub(crate) fn argument(path: &Path) -> String {
    path.display().to_string()
}
