//! The authorities whose certificates are believed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rowcall_core::id::UnixMicros;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::dates::Validity;
use super::error::{FileKind, LoadError};
use super::pem;
use crate::{plain, x509};

/// The certificates of a CA file, each of them an authority's.
#[derive(Clone, Debug)]
pub struct Authorities {
    certificates: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
    not_after: UnixMicros,
}

impl Authorities {
    /// Reads and checks a CA file. Blocks: a small file.
    ///
    /// # Errors
    /// [`LoadError`] for the first thing wrong; dates are not looked at.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::load_by(path, &plain::read)
    }

    /// As [`load`](Self::load), where `reader` reads so many bytes of a file at most.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_by(
        path: &Path,
        reader: &dyn Fn(&Path, u64) -> io::Result<Vec<u8>>,
    ) -> Result<Self, LoadError> {
        let kind = FileKind::Authorities;
        let mut roots = RootCertStore::empty();
        let (found, dates): (Vec<_>, Vec<Validity>) =
            pem::certificates(kind, path, reader)?.into_iter().unzip();
        for (index, der) in found.iter().enumerate() {
            let number = index + 1;
            let bad = |detail: String| LoadError::BadCertificate {
                kind,
                path: path.to_owned(),
                number,
                detail,
            };
            let certificate = x509::read(der).map_err(bad)?;
            if !certificate.is_ca() {
                return Err(LoadError::NotAnAuthority {
                    path: path.to_owned(),
                    number,
                    subject: certificate.subject().to_string(),
                });
            }
            roots.add(der.clone()).map_err(|e| bad(e.to_string()))?;
        }
        let not_after = dates.iter().map(|dates| dates.not_after).min();
        Ok(Self {
            certificates: found.into(),
            roots: Arc::new(roots),
            not_after: not_after.unwrap_or(UnixMicros(i64::MAX)),
        })
    }

    /// In the file's order. Never empty.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// When the first of them ends. Nobody checks that in a handshake: an authority that is
    /// believed is believed until it is taken out of the file.
    #[must_use]
    pub fn not_after(&self) -> UnixMicros {
        self.not_after
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}
