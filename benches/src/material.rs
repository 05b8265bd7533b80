//! The certificates of a mode, as PEM files in a temporary directory.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, PkiError, Purpose, TYPHA_COMMON_NAME,
    TYPHA_SPIFFE_ID, TestCa, TestLeaf,
};

use super::fresh::FreshLeaves;
use super::mode::Mode;
use super::process::BenchError;
use super::protocol::{Chains, Files, Fresh};

/// Made once for a mode, and used by all peers.
pub(crate) struct Material {
    dir: PathBuf,
    root: TestCa,
    pub(crate) typha: Files,
    pub(crate) felix: Files,
    /// A leaf that is good for both ends.
    pub(crate) memory: Files,
    leaves: FreshLeaves,
    chain_length: usize,
    usual: Vec<Chains>,
}

impl Material {
    /// Makes it in a directory of that name below `dir`.
    pub(crate) fn make(dir: &Path, name: &str, mode: &Mode) -> Result<Self, BenchError> {
        Self::try_make(&dir.join(name), mode).map_err(BenchError::machine("the certificates can not be made"))
    }

    fn try_make(dir: &Path, mode: &Mode) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let key_type = mode.key.key_type();
        let root = TestCa::new(CertificateSpec::ca("bench-ca").key_type(key_type))?;
        let mut issuer = None;
        for number in 1..=mode.chain_length {
            let spec = CertificateSpec::ca(&intermediate_name(number)).key_type(key_type);
            issuer = Some(issuer.as_ref().unwrap_or(&root).intermediate(spec)?);
        }
        let issuer_name = match mode.chain_length {
            0 => "bench-ca".to_owned(),
            number => intermediate_name(number),
        };
        let issuer = issuer.as_ref().unwrap_or(&root);

        let typha_spec = CertificateSpec::leaf(TYPHA_COMMON_NAME).uri_san(TYPHA_SPIFFE_ID).dns_san("typha");
        let typha = issuer.issue(typha_spec.key_type(key_type).purpose(Purpose::ServerAuth))?;
        let felix_spec = CertificateSpec::leaf(FELIX_COMMON_NAME).uri_san(FELIX_SPIFFE_ID);
        let felix = issuer.issue(felix_spec.key_type(key_type).purpose(Purpose::ClientAuth))?;
        // Felix's names, since the in-memory worker requires one identity of both ends.
        let memory_spec = CertificateSpec::leaf(FELIX_COMMON_NAME).uri_san(FELIX_SPIFFE_ID).dns_san("typha");
        let memory_spec = memory_spec.purpose(Purpose::ServerAuth).purpose(Purpose::ClientAuth);
        let memory = issuer.issue(memory_spec.key_type(key_type))?;

        let ca = write(dir, "ca.pem", &root.root_pem())?;
        let leaves = FreshLeaves::new(&issuer_name, &issuer.key_pem(), &felix)?;
        Ok(Self {
            typha: files(dir, "typha", &ca, &typha)?,
            felix: files(dir, "felix", &ca, &felix)?,
            memory: files(dir, "memory", &ca, &memory)?,
            leaves,
            chain_length: felix.chain().len(),
            usual: Vec::new(),
            dir: dir.to_owned(),
            root,
        })
    }

    /// Leaves for Felix's key that nobody has seen, in place of those made before: so many for each of the Felixes.
    pub(crate) fn fresh(
        &mut self,
        felixes: usize,
        count: usize,
        share: f64,
    ) -> Result<Vec<Fresh>, BenchError> {
        (0..felixes).map(|felix| self.fresh_for(felix, count, share)).collect()
    }

    fn fresh_for(&mut self, felix: usize, count: usize, share: f64) -> Result<Fresh, BenchError> {
        let made = self.leaves.make(count).map_err(BenchError::machine("new leaves can not be made"))?;
        let file = write(&self.dir, &format!("fresh-{felix}.pem"), &made)
            .map_err(BenchError::machine("new leaves can not be written"))?;
        Ok(Fresh { chains: Chains { file, chain_length: self.chain_length }, share })
    }

    /// Leaves for Felix's key that stay the same: so many for each of the Felixes.
    pub(crate) fn usual(&mut self, felixes: usize, count: usize) -> Result<Vec<Chains>, BenchError> {
        for felix in self.usual.len()..felixes {
            let made = self.leaves.make(count).map_err(BenchError::machine("leaves can not be made"))?;
            let file = write(&self.dir, &format!("usual-{felix}.pem"), &made)
                .map_err(BenchError::machine("leaves can not be written"))?;
            self.usual.push(Chains { file, chain_length: self.chain_length });
        }
        Ok(self.usual.clone())
    }

    /// A bundle of so many CAs for Typha, of which the right one is the last.
    pub(crate) fn bundle(&self, count: usize) -> Result<String, BenchError> {
        let others = (1..count).map(|number| {
            let other = TestCa::new(CertificateSpec::ca(&format!("bench-other-ca-{number}")))?;
            Ok(other.root_pem())
        });
        let others = others.collect::<Result<String, PkiError>>();
        let bundle =
            others.map_err(BenchError::machine("the bundle can not be made"))? + &self.root.root_pem();
        write(&self.dir, &format!("bundle-{count}.pem"), &bundle)
            .map_err(BenchError::machine("the bundle can not be written"))
    }
}

fn intermediate_name(number: u8) -> String {
    format!("bench-intermediate-{number}")
}

fn files(dir: &Path, name: &str, ca: &str, leaf: &TestLeaf) -> std::io::Result<Files> {
    Ok(Files {
        ca: ca.to_owned(),
        chain: write(dir, &format!("{name}.pem"), &leaf.chain_pem())?,
        key: write(dir, &format!("{name}-key.pem"), &leaf.key_pem())?,
    })
}

fn write(dir: &Path, name: &str, contents: &str) -> std::io::Result<String> {
    let path = dir.join(name);
    // Keys are among them.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(contents.as_bytes())?;
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::mode::Key;
    use super::*;
    use rustls_pki_types::pem::PemObject as _;
    use typha_tls::material::{Credentials, TrustBundle};

    fn certificates(file: &str) -> Vec<rustls_pki_types::CertificateDer<'static>> {
        rustls_pki_types::CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn each_key_and_chain_length_has_usable_files() {
        let dir = tempfile::tempdir().unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa2048] {
            for chain_length in 0..=2 {
                let mode = Mode { key, chain_length, ..Mode::STANDARD };
                let mut material = Material::make(dir.path(), "any", &mode).unwrap();
                for files in [&material.typha, &material.felix, &material.memory] {
                    TrustBundle::from_pem_file(&files.ca).unwrap();
                    Credentials::from_pem_files(&files.chain, &files.key, &provider).unwrap();
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
        let mut material = Material::make(dir.path(), "any", &Mode::STANDARD).unwrap();
        let mut seen = HashSet::new();
        for _ in 0..2 {
            let fresh = material.fresh(2, 20, 1.0).unwrap();
            seen.extend(fresh.iter().flat_map(|fresh| certificates(&fresh.chains.file)));
        }
        assert_eq!(seen.len(), 80);
        for _ in 0..2 {
            let usual = material.usual(2, 10).unwrap();
            seen.extend(usual.iter().flat_map(|chains| certificates(&chains.file)));
        }
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let material = Material::make(dir.path(), "any", &Mode::STANDARD).unwrap();
        let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o777;
        for files in [&material.typha, &material.felix, &material.memory] {
            assert_eq!(mode(&files.key), 0o600);
        }
        assert_eq!(mode(material.dir.to_str().unwrap()), 0o700);
    }

    #[test]
    fn the_right_ca_is_the_last_of_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let material = Material::make(dir.path(), "any", &Mode::STANDARD).unwrap();
        let bundle = certificates(&material.bundle(5).unwrap());
        assert_eq!((bundle.len(), bundle.last()), (5, Some(material.root.root())));
    }
}
