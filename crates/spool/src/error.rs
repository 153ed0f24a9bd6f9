//! Why a spool could not be opened or looked at.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::VERSION;
use crate::recover::Newer;

/// Why a spool could not be opened. Damage and a full disk are never reasons.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is something of that name, but no folder.
    #[error("the spool {dir} is no folder; remove it or set spool_dir to another path")]
    NotAFolder {
        /// The spool's folder.
        dir: PathBuf,
    },
    /// It cannot be made or written.
    #[error(
        "the spool's folder {dir} cannot be {what}: {source}; give it to the user that the agent \
         runs as, on a disk that can be written, or set spool_dir to another path"
    )]
    NotWritable {
        /// The spool's folder.
        dir: PathBuf,
        /// "made" or "written".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another user, and this process is root: files made now would lock that user
    /// out.
    #[error(
        "the spool's folder {dir} belongs to user {owner}, and this process runs as root; run it \
         as that user, or give the folder to root"
    )]
    OtherOwner {
        /// The spool's folder.
        dir: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// It holds the records of another host, and would send them as this one's.
    #[error(
        "the spool {dir} belongs to host {found}, and this agent's certificate names {host}: it \
         was copied, or the host has a new name; move the folder away (what {found} has not sent \
         stays in it), or set spool_dir to another path"
    )]
    OtherHost {
        /// The spool's folder.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wants to open it.
        host: String,
    },
    /// Another process has it open.
    #[error(
        "the spool {dir} is in use by {}; two agents cannot share one: stop the other, or set \
         spool_dir to another path",
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The spool's folder.
        dir: PathBuf,
        /// The process that has it, where it is known.
        pid: Option<u32>,
    },
    /// A newer version of the program wrote it.
    #[error(
        "the spool {dir} was written by a newer version (format {found}, this one knows {known}); \
         install that version again, or move the folder away: what it holds is then not sent"
    )]
    Newer {
        /// The spool's folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The operating system gave no thread.
    #[error("no thread for the spool: {0}")]
    Thread(io::Error),
}

impl OpenError {
    pub(crate) fn newer(Newer(found): Newer, dir: &Path) -> Self {
        Self::Newer { dir: dir.to_owned(), found, known: VERSION }
    }

    /// Only its owner may have a spool, or anybody where one of the two is not known.
    pub(crate) fn unless_owner(owner: &str, host: &str, dir: &Path) -> Result<(), Self> {
        if owner == host || owner.is_empty() || host.is_empty() {
            return Ok(());
        }
        Err(Self::OtherHost { dir: dir.to_owned(), found: owner.to_owned(), host: host.to_owned() })
    }
}

/// Why a spool could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is none.
    #[error("there is no spool in {dir}")]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read.
    #[error("the spool {dir} cannot be read: {source}; run this as its owner")]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer version of the program wrote it.
    #[error(
        "the spool {dir} was written by a newer version (format {found}, this one knows {known})"
    )]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
}
