//! Makes the certificates and keys in `fixtures/` anew. Run `corpus` after it: some seeds hold what was made here.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime};

use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, Purpose, TYPHA_COMMON_NAME,
    TYPHA_SPIFFE_ID, TestCa, TestLeaf,
};

fn main() -> Result<(), Box<dyn Error>> {
    let felix = || {
        valid(CertificateSpec::leaf(FELIX_COMMON_NAME)).uri_san(FELIX_SPIFFE_ID).purpose(Purpose::ClientAuth)
    };
    let typha =
        CertificateSpec::leaf(TYPHA_COMMON_NAME).uri_san(TYPHA_SPIFFE_ID).purpose(Purpose::ServerAuth);
    let stranger = CertificateSpec::leaf("stranger").uri_san("spiffe://cluster.local/stranger");

    let ca = TestCa::new(valid(CertificateSpec::ca("calico-typha-ca")))?;
    let intermediate = ca.intermediate(valid(CertificateSpec::ca("calico-felix-ca")))?;
    let other_ca = TestCa::new(valid(CertificateSpec::ca("calico-typha-ca")))?;
    write("ca.pem", &ca.root_pem())?;
    write_leaf("felix", &intermediate.issue(felix())?)?;
    write_leaf("typha", &ca.issue(valid(typha))?)?;
    write_leaf("stranger", &ca.issue(valid(stranger))?)?;
    write_leaf("untrusted", &other_ca.issue(felix())?)?;
    // As a leaf, since its key is needed: it signs what the targets make.
    let signer = CertificateSpec::ca("signer").key_type(KeyType::Ed25519);
    write_leaf("signer", &TestLeaf::self_signed(valid(signer))?)
}

/// For ninety years from 2020 on.
fn valid(spec: CertificateSpec) -> CertificateSpec {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800);
    spec.valid(begin, begin + Duration::from_secs(90 * 365 * 24 * 3600))
}

fn write_leaf(name: &str, leaf: &TestLeaf) -> Result<(), Box<dyn Error>> {
    write(&format!("{name}.pem"), &leaf.chain_pem())?;
    write(&format!("{name}.key"), &leaf.key_pem())
}

fn write(name: &str, contents: &str) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    Ok(std::fs::write(folder.join(name), contents)?)
}
