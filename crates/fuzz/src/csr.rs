//! A node's request for a certificate.

use rowcall_tls::csr::CsrKey;

/// A request, PKCS #10 DER: its key, if its holder signed it.
#[must_use]
pub fn csr(bytes: &[u8]) -> bool {
    CsrKey::read(bytes).is_ok()
}
