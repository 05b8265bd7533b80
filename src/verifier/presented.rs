//! A chain as a peer sent it.

use rustls_pki_types::CertificateDer;

use super::rejection::Rejection;
use crate::certificate::{Certificate, subject_text};
use crate::role::Role;

/// The number of certificates that a peer may send. A path uses at most 7 of them; the rest is room for cross-signed
/// CAs. Each one costs us time before the peer is authenticated.
const MAX_CHAIN_LENGTH: usize = 48;

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
        if intermediates.len() >= MAX_CHAIN_LENGTH {
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
