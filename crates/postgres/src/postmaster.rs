//! The server's first process, from its start to the end of the last process it has started.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;
use crate::cluster::{self, Layout};
use crate::guard::is_server;

/// Between two looks at the server's status file.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// A fast shutdown that takes longer becomes an immediate one.
pub(crate) const FAST_DEADLINE: Duration = Duration::from_secs(60);
/// An immediate shutdown; PostgreSQL itself kills its processes after 5 s.
pub(crate) const IMMEDIATE_DEADLINE: Duration = Duration::from_secs(15);
/// A log larger than this is put aside at a start.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// The process, a child of ours.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pub(crate) child: Child,
    /// Disconnected when the last process of the server is gone: each holds the pipe that is the
    /// server's standard output. (A mutex only so that the handle can be shared.)
    gone: Mutex<Receiver<()>>,
}

impl Postmaster {
    /// Starts the command with the log as its standard error.
    pub(crate) fn spawn(mut command: Command, log: File) -> io::Result<Self> {
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
        Ok(Self { child, gone: Mutex::new(gone) })
    }

    /// Waits; are all processes of the server gone?
    pub(crate) fn wait_gone(&mut self, after: Duration) -> bool {
        let gone = self.gone.get_mut().unwrap_or_else(PoisonError::into_inner);
        gone.recv_timeout(after) == Err(RecvTimeoutError::Disconnected)
    }

    /// Sends a signal to the first process, unless it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Not reaped yet, so that its id is nobody else's.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }
}

/// Stops a server that still runs on the directory although we hold the lock: its owner and its
/// guard were both killed.
pub(crate) fn stop_left_over(layout: &Layout) -> Result<(), Error> {
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
pub(crate) fn open_log(path: &Path) -> Result<(File, u64), Error> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        fs::rename(path, path.with_extension("log.1")).map_err(Error::io("put aside", path))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    let file = file.map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("look at", path))?.len();
    Ok((file, length))
}
