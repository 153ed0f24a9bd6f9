//! Runs `rowcall`, reads along, and looks for what it left behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// For everything that is waited for; a machine under load is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program, free of the caller's settings.
pub(crate) fn rowcall() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_rowcall")))
}

/// A line as it would be pasted.
pub(crate) fn pasted(line: &str, working_dir: &Path) -> Output {
    let mut shell = clean(Command::new("sh"));
    shell.args(["-c", line]).current_dir(working_dir).output().unwrap()
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROWCALL_") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Standard output of a success; panics with everything else.
pub(crate) fn stdout(output: Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The status line of an answer over HTTP.
pub(crate) fn http_status(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    text(&answer).lines().next().unwrap_or_default().to_owned()
}

/// Waits until `look` gives something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A running `rowcall up`. Killed when dropped.
pub(crate) struct Up {
    child: Child,
    lines: Receiver<String>,
    /// All that it printed so far.
    pub(crate) printed: String,
}

impl Up {
    /// Starts it, in a process group of its own.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        Self::with(dir, args, &[])
    }

    /// The same with variables.
    pub(crate) fn with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        use std::os::unix::process::CommandExt as _;
        let mut command = rowcall();
        command.arg("up").arg("--data-dir").arg(dir).args(args).process_group(0);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        // A log line begins with a time, as a sample does: they must not be taken for each other.
        let read = |pipe: Box<dyn Read + Send>, mark: &'static str| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(format!("{mark}{line}")).is_err() {
                        return;
                    }
                }
            });
        };
        read(Box::new(child.stdout.take().unwrap()), "");
        read(Box::new(child.stderr.take().unwrap()), "stderr: ");
        Self { child, lines, printed: String::new() }
    }

    /// Starts it and waits for its first sample.
    pub(crate) fn sampling(dir: &Path, args: &[&str]) -> Self {
        let mut up = Self::start(dir, args);
        up.line(|line| line.starts_with("TIME"));
        up.line(|line| line.starts_with("20"));
        up
    }

    /// Waits for such a line.
    pub(crate) fn line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.printed.push_str(&line);
                    self.printed.push('\n');
                    if is_it(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no such line in:\n{}", self.printed),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended:\n{}", self.printed),
            }
        }
    }

    /// The printed line to paste that contains this.
    pub(crate) fn advice(&self, part: &str) -> String {
        let mut lines = self.printed.lines().filter_map(|line| line.strip_prefix("    "));
        let found = lines.find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no line with {part} in:\n{}", self.printed)).to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, from its own words.
    pub(crate) fn listens(&self) -> String {
        let line = self.printed.lines().find(|line| line.contains("database migrated")).unwrap();
        let (_, rest) = line.split_once("aggregator").unwrap();
        rest.split(',').next().unwrap().trim().to_owned()
    }

    /// The port of that.
    pub(crate) fn port(&self) -> u16 {
        let listens: std::net::SocketAddr = self.listens().parse().unwrap();
        assert!(listens.ip().is_loopback(), "{listens}");
        listens.port()
    }

    /// The port for probes and metrics, from its own words.
    pub(crate) fn http_port(&self) -> u16 {
        let line = self.advice("/metrics");
        line.split(['/', ':']).find_map(|part| part.parse().ok()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// As Ctrl-C does: the whole process group.
    pub(crate) fn interrupt_group(&self) {
        rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = eventually("the end of rowcall up", || self.child.try_wait().unwrap());
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
        status
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It has usually ended long before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Kills the server's first process; its others follow by themselves.
pub(crate) fn crash_postgres(dir: &Path) {
    let file = fs::read_to_string(dir.join("postgres/postmaster.pid")).unwrap();
    let pid: i32 = file.lines().next().unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Processes that have one of these paths on their command line or as their working directory.
pub(crate) fn processes_of(paths: &[PathBuf]) -> Vec<String> {
    let ours = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == ours || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let line = text(&fs::read(entry.path().join("cmdline")).unwrap_or_default());
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if paths
            .iter()
            .any(|path| line.contains(&*path.to_string_lossy()) || folder.starts_with(path))
        {
            found.push(format!("{pid}: {}", line.replace('\0', " ")));
        }
    }
    found
}

/// Waits until nothing is left of a directory's processes.
pub(crate) fn nothing_left(dir: &Path) {
    let socket = fs::read_to_string(dir.join("postgres.socket")).unwrap_or_default();
    let mut paths = vec![dir.to_owned()];
    if !socket.trim().is_empty() {
        paths.push(PathBuf::from(socket.trim()));
    }
    eventually("the end of all processes", || processes_of(&paths).is_empty().then_some(()));
}
