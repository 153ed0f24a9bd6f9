//! What can be wrong with files, in words that name the file and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// No file of ours is bigger.
pub(crate) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Which of the [`Files`](super::Files).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The certificate.
    Certificate,
    /// Its key.
    Key,
    /// The authorities.
    Authorities,
    /// See [`Material::with_revocations`](super::Material::with_revocations).
    Revocations,
}

impl FileKind {
    /// A file above this size is none of ours. Each certificate that stands on a revocation list
    /// takes some 50 bytes there.
    pub(super) const fn max_bytes(self) -> u64 {
        match self {
            Self::Certificate | Self::Key | Self::Authorities => 1024 * 1024,
            Self::Revocations => MAX_FILE_BYTES,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate file",
            Self::Key => "key file",
            Self::Authorities => "CA file",
            Self::Revocations => "revocation list file",
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
    /// It is bigger than any that is ours: 1 MiB, a revocation list 16 MiB.
    #[error(
        "{kind} {} has more than {} MiB; give the path of a PEM file",
        path.display(), kind.max_bytes() / (1024 * 1024)
    )]
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
    /// A revocation list says nothing about the authorities, or cannot be believed.
    #[error("revocation list {number} in {} cannot be used: {detail}", path.display())]
    Revocations {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong, and what to do.
        detail: String,
    },
}

fn read_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path in the configuration",
        io::ErrorKind::PermissionDenied => {
            "make it and its folders readable for the user that runs this program"
        }
        io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => "give the path of a file",
        _ => "check the file system",
    }
}
