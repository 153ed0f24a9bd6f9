//! What can go wrong, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::SUPPORTED_MAJORS;

/// Why a private PostgreSQL server could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no server binaries, or none of the major that the data directory needs.
    #[error("{}", missing(*.major, .searched))]
    Missing {
        /// The major that an existing data directory needs; none for a new one.
        major: Option<u32>,
        /// Where they were looked for.
        searched: String,
    },
    /// The binaries or the data directory are of a major that isn't supported.
    #[error(
        "{} is of PostgreSQL {major}, but only majors {} to {} are supported",
        .path.display(), SUPPORTED_MAJORS.start(), SUPPORTED_MAJORS.end()
    )]
    Unsupported {
        /// The folder of binaries, or the data directory.
        path: PathBuf,
        /// Its major.
        major: u32,
    },
    /// The binaries that were named explicitly don't fit an existing data directory.
    #[error(
        "{} holds PostgreSQL {found}, but the data directory {} was made by PostgreSQL {needed}: \
         set PG_BIN to a folder with that major, or unset it",
        .bin_dir.display(), .data_dir.display()
    )]
    MajorMismatch {
        /// The folder named by `PG_BIN` or [`Options::bin_dir`](crate::Options::bin_dir).
        bin_dir: PathBuf,
        /// The major in it.
        found: u32,
        /// The data directory.
        data_dir: PathBuf,
        /// The major that made it.
        needed: u32,
    },
    /// The place of the data directory holds something else.
    #[error("{} is no PostgreSQL data directory and is not empty: move it away", .path.display())]
    NotADataDirectory {
        /// The place.
        path: PathBuf,
    },
    /// The data directory belongs to somebody else.
    #[error(
        "the data directory {} belongs to user id {owner}, but this is user id {caller}: \
         run as its owner or as root, or choose another directory",
        .path.display()
    )]
    WrongOwner {
        /// The data directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        caller: u32,
    },
    /// PostgreSQL refuses a user that has no name.
    #[error("{who} has no entry in the passwd database, which PostgreSQL needs: {remedy}")]
    NoSuchUser {
        /// Whose entry was looked for.
        who: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The server's unprivileged user cannot get into the directory, and no way round was found.
    #[error(
        "user {user} cannot get into {} because of the permissions of {}: run `chmod o+x` on it, \
         choose a directory elsewhere, or install setpriv (package util-linux) and run with the \
         capability CAP_DAC_READ_SEARCH",
        .path.display(), .blocker.display()
    )]
    Unreachable {
        /// The server's user.
        user: String,
        /// What it must reach.
        path: PathBuf,
        /// The folder in the way.
        blocker: PathBuf,
    },
    /// Another process has a server on this directory.
    #[error("{} is already in use by process {}", .dir.display(), pid_text(*.pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The owning process, where its lock file names one.
        pid: Option<u32>,
    },
    /// A setting has a name or a value that can't stand in a configuration file.
    #[error("PostgreSQL setting {name:?} has a name or value that its configuration cannot hold")]
    Setting {
        /// Its name as given.
        name: String,
    },
    /// No place was found for the socket.
    #[error(
        "found no place for the server's socket among {candidates}: each is too long (a socket's \
         path has at most 107 bytes), cannot be written, or is closed to user {user}; set TMPDIR \
         to a short folder that is open to it"
    )]
    NoSocketDir {
        /// The places that were tried.
        candidates: String,
        /// The server's user.
        user: String,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        output: String,
    },
    /// The server ended before it accepted connections.
    #[error("PostgreSQL ended while starting ({status}); the end of {}:\n{tail}", .log.display())]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The server's log.
        log: PathBuf,
        /// The last lines of this start.
        tail: String,
    },
    /// The server did not get ready, or did not stop, in time.
    #[error("PostgreSQL did not {what} within {after:?}; the end of {}:\n{tail}", .log.display())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        after: Duration,
        /// The server's log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server was asked to do something that only a running one can.
    #[error("PostgreSQL on {} is not running", .dir.display())]
    NotRunning {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{action} {}", .path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: an I/O error with what was tried on which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn missing(major: Option<u32>, searched: &str) -> String {
    let (what, package) = match major {
        Some(major) => (format!("PostgreSQL {major}"), format!("postgresql-{major}")),
        None => ("PostgreSQL".to_owned(), "postgresql".to_owned()),
    };
    format!(
        "found no server binaries (postgres and initdb) of {what} in {searched}: install them \
         (Debian, Ubuntu: `apt-get install {package}`), or set PG_BIN to the folder that holds them"
    )
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
}
