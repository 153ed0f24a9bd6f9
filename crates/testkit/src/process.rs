//! Real programs: start, read what they print, signal, wait.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::poll::{DEADLINE, wait_for};

/// A running program and everything it printed. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    printed: Printed,
}

/// Where what it prints is found.
#[derive(Debug)]
enum Printed {
    Lines(Arc<Mutex<Vec<String>>>),
    File(PathBuf),
}

/// The path of one of this workspace's programs, beside the running test or program.
///
/// # Errors
/// When it isn't built: `cargo test -p` alone doesn't build other packages' programs.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("find this test's own program")?;
    // A test stands in the folder `deps`, beside the programs.
    let mut folders = test.ancestors().skip(1).take(2);
    let path = folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    path.with_context(|| format!("{name} is not built: run `cargo build --workspace` first"))
}

impl Process {
    /// Starts a program; both its outputs are read line by line.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        read_lines(child.stdout.take(), &lines);
        read_lines(child.stderr.take(), &lines);
        Ok(Self { name: name.into(), child: Mutex::new(child), printed: Printed::Lines(lines) })
    }

    /// As [`Process::start`], with both outputs at the end of a file: what was printed before a
    /// SIGKILL is there, and stays there when the same program is started again.
    ///
    /// # Errors
    /// When the file can't be opened or the program can't be started.
    pub fn start_into(name: &str, command: &mut Command, file: &Path) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(file);
        let child = command
            .stdin(Stdio::null())
            .stdout(open().with_context(|| format!("open {}", file.display()))?)
            .stderr(open().with_context(|| format!("open {}", file.display()))?)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let printed = Printed::File(file.to_owned());
        Ok(Self { name: name.into(), child: Mutex::new(child), printed })
    }

    /// The id it was started with, to look at it under /proc.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Everything printed so far, for messages of failed tests.
    #[must_use]
    pub fn output(&self) -> String {
        self.printed.lines(|_| true).join("\n")
    }

    /// The first line that contains `text`, now or when it comes.
    ///
    /// # Panics
    /// When it doesn't come, with everything that did.
    pub async fn line(&self, text: &str) -> String {
        self.lines_with(text, 1).await.remove(0)
    }

    /// All lines that contain `text`, once there are at least `count`.
    ///
    /// # Panics
    /// When they don't come, with everything that did.
    pub async fn lines_with(&self, text: &str, count: usize) -> Vec<String> {
        let what = Missing { process: self, text };
        wait_for(what, DEADLINE, || async move {
            Some(self.printed.lines(|line| line.contains(text)))
                .filter(|found| found.len() >= count)
        })
        .await
    }

    /// Has it ended?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(child.try_wait(), Ok(Some(_)))
    }

    /// Sends a signal; nothing happens when the program has ended.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked first, so that a number that another process has by now is never signalled.
        if matches!(child.try_wait(), Ok(None))
            && let Ok(pid) = i32::try_from(child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may end between the two; that is as good.
            kill_process(pid, signal).ok();
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it doesn't end, with everything it printed.
    pub async fn ended(&self) -> ExitStatus {
        let what = Missing { process: self, text: "its end" };
        wait_for(what, DEADLINE, || async move {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            child.try_wait().ok().flatten()
        })
        .await
    }

    /// SIGTERM, then its end: the exit code.
    pub async fn stop(&self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended().await.code()
    }

    /// SIGKILL, then its end.
    ///
    /// # Panics
    /// When it ended otherwise before.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "{} ended by itself: {}", self.name, self.output());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        drop(child.kill());
        drop(child.wait());
    }
}

impl Printed {
    fn lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        match self {
            Self::Lines(lines) => {
                let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.iter().filter(|line| wanted(line)).cloned().collect()
            }
            Self::File(path) => {
                let bytes = std::fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                text.lines().filter(|line| wanted(line)).map(str::to_owned).collect()
            }
        }
    }
}

/// What was waited for, told with the output at the time of the telling.
struct Missing<'a> {
    process: &'a Process,
    text: &'a str,
}

impl std::fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, text } = self;
        write!(f, "{text:?} of {}, which printed:\n{}\n", process.name, process.output())
    }
}

fn read_lines(pipe: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let Some(pipe) = pipe else { return };
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_outputs_are_read() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exec cat"]);
        let process = Process::start("sh", &mut command).unwrap();
        assert_eq!(process.line("out").await, "out");
        assert_eq!(process.line("err").await, "err");
        process.ended().await;
    }

    #[tokio::test]
    async fn what_two_processes_print_stands_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        for word in ["one", "two"] {
            let mut command = Command::new("sh");
            command.args(["-c", "echo $1; exec tail -f /dev/null", "sh", word]);
            let process = Process::start_into("sh", &mut command, &file).unwrap();
            assert_eq!(process.line(word).await, word);
            process.kill().await;
            assert!(process.has_ended());
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    }

    #[tokio::test]
    async fn a_killed_program_has_ended() {
        let process =
            Process::start("tail", Command::new("tail").args(["-f", "/dev/null"])).unwrap();
        process.kill().await;
    }
}
