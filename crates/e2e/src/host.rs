//! A host under faults: its agent, which is killed and started again, its spool and its log.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::process::Process;

use crate::oracle::said::{STARTED, Said, Sample};
use crate::stack::{Identity, Site, run};

/// What the oracle reads: each record that is on disk, and each acknowledgement.
const LOG_LEVEL: &str = "info,rowcall_spool::kept=trace,rowcall_agent::link=debug";

/// A host.
#[derive(Debug)]
pub struct Host {
    /// The name in its certificate.
    pub name: String,
    /// Its spool's folder.
    pub spool: PathBuf,
    /// More settings of its agent, as variables of the environment; they win.
    pub settings: Vec<(String, String)>,
    /// Its agent keeps in memory, and sends, what cannot be written to disk, and doesn't say so.
    pub keeps_in_memory: bool,
    /// A program and its arguments that the agent is run by, as `nsenter .. --`; none: by us.
    pub within: Vec<String>,
    log: PathBuf,
    identity: Identity,
    process: Option<Process>,
    said: Said,
}

impl Host {
    /// A host with a certificate of the site and an empty spool; its agent doesn't run.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn new(site: &Site, name: &str) -> Result<Self> {
        let identity = Identity::Own(site.client("agent", name)?);
        Ok(Self::of(identity, name, &site.folder().join(name)))
    }

    /// A host with an identity that is there; its spool and its log lie beside each other, at this
    /// path with endings of their own.
    #[must_use]
    pub fn of(identity: Identity, name: &str, beside: &Path) -> Self {
        let (log, spool) = (with_ending(beside, "log"), with_ending(beside, "spool"));
        Self {
            name: name.into(),
            spool,
            settings: Vec::new(),
            keeps_in_memory: false,
            within: Vec::new(),
            said: Said::of(&log),
            log,
            identity,
            process: None,
        }
    }

    /// Starts its agent, which must not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, aggregators: &[SocketAddr]) -> Result<()> {
        ensure!(self.process.is_none(), "the agent of {} runs already", self.name);
        // A killed process may have left half a line.
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        log.write_all(STARTED.as_bytes())?;
        let mut command = run(&self.identity, aggregators)?;
        command
            .env("ROWCALL_SPOOL_DIR", &self.spool)
            .env("ROWCALL_LOG_FORMAT", "json")
            .env("ROWCALL_LOG_LEVEL", LOG_LEVEL)
            .env("ROWCALL_REFUSED_WAIT", "1s")
            .env("ROWCALL_STOP_WAIT", "60s")
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut command = within(&self.within, command);
        self.process = Some(Process::start_into("rowcall-agent", &mut command, &self.log)?);
        Ok(())
    }

    /// Kills its agent with SIGKILL.
    ///
    /// # Panics
    /// When it ended by itself before.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Stops its agent in order.
    ///
    /// # Errors
    /// When it ends with another exit code than 0.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let code = process.stop().await;
        ensure!(code == Some(0), "the agent of {} ended with {code:?}: {}", self.name, self.tail());
        Ok(())
    }

    /// Its agent.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("the agent of {} does not run", self.name))
    }

    /// What its agents have said up to now.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn said(&mut self) -> Result<&Said> {
        self.said.read()?;
        Ok(&self.said)
    }

    /// What its agents had said when [`Host::said`] was last called.
    #[must_use]
    pub fn said_before(&self) -> &Said {
        &self.said
    }

    /// Makes a sample known that a test put into the spool itself.
    pub fn produced(&mut self, time: i64, sample: Sample) {
        self.said.add(time, sample);
    }

    /// What its agents have said for people, the last of it, without what the oracle reads.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("\"kept\"")).collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// The path with this ending, whatever it ends with.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// The same command, run by another one.
#[must_use]
pub fn within(outer: &[String], command: Command) -> Command {
    let Some((program, arguments)) = outer.split_first() else { return command };
    let mut wrapped = Command::new(program);
    wrapped.args(arguments).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}
