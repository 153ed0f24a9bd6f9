//! Why an agent cannot start.

use std::io;
use std::path::PathBuf;

use rowcall_core::backoff::InvalidBackoff;
use rowcall_tls::config::ConfigError;
use rowcall_tls::identity::IdentityError;
use rowcall_tls::load::LoadError;

use crate::sample::Unread;

/// Why an agent cannot start, or in the last case cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    #[error("server_name {0:?} is no DNS name or address")]
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

impl Error {
    /// Whether people have to change a setting or a file before the next start.
    pub(crate) fn is_configuration(&self) -> bool {
        use rowcall_spool::OpenError::{InUse, Thread};
        !matches!(self, Self::Thread(_) | Self::Reader(_) | Self::Spool(InUse { .. } | Thread(_)))
    }
}
