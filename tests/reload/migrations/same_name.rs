//! To a CA of the same name with another key.

use typha_tls::testing::{CertificateSpec, TestCa};

use super::ca::migrate;
use super::names::ca;

const NAME: &str = "calico-typha-ca";

#[tokio::test]
async fn nobody_is_lost_on_the_way_to_a_ca_of_the_same_name() {
    let (old, new) = (ca(NAME), ca(NAME));
    migrate(&old, &new, &[&old, &new]).await;
}

#[tokio::test]
async fn the_order_in_the_file_does_not_matter() {
    let (old, new) = (ca(NAME), ca(NAME));
    migrate(&old, &new, &[&new, &old]).await;
}

#[tokio::test]
async fn nor_does_it_without_key_identifiers() {
    let (old, new) = (without_key_identifier(), without_key_identifier());
    migrate(&old, &new, &[&new, &old]).await;
}

/// rcgen writes a subjectKeyIdentifier for what it knows to be a CA.
fn without_key_identifier() -> TestCa {
    const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
    const CA: &[u8] = &[0x30, 3, 1, 1, 0xff];
    const SUBJECT_KEY_IDENTIFIER: &[u8] = &[6, 3, 0x55, 0x1d, 14];
    let spec = CertificateSpec::ca(NAME).without_ca_flag().extension(BASIC_CONSTRAINTS, true, CA);
    let ca = TestCa::new(spec).unwrap();
    let has_one = ca.root().windows(SUBJECT_KEY_IDENTIFIER.len()).any(|part| part == SUBJECT_KEY_IDENTIFIER);
    assert!(!has_one);
    ca
}
