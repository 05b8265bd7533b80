//! PEM files: bundles, chains, keys and revocation lists. Nothing that a file holds is ever passed over.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use typha_tls::identity::PeerIdentity;
use typha_tls::material::{Credentials, RevocationLists, TrustBundle};
use typha_tls_fuzz::fixtures::{self, FELIX, FELIX_KEY, POLICY};

fuzz_target!(|data: &[u8]| {
    let provider = POLICY.provider();
    let certificates = blocks(data, "CERTIFICATE");
    if let Ok(bundle) = TrustBundle::from_pem(data) {
        assert_eq!(bundle.subjects().len(), distinct(&certificates));
        if let Ok(blocks) = pem::parse_many(data) {
            let blocks: HashSet<_> = blocks.iter().map(pem::Pem::contents).collect();
            assert_eq!(bundle.subjects().len(), blocks.len());
        }
    }
    if let Ok(credentials) = Credentials::from_pem(data, FELIX_KEY, provider) {
        assert_eq!(credentials.chain().len(), certificates.len());
        let leaf = PeerIdentity::from_certificate(&credentials.chain()[0]);
        assert_eq!(leaf.as_ref(), Ok(credentials.identity()));
    }
    match Credentials::from_pem(FELIX, data, provider) {
        Ok(credentials) => {
            let kinds = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
            assert_eq!(kinds.map(|kind| blocks(data, kind).len()).iter().sum::<usize>(), 1);
            assert_eq!(credentials.chain().len(), blocks(FELIX, "CERTIFICATE").len());
        }
        Err(error) => assert!(error.to_string().len() < 1024),
    }
    if let Ok(lists) = RevocationLists::from_pem(data, &fixtures::trust_bundle(), provider) {
        assert_eq!(format!("{lists:?}"), format!("RevocationLists({})", blocks(data, "X509 CRL").len()));
    }
});

/// The base64 texts of the blocks with a label, read line by line without the least regard to what is in them.
fn blocks(pem: &[u8], label: &str) -> Vec<Vec<u8>> {
    let begin = format!("-----BEGIN {label}-----");
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut is_inside = false;
    for line in pem.split(|byte| b"\r\n".contains(byte)) {
        if line.starts_with(begin.as_bytes()) {
            blocks.push(Vec::new());
            is_inside = true;
        } else if line.starts_with(b"-----END") {
            is_inside = false;
        } else if let (true, Some(block)) = (is_inside, blocks.last_mut()) {
            block.extend(line.iter().filter(|byte| !b" \t\x0b\x0c".contains(byte)));
        }
    }
    blocks
}

fn distinct(blocks: &[Vec<u8>]) -> usize {
    blocks.iter().collect::<HashSet<_>>().len()
}
