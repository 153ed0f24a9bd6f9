//! What to start, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Server};

/// Settings for a start; made by [`Server::options`] or [`Options::temporary`].
#[derive(Debug, Clone)]
pub struct Options {
    /// None: a temporary folder of its own.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) bin_dir: Option<PathBuf>,
    pub(crate) databases: Vec<String>,
    pub(crate) hba: Vec<String>,
    /// None: no TCP.
    pub(crate) tcp_port: Option<u16>,
    pub(crate) start_timeout: Duration,
}

impl Options {
    pub(crate) fn new(dir: Option<&Path>) -> Self {
        Self {
            dir: dir.map(Path::to_owned),
            settings: Vec::new(),
            bin_dir: None,
            databases: Vec::new(),
            hba: Vec::new(),
            tcp_port: None,
            start_timeout: Duration::from_secs(120),
        }
    }

    /// A server in a temporary folder of its own, which goes with it: when it is dropped, and
    /// also when this process is killed.
    pub fn temporary() -> Self {
        Self::new(None)
    }

    /// Sets a server setting, for instance `.setting("fsync", "off")`.
    ///
    /// It is written to the configuration at each start; `ALTER SYSTEM` overrules it. Where the
    /// server listens, and that it has no log collector, cannot be changed this way.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The folder with `postgres` and `initdb`; overrules the environment's `PG_BIN`.
    #[must_use]
    pub fn bin_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(dir.into());
        self
    }

    /// Makes an empty database of that name together with a new data directory.
    ///
    /// It has no effect on an existing data directory.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// Adds a line to `pg_hba.conf`, after the one that lets the server's users in by its socket.
    #[must_use]
    pub fn hba_line(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// Listens on this port of 127.0.0.1 as well, which is then also the number in the socket's
    /// name. Nobody gets in that way without [`Options::hba_line`]. Meant for tests.
    #[must_use]
    pub fn tcp_port(mut self, port: u16) -> Self {
        self.tcp_port = Some(port);
        self
    }

    /// How long a start may take until the server accepts connections, recovery after a crash
    /// included. Default: 120 s.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Makes the data directory where there is none, and starts the server. Blocks until it
    /// accepts connections.
    ///
    /// # Errors
    ///
    /// See [`Error`]: no usable binaries, a directory that is in use, of somebody else or out of
    /// reach for the server's user, or a server that doesn't come up. Nothing is left running.
    pub fn start(self) -> Result<Server, Error> {
        Server::start_with(self)
    }
}
