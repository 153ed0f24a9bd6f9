//! Real programs: start, read what they print, signal, wait.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::poll::wait_for;

/// Reached only when a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running program and everything it printed. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    lines: Arc<Mutex<Vec<String>>>,
}

/// The path of one of this workspace's programs, beside the running test.
///
/// # Errors
/// When it isn't built: `cargo test -p` alone doesn't build other packages' programs.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("find this test's own program")?;
    let path = test
        .parent()
        .and_then(|deps| deps.parent())
        .map(|folder| folder.join(name))
        .filter(|path| path.is_file());
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
        Ok(Self { name: name.into(), child: Mutex::new(child), lines })
    }

    /// The id it was started with, to look at it under /proc.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Everything printed so far, for messages of failed tests.
    #[must_use]
    pub fn output(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
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
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let found: Vec<_> = lines.iter().filter(|line| line.contains(text)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
        .await
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
    async fn a_killed_program_has_ended() {
        let process =
            Process::start("tail", Command::new("tail").args(["-f", "/dev/null"])).unwrap();
        process.kill().await;
    }
}
