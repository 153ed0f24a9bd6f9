//! Reading PEM files.

use std::io;
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::dates::Validity;
use super::error::{FileKind, LoadError};
use crate::plain;

/// Reads so many bytes of a file at most.
pub(super) type Reader<'a> = &'a dyn Fn(&Path, u64) -> io::Result<Vec<u8>>;

fn read(kind: FileKind, path: &Path, reader: Reader<'_>) -> Result<Vec<u8>, LoadError> {
    let failed = |error| LoadError::Read { kind, path: path.to_owned(), error };
    let bytes = reader(path, kind.max_bytes() + 1).map_err(failed)?;
    if bytes.is_empty() {
        return Err(LoadError::Empty { kind, path: path.to_owned() });
    }
    if u64::try_from(bytes.len()).is_ok_and(|length| length > kind.max_bytes()) {
        return Err(LoadError::TooLarge { kind, path: path.to_owned() });
    }
    Ok(bytes)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

pub(super) type Dated = (CertificateDer<'static>, Validity);

/// At least one.
pub(super) fn certificates(
    kind: FileKind,
    path: &Path,
    reader: Reader<'_>,
) -> Result<Vec<Dated>, LoadError> {
    let bytes = read(kind, path, reader)?;
    let mut found = Vec::new();
    for item in CertificateDer::pem_slice_iter(&bytes) {
        let der = item.map_err(|error| not_pem(kind, path, &error))?;
        let validity = Validity::of(&der).map_err(|detail| LoadError::BadCertificate {
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

pub(super) fn private_key(
    path: &Path,
    reader: Reader<'_>,
) -> Result<PrivateKeyDer<'static>, LoadError> {
    let kind = FileKind::Key;
    let bytes = read(kind, path, reader)?;
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

/// At least one.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, LoadError> {
    let kind = FileKind::Revocations;
    let bytes = read(kind, path, &plain::read)?;
    let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(kind, path, &error))?;
    if found.is_empty() {
        return Err(LoadError::Missing {
            kind,
            path: path.to_owned(),
            expected: "X509 CRL",
            advice: "it must be PEM (text); convert DER with `openssl crl -inform der`",
        });
    }
    Ok(found)
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
