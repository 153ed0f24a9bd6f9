//! A node's own side of enrolment and renewal: its key, and the request for a certificate.
//!
//! The key is made on the node and never leaves it. A request holds the public key, a name that
//! nobody reads, and nothing else: what stands in the certificate is the authority's to say.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SigningKey as _};

use crate::renewal;

/// Why no request or signature could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The system gives no random numbers, or the key cannot be used.
    #[error("cannot {action}: {error}")]
    Key {
        /// What was being done.
        action: &'static str,
        /// What rcgen said.
        error: rcgen::Error,
    },
    /// The key is of another kind.
    #[error("the key is not ECDSA P-256; enrol this host again")]
    OtherKind,
}

/// A new key. `Debug` does not show it.
pub struct NewKey(KeyPair);

impl NewKey {
    /// A new random key: ECDSA P-256.
    ///
    /// # Errors
    /// [`RequestError`] when there is no randomness.
    pub fn generate() -> Result<Self, RequestError> {
        KeyPair::generate().map(Self).map_err(failed("make a key"))
    }

    /// A key that was made before, PKCS#8 PEM.
    ///
    /// # Errors
    /// [`RequestError`] when it is damaged or of another kind.
    pub fn from_pem(pem: &str) -> Result<Self, RequestError> {
        let key = KeyPair::from_pem(pem).map_err(failed("read the key"))?;
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(RequestError::OtherKind);
        }
        Ok(Self(key))
    }

    /// The request for a certificate, PKCS #10 DER, signed with this key.
    ///
    /// # Errors
    /// [`RequestError`] when signing fails.
    pub fn request_der(&self, name: &str) -> Result<Vec<u8>, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let request = params.serialize_request(&self.0).map_err(failed("make a request"))?;
        Ok(request.der().to_vec())
    }

    /// The key, PKCS#8 PEM, to be written to a file for its owner alone.
    #[must_use]
    pub fn pkcs8_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Signs a request with this key, the present certificate's, to have that renewed: see
    /// [`renewal`].
    ///
    /// # Errors
    /// [`RequestError`] when signing fails.
    pub fn sign_renewal(&self, csr_der: &[u8]) -> Result<Vec<u8>, RequestError> {
        self.0.sign(&renewal::signed(csr_der)).map_err(failed("sign the request"))
    }
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewKey(..)")
    }
}

/// Signs the request for the next certificate with the present one's key (PEM).
///
/// # Errors
/// [`RequestError`] when the key is none, or of another kind.
pub fn sign_renewal(key_pem: &str, csr_der: &[u8]) -> Result<Vec<u8>, RequestError> {
    NewKey::from_pem(key_pem)?.sign_renewal(csr_der)
}

fn failed(action: &'static str) -> impl FnOnce(rcgen::Error) -> RequestError {
    move |error| RequestError::Key { action, error }
}
