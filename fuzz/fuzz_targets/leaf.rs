//! The parser of leaf certificates, against x509-cert.
//!
//! An input that begins as DER does is a certificate; any other is the parts of one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use typha_tls::identity::PeerIdentity;
use typha_tls_fuzz::certificate::Parts;
use typha_tls_fuzz::input::Input;
use typha_tls_fuzz::names::Names;

fuzz_target!(|data: &[u8]| {
    let der = match data {
        [0x30, ..] => CertificateDer::from(data),
        _ => Parts::read(Input::new(data)).unsigned(),
    };
    let Ok(identity) = PeerIdentity::from_certificate(&der) else { return };
    for uri in identity.uri_sans() {
        assert!(!uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic()), "{uri:?}");
    }
    assert_ne!(identity.common_name(), Some(""));
    if let Some(names) = Names::read(&der) {
        assert_eq!(identity.common_name(), names.common_name.as_deref());
        assert!(identity.uri_sans().eq(names.uri_sans.iter().map(String::as_str)), "{identity:?} {names:?}");
    }
});
