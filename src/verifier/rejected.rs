//! A refused peer.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

use rustls_pki_types::CertificateDer;

use super::rejection::Rejection;
use crate::certificate::Certificate;
use crate::text::identifier_text;

/// A peer that we refused: the [`Rejection`], to which this derefs, and what tells the peer's leaf from others of the
/// same name. All nodes of a cluster often share one Common Name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RejectedPeer {
    rejection: Rejection,
    serial: Option<String>,
    authority_key_id: Option<String>,
}

impl RejectedPeer {
    /// A rejection with what can be read out of the leaf that was refused; `None` if there is none.
    pub fn new(rejection: Rejection, leaf: Option<&CertificateDer<'_>>) -> Self {
        let leaf = leaf.and_then(|leaf| Certificate::parse(leaf).ok());
        let serial = leaf.as_ref().map(|leaf| identifier_text(leaf.serial_number()));
        let authority_key_id = leaf.and_then(|leaf| leaf.authority_key_identifier().map(identifier_text));
        Self { rejection, serial, authority_key_id }
    }

    /// The leaf's serial number, in the form of [`VerifiedChain::serial`](super::VerifiedChain::serial).
    /// `None` if there is no leaf or it can not be read.
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// The leaf's authority key identifier (RFC 5280 section 4.2.1.1) in lower-case hexadecimal: the key that signed
    /// the leaf. `None` if the leaf has none.
    pub fn authority_key_id(&self) -> Option<&str> {
        self.authority_key_id.as_deref()
    }
}

impl Deref for RejectedPeer {
    type Target = Rejection;

    fn deref(&self) -> &Rejection {
        &self.rejection
    }
}

impl fmt::Display for RejectedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejection.fmt(f)
    }
}

impl Error for RejectedPeer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.rejection.source()
    }
}
