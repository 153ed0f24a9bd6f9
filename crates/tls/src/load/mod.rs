//! Certificate, key and CA files.
//!
//! Every error names the file, what is wrong with it and what to do. What is loaded is
//! consistent: the key belongs to the first certificate, and every CA certificate is one.
//!
//! Dates are no part of loading: a machine whose clock stands in 1970 until it reaches a time
//! server must start all the same. [`Material::check_dates`] says what is out of date; callers
//! warn and carry on, and the peer decides.

mod authorities;
mod dates;
mod error;
mod pem;
mod revocations;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rowcall_core::id::UnixMicros;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

pub use authorities::Authorities;
pub use dates::{DateError, Rfc3339, Validity};
pub(crate) use error::MAX_FILE_BYTES;
pub use error::{FileKind, LoadError};
pub(crate) use revocations::Revocations;

use crate::config;
use crate::identity::{Identity, IdentityError};
use crate::{plain, x509};

/// Where the three files are. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Our own certificate first, then its intermediates, if any.
    pub certificate: PathBuf,
    /// The private key of that certificate: PKCS#8, SEC 1 or PKCS#1, without a passphrase.
    pub key: PathBuf,
    /// The authorities whose certificates we accept from the other side, one or several.
    pub authorities: PathBuf,
}

/// What one end of a connection needs: its own certificate and key, and whom it believes.
#[derive(Clone)]
pub struct Material {
    key: Arc<CertifiedKey>,
    authorities: Authorities,
    revocations: Revocations,
    validity: Box<[Validity]>,
    files: Files,
}

impl Material {
    /// Reads and checks the three files. Blocks: three small files.
    ///
    /// # Errors
    /// [`LoadError`] for the first thing wrong; dates are not looked at.
    pub fn load(files: &Files) -> Result<Self, LoadError> {
        Self::load_by(files, &plain::read)
    }

    /// As [`load`](Self::load), where `reader` reads so many bytes of a file at most: for folders
    /// that somebody else writes to.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_by(
        files: &Files,
        reader: &dyn Fn(&Path, u64) -> io::Result<Vec<u8>>,
    ) -> Result<Self, LoadError> {
        let chain = pem::certificates(FileKind::Certificate, &files.certificate, reader)?;
        let key = pem::private_key(&files.key, reader)?;
        let authorities = Authorities::load_by(&files.authorities, reader)?;
        let (chain, validity): (Vec<_>, Vec<_>) = chain.into_iter().unzip();
        let key = CertifiedKey::from_der(chain, key, &config::provider()).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                LoadError::KeyMismatch {
                    key: files.key.clone(),
                    certificate: files.certificate.clone(),
                }
            } else {
                LoadError::BadKey { path: files.key.clone(), detail: x509::explain_key(&error) }
            }
        })?;
        Ok(Self {
            key: Arc::new(key),
            authorities,
            revocations: Revocations::default(),
            validity: validity.into(),
            files: files.clone(),
        })
    }

    /// Also with the revocation lists (PEM, one or several) of a file: for a server, whose
    /// authorities are those of its clients. Blocks: a small file.
    ///
    /// # Errors
    /// [`LoadError`] for the first thing wrong. A list that is out of date is not: it refuses
    /// its authority's clients when they connect.
    pub fn with_revocations(mut self, path: &Path) -> Result<Self, LoadError> {
        self.revocations = Revocations::load(path, &self.authorities)?;
        Ok(self)
    }

    /// Our own certificate, then its intermediates. Never empty.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Whom our own certificate names; a server's needs no identity.
    ///
    /// # Errors
    /// [`IdentityError`] says which rule the certificate breaks.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_chain(self.chain())
    }

    /// From when to when our own certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity.first().copied().unwrap_or(Validity {
            not_before: UnixMicros(i64::MIN),
            not_after: UnixMicros(i64::MAX),
        })
    }

    /// When the first of the authorities ends.
    #[must_use]
    pub fn authorities_not_after(&self) -> Option<UnixMicros> {
        Some(self.authorities.not_after())
    }

    /// Whom we believe.
    #[must_use]
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// When the first of the revocation lists is too old, and its authority's clients are
    /// refused. None without any.
    #[must_use]
    pub fn revocations_until(&self) -> Option<UnixMicros> {
        self.revocations.lists.iter().map(|list| list.next_update).min()
    }

    /// The revocation lists, DER, the newest of an authority before its older ones.
    pub fn revocation_lists(&self) -> impl Iterator<Item = &[u8]> {
        self.revocations.lists.iter().map(|list| list.der.as_ref())
    }

    /// Why these revocation lists are not to take the place of those in force, if there is a
    /// reason: of an authority that is believed still there is none any more, an older one, or one
    /// that is out of date while that in force is not.
    #[must_use]
    pub fn revocations_go_back(&self, in_force: &Self, now: UnixMicros) -> Option<String> {
        let believed = self.authorities.certificates();
        self.revocations.go_back(&in_force.revocations, believed, now)
    }

    /// The names of the authorities of which there is no revocation list, while there is one of
    /// another: their certificates are accepted until they expire, which people should know.
    #[must_use]
    pub fn authorities_without_revocations(&self) -> Vec<String> {
        if self.revocations.lists.is_empty() {
            return Vec::new();
        }
        let certificates = self.authorities.certificates().iter();
        certificates
            .filter_map(|der| x509::read(der).ok())
            .filter(|ca| self.revocations.of(ca.subject().as_raw()).next().is_none())
            .map(|ca| ca.subject().to_string())
            .collect()
    }

    /// Whether our own certificate and its intermediates are valid now.
    ///
    /// # Errors
    /// [`DateError`] for the first that is not.
    pub fn check_dates(&self, now: UnixMicros) -> Result<(), DateError> {
        for (index, &Validity { not_before, not_after }) in self.validity.iter().enumerate() {
            let (path, number) = (self.files.certificate.clone(), index + 1);
            if now > not_after {
                return Err(DateError::Expired { path, number, not_after, now });
            }
            if now < not_before {
                return Err(DateError::NotYetValid { path, number, not_before, now });
            }
        }
        Ok(())
    }

    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        self.authorities.roots()
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("files", &self.files)
            .field("identity", &self.identity())
            .field("validity", &self.validity)
            .field("authorities", &self.authorities.certificates().len())
            .finish_non_exhaustive()
    }
}
