//! A peer's certificate.

use rowcall_tls::identity::{Identity, TrustDomain};
use rustls::pki_types::CertificateDer;

/// A certificate, DER: who its holder is, and whose authority it is.
///
/// # Panics
/// If an identity is read that, written out, reads as another one; a bug.
#[must_use]
pub fn certificate(bytes: &[u8]) -> bool {
    let der = CertificateDer::from(bytes);
    let authority = TrustDomain::from_authority(&der).is_ok();
    let Ok(identity) = Identity::from_der(&der) else { return authority };
    let again = Identity::from_uri(&identity.to_string());
    assert_eq!(again.as_ref(), Ok(&identity), "an identity reads as it is written");
    true
}
