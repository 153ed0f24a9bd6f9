//! A running server and its owner's handle.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binaries::{Binaries, Search, on_path};
use crate::cluster::{self, Layout};
use crate::guard::{Guard, Lock, is_server};
use crate::options::Options;
use crate::run_as::RunAs;
use crate::socket::SocketDir;
use crate::{Error, PORT, ROLE, text, user};

/// Between two looks at the server's status file.
const LOOK: Duration = Duration::from_millis(10);
/// A fast shutdown that takes longer becomes an immediate one.
const FAST_DEADLINE: Duration = Duration::from_secs(60);
/// An immediate shutdown; PostgreSQL itself kills its processes after 5 s.
const IMMEDIATE_DEADLINE: Duration = Duration::from_secs(15);
/// A log larger than this is put aside at a start.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

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

/// The server's first process.
#[derive(Debug)]
struct Postmaster {
    child: Child,
    /// Disconnected when the last process of the server is gone: each holds the pipe that is the
    /// server's standard output. (A mutex only so that the handle can be shared.)
    gone: Mutex<Receiver<()>>,
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
        let run_as = RunAs::new(user, &[&dir, &binaries.dir])?;
        stop_left_over(&layout)?;
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
        let (log, log_start) = open_log(&self.layout.log)?;
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
        format!("postgresql://{ROLE}@{host}:{PORT}/{}", text::percent(database.as_bytes()))
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
        let info = format!("host={host} port={PORT} user={ROLE} dbname={database}");
        format!("{psql} {}", text::shell(&info))
    }

    /// The folder of the server's socket, which is the `host` for clients.
    pub fn socket_dir(&self) -> &Path {
        self.socket.path()
    }

    /// The number in the socket's name. No TCP port is opened.
    pub fn port(&self) -> u16 {
        PORT
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
        let port = format!("port={PORT}");
        // What is not the caller's to set. A log collector would close the server's standard
        // output, which tells us that it lives.
        let args: [OsString; 10] = [
            "-D".into(),
            self.layout.data.clone().into(),
            "-c".into(),
            "listen_addresses=".into(),
            "-c".into(),
            sockets,
            "-c".into(),
            port.into(),
            "-c".into(),
            "logging_collector=off".into(),
        ];
        let mut command = self.run_as.server(&self.guard, &program, args)?;
        let start = || -> io::Result<Postmaster> {
            let (mut last_end, first_end) = io::pipe()?;
            let child = command.stdout(first_end).stderr(log).spawn()?;
            // Or this process would hold the pipe open itself.
            drop(command);
            let (alive, gone) = mpsc::channel();
            std::thread::Builder::new().name("postgres-end".to_owned()).spawn(move || {
                // Ends at end of file, and with it the channel; what is said there is of no use.
                if let Err(error) = io::copy(&mut last_end, &mut io::sink()) {
                    tracing::debug!(%error, "cannot watch PostgreSQL's end");
                }
                drop(alive);
            })?;
            Ok(Postmaster { child, gone: Mutex::new(gone) })
        };
        start().map_err(Error::io("start", &program))
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
        if !self.is_running() {
            // Ended by itself; the wait that follows takes note of it.
            return Ok(());
        }
        let Some(process) = &self.process else { return Ok(()) };
        kill_process(Pid::from_child(&process.child), signal)
            .map_err(|error| Error::io("send a signal to", &self.layout.data)(error.into()))
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

impl Postmaster {
    /// Waits; are all processes of the server gone?
    fn wait_gone(&mut self, after: Duration) -> bool {
        let gone = self.gone.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        gone.recv_timeout(after) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Stops a server that still runs on the directory although we hold the lock: its owner and its
/// guard were both killed.
fn stop_left_over(layout: &Layout) -> Result<(), Error> {
    let running = || {
        cluster::postmaster(&layout.data)
            .map(|(pid, _)| pid)
            .filter(|pid| is_server(*pid, &layout.data))
    };
    for (signal, after) in [(Signal::INT, FAST_DEADLINE), (Signal::QUIT, IMMEDIATE_DEADLINE)] {
        let Some(raw) = running() else { return Ok(()) };
        let Some(pid) = i32::try_from(raw).ok().and_then(Pid::from_raw) else { return Ok(()) };
        tracing::warn!(pid = raw, ?signal, "stopping a PostgreSQL whose owner is gone");
        for signal in [signal, Signal::CONT] {
            match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    return Err(Error::io("stop the server on", &layout.data)(error.into()));
                }
            }
        }
        let deadline = Instant::now() + after;
        while is_server(raw, &layout.data) && Instant::now() < deadline {
            std::thread::park_timeout(LOOK);
        }
    }
    match running() {
        Some(pid) => Err(Error::InUse { dir: layout.dir.clone(), pid: Some(pid) }),
        None => Ok(()),
    }
}

/// Opens the log to append to, and says where this start begins in it.
fn open_log(path: &Path) -> Result<(File, u64), Error> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        fs::rename(path, path.with_extension("log.1")).map_err(Error::io("put aside", path))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    let file = file.map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("look at", path))?.len();
    Ok((file, length))
}
