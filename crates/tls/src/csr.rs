//! The one thing taken from a request for a certificate: its public key.

use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use crate::x509;

/// A request above this size is none of ours.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Why a request is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// It is bigger than 16 KiB.
    #[error("the certificate request has {0} bytes, at most 16384 are allowed")]
    TooLarge(usize),
    /// It is no PKCS #10 request.
    #[error("the certificate request cannot be read: {0}")]
    Unreadable(String),
    /// Its key is of another kind.
    #[error("the certificate request's key is not ECDSA P-256")]
    Key,
    /// It was not signed with its key.
    #[error("the certificate request is not signed with the key in it")]
    Signature,
}

/// The public key of a request, whose holder signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrKey {
    spki: Vec<u8>,
}

impl CsrKey {
    /// Reads a request, PKCS #10 DER. Whatever it asks for is ignored.
    ///
    /// # Errors
    /// [`CsrError`] says what is wrong with it.
    pub fn read(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(CsrError::TooLarge(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| CsrError::Unreadable(x509::explain_nom(error, "PKCS #10 request")))?;
        if !rest.is_empty() {
            return Err(CsrError::Unreadable("more bytes follow it".to_owned()));
        }
        let key = &request.certification_request_info.subject_pki;
        if x509::p256_point(key).is_none() {
            return Err(CsrError::Key);
        }
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        Ok(Self { spki: key.raw.to_vec() })
    }

    /// SHA-256 of the key (`SubjectPublicKeyInfo`, DER): the same for every request with it.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        x509::sha256(&self.spki)
    }

    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }
}
