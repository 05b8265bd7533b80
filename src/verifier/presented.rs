//! A chain as a peer sent it.

use std::borrow::Cow;

use rustls_pki_types::CertificateDer;

use super::rejection::Rejection;
use crate::certificate::{Certificate, subject_text};
use crate::role::Role;

/// The number of certificates that a peer may send. A path uses at most 7 of them; the rest is room for cross-signed
/// CAs. Each one costs us time before the peer is authenticated.
const MAX_CHAIN_LENGTH: usize = 48;

/// The most bytes that a Felix may send behind its leaf. rustls keeps them as long as the connection lives, and a Typha
/// has thousands of connections. It does not depend on the CAs, so that a changed CA file changes nothing.
const MAX_INTERMEDIATES_SIZE: usize = 32 * 1024;

/// A chain as the peer in `role` sent it, leaf first. Its length is limited; nothing else is checked yet.
#[derive(Clone, Copy)]
pub(super) struct PresentedChain<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) role: Role,
}

impl<'a> PresentedChain<'a> {
    pub(super) fn new(
        leaf: &'a CertificateDer<'a>,
        intermediates: &'a [CertificateDer<'a>],
        role: Role,
    ) -> Result<Self, Rejection> {
        let size: usize = intermediates.iter().map(|der| der.len()).sum();
        if intermediates.len() >= MAX_CHAIN_LENGTH || role == Role::Felix && size > MAX_INTERMEDIATES_SIZE {
            return Err(Rejection::TooComplex { subject: subject_text(leaf) });
        }
        Ok(Self { leaf, intermediates, role })
    }

    /// The leaf, and what comes after it.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &'a CertificateDer<'a>> {
        std::iter::once(self.leaf).chain(self.intermediates)
    }

    /// Its certificates that can be parsed.
    pub(super) fn parsed(&self) -> impl Iterator<Item = Certificate<'a>> {
        self.certificates().filter_map(|der| Certificate::parse(der).ok())
    }
}

/// Chains up to this size are kept as they are. A leaf and an intermediate take 2 KiB.
const KEPT_WHOLE: usize = 8 * 1024;

/// The certificates of an accepted chain that a path can use: the leaf, and those that are named as the issuer of
/// another. A peer may send any others, and they must not stay in memory as long as its connection.
pub(crate) fn usable_certificates<'a>(
    chain: &'a [CertificateDer<'static>],
) -> Cow<'a, [CertificateDer<'static>]> {
    if chain.iter().map(|certificate| certificate.len()).sum::<usize>() <= KEPT_WHOLE {
        return Cow::Borrowed(chain);
    }
    let parsed: Vec<_> = chain.iter().map(|der| Certificate::parse(der).ok()).collect();
    let mut is_usable: Vec<bool> = (0..chain.len()).map(|index| index == 0).collect();
    let mut issuers: Vec<_> = parsed.iter().take(1).flatten().map(Certificate::issuer_der).collect();
    while let Some(issuer) = issuers.pop() {
        for (certificate, usable) in parsed.iter().zip(&mut is_usable) {
            if let Some(certificate) = certificate.as_ref().filter(|it| it.subject_der() == issuer)
                && !std::mem::replace(usable, true)
            {
                issuers.push(certificate.issuer_der());
            }
        }
    }
    chain.iter().zip(is_usable).filter(|(_, usable)| *usable).map(|(der, _)| der.clone()).collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{CertificateSpec, TestCa};

    #[test]
    fn what_no_path_can_use_is_not_kept() {
        let root = TestCa::new(CertificateSpec::ca("root")).unwrap();
        let spec = || CertificateSpec::ca("intermediate").extension(&[1, 3, 9], false, &[0; 2000]);
        let issuer = root.intermediate(spec()).unwrap();
        let leaf = issuer.issue(CertificateSpec::leaf("felix")).unwrap();
        let [leaf, intermediate] = leaf.chain() else { unreachable!("a leaf and its issuer") };
        // Another certificate of the same name: it may lead to another CA.
        let other = TestCa::new(spec()).unwrap().root().clone();
        let unrelated = TestCa::new(CertificateSpec::ca("unrelated")).unwrap().root().clone();
        let junk = CertificateDer::from(vec![7; 5000]);
        let all = [leaf, &junk, root.root(), &unrelated, intermediate, &other, leaf].map(Clone::clone);
        let used = [leaf, root.root(), intermediate, &other].map(Clone::clone);
        assert_eq!(*usable_certificates(&all), used);
        // A small chain is not worth the search.
        assert!(matches!(usable_certificates(&all[2..4]), Cow::Borrowed(kept) if *kept == all[2..4]));
        assert!(usable_certificates(&[]).is_empty());
    }
}
