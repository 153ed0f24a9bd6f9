//! What people and machines around the programs get wrong, and what the programs say of it.
//!
//! The programs are started as people start them; what is compared is the exit code and what
//! stands on standard error.

mod database;
mod files;
mod settings;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::stack::{TRUST_DOMAIN, command};
use rowcall_testkit::poll::DEADLINE;

/// Certificates of both programs, to be spoiled.
struct Files {
    folder: TempDir,
    aggregator: Paths,
    agent: Paths,
}

impl Files {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca = TestCa::root("test CA")?;
        let aggregator = ca.write(folder.path(), "aggregator", &Leaf::server())?;
        let identity = format!("spiffe://{TRUST_DOMAIN}/agent/node1");
        let agent = ca.write(folder.path(), "agent", &Leaf::client(&identity))?;
        Ok(Self { folder, aggregator, agent })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rowcall-aggregator`, on free ports, with everything but a database.
    fn aggregator(&self, what: &str) -> Result<Command> {
        let mut command = command("rowcall-aggregator")?;
        command
            .arg(what)
            .env("ROWCALL_LISTEN", "127.0.0.1:0")
            .env("ROWCALL_HTTP_LISTEN", "off")
            .env("ROWCALL_TRUST_DOMAIN", TRUST_DOMAIN)
            .env("ROWCALL_CERTIFICATE", &self.aggregator.certificate)
            .env("ROWCALL_KEY", &self.aggregator.key)
            .env("ROWCALL_CLIENT_CA", &self.aggregator.authorities);
        Ok(command)
    }

    /// `rowcall-agent run`, with everything.
    fn agent(&self) -> Result<Command> {
        let mut command = command("rowcall-agent")?;
        command
            .arg("run")
            // Nobody listens there.
            .env("ROWCALL_AGGREGATOR", "https://127.0.0.1:1")
            .env("ROWCALL_CERTIFICATE", &self.agent.certificate)
            .env("ROWCALL_KEY", &self.agent.key)
            .env("ROWCALL_CA", &self.agent.authorities);
        Ok(command)
    }
}

/// Runs a command to its end: exit code and standard error.
async fn ended(command: Command) -> Result<(Option<i32>, String)> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output()).await??;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// Runs a command to its end, which must come with this code and say all of this.
async fn says(command: Command, code: i32, parts: &[&str]) -> Result<String> {
    let shown = format!("{command:?}");
    let (found, said) = ended(command).await?;
    assert_eq!(found, Some(code), "{shown}: {said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in what {shown} said: {said}");
    }
    Ok(said)
}

/// As in a URL's parameter.
fn text(path: &Path) -> String {
    path.display().to_string()
}
