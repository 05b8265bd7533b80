//! The certificates of a mode, as PEM files in a temporary directory.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, PkiError, Purpose, TYPHA_COMMON_NAME,
    TYPHA_SPIFFE_ID, TestCa, TestLeaf,
};

use crate::arguments::Mode;
use crate::process::BenchError;
use crate::protocol::{Chains, Files, Fresh};

/// Made once for a mode, and used by all implementations.
pub(crate) struct Material {
    pub(crate) mode: Mode,
    pub(crate) typha: Files,
    pub(crate) felix: Files,
    /// A leaf that is good for both ends.
    pub(crate) memory: Files,
    /// The leaves of the clients that Typha knows, a file for each Felix; empty until they are made.
    pub(crate) usual: Vec<Chains>,
    dir: PathBuf,
    root: TestCa,
    leaves: Leaves,
    chain_length: usize,
}

impl Material {
    /// Makes it in a new directory.
    pub(crate) fn make(dir: &Path, mode: Mode) -> Result<Self, BenchError> {
        Self::try_make(dir, mode).map_err(BenchError::machine("the certificates cannot be made"))
    }

    fn try_make(dir: &Path, mode: Mode) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key_type = mode.key.key_type();
        let mut issuer_name = "bench-ca".to_owned();
        let root = TestCa::new(CertificateSpec::ca(&issuer_name).key_type(key_type))?;
        let mut intermediate = None;
        for number in 1..=mode.chain_length {
            issuer_name = format!("bench-intermediate-{number}");
            let spec = CertificateSpec::ca(&issuer_name).key_type(key_type);
            intermediate = Some(intermediate.as_ref().unwrap_or(&root).intermediate(spec)?);
        }
        let issuer = intermediate.as_ref().unwrap_or(&root);

        let typha = CertificateSpec::leaf(TYPHA_COMMON_NAME).uri_san(TYPHA_SPIFFE_ID).dns_san("typha");
        let typha = issuer.issue(typha.key_type(key_type).purpose(Purpose::ServerAuth))?;
        let felix = CertificateSpec::leaf(FELIX_COMMON_NAME).uri_san(FELIX_SPIFFE_ID).key_type(key_type);
        let felix = issuer.issue(felix.purpose(Purpose::ClientAuth))?;
        // Felix's names, since the in-memory worker requires one identity of both ends.
        let memory = CertificateSpec::leaf(FELIX_COMMON_NAME).uri_san(FELIX_SPIFFE_ID).dns_san("typha");
        let memory = memory.purpose(Purpose::ServerAuth).purpose(Purpose::ClientAuth);
        let memory = issuer.issue(memory.key_type(key_type))?;

        let ca = write(dir, "ca.pem", &root.root_pem())?;
        let files = |name: &str, leaf: &TestLeaf| {
            Ok::<_, io::Error>(Files {
                ca: ca.clone(),
                chain: write(dir, &format!("{name}.pem"), &leaf.chain_pem())?,
                key: write(dir, &format!("{name}-key.pem"), &leaf.key_pem())?,
            })
        };
        Ok(Self {
            mode,
            typha: files("typha", &typha)?,
            felix: files("felix", &felix)?,
            memory: files("memory", &memory)?,
            leaves: Leaves::new(&issuer_name, &issuer.key_pem(), &felix)?,
            chain_length: felix.chain().len(),
            usual: Vec::new(),
            dir: dir.to_owned(),
            root,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files of a Felix with another name.
    pub(crate) fn stranger(&self) -> Result<Files, BenchError> {
        const CANNOT: &str = "the files of a stranger cannot be made";
        let spec = CertificateSpec::leaf("stranger").purpose(Purpose::ClientAuth);
        let leaf =
            self.root.issue(spec.key_type(self.mode.key.key_type())).map_err(BenchError::machine(CANNOT))?;
        let file = |name, text: String| write(&self.dir, name, &text).map_err(BenchError::machine(CANNOT));
        Ok(Files {
            chain: file("stranger.pem", leaf.chain_pem())?,
            key: file("stranger-key.pem", leaf.key_pem())?,
            ..self.felix.clone()
        })
    }

    /// New leaves for Felix's key, which replace those made before: so many for each of the Felixes.
    pub(crate) fn fresh(
        &mut self,
        felixes: usize,
        count: usize,
        share: f64,
    ) -> Result<Vec<Fresh>, BenchError> {
        let fresh =
            |felix| Ok(Fresh { chains: self.make_leaves(&format!("fresh-{felix}.pem"), count)?, share });
        (0..felixes).map(fresh).collect()
    }

    /// Makes the leaves for Felix's key that stay the same, once: so many for each of the Felixes.
    pub(crate) fn make_usual(&mut self, felixes: usize, count: usize) -> Result<(), BenchError> {
        for felix in self.usual.len()..felixes {
            let chains = self.make_leaves(&format!("usual-{felix}.pem"), count)?;
            self.usual.push(chains);
        }
        Ok(())
    }

    fn make_leaves(&mut self, name: &str, count: usize) -> Result<Chains, BenchError> {
        let made = self.leaves.make(count).map_err(BenchError::machine("leaves cannot be made"))?;
        let file = write(&self.dir, name, &made).map_err(BenchError::machine("leaves cannot be written"))?;
        Ok(Chains { file, chain_length: self.chain_length })
    }

    /// Gives Typha a bundle of so many CAs, of which the right one is the last.
    pub(crate) fn set_bundle(&mut self, count: usize) -> Result<(), BenchError> {
        const CANNOT: &str = "the bundle of CAs cannot be made";
        let others = (1..count).map(|number| {
            Ok(TestCa::new(CertificateSpec::ca(&format!("bench-other-ca-{number}")))?.root_pem())
        });
        let others = others.collect::<Result<String, PkiError>>().map_err(BenchError::machine(CANNOT))?;
        self.typha.ca = write(&self.dir, "bundle.pem", &(others + &self.root.root_pem()))
            .map_err(BenchError::machine(CANNOT))?;
        Ok(())
    }
}

/// Writes a file for its owner only, and returns its path.
pub(crate) fn write(dir: &Path, name: &str, contents: &str) -> io::Result<String> {
    let path = dir.join(name);
    // Keys are among them.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(contents.as_bytes())?;
    Ok(path.display().to_string())
}

/// Makes many leaves for one key, with different serial numbers. The throw-away PKI of the crate makes a key for each
/// leaf.
struct Leaves {
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
    params: CertificateParams,
    /// What follows each leaf, as PEM.
    intermediates: String,
    made: u64,
}

impl Leaves {
    /// `felix` is the leaf whose key they are for, `issuer_name` and `issuer_key` are the CA that issued it.
    fn new(issuer_name: &str, issuer_key: &str, felix: &TestLeaf) -> Result<Self, rcgen::Error> {
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = common_name(issuer_name);
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(FELIX_COMMON_NAME);
        params.subject_alt_names.push(SanType::URI(FELIX_SPIFFE_ID.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::hours(1), now + Duration::days(1));
        Ok(Self {
            issuer: Issuer::new(issuer, KeyPair::from_pem(issuer_key)?),
            key: KeyPair::from_pem(&felix.key_pem())?,
            params,
            intermediates: felix.chain().iter().skip(1).map(certificate_pem).collect(),
            made: 0,
        })
    }

    /// PEM of so many chains.
    fn make(&mut self, count: usize) -> Result<String, rcgen::Error> {
        let mut chains = String::new();
        for _ in 0..count {
            self.made += 1;
            // Different from the serial numbers of the other leaves, and of the same length.
            let octets: Vec<u8> = [[2; 8], self.made.to_be_bytes()].concat();
            self.params.serial_number = Some(SerialNumber::from_slice(&octets));
            let leaf = self.params.signed_by(&self.key, &self.issuer)?;
            chains.push_str(&certificate_pem(leaf.der()));
            chains.push_str(&self.intermediates);
        }
        Ok(chains)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::arguments::Key;
    use rustls_pki_types::pem::PemObject as _;
    use typha_tls::material::{Credentials, TrustBundle};

    fn certificates(file: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn each_key_and_chain_length_has_usable_files() {
        let dir = tempfile::tempdir().unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa2048] {
            // RSA keys take long to make: the longest chain stands for the shorter ones.
            for chain_length in if key == Key::Rsa2048 { 2..=2 } else { 0..=2 } {
                let mode = Mode { key, chain_length, ..Mode::STANDARD };
                let mut material = Material::make(&dir.path().join("any"), mode).unwrap();
                for files in [&material.typha, &material.felix, &material.memory] {
                    TrustBundle::from_file(&files.ca).unwrap();
                    Credentials::from_files(&files.chain, &files.key, &provider).unwrap();
                    assert_eq!(certificates(&files.chain).len(), usize::from(chain_length) + 1);
                }
                let fresh = material.fresh(1, 3, 1.0).unwrap().remove(0).chains;
                assert_eq!(fresh.chain_length, usize::from(chain_length) + 1);
                assert_eq!(certificates(&fresh.file).len(), 3 * fresh.chain_length);
            }
        }
    }

    #[test]
    fn new_leaves_are_new_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut material = Material::make(&dir.path().join("any"), Mode::STANDARD).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..2 {
            let fresh = material.fresh(2, 20, 1.0).unwrap();
            seen.extend(fresh.iter().flat_map(|fresh| certificates(&fresh.chains.file)));
        }
        assert_eq!(seen.len(), 80);
        for _ in 0..2 {
            material.make_usual(2, 10).unwrap();
            seen.extend(material.usual.iter().flat_map(|chains| certificates(&chains.file)));
        }
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let material = Material::make(&dir.path().join("any"), Mode::STANDARD).unwrap();
        let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o777;
        for files in [&material.typha, &material.felix, &material.memory] {
            assert_eq!(mode(&files.key), 0o600);
        }
        assert_eq!(mode(material.dir.to_str().unwrap()), 0o700);
    }

    #[test]
    fn the_right_ca_is_the_last_of_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let mut material = Material::make(&dir.path().join("any"), Mode::STANDARD).unwrap();
        material.set_bundle(5).unwrap();
        let bundle = certificates(&material.typha.ca);
        assert_eq!((bundle.len(), bundle.last()), (5, Some(material.root.root())));
    }
}
