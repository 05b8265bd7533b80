//! The structures that CAs sign: certificates (RFC 5280 section 4.1.1) and revocation lists (section 5.1.1).

use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::der::{DerError, DerReader, SEQUENCE};

/// A certificate or a revocation list, split into signed part and signature. Nothing in it is trusted yet.
pub(crate) struct Signed<'a> {
    /// The contents of tbsCertificate or tbsCertList.
    pub(crate) contents: &'a [u8],
    /// The DER name of the claimed issuer.
    pub(crate) issuer: &'a [u8],
    /// The contents of the AlgorithmIdentifier.
    pub(crate) algorithm: &'a [u8],
    /// The tbsCertificate or tbsCertList with its header, as it was signed.
    message: &'a [u8],
    pub(crate) signature: &'a [u8],
}

/// Why a signature does not match a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureProblem {
    /// The signature was made with another key or over other contents.
    Invalid,
    /// The limit of signature checks was reached before.
    NotChecked,
    /// The provider does not support the algorithm, or not with this kind of key.
    Unsupported,
}

impl<'a> Signed<'a> {
    /// # Errors
    ///
    /// [`DerError`]: [`Value`](DerError::Value) if the signed part and the signature name different algorithms, which
    /// sections 4.1.1.2 and 5.1.1.2 forbid.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, DerError> {
        let mut outer = DerReader::new(DerReader::single(der, SEQUENCE)?);
        let message = outer.next_whole()?.ok_or(DerError::Length)?;
        let algorithm = outer.expect(SEQUENCE)?;
        let signature = outer.octets_of_bit_string()?;
        outer.end()?;
        let contents = DerReader::single(message, SEQUENCE)?;
        let mut fields = DerReader::new(contents);
        // Both have a first element, version or serial number, and then the algorithm and the issuer.
        let inner_algorithm = loop {
            match fields.next_element()?.ok_or(DerError::Length)? {
                (SEQUENCE, algorithm) => break algorithm,
                _ => continue,
            }
        };
        if inner_algorithm != algorithm {
            return Err(DerError::Value);
        }
        let issuer = fields.next_whole()?.ok_or(DerError::Length)?;
        DerReader::single(issuer, SEQUENCE)?;
        Ok(Self { contents, issuer, algorithm, message, signature })
    }

    /// Checks that the signature was made with the key in `key_info`, a SubjectPublicKeyInfo.
    pub(crate) fn verify(
        &self,
        key_info: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), SignatureProblem> {
        let contents = DerReader::single(key_info, SEQUENCE).map_err(|_| SignatureProblem::Unsupported)?;
        self.verify_by(contents, algorithms)
    }

    /// As [`verify`](Self::verify), but takes the contents of the SubjectPublicKeyInfo.
    pub(crate) fn verify_by(
        &self,
        key_info: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), SignatureProblem> {
        let (key_algorithm, key) = key(key_info).map_err(|_| SignatureProblem::Unsupported)?;
        let mut outcome = Err(SignatureProblem::Unsupported);
        for algorithm in algorithms {
            if algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == key_algorithm
            {
                outcome = algorithm
                    .verify_signature(key, self.message, self.signature)
                    .map_err(|_| SignatureProblem::Invalid);
                if outcome.is_ok() {
                    break;
                }
            }
        }
        outcome
    }
}

/// The contents of the AlgorithmIdentifier, and the key.
fn key(key_info: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    let mut fields = DerReader::new(key_info);
    let algorithm = fields.expect(SEQUENCE)?;
    let key = fields.octets_of_bit_string()?;
    fields.end()?;
    Ok((algorithm, key))
}
