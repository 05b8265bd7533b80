//! Revocation lists as no library here would write them, with a good signature all the same.

use rcgen::SigningKey as _;
use rustls_pki_types::CertificateRevocationListDer;

use super::*;

/// `ecdsa-with-SHA256` and `ecdsa-with-SHA384`, as the contents of an AlgorithmIdentifier.
const SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA384: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SEQUENCE: u8 = 0x30;

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let header = match length {
        0..128 => vec![tag, length as u8],
        128..256 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header, contents].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&element(6, oid), critical, &element(4, value)])
}

/// The parts of a list that are not the same in all.
struct Crafted {
    version: Vec<u8>,
    inner_algorithm: &'static [u8],
    next_update: Vec<u8>,
    entries: Vec<u8>,
    extensions: Vec<u8>,
}

impl Crafted {
    fn new() -> Self {
        let number = extension(&[0x55, 0x1d, 20], false, &[2, 1, 1]);
        Self {
            version: vec![2, 1, 1],
            inner_algorithm: SHA256,
            next_update: element(0x17, b"491231235959Z"),
            entries: Vec::new(),
            extensions: number,
        }
    }

    fn signed_by(&self, ca: &TestCa) -> CertificateRevocationListDer<'static> {
        let common_name = sequence(&[&[6, 3, 0x55, 4, 3], &element(0x0c, b"a")]);
        let message = sequence(&[
            &self.version,
            &sequence(&[self.inner_algorithm]),
            &sequence(&[&element(0x31, &common_name)]),
            &element(0x17, b"250101000000Z"),
            &self.next_update,
            &self.entries,
            &element(0xa0, &sequence(&[&self.extensions])),
        ]);
        let signature = KeyPair::from_pem(&ca.key_pem()).unwrap().sign(&message).unwrap();
        let signature = element(3, &[&[0], &*signature].concat());
        sequence(&[&message, &sequence(&[SHA256]), &signature]).into()
    }
}

#[test]
fn forms_that_are_not_supported() {
    let a = ca("a");
    let load = |list: Crafted| {
        RevocationLists::from_der([list.signed_by(&a)], &a.trust_bundle().unwrap(), &provider())
    };
    load(Crafted::new()).unwrap();
    let more = |oid: &[u8], critical, value: &[u8]| {
        [Crafted::new().extensions, extension(oid, critical, value)].concat()
    };
    let certificate_issuer = extension(&[0x55, 0x1d, 29], true, &sequence(&[]));
    let entry = sequence(&[&[2, 1, 9], &element(0x17, b"250101000000Z"), &sequence(&[&certificate_issuer])]);
    let padded = sequence(&[&[2, 2, 0, 9], &element(0x17, b"250101000000Z")]);
    for (list, problem) in [
        (
            Crafted { version: Vec::new(), ..Crafted::new() },
            "it is of version 1; have the CA write version 2 (crlnumber in the configuration of openssl ca)",
        ),
        (
            Crafted { inner_algorithm: SHA384, ..Crafted::new() },
            "it names two different signature algorithms (RFC 5280 section 5.1.1.2)",
        ),
        (
            Crafted { next_update: Vec::new(), ..Crafted::new() },
            "it does not say when it must be replaced (nextUpdate)",
        ),
        (
            Crafted { extensions: more(&[0x55, 0x1d, 27], true, &[2, 1, 1]), ..Crafted::new() },
            "it has only the changes since another list (delta list), which is not supported; use the complete list",
        ),
        (
            Crafted { entries: sequence(&[&entry]), ..Crafted::new() },
            "it covers certificates of other issuers (indirect list), which is not supported",
        ),
        (
            // Issuing distribution point: indirectCRL.
            Crafted {
                extensions: more(&[0x55, 0x1d, 28], true, &sequence(&[&[0x84, 1, 0xff]])),
                ..Crafted::new()
            },
            "it covers certificates of other issuers (indirect list), which is not supported",
        ),
        (
            // Issuing distribution point: onlyContainsUserCerts.
            Crafted {
                extensions: more(&[0x55, 0x1d, 28], true, &sequence(&[&[0x81, 1, 0xff]])),
                ..Crafted::new()
            },
            "it covers only a part of its issuer's certificates (issuing distribution point), which is not supported",
        ),
        (
            Crafted { entries: sequence(&[&padded]), ..Crafted::new() },
            "a serial number on it is not in its shortest form, as DER demands",
        ),
        (
            Crafted { extensions: more(&[0x2a, 3, 4], true, &[5, 0]), ..Crafted::new() },
            "it has a critical extension that is not supported",
        ),
    ] {
        let error = load(list).unwrap_err().to_string();
        assert_eq!(error, format!("the given bytes: revocation list 1 is unusable: {problem}"));
    }
    load(Crafted { extensions: more(&[0x2a, 3, 4], false, &[5, 0]), ..Crafted::new() }).unwrap();
}
