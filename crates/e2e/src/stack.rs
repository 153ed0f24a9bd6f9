//! A database, certificates, an aggregator and agents: real programs on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rowcall_testkit::process::{Process, program};
use tempfile::TempDir;

/// The trust domain of all certificates here.
pub const TRUST_DOMAIN: &str = "test.example";

/// An authority and a folder for the files of all parties.
#[derive(Debug)]
pub struct Site {
    /// Issues all certificates.
    pub ca: TestCa,
    folder: TempDir,
}

impl Site {
    /// A new authority and an empty folder.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn new() -> Result<Self> {
        Ok(Self { ca: TestCa::root("test CA")?, folder: tempfile::tempdir()? })
    }

    /// The folder, which goes with this.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client certificate of this role.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn client(&self, role: &str, name: &str) -> Result<Paths> {
        let leaf = Leaf::client(&format!("spiffe://{TRUST_DOMAIN}/{role}/{name}"));
        self.ca.write(self.folder(), &format!("{role}-{name}"), &leaf)
    }

    /// An aggregator's certificate, for localhost.
    ///
    /// # Errors
    /// What rcgen or the file system says.
    pub fn server(&self) -> Result<Paths> {
        let leaf = Leaf::server().dns_names(&["localhost"]);
        self.ca.write(self.folder(), "aggregator", &leaf)
    }
}

/// A site with a database on the server that all tests share.
#[derive(Debug)]
pub struct Stack {
    /// Empty at first.
    pub database: Database,
    /// Certificates and files.
    pub site: Site,
}

impl Stack {
    /// A new site and an empty database.
    ///
    /// # Errors
    /// When PostgreSQL cannot be started.
    pub async fn new() -> Result<Self> {
        Ok(Self { database: Database::create().await?, site: Site::new()? })
    }

    /// An aggregator on a free port, listening.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn aggregator(&self, interval: &str) -> Result<Aggregator> {
        let (server, url) = (self.site.server()?, self.database.url());
        Aggregator::start(&server, TRUST_DOMAIN, &url, interval).await
    }

    /// An agent with a certificate for `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent(&self, name: &str, aggregator: SocketAddr) -> Result<Process> {
        agent(&self.site.client("agent", name)?, aggregator)
    }

    /// Waits until a query gives a number that passes.
    ///
    /// # Errors
    /// When the database refuses a connection.
    pub async fn number(
        &self,
        query: &str,
        what: &str,
        passes: impl Fn(i64) -> bool,
    ) -> Result<i64> {
        number(&self.database, query, what, passes).await
    }
}

/// Waits until a query gives a number that passes.
///
/// # Errors
/// When the database refuses a connection.
pub async fn number(
    database: &Database,
    query: &str,
    what: &str,
    passes: impl Fn(i64) -> bool,
) -> Result<i64> {
    let client = database.connect().await?;
    let (client, passes) = (&client, &passes);
    Ok(wait_for(format!("{what}: {query}"), DEADLINE, || async move {
        let row = client.query_one(query, &[]).await.ok()?;
        Some(row.get(0)).filter(|number| passes(*number))
    })
    .await)
}

/// A running aggregator.
#[derive(Debug)]
pub struct Aggregator {
    /// The program.
    pub process: Process,
    /// Where it takes agents.
    pub address: SocketAddr,
}

impl Aggregator {
    /// Starts one on a free port and waits until agents are welcome.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(
        files: &Paths,
        trust_domain: &str,
        database: &str,
        interval: &str,
    ) -> Result<Self> {
        let mut command = serve(files, trust_domain, database, interval)?;
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "off"]);
        Self::of(&mut command).await
    }

    /// Starts one by this command and waits until agents are welcome.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn of(command: &mut Command) -> Result<Self> {
        let process = Process::start("rowcall-aggregator", command)?;
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

/// The command of an aggregator; where it listens is still to be said.
///
/// # Errors
/// When the program isn't built.
pub fn serve(files: &Paths, trust_domain: &str, database: &str, interval: &str) -> Result<Command> {
    let mut command = command("rowcall-aggregator")?;
    command
        .args(["serve", "--interval", interval, "--trust-domain", trust_domain])
        .env("ROWCALL_DATABASE", database)
        .env("ROWCALL_CERTIFICATE", &files.certificate)
        .env("ROWCALL_KEY", &files.key)
        .env("ROWCALL_CLIENT_CA", &files.authorities);
    Ok(command)
}

/// What an agent speaks by.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Files that somebody brought.
    Own(Paths),
    /// The folder that an enrolment filled.
    Enrolled(PathBuf),
}

/// The command of an agent that makes haste; its spool is still to be said. An enrolled one knows
/// its aggregator.
///
/// # Errors
/// When the program isn't built.
pub fn run(identity: &Identity, aggregators: &[SocketAddr]) -> Result<Command> {
    let mut command = command("rowcall-agent")?;
    let urls: Vec<_> =
        aggregators.iter().map(|to| format!("https://localhost:{}", to.port())).collect();
    command
        .args(["run", "--min-interval", "10ms"])
        .env("ROWCALL_BACKOFF_MIN", "10ms")
        .env("ROWCALL_BACKOFF_MAX", "200ms");
    if !urls.is_empty() {
        command.env("ROWCALL_AGGREGATOR", urls.join(","));
    }
    match identity {
        Identity::Own(files) => command
            .env("ROWCALL_CERTIFICATE", &files.certificate)
            .env("ROWCALL_KEY", &files.key)
            .env("ROWCALL_CA", &files.authorities),
        Identity::Enrolled(folder) => command.env("ROWCALL_IDENTITY_DIR", folder),
    };
    Ok(command)
}

/// An agent at this address, with an empty spool beside its certificate.
///
/// # Errors
/// When it cannot be started.
pub fn agent(files: &Paths, aggregator: SocketAddr) -> Result<Process> {
    let beside = files.certificate.parent().context("the certificate's folder")?;
    let spool = tempfile::Builder::new().prefix("spool-").tempdir_in(beside)?.keep();
    let mut command = run(&Identity::Own(files.clone()), &[aggregator])?;
    command.env("ROWCALL_SPOOL_DIR", spool);
    Process::start("rowcall-agent", &mut command)
}

/// One of our programs, without what the environment of the test says, and without colours.
///
/// # Errors
/// When it isn't built.
pub fn command(name: &str) -> Result<Command> {
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
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
