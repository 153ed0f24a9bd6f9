//! A running server and its owner's handle.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::binaries::{Binaries, Search, on_path};
use crate::cluster::{self, Layout};
use crate::guard::{Guard, Lock};
use crate::options::Options;
use crate::postmaster::{self, FAST_DEADLINE, IMMEDIATE_DEADLINE, LOOK, Postmaster};
use crate::run_as::RunAs;
use crate::socket::SocketDir;
use crate::{Error, PORT, ROLE, text, user};

/// How to stop the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are cut off, everything is written out; the next start needs no recovery. Becomes
    /// [`Shutdown::Immediate`] after 60 s.
    Fast,
    /// All processes abort; the next start recovers from the write-ahead log.
    Immediate,
}

/// A private PostgreSQL server that this process owns.
///
/// Dropping it stops the server (fast), and frees the directory. When this process ends without
/// dropping it, killed or not, a guard process does the same within 2 seconds, with an immediate
/// shutdown where a fast one would take longer than 1.2 seconds.
#[derive(Debug)]
pub struct Server {
    layout: Layout,
    binaries: Binaries,
    run_as: RunAs,
    socket: SocketDir,
    options: Options,
    process: Option<Postmaster>,
    // In this order: the guard ends before the lock is freed and the folder removed.
    guard: Guard,
    _lock: Lock,
    _temporary: Option<TempDir>,
}

impl Server {
    /// Settings for a server with its data under `dir`.
    pub fn options(dir: impl AsRef<Path>) -> Options {
        Options::new(Some(dir.as_ref()))
    }

    /// Starts a server in a temporary folder of its own; see [`Options::temporary`].
    ///
    /// # Errors
    ///
    /// As [`Options::start`].
    pub fn temporary() -> Result<Self, Error> {
        Options::temporary().start()
    }

    pub(crate) fn start_with(options: Options) -> Result<Self, Error> {
        let search = Search::new(options.bin_dir.clone());
        let find = |layout: &Layout| -> Result<_, Error> {
            let existing = cluster::existing(&layout.data)?;
            let binaries = search.find(existing.map(|e| (layout.data.as_path(), e.major)))?;
            Ok((existing, binaries))
        };
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                // Before anything is made: without binaries nothing is.
                find(&Layout::new(dir))?;
                (cluster::make_dir(dir)?, None)
            }
            None => {
                find(&Layout::new(Path::new("/nonexistent")))?;
                let temp = tempfile::Builder::new().prefix("rowcall-postgres-").tempdir();
                let temp = temp.map_err(Error::io("make", &std::env::temp_dir()))?;
                cluster::open_to_server(temp.path())?;
                let dir = fs::canonicalize(temp.path()).map_err(Error::io("find", temp.path()))?;
                (dir, Some(temp))
            }
        };
        let layout = Layout::new(&dir);
        let lock = Lock::take(&dir, &layout.lock)?;
        // Again, with the lock: another process may have made it meanwhile.
        let (existing, binaries) = find(&layout)?;
        let user = user::server_user(&layout.data, existing.map(|e| e.owner))?;
        let mut folders = vec![dir.as_path(), &binaries.dir];
        // It may be a link to another disk.
        folders.extend(existing.map(|_| layout.data.as_path()));
        let run_as = RunAs::new(user, &folders)?;
        postmaster::stop_left_over(&layout)?;
        let socket = SocketDir::prepare(&layout.socket_note, &run_as)?;
        let guard = Guard::spawn(
            &lock,
            &layout.data,
            socket.path(),
            temporary.as_ref().map(TempDir::path),
        )?;
        let mut server = Self {
            layout,
            binaries,
            run_as,
            socket,
            options,
            process: None,
            guard,
            _lock: lock,
            _temporary: temporary,
        };
        if existing.is_none() {
            cluster::init(
                &server.layout,
                &server.binaries,
                &server.run_as,
                &server.guard,
                &server.options,
            )?;
        }
        server.start()?;
        Ok(server)
    }

    /// Starts the server again after [`Server::stop`], [`Server::kill`] or a crash; does nothing
    /// while it runs. The socket stays where it was.
    ///
    /// # Errors
    ///
    /// When it ends early, or isn't ready in time.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.is_running() {
            return Ok(());
        }
        if self.process.is_some() {
            // It crashed; its other processes are on their way out.
            self.await_end(IMMEDIATE_DEADLINE)?;
        }
        cluster::configure(&self.layout, &self.run_as.user, &self.options)?;
        cluster::disown_stale_pid(&self.layout, &self.run_as.user)?;
        self.socket.clear();
        let (log, log_start) = postmaster::open_log(&self.layout.log)?;
        let started = self.spawn(log)?;
        let pid = started.child.id();
        self.process = Some(started);
        let ready = self.await_ready(log_start);
        match &ready {
            Ok(()) => tracing::info!(
                pid, major = self.binaries.major, user = self.run_as.user.name,
                dir = %self.layout.data.display(), "PostgreSQL is ready"
            ),
            Err(_) => self.stop(Shutdown::Immediate)?,
        }
        ready
    }

    /// Stops the server and waits until all of its processes are gone. The directory stays
    /// reserved for this process until the handle is dropped. Does nothing if it doesn't run.
    ///
    /// # Errors
    ///
    /// When processes are left even after a kill, which a hung disk can bring about.
    pub fn stop(&mut self, how: Shutdown) -> Result<(), Error> {
        if self.process.is_none() {
            return Ok(());
        }
        let mut steps = vec![(Signal::INT, FAST_DEADLINE), (Signal::QUIT, IMMEDIATE_DEADLINE)];
        if how == Shutdown::Immediate {
            steps.remove(0);
        }
        for (signal, deadline) in steps {
            self.signal(signal)?;
            // In case it is paused.
            self.signal(Signal::CONT)?;
            match self.await_end(deadline) {
                Err(Error::Timeout { .. }) => {
                    tracing::warn!(?signal, ?deadline, "PostgreSQL does not stop; pressing harder");
                }
                other => return other,
            }
        }
        self.kill()
    }

    /// Kills the server's first process with SIGKILL, as a crash would, and waits until all of its
    /// processes are gone. Does nothing if it doesn't run.
    ///
    /// # Errors
    ///
    /// When processes are left after 15 s: a busy query notices late that the server is gone.
    pub fn kill(&mut self) -> Result<(), Error> {
        if self.process.is_none() {
            return Ok(());
        }
        self.signal(Signal::KILL)?;
        self.await_end(IMMEDIATE_DEADLINE)
    }

    /// Stops the server in that way and starts it again.
    ///
    /// # Errors
    ///
    /// As [`Server::stop`] and [`Server::start`].
    pub fn restart(&mut self, how: Shutdown) -> Result<(), Error> {
        self.stop(how)?;
        self.start()
    }

    /// Is the server's first process there? False after a stop, a kill or a crash.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|p| matches!(p.child.try_wait(), Ok(None)))
    }

    /// The id of the server's first process (the postmaster), unless it was stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// The URL of a database, for tokio-postgres and libpq:
    /// `postgresql://rowcall@%2Ftmp%2Frc-Ab12Cd:5432/host_agent`.
    pub fn url(&self, database: &str) -> String {
        let host = text::percent(self.socket.path().as_os_str().as_bytes());
        format!("postgresql://{ROLE}@{host}:{}/{}", self.port(), text::percent(database.as_bytes()))
    }

    /// A line for a shell that opens a database with `psql`:
    /// `psql 'host=/tmp/rc-Ab12Cd port=5432 user=rowcall dbname=host_agent'`.
    ///
    /// `psql` stands with its full path where it isn't on PATH.
    pub fn psql_line(&self, database: &str) -> String {
        let beside = self.binaries.program("psql");
        let psql = if !on_path("psql") && beside.is_file() {
            text::shell(&beside.to_string_lossy())
        } else {
            "psql".to_owned()
        };
        let host = text::conninfo(&self.socket.path().to_string_lossy());
        let database = text::conninfo(database);
        let info = format!("host={host} port={} user={ROLE} dbname={database}", self.port());
        format!("{psql} {}", text::shell(&info))
    }

    /// The folder of the server's socket, which is the `host` for clients.
    pub fn socket_dir(&self) -> &Path {
        self.socket.path()
    }

    /// The number in the socket's name; a TCP port only with [`Options::tcp_port`].
    pub fn port(&self) -> u16 {
        self.options.tcp_port.unwrap_or(PORT)
    }

    /// PostgreSQL's major version.
    pub fn version_major(&self) -> u32 {
        self.binaries.major
    }

    /// The folder of the server's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.dir
    }

    /// The directory that was given, or made for a temporary server; its real path.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// PostgreSQL's data directory.
    pub fn data_dir(&self) -> &Path {
        &self.layout.data
    }

    /// The server's log.
    pub fn log_path(&self) -> &Path {
        &self.layout.log
    }

    /// The operating system user that the server runs as.
    pub fn os_user(&self) -> &str {
        &self.run_as.user.name
    }

    fn spawn(&self, log: File) -> Result<Postmaster, Error> {
        let program = self.binaries.program("postgres");
        let mut sockets = OsString::from("unix_socket_directories=\"");
        sockets.push(self.socket.path());
        sockets.push("\"");
        let port = format!("port={}", self.port());
        let addresses = if self.options.tcp_port.is_some() { "127.0.0.1" } else { "" };
        // What is not the caller's to set. A log collector would close the server's standard
        // output, which tells us that it lives.
        let args: [OsString; 10] = [
            "-D".into(),
            self.layout.data.clone().into(),
            "-c".into(),
            format!("listen_addresses={addresses}").into(),
            "-c".into(),
            sockets,
            "-c".into(),
            port.into(),
            "-c".into(),
            "logging_collector=off".into(),
        ];
        let command = self.run_as.server(&self.guard, &program, args)?;
        Postmaster::spawn(command, log).map_err(Error::io("start", &program))
    }

    /// Waits for the server's own sign that it accepts connections.
    fn await_ready(&mut self, log_start: u64) -> Result<(), Error> {
        let (log, after) = (self.layout.log.clone(), self.options.start_timeout);
        let deadline = Instant::now() + after;
        loop {
            let process = self.process.as_mut().expect("it was started just now");
            let pid = process.child.id();
            let ended = if process.wait_gone(LOOK) {
                // Its pipe closes a moment before it can be waited for.
                process.child.wait().map(Some)
            } else {
                process.child.try_wait()
            };
            if let Some(status) = ended.map_err(Error::io("wait for", &self.layout.data))? {
                let tail = text::tail(&log, log_start);
                return Err(Error::Died { status, log, tail });
            }
            if cluster::postmaster(&self.layout.data) == Some((pid, true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tail = text::tail(&log, log_start);
                return Err(Error::Timeout { what: "get ready", after, log, tail });
            }
        }
    }

    /// Waits until all processes of the server are gone.
    fn await_end(&mut self, after: Duration) -> Result<(), Error> {
        let Some(process) = self.process.as_mut() else { return Ok(()) };
        if !process.wait_gone(after) {
            let log = self.layout.log.clone();
            let tail = text::tail(&log, 0);
            return Err(Error::Timeout { what: "stop", after, log, tail });
        }
        let status: ExitStatus =
            process.child.wait().map_err(Error::io("wait for", &self.layout.data))?;
        self.guard.forget();
        self.process = None;
        tracing::info!(%status, dir = %self.layout.data.display(), "PostgreSQL has stopped");
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(process) = self.process.as_mut() else { return Ok(()) };
        process.signal(signal).map_err(Error::io("send a signal to", &self.layout.data))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.stop(Shutdown::Fast) {
            Ok(()) => {
                self.socket.remove();
                self.guard.release();
            }
            // The guard, unreleased, goes on with it.
            Err(error) => tracing::error!(%error, "cannot stop PostgreSQL"),
        }
    }
}
