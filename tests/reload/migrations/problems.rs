//! The texts of refusals.

use typha_tls::testing::TestCa;
use x509_parser::extensions::{ParsedExtension, X509Extension};

/// The rejection of a leaf that `signer` issued, where `trusted` has the same name.
pub(crate) fn ca_key_mismatch(leaf: &str, signer: &TestCa, trusted: &TestCa) -> String {
    let key = |ca: &TestCa| {
        let (_, certificate) = x509_parser::parse_x509_certificate(ca.root()).unwrap();
        let mut extensions = certificate.extensions().iter().map(X509Extension::parsed_extension);
        let key = extensions.find_map(|extension| match extension {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        });
        key.unwrap()[..4].iter().map(|octet| format!("{octet:02x}")).collect::<String>()
    };
    format!(
        "the certificate of CN=\"{leaf}\" names the trusted CA CN=\"calico-typha-ca\" as its issuer, but that CA's key \
         did not sign it (it names key {}, and the CA file has key {}); if you made that CA anew, put its old and its \
         new certificate into the CA file; otherwise the certificate is probably of another cluster whose CA has the \
         same name: issue one by a CA of this cluster; never add a CA that you did not make",
        key(signer),
        key(trusted)
    )
}
