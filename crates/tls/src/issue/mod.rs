//! A small certificate authority: ECDSA P-256, everything in a certificate ours.
//!
//! A root stands above two issuing authorities, one for servers and one for clients. What an
//! issuing authority is for stands in its certificate (extended key usage), verifiers follow it
//! down the chain, and so neither can issue for the other's purpose, nor make authorities.
//!
//! Nothing that a request brings is copied into a certificate but its public key; rcgen's
//! defaults for serial number (a hash of the key) and dates (1975 to 4096) are never used. The
//! caller gives the time. Nothing outlives the authority that issued it.

mod authority;
mod params;
mod revocation;
#[cfg(test)]
mod tests;

use rcgen::Error as RcgenError;
use rowcall_core::id::UnixMicros;
use rustls::pki_types::CertificateDer;

pub use authority::{AUTHORITY_LIFETIME, Authority, ROOT_LIFETIME};

use crate::identity::IdentityError;
use crate::load::Rfc3339;
pub use crate::private::write_private;

/// What an issuing authority issues certificates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Aggregators.
    Servers,
    /// Agents, viewers and operators.
    Clients,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Servers => "servers",
            Self::Clients => "clients",
        })
    }
}

/// Why the authority could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The system gives no random numbers.
    #[error("no random numbers for a serial number: {0}")]
    Random(getrandom::Error),
    /// rcgen refuses it.
    #[error("cannot {action}: {error}")]
    Certificate {
        /// What was being done.
        action: &'static str,
        /// What rcgen said.
        error: RcgenError,
    },
    /// The authority's certificate is not PEM.
    #[error("the authority's certificate cannot be read: {0}")]
    Unreadable(String),
    /// The certificate loaded is not an authority's.
    #[error("the certificate is not a CA certificate, it cannot issue others")]
    NotAnAuthority,
    /// Key and certificate loaded are not of one pair.
    #[error("the key does not belong to the authority's certificate")]
    KeyMismatch,
    /// The authority's certificate names no trust domain.
    #[error("the authority's certificate names no trust domain: {0}")]
    TrustDomain(IdentityError),
    /// The authority's own certificate is not valid now.
    #[error("the authority's own certificate is valid from {} to {}, it is now {}; use another, or set the clock", Rfc3339(*not_before), Rfc3339(*not_after), Rfc3339(*now))]
    OutOfDate {
        /// Its first second.
        not_before: UnixMicros,
        /// Its last second.
        not_after: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
    /// An authority that issues for the other purpose.
    #[error("the authority is for {authority}, it cannot issue certificates for {wanted}")]
    OtherPurpose {
        /// What it is for.
        authority: Purpose,
        /// What was asked for.
        wanted: Purpose,
    },
    /// An authority under which there can be no other.
    #[error("the authority may not make other authorities (path length 0); use the root")]
    NotARoot,
    /// A serial number to be revoked is none.
    #[error("{0:?} is no serial number: give hexadecimal digits, 20 bytes at most")]
    Serial(String),
    /// A name for a server is none.
    #[error("{0:?} is no DNS name for a certificate")]
    DnsName(String),
    /// A server certificate without any name fits no server.
    #[error("a server certificate needs at least one DNS name or address")]
    NoServerName,
}

/// A certificate and its key, both PEM. The key is not shown by `Debug`.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, then the authority's where that is not a root.
    pub certificate_pem: String,
    /// Its private key, PKCS#8: see [`write_private`].
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate for a key that somebody else holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedForKey {
    /// The certificate, then the authority's where that is not a root.
    pub chain_der: Vec<CertificateDer<'static>>,
    /// Its first second.
    pub not_before: UnixMicros,
    /// Its last second.
    pub not_after: UnixMicros,
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, DER.
    pub fingerprint: [u8; 32],
}

fn failed(action: &'static str) -> impl FnOnce(RcgenError) -> IssueError {
    move |error| IssueError::Certificate { action, error }
}
