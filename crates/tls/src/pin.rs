//! Pins: an authority known by nothing but the hash of its public key.

use rowcall_core::token::Pin;
use rustls::pki_types::CertificateDer;

use crate::x509;

/// The pin of a certificate: SHA-256 of its public key (`SubjectPublicKeyInfo`, DER). It stays
/// the same when an authority's certificate is made anew with the same key.
///
/// # Errors
/// What is wrong with the certificate, in words that complete "cannot be read: ".
pub fn pin_of(der: &CertificateDer<'_>) -> Result<Pin, String> {
    Ok(Pin::new(x509::sha256(x509::read(der)?.public_key().raw)))
}
