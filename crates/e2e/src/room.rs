//! A room of this machine: a network, mounts and processes of its own, in which a test may make as
//! many of them as it wants, and break them, without anybody outside noticing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// The room's first process: a shell that runs the lines that it is sent.
const FIRST: &str = r#"
    mount -t sysfs sysfs /sys && ip link set lo up && echo ready || exit
    while IFS= read -r line; do
        eval "$line" </dev/null 2>&1
        echo "done $?"
    done"#;

/// A room. Everything that runs in it ends with it.
#[derive(Debug)]
pub struct Room {
    holder: Child,
    first: u32,
    answers: BufReader<ChildStdout>,
}

impl Room {
    /// Makes one; none where that isn't permitted, which takes root.
    ///
    /// # Errors
    /// When it can be made, but not be entered.
    pub fn new() -> Result<Option<Self>> {
        let begun = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "--", "sh", "-c", FIRST])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut holder) = begun else { return Ok(None) };
        let mut answers = BufReader::new(holder.stdout.take().context("its output")?);
        let mut ready = String::new();
        answers.read_line(&mut ready)?;
        let mut room = Self { holder, first: 0, answers };
        if ready != "ready\n" {
            return Ok(None);
        }
        let id = room.holder.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        room.first = children.trim().parse().context("the room's first process")?;
        Ok(Some(room))
    }

    /// Runs a line of shell in it: what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0, with what it printed.
    pub fn run(&mut self, line: &str) -> Result<String> {
        let stdin = self.holder.stdin.as_mut().context("the room's input")?;
        writeln!(stdin, "{line}")?;
        let mut printed = String::new();
        loop {
            let before = printed.len();
            ensure!(self.answers.read_line(&mut printed)? > 0, "the room is gone: {printed}");
            let Some(code) = printed.get(before..).and_then(|line| line.strip_prefix("done "))
            else {
                continue;
            };
            if code.trim() != "0" {
                bail!("{line} ended with {code}{printed}");
            }
            printed.truncate(before);
            return Ok(printed);
        }
    }

    /// What runs a program in it.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        let target = self.first.to_string();
        ["nsenter", "--target", &target, "--net", "--mount", "--pid", "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Asks its agent to stop; a signal for the program that led it in doesn't reach it.
    ///
    /// # Errors
    /// When no agent runs.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.run("kill -TERM $(pgrep -x rowcall-agent)").map(drop)
    }

    /// Adds so many network interfaces.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add_interfaces(&mut self, count: u32) -> Result<()> {
        self.run(&format!("seq {count} | sed 's/.*/link add rc& type bridge/' | ip -batch -"))
            .map(drop)
    }

    /// Adds so many processes that do nothing.
    ///
    /// # Errors
    /// What the shell says.
    pub fn add_processes(&mut self, count: u32) -> Result<()> {
        // They wait for an end of file that comes with the end of the room, and hold nothing else.
        self.run(&format!(
            "mkdir -p /run/rowcall-room && mount -t tmpfs room /run/rowcall-room && \
             mkfifo /run/rowcall-room/idle && exec 9<>/run/rowcall-room/idle && \
             i=0 && while [ $i -lt {count} ]; do (read x <&9) 3>&- & i=$((i+1)); done"
        ))
        .map(drop)
    }

    /// Mounts a filesystem that never answers, at this folder.
    ///
    /// # Errors
    /// What `mount` says.
    pub fn hang_mount(&mut self, at: &str, source: &str, kind: &str) -> Result<()> {
        // Without a server behind the file, the kernel's first request waits for ever.
        self.run(&format!(
            "mkdir -p {at} && exec 3<>/dev/fuse && \
             mount -i -t {kind} -o fd=3,rootmode=40000,user_id=0,group_id=0 {source} {at}"
        ))
        .map(drop)
    }

    /// Takes it away again: who waits for it gets an error.
    ///
    /// # Errors
    /// What `umount` says.
    pub fn release_mount(&mut self, at: &str) -> Result<()> {
        // Who waited holds it until it runs again, which on a busy machine is later than here.
        self.run(&format!("exec 3>&- && umount --lazy {at}")).map(drop)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Its first process goes with it, and all others with that.
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_in_a_room_is_seen_in_it_alone() {
        let Some(mut room) = Room::new().unwrap() else { return };
        room.add_interfaces(3).unwrap();
        room.add_processes(5).unwrap();
        let here = tempfile::tempdir().unwrap();
        let at = here.path().to_str().unwrap();
        room.hang_mount(at, "server:/export", "fuse").unwrap();
        assert_eq!(room.run("ls /sys/class/net").unwrap(), "lo\nrc1\nrc2\nrc3\n");
        assert!(
            room.run("ls -d /proc/[0-9]* | wc -l").unwrap().trim().parse::<u32>().unwrap() >= 6
        );
        assert!(room.run("cat /proc/1/mountinfo").unwrap().contains(" - fuse server:/export"));
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(at));
        room.release_mount(at).unwrap();
        assert!(!room.run("cat /proc/1/mountinfo").unwrap().contains(at));
        let failed = room.run("echo why; false").unwrap_err().to_string();
        assert!(failed.contains("why"), "{failed}");
    }
}
