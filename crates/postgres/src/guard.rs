//! One owner per directory, and a guard for the time after it.
//!
//! The owner holds a `flock` on a lock file, and a pipe to a small shell process. When the owner
//! ends in whatever way, the kernel closes the pipe, and the guard stops the server and tidies up.
//! The guard's standard output is the lock file: the lock is free only when the guard is done, so
//! a successor never meets a half-stopped server. The guard knows the server's process from the
//! pipe, and sends no signal unless that process has the data directory on its command line.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeWriter, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, test_kill_process};

use crate::Error;

/// How long a dead owner's guard may take to stop its server before we give up.
const GUARD_DEADLINE: Duration = Duration::from_secs(20);
/// Between two looks at the lock.
const LOOK: Duration = Duration::from_millis(20);

/// Reads process ids until end of file; `exit` means that all is done. A fast shutdown gets 1.2 s,
/// then comes an immediate one: what is lost with it is only time at the next start.
const SCRIPT: &str = r#"# stops PostgreSQL when its owner is gone
trap '' HUP INT QUIT TERM
data=$1 socket=$2 temporary=$3 pid=0
while read -r line; do pid=$line; done
[ "$pid" = exit ] && exit 0
alive() { [ "$pid" -gt 0 ] && grep -qsF -e "$data" "/proc/$pid/cmdline"; }
end_by() {
    alive || return 0
    kill -s "$1" "$pid"
    kill -s CONT "$pid"
    left=$2
    while alive && [ "$left" -gt 0 ]; do sleep 0.05; left=$((left - 1)); done
}
# A process that becomes another program has no command line for a moment.
[ "$pid" -gt 0 ] && { alive || sleep 0.1; }
end_by INT 24
end_by QUIT 120
end_by KILL 20
rm -f "$socket"/.s.PGSQL.*
rmdir "$socket"
left=40
while [ -n "$temporary" ] && [ -e "$temporary" ] && [ "$left" -gt 0 ]; do
    rm -rf "$temporary" || sleep 0.05
    left=$((left - 1))
done
"#;

/// The lock on a directory.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock; waits for the guard of a dead owner, but not for a live one.
    pub(crate) fn take(dir: &Path, path: &Path) -> Result<Self, Error> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(Error::io("open", path))?;
        let deadline = Instant::now() + GUARD_DEADLINE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => {
                    return Err(Error::Io {
                        action: "lock",
                        path: path.into(),
                        source: error.into(),
                    });
                }
            }
            let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
            if pid.is_some_and(is_alive) || Instant::now() > deadline {
                return Err(Error::InUse { dir: dir.to_owned(), pid });
            }
            std::thread::park_timeout(LOOK);
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(Error::io("write", path))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// Frees the lock even while a process that another thread is starting still has a copy of
    /// the open file.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "cannot free the lock of a PostgreSQL directory");
        }
    }
}

/// The guard process, and the pipe that it watches.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Option<PipeWriter>,
    child: Child,
}

impl Guard {
    /// Starts the guard of a data directory, of its socket's folder, and of the folder to remove
    /// where all of it is temporary.
    pub(crate) fn spawn(
        lock: &Lock,
        data: &Path,
        socket: &Path,
        temporary: Option<&Path>,
    ) -> Result<Self, Error> {
        let sh = Path::new("sh");
        let start = || -> io::Result<Self> {
            let (reader, writer) = io::pipe()?;
            let child = Command::new(sh)
                .args(["-c", SCRIPT, "rowcall-postgres-guard"])
                .args([data, socket])
                .arg(temporary.map_or_else(|| OsStr::new(""), Path::as_os_str))
                .env("LC_ALL", "C")
                .current_dir("/")
                .stdin(reader)
                .stdout(lock.file.try_clone()?)
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()?;
            Ok(Self { pipe: Some(writer), child })
        };
        start().map_err(Error::io("start the guard", sh))
    }

    /// A writing end of the pipe, for a process that announces itself.
    pub(crate) fn announcer(&self) -> Result<Stdio, Error> {
        let pipe = self.pipe.as_ref().expect("the pipe is there until the guard is released");
        let copy = pipe.try_clone().map_err(Error::io("copy", Path::new("the guard's pipe")))?;
        Ok(OwnedFd::from(copy).into())
    }

    /// The last announced process has ended, and its id may be another's soon.
    pub(crate) fn forget(&self) {
        self.say("0");
    }

    /// All is stopped and tidied; the guard ends, which frees the lock with it.
    pub(crate) fn release(&self) {
        self.say("exit");
    }

    fn say(&self, line: &str) {
        if let Some(mut pipe) = self.pipe.as_ref()
            && let Err(error) = pipe.write_all(format!("{line}\n").as_bytes())
        {
            // Somebody has killed the guard; the server runs on without one.
            tracing::warn!(%error, "the guard of PostgreSQL is gone");
        }
    }
}

impl Drop for Guard {
    /// Lets the guard do what it has to, which is nothing after [`Guard::release`], and awaits it.
    fn drop(&mut self) {
        self.pipe = None;
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for the guard of PostgreSQL");
        }
    }
}

/// Is that process a PostgreSQL of that data directory?
pub(crate) fn is_server(pid: u32, data: &Path) -> bool {
    let mut line = Vec::new();
    let read = File::open(format!("/proc/{pid}/cmdline")).and_then(|f| {
        // Longer command lines are not ours.
        f.take(16 * 1024).read_to_end(&mut line)
    });
    let data = data.as_os_str().as_encoded_bytes();
    read.is_ok() && line.split(|byte| *byte == 0).any(|word| word == data)
}

/// Does a process of that id exist?
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_the_second_is_told_which() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let lock = Lock::take(temp.path(), &path).unwrap();
        let error = Lock::take(temp.path(), &path).unwrap_err().to_string();
        let me = std::process::id();
        assert!(error.ends_with(&format!("is already in use by process {me}")), "{error}");
        drop(lock);
        Lock::take(temp.path(), &path).unwrap();
    }

    #[test]
    fn the_lock_waits_for_the_guard_of_an_owner_that_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let lock = Lock::take(temp.path(), &path).unwrap();
        // As after a kill: the file names a process that has ended, and another holds the lock.
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        fs::write(&path, ended.id().to_string()).unwrap();
        let (asked, has_asked) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let (dir, path) = (temp.path().to_owned(), path.clone());
            move || {
                asked.send(()).unwrap();
                Lock::take(&dir, &path)
            }
        });
        has_asked.recv().unwrap();
        drop(lock);
        waiting.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
    }

    #[test]
    fn only_processes_with_the_data_directory_on_their_command_line_count() {
        let mut child = Command::new("sh")
            .args(["-c", "echo up; read -r _", "sh", "/some/data"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Until it is up, its command line is this program's, or none.
        child.stdout.take().unwrap().read_exact(&mut [0; 3]).unwrap();
        assert!(is_server(child.id(), Path::new("/some/data")));
        assert!(!is_server(child.id(), Path::new("/some")));
        assert!(is_alive(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_server(child.id(), Path::new("/some/data")));
        assert!(!is_alive(child.id()));
    }
}
