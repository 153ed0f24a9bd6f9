//! The one place that holds the key which signs nodes' certificates.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rowcall_core::id::{HostName, UnixMicros};
use rowcall_store::access::IssuedCertificate;
use rowcall_tls::csr::CsrKey;
use rowcall_tls::identity::{Role, TrustDomain};
use rowcall_tls::issue::{Authority, Purpose};
use rustls::pki_types::CertificateDer;

/// How long a node's certificate is good.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// What is longer is no PEM file of one key or a few certificates.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Signs. `Debug` shows whom for, and nothing of the key.
pub(crate) struct Issuer(Authority);

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("trust_domain", self.0.trust_domain())
            .finish_non_exhaustive()
    }
}

impl Issuer {
    /// The first certificate of this file, with the key of that one. Blocks: two small files.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let cannot_read = |setting: &str, path: &Path, error: std::io::Error| {
            format!(
                "cannot read {setting} {}: {error}; make it readable for the user that runs this \
                 program, or set issuer = false if this aggregator is not to issue certificates",
                path.display()
            )
        };
        let (certificate_pem, key_pem) = (
            read(certificate).map_err(|e| cannot_read("issuer_certificate", certificate, e))?,
            read(key).map_err(|error| cannot_read("issuer_key", key, error))?,
        );
        let authority = Authority::load(&certificate_pem, &key_pem).map_err(|error| {
            format!(
                "issuer_certificate {} and issuer_key {} cannot issue certificates: {error}",
                certificate.display(),
                key.display()
            )
        })?;
        if authority.purpose() == Some(Purpose::Servers) {
            return Err(format!(
                "issuer_certificate {} may only issue for servers; name the client CA's",
                certificate.display()
            ));
        }
        Ok(Self(authority))
    }

    /// Whose certificates it issues.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        self.0.trust_domain()
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.0.certificate_der()
    }

    /// When it ends.
    pub(crate) fn not_after(&self) -> UnixMicros {
        self.0.not_after()
    }

    /// A certificate of a host, for this key.
    ///
    /// # Errors
    /// In words: there is no randomness, or the library refuses.
    pub(crate) fn issue(
        &self,
        host: &HostName,
        key: &CsrKey,
        now: UnixMicros,
    ) -> Result<IssuedCertificate, String> {
        let issued = self
            .0
            .issue_for_key(Role::Agent, host, key, now, LIFETIME)
            .map_err(|error| error.to_string())?;
        let der = issued.chain_der.first().ok_or("the certificate issued is empty")?.to_vec();
        Ok(IssuedCertificate {
            der,
            fingerprint: issued.fingerprint,
            serial: issued.serial,
            not_before: issued.not_before,
            not_after: issued.not_after,
        })
    }

    /// A certificate that it issued, and its own after it: aggregators that trust nothing but a
    /// root can follow.
    pub(crate) fn chain(&self, leaf: Vec<u8>) -> Vec<Vec<u8>> {
        vec![leaf, self.certificate().to_vec()]
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let bytes = rowcall_tls::plain::read(path, MAX_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is no text"))
}
