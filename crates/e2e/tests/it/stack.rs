//! A database, certificates, an aggregator and agents: real programs on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::process::{Process, program};
use tempfile::TempDir;

/// Reached only when a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The trust domain of all certificates here.
pub(crate) const TRUST_DOMAIN: &str = "test.example";

/// What every test needs.
pub(crate) struct Stack {
    pub(crate) database: Database,
    pub(crate) ca: TestCa,
    folder: TempDir,
}

impl Stack {
    pub(crate) async fn new() -> Result<Self> {
        Ok(Self {
            database: Database::create().await?,
            ca: TestCa::root("test CA")?,
            folder: tempfile::tempdir()?,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client certificate of this role.
    pub(crate) fn client(&self, role: &str, name: &str) -> Result<Paths> {
        let leaf = Leaf::client(&format!("spiffe://{TRUST_DOMAIN}/{role}/{name}"));
        self.ca.write(self.folder(), &format!("{role}-{name}"), &leaf)
    }

    /// An aggregator on a free port, listening.
    pub(crate) async fn aggregator(&self, interval: &str) -> Result<Aggregator> {
        let leaf = Leaf::server().dns_names(&["localhost"]);
        let server = self.ca.write(self.folder(), "aggregator", &leaf)?;
        Aggregator::start(&server, TRUST_DOMAIN, &self.database.url(), interval).await
    }

    /// An agent with a certificate for `name`.
    pub(crate) fn agent(&self, name: &str, aggregator: SocketAddr) -> Result<Process> {
        agent(&self.client("agent", name)?, aggregator)
    }

    /// Waits until a query gives a number that passes.
    pub(crate) async fn number(
        &self,
        query: &str,
        what: &str,
        passes: impl Fn(i64) -> bool,
    ) -> Result<i64> {
        let client = self.database.connect().await?;
        let (client, passes) = (&client, &passes);
        Ok(wait_for(format!("{what}: {query}"), DEADLINE, || async move {
            let row = client.query_one(query, &[]).await.ok()?;
            Some(row.get(0)).filter(|number| passes(*number))
        })
        .await)
    }
}

/// A running aggregator.
pub(crate) struct Aggregator {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Aggregator {
    pub(crate) async fn start(
        files: &Paths,
        trust_domain: &str,
        database: &str,
        interval: &str,
    ) -> Result<Self> {
        let mut command = command("rowcall-aggregator")?;
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "off"])
            .args(["--interval", interval])
            .args(["--trust-domain", trust_domain])
            .env("ROWCALL_DATABASE", database)
            .env("ROWCALL_CERTIFICATE", &files.certificate)
            .env("ROWCALL_KEY", &files.key)
            .env("ROWCALL_CLIENT_CA", &files.authorities);
        let process = Process::start("rowcall-aggregator", &mut command)?;
        let line = process.line("listening").await;
        // Then the schema stands, too.
        process.line("agents are welcome").await;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("address="))
            .with_context(|| format!("no address in {line:?}"))?
            .parse()?;
        Ok(Self { process, address })
    }
}

/// An agent at this address.
pub(crate) fn agent(files: &Paths, aggregator: SocketAddr) -> Result<Process> {
    let mut command = command("rowcall-agent")?;
    command
        .args(["run", "--min-interval", "10ms"])
        .env("ROWCALL_AGGREGATOR", format!("https://localhost:{}", aggregator.port()))
        .env("ROWCALL_CERTIFICATE", &files.certificate)
        .env("ROWCALL_KEY", &files.key)
        .env("ROWCALL_CA", &files.authorities)
        .env("ROWCALL_BACKOFF_MIN", "10ms")
        .env("ROWCALL_BACKOFF_MAX", "200ms");
    Process::start("rowcall-agent", &mut command)
}

/// One of our programs, without what the environment of the test says, and without colours.
pub(crate) fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("ROWCALL_") {
            command.env_remove(key);
        }
    }
    command.env("NO_COLOR", "1").current_dir(root());
    Ok(command)
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
