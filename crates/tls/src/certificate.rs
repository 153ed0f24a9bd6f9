//! One certificate as it is known to others: by its fingerprint, its dates, its chain.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64;
use rowcall_core::id::UnixMicros;
use rustls::pki_types::CertificateDer;

use crate::identity::IdentityError;
use crate::x509;

/// SHA-256 of a whole certificate, DER: what it is known by wherever certificates are told apart.
#[must_use]
pub fn fingerprint(der: &CertificateDer<'_>) -> [u8; 32] {
    x509::sha256(der)
}

/// SHA-256 over several certificates, DER, one after the other: what a list of authorities is
/// known by.
#[must_use]
pub fn list_sha256(certificates: &[CertificateDer<'_>]) -> [u8; 32] {
    let bytes: Vec<u8> = certificates.iter().flat_map(|der| der.iter().copied()).collect();
    x509::sha256(&bytes)
}

/// Whether a certificate was issued by this authority: its issuer's name, and its signature.
#[must_use]
pub fn issued_by(certificate: &CertificateDer<'_>, authority: &CertificateDer<'_>) -> bool {
    let (Ok(certificate), Ok(authority)) = (x509::read(certificate), x509::read(authority)) else {
        return false;
    };
    certificate.issuer().as_raw() == authority.subject().as_raw()
        && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

/// Certificates as they stand in a PEM file.
#[must_use]
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    const LINE_BYTES: usize = 48;
    let mut pem = String::new();
    for der in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in der.chunks(LINE_BYTES) {
            BASE64.encode_append(line, &mut pem);
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// The certificate that a peer presented.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// See [`fingerprint`].
    pub fingerprint: [u8; 32],
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`, DER).
    pub key_sha256: [u8; 32],
    /// Its first second.
    pub not_before: UnixMicros,
    /// Its last second.
    pub not_after: UnixMicros,
    /// The certificate, then what the peer sent after it. Never empty.
    pub chain: Arc<[CertificateDer<'static>]>,
}

impl PeerCertificate {
    /// Reads the first certificate of a chain, the holder's own.
    ///
    /// # Errors
    /// [`IdentityError::NoCertificate`] and [`IdentityError::Unreadable`].
    pub fn from_chain(chain: &[CertificateDer<'_>]) -> Result<Self, IdentityError> {
        let der = chain.first().ok_or(IdentityError::NoCertificate)?;
        let certificate = x509::read(der).map_err(IdentityError::Unreadable)?;
        Ok(Self {
            fingerprint: fingerprint(der),
            serial: x509::serial(certificate.raw_serial()),
            key_sha256: x509::sha256(certificate.public_key().raw),
            not_before: x509::micros(certificate.validity().not_before),
            not_after: x509::micros(certificate.validity().not_after),
            chain: chain.iter().cloned().map(CertificateDer::into_owned).collect(),
        })
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
