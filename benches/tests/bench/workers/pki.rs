//! The files of the workers.

use std::fs;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use typha_tls::testing::{
    CertificateSpec, FELIX_COMMON_NAME, FELIX_SPIFFE_ID, KeyType, Purpose, TYPHA_COMMON_NAME,
    TYPHA_SPIFFE_ID, TestCa,
};

pub(crate) const KEY_TYPES: [KeyType; 4] = [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Ed25519];

const CA_NAME: &str = "bench-ca";

pub(crate) struct Pki {
    ca: TestCa,
    directory: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::with_keys(KeyType::P256)
    }

    pub(crate) fn with_keys(key_type: KeyType) -> Self {
        let ca = TestCa::new(CertificateSpec::ca(CA_NAME).key_type(key_type)).unwrap();
        let pki = Self { ca, directory: TempDir::new().unwrap() };
        pki.write("ca.pem", &pki.ca.root_pem());
        let typha = CertificateSpec::leaf(TYPHA_COMMON_NAME).uri_san(TYPHA_SPIFFE_ID).dns_san("typha");
        let felix = CertificateSpec::leaf(FELIX_COMMON_NAME).uri_san(FELIX_SPIFFE_ID);
        for (name, spec) in [
            ("both", typha.clone().purpose(Purpose::ClientAuth).purpose(Purpose::ServerAuth)),
            ("felix", felix.purpose(Purpose::ClientAuth)),
            ("typha", typha.purpose(Purpose::ServerAuth)),
        ] {
            let leaf = pki.ca.issue(spec.key_type(key_type)).unwrap();
            pki.write(&format!("{name}.pem"), &leaf.chain_pem());
            pki.write(&format!("{name}-key.pem"), &leaf.key_pem());
        }
        pki
    }

    /// Chains of one certificate each, for Felix's key.
    pub(crate) fn fresh_leaves(&self, count: u64) -> String {
        let mut ca = CertificateParams::default();
        ca.distinguished_name = rcgen::DistinguishedName::new();
        ca.distinguished_name.push(DnType::CommonName, CA_NAME);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = Issuer::new(ca, KeyPair::from_pem(&self.ca.key_pem()).unwrap());
        let key = KeyPair::from_pem(&fs::read_to_string(self.path("felix-key.pem")).unwrap()).unwrap();
        let leaves: String = (1..=count)
            .map(|number| {
                let mut leaf = CertificateParams::default();
                leaf.distinguished_name = rcgen::DistinguishedName::new();
                leaf.distinguished_name.push(DnType::CommonName, FELIX_COMMON_NAME);
                leaf.subject_alt_names = vec![SanType::URI(FELIX_SPIFFE_ID.try_into().unwrap())];
                leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                leaf.serial_number = Some(SerialNumber::from(number));
                leaf.signed_by(&key, &issuer).unwrap().pem()
            })
            .collect();
        self.write("fresh.pem", &leaves);
        self.path("fresh.pem")
    }

    pub(crate) fn felix(&self) -> Value {
        self.setup("felix", "felix", TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID)
    }

    pub(crate) fn memory(&self) -> Value {
        self.setup("memory", "both", TYPHA_COMMON_NAME, TYPHA_SPIFFE_ID)
    }

    pub(crate) fn typha(&self) -> Value {
        self.setup("typha", "typha", FELIX_COMMON_NAME, FELIX_SPIFFE_ID)
    }

    fn setup(&self, end: &str, leaf: &str, common_name: &str, uri_san: &str) -> Value {
        json!({
            "end": end,
            "threads": 1,
            "files": {
                "ca": self.path("ca.pem"),
                "chain": self.path(&format!("{leaf}.pem")),
                "key": self.path(&format!("{leaf}-key.pem")),
            },
            "required": { "common_name": common_name, "uri_san": uri_san },
            "max_version": "1.3",
            "groups": [],
            "resumption": false,
        })
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}
