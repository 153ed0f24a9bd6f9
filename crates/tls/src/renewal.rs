//! Proof that someone holds the key of a certificate, where no TLS handshake proves it.
//!
//! A certificate that has expired cannot open a connection of the stream's port any more. Its
//! holder may still have it renewed, for [`GRACE`]: by a signature with its key over the request
//! for the new certificate. What the certificate says stays believed only as far as its authority
//! is, and only if that did not revoke it.

use std::time::Duration;

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rowcall_core::id::UnixMicros;
use rustls::pki_types::CertificateDer;

use crate::certificate::PeerCertificate;
use crate::identity::{Identity, IdentityError};
use crate::load::Rfc3339;
use crate::trust::{ClientTrust, TrustError};
use crate::x509;

/// What is signed starts with this, so that the signature means nothing anywhere else.
pub const RENEWAL_CONTEXT: &[u8] = b"rowcall renew v1\0";

/// A certificate may be renewed for so long after it expired.
pub const GRACE: Duration = Duration::from_secs(90 * 86_400);

/// What a proof of key consists of.
#[derive(Clone, Copy, Debug)]
pub struct RenewalProof<'a> {
    /// The certificate to renew, DER.
    pub certificate_der: &'a [u8],
    /// The request for the new one, DER.
    pub csr_der: &'a [u8],
    /// By the certificate's key, over [`RENEWAL_CONTEXT`] and the request: ECDSA P-256 with
    /// SHA-256, DER.
    pub signature: &'a [u8],
}

/// Whose certificate it is.
#[derive(Clone, Debug)]
pub struct Proven {
    /// The holder, of whatever trust domain.
    pub identity: Identity,
    /// The certificate to renew.
    pub certificate: PeerCertificate,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The certificate cannot be read, or names nobody.
    #[error("the certificate to renew cannot be used: {0}")]
    Certificate(#[from] IdentityError),
    /// Its key is of another kind.
    #[error("the certificate to renew has no ECDSA P-256 key; enrol this host again")]
    Key,
    /// The signature is not by its key, or over another request.
    #[error("the signature over the request is not by the key of the certificate to renew")]
    Signature,
    /// It expired too long ago.
    #[error(
        "the certificate expired at {}, it is now {}: more than 90 days ago; enrol this host again",
        Rfc3339(*not_after), Rfc3339(*now)
    )]
    TooOld {
        /// The end of its time.
        not_after: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
    /// Its authority is not believed, or revoked it.
    #[error("{0}")]
    Trust(#[from] TrustError),
}

/// Checks a proof at a time.
///
/// # Errors
/// [`ProofError`], the first reason.
pub fn verify_renewal(
    trust: &ClientTrust,
    proof: &RenewalProof<'_>,
    now: UnixMicros,
) -> Result<Proven, ProofError> {
    let chain = [CertificateDer::from(proof.certificate_der)];
    let certificate = PeerCertificate::from_chain(&chain)?;
    let identity = Identity::from_chain(&chain)?;
    let read = x509::read(proof.certificate_der).map_err(IdentityError::Unreadable)?;
    let key = x509::p256_point(read.public_key()).ok_or(ProofError::Key)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&signed(proof.csr_der), proof.signature)
        .map_err(|_| ProofError::Signature)?;
    let grace = i64::try_from(GRACE.as_micros()).unwrap_or(i64::MAX);
    if now.0 > certificate.not_after.0.saturating_add(grace) {
        return Err(ProofError::TooOld { not_after: certificate.not_after, now });
    }
    trust.verify_even_expired(&certificate, now)?;
    Ok(Proven { identity, certificate })
}

/// What the signature covers.
pub(crate) fn signed(csr_der: &[u8]) -> Vec<u8> {
    [RENEWAL_CONTEXT, csr_der].concat()
}
