//! Why an agent cannot start.

use std::io;
use std::path::PathBuf;

use rowcall_core::backoff::InvalidBackoff;
use rowcall_tls::config::ConfigError;
use rowcall_tls::identity::IdentityError;
use rowcall_tls::load::LoadError;

use crate::identity::{FolderError, LoadHeldError};
use crate::sample::Unread;

/// Why an agent cannot start, or in the last case cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It has no identity, and the settings don't say where to get one.
    #[error(
        "this node has no identity yet: there is none in {}; enrol it with `rowcall-agent enroll \
         --server HOST:7444 --token-file FILE`, or name certificate, key and ca in the settings",
        .0.display()
    )]
    NotEnrolled(PathBuf),
    /// The identity's folder, in words.
    #[error("{0}")]
    IdentityFolder(String),
    /// Certificate, key or authorities.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The certificate names nobody.
    #[error("certificate: {0}")]
    Identity(#[from] IdentityError),
    /// The certificate names somebody else than an agent.
    #[error("{} is a certificate of role {role}; an agent needs one of role agent", path.display())]
    Role {
        /// Its role.
        role: &'static str,
        /// Its file.
        path: PathBuf,
    },
    /// TLS.
    #[error(transparent)]
    Tls(#[from] ConfigError),
    /// The endpoint.
    #[error("aggregator endpoint: {0}")]
    Endpoint(tonic::transport::Error),
    /// The name expected in the aggregator's certificate.
    #[error("{0}")]
    ServerName(String),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] rowcall_spool::OpenError),
    /// The waits.
    #[error(transparent)]
    Backoff(#[from] InvalidBackoff),
    /// The system gives no thread or runtime.
    #[error("cannot start a thread: {0}; raise the limit of processes or memory")]
    Thread(io::Error),
    /// Nobody reads any more: a bug.
    #[error(transparent)]
    Reader(#[from] Unread),
}

impl From<FolderError> for Error {
    fn from(error: FolderError) -> Self {
        Self::IdentityFolder(error.to_string())
    }
}

impl From<LoadHeldError> for Error {
    fn from(error: LoadHeldError) -> Self {
        match error {
            LoadHeldError::Folder(error) => error.into(),
            LoadHeldError::Load(error) => error.into(),
        }
    }
}

impl Error {
    /// Whether people have to change a setting or a file before the next start.
    pub(crate) fn is_configuration(&self) -> bool {
        use rowcall_spool::OpenError::{InUse, Thread};
        !matches!(self, Self::Thread(_) | Self::Reader(_) | Self::Spool(InUse { .. } | Thread(_)))
    }
}
