//! Bounds the search for a path before webpki makes it.
//!
//! At every step of its search webpki parses all intermediates again, and names alone drive it: a few certificates that
//! name each other, with no valid signature among them, would keep it busy for half a minute, in which nothing else runs
//! on the thread.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The longest path of intermediates that webpki follows.
const MAX_DEPTH: usize = 6;

/// The bytes of certificates that a search may parse: 200 times a chain of 40 KiB. Takes webpki some 20 ms.
const MAX_PARSED_BYTES: usize = 8 * 1024 * 1024;

/// The certificates without repetitions, which give no other path but are tried again.
pub(super) fn distinct<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<CertificateDer<'a>> {
    let mut distinct: Vec<CertificateDer<'a>> = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        if !distinct.iter().any(|known| known == certificate) {
            distinct.push(CertificateDer::from(certificate.as_ref()));
        }
    }
    distinct
}

/// Whether a search from `leaf` through `intermediates` stays within bounds, even if it finds nothing.
pub(super) fn is_bounded(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
    let Ok(leaf) = EndEntityCert::try_from(leaf) else { return true };
    let parsed: Vec<_> = intermediates.iter().filter_map(|der| EndEntityCert::try_from(der).ok()).collect();
    let keys: Vec<_> = parsed.iter().map(|certificate| certificate.subject_public_key_info()).collect();
    let links = std::iter::zip(&parsed, &keys).map(|(certificate, key)| Link {
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        key: key.as_ref(),
    });
    let bytes: usize = intermediates.iter().map(|der| der.len()).sum();
    let mut search =
        Search { links: links.collect(), path: Vec::new(), steps_left: MAX_PARSED_BYTES / bytes.max(1) };
    search.step(leaf.issuer())
}

#[derive(Clone, Copy)]
struct Link<'a> {
    subject: &'a [u8],
    issuer: &'a [u8],
    key: &'a [u8],
}

struct Search<'a> {
    links: Vec<Link<'a>>,
    path: Vec<Link<'a>>,
    steps_left: usize,
}

impl<'a> Search<'a> {
    /// Looks for issuers named `issuer`, as webpki does where no signature ends the search. `false` if it takes too long.
    fn step(&mut self, issuer: &[u8]) -> bool {
        let Some(steps_left) = self.steps_left.checked_sub(1) else { return false };
        self.steps_left = steps_left;
        if self.path.len() == MAX_DEPTH {
            return true;
        }
        for index in 0..self.links.len() {
            let Some(&link) = self.links.get(index) else { break };
            if link.subject != issuer || self.is_on_path(link) {
                continue;
            }
            self.path.push(link);
            let bounded = self.step(link.issuer);
            self.path.pop();
            if !bounded {
                return false;
            }
        }
        true
    }

    fn is_on_path(&self, link: Link<'a>) -> bool {
        self.path.iter().any(|previous| previous.subject == link.subject && previous.key == link.key)
    }
}
