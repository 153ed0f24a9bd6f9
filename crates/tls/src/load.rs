//! Certificate, key and CA files.
//!
//! Every error names the file, what is wrong with it and what to do. What is loaded is
//! consistent: the key belongs to the first certificate, and every CA certificate is one.
//!
//! Dates are no part of loading: a machine whose clock stands in 1970 until it reaches a time
//! server must start all the same. [`Material::check_dates`] says what is out of date; callers
//! warn and carry on, and the peer decides.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rowcall_core::id::UnixMicros;
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::ASN1Time;

use crate::config;
use crate::identity::{Identity, IdentityError};
use crate::x509;

/// A file above this size is none of ours.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

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

/// Which of the [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// [`Files::certificate`].
    Certificate,
    /// [`Files::key`].
    Key,
    /// [`Files::authorities`].
    Authorities,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate file",
            Self::Key => "key file",
            Self::Authorities => "CA file",
        })
    }
}

/// Why files give no usable material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be opened or read.
    #[error("cannot read {kind} {}: {error}; {}", path.display(), read_advice(error))]
    Read {
        /// Which file.
        kind: FileKind,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It has no bytes.
    #[error("{kind} {} is empty; write it again, it was probably cut off", path.display())]
    Empty {
        /// Which file.
        kind: FileKind,
        /// Where it is.
        path: PathBuf,
    },
    /// It is bigger than 1 MiB.
    #[error("{kind} {} has more than 1 MiB; give the path of a PEM file", path.display())]
    TooLarge {
        /// Which file.
        kind: FileKind,
        /// Where it is.
        path: PathBuf,
    },
    /// It holds nothing of the kind expected.
    #[error("{kind} {} holds no PEM block of {expected}; {advice}", path.display())]
    Missing {
        /// Which file.
        kind: FileKind,
        /// Where it is.
        path: PathBuf,
        /// The PEM block looked for.
        expected: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A PEM block is damaged.
    #[error("{kind} {} is not valid PEM: {detail}; write it again", path.display())]
    NotPem {
        /// Which file.
        kind: FileKind,
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A certificate in it is not X.509.
    #[error("certificate {number} in {kind} {} cannot be read: {detail}; write it again", path.display())]
    BadCertificate {
        /// Which file.
        kind: FileKind,
        /// Where it is.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong.
        detail: String,
    },
    /// The key needs a passphrase.
    #[error(
        "key file {} is encrypted; take the passphrase off with `openssl pkey -in FILE -out FILE`",
        .0.display()
    )]
    EncryptedKey(PathBuf),
    /// The key is of a kind that cannot be used.
    #[error(
        "key in {} cannot be used: {detail}; use ECDSA P-256 or P-384, Ed25519, or RSA from 2048 bits",
        path.display()
    )]
    BadKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Key and certificate are not of one pair.
    #[error(
        "key in {} does not belong to the first certificate in {}; give the two files that were \
         made together, and in the certificate file put our own certificate first",
        key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate among the authorities is no authority's.
    #[error(
        "certificate {number} in CA file {} is not a CA certificate (its subject is {subject:?}); \
         give the certificate of the authority that issued the other side's certificate",
        path.display()
    )]
    NotAnAuthority {
        /// The CA file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// The certificate's subject.
        subject: String,
    },
}

/// A certificate that is not valid now, by the clock asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Its time is over.
    #[error(
        "certificate {number} in {} expired at {}, it is now {}; renew it, or set the clock if \
         that is wrong", path.display(), Rfc3339(*not_after), Rfc3339(*now)
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// The end of its time.
        not_after: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
    /// Its time has not come.
    #[error(
        "certificate {number} in {} is valid only from {}, it is now {}; set this machine's \
         clock if it is slow, else the issuer's", path.display(), Rfc3339(*not_before), Rfc3339(*now)
    )]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// The start of its time.
        not_before: UnixMicros,
        /// The clock's time.
        now: UnixMicros,
    },
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: UnixMicros,
    /// Its last second.
    pub not_after: UnixMicros,
}

/// What one end of a connection needs: its own certificate and key, and whom it believes.
#[derive(Clone)]
pub struct Material {
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    validity: Box<[Validity]>,
    authorities_not_after: Option<UnixMicros>,
    files: Files,
}

impl Material {
    /// Reads and checks the three files. Blocks: three small files.
    ///
    /// # Errors
    /// [`LoadError`] for the first thing wrong; dates are not looked at.
    pub fn load(files: &Files) -> Result<Self, LoadError> {
        let chain = certificates(FileKind::Certificate, &files.certificate)?;
        let key = private_key(&files.key)?;
        let (roots, authorities_not_after) = authorities(&files.authorities)?;
        let validity = chain.iter().map(|(_, validity)| *validity).collect();
        let chain = chain.into_iter().map(|(der, _)| der).collect();
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
            roots: Arc::new(roots),
            validity,
            authorities_not_after,
            files: files.clone(),
        })
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
        self.authorities_not_after
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
        &self.roots
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("files", &self.files)
            .field("identity", &self.identity())
            .field("validity", &self.validity)
            .field("authorities", &self.roots.len())
            .finish_non_exhaustive()
    }
}

fn read_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path in the configuration",
        io::ErrorKind::PermissionDenied => {
            "make it and its folders readable for the user that runs this program"
        }
        io::ErrorKind::IsADirectory => "give the path of a file",
        _ => "check the file system",
    }
}

fn read(kind: FileKind, path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |error| LoadError::Read { kind, path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() {
        return Err(LoadError::Empty { kind, path: path.to_owned() });
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(LoadError::TooLarge { kind, path: path.to_owned() });
    }
    Ok(bytes)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

type Dated = (CertificateDer<'static>, Validity);

fn certificates(kind: FileKind, path: &Path) -> Result<Vec<Dated>, LoadError> {
    let bytes = read(kind, path)?;
    let mut found = Vec::new();
    for item in CertificateDer::pem_slice_iter(&bytes) {
        let der = item.map_err(|error| not_pem(kind, path, &error))?;
        let validity = validity(&der).map_err(|detail| LoadError::BadCertificate {
            kind,
            path: path.to_owned(),
            number: found.len() + 1,
            detail,
        })?;
        found.push((der, validity));
    }
    if found.is_empty() {
        return Err(LoadError::Missing {
            kind,
            path: path.to_owned(),
            expected: "CERTIFICATE",
            advice: if holds(&bytes, "PRIVATE KEY") {
                "it holds a private key; are the paths of certificate and key swapped?"
            } else {
                "it must be PEM (text); convert DER with `openssl x509 -inform der`"
            },
        });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, LoadError> {
    let kind = FileKind::Key;
    let bytes = read(kind, path)?;
    if holds(&bytes, "ENCRYPTED PRIVATE KEY") || holds(&bytes, "Proc-Type: 4,ENCRYPTED") {
        return Err(LoadError::EncryptedKey(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound => LoadError::Missing {
            kind,
            path: path.to_owned(),
            expected: "PRIVATE KEY",
            advice: if holds(&bytes, "CERTIFICATE") {
                "it holds a certificate; are the paths of certificate and key swapped?"
            } else {
                "give the private key that was made with the certificate"
            },
        },
        error => not_pem(kind, path, &error),
    })
}

/// With the time when the first of them ends.
fn authorities(path: &Path) -> Result<(RootCertStore, Option<UnixMicros>), LoadError> {
    let kind = FileKind::Authorities;
    let mut roots = RootCertStore::empty();
    let found = certificates(kind, path)?;
    let first_end = found.iter().map(|(_, validity)| validity.not_after).min();
    for (index, (der, _)) in found.into_iter().enumerate() {
        let number = index + 1;
        let bad = |detail: String| LoadError::BadCertificate {
            kind,
            path: path.to_owned(),
            number,
            detail,
        };
        let certificate = x509::read(&der).map_err(bad)?;
        if !certificate.is_ca() {
            return Err(LoadError::NotAnAuthority {
                path: path.to_owned(),
                number,
                subject: certificate.subject().to_string(),
            });
        }
        roots.add(der.clone()).map_err(|e| bad(e.to_string()))?;
    }
    Ok((roots, first_end))
}

fn not_pem(kind: FileKind, path: &Path, error: &PemError) -> LoadError {
    let detail = match error {
        // The library prints the marker as a list of numbers.
        PemError::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            let label = marker.trim_start_matches("-----END ").trim_end_matches('-');
            format!("the line \"-----END {label}-----\" is missing")
        }
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line is damaged".to_owned(),
        other => other.to_string(),
    };
    LoadError::NotPem { kind, path: path.to_owned(), detail }
}

fn validity(der: &CertificateDer<'_>) -> Result<Validity, String> {
    let certificate = x509::read(der)?;
    let micros = |time: ASN1Time| UnixMicros(time.timestamp().saturating_mul(1_000_000));
    let validity = certificate.validity();
    Ok(Validity { not_before: micros(validity.not_before), not_after: micros(validity.not_after) })
}

/// An instant as people read it, to the second, in UTC.
pub(crate) struct Rfc3339(pub(crate) UnixMicros);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let Ok(time) = ASN1Time::from_timestamp(seconds) else {
            return write!(f, "{seconds} s after 1970");
        };
        let time = time.to_datetime();
        let (date, (hour, minute, second)) = (time.date(), time.to_hms());
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_in_rfc_3339() {
        assert_eq!(Rfc3339(UnixMicros(1_795_365_212_999_999)).to_string(), "2026-11-22T16:33:32Z");
        assert_eq!(Rfc3339(UnixMicros(-1)).to_string(), "1969-12-31T23:59:59Z");
        assert_eq!(Rfc3339(UnixMicros(i64::MAX)).to_string(), "9223372036854 s after 1970");
    }
}
