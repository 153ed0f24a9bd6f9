//! Processes that do nothing, to fill the process table.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Each `cat` waits for the end of the pipe whose only writer is this program. So they end with it,
/// however it ends. The shell waits for all of them.
const SCRIPT: &str = "for ((i = 0; i < $1; i++)); do cat <&0 >/dev/null & done; echo ready; wait";

/// Sleeping processes. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Sleepers {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Sleepers {
    /// As many as are missing for the machine to have `total` processes.
    pub(crate) fn until(total: usize) -> Result<Option<Self>> {
        let missing = total.saturating_sub(processes()?);
        if missing == 0 {
            return Ok(None);
        }
        let mut shell = Command::new("bash")
            .args(["-c", SCRIPT, "sleepers", &missing.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start bash")?;
        let (pipe, output) = (shell.stdin.take(), shell.stdout.take());
        let sleepers = Self { shell, pipe };
        let mut line = String::new();
        BufReader::new(output.context("bash has no output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "the sleepers did not start: {line:?}");
        Ok(Some(sleepers))
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing is left to do when even this fails.
        drop(self.shell.wait());
    }
}

/// Processes of this machine, threads not counted.
pub(crate) fn processes() -> Result<usize> {
    let entries = std::fs::read_dir("/proc").context("read /proc")?;
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_number(name))
        .count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_come_and_go() {
        let total = processes().unwrap() + 40;
        let sleepers = Sleepers::until(total).unwrap().expect("some were missing");
        let shell = i32::try_from(sleepers.shell.id()).unwrap();
        let of_shell = || {
            procfs::process::all_processes()
                .unwrap()
                .flatten()
                .filter_map(|p| p.stat().ok())
                .filter(|stat| stat.pgrp == shell)
                .count()
        };
        assert!(of_shell() > 10, "{}", of_shell());
        drop(sleepers);
        assert_eq!(of_shell(), 0);
    }
}
