//! A cluster as `rowcall pki init` and join tokens make it: real programs, keys made where they stay.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::database::Database;
use rowcall_testkit::pki::Pki;
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rowcall_testkit::process::Process;
use rowcall_tls::identity::Role;
use tempfile::TempDir;

use crate::host::Host;
use crate::stack::{Identity, TRUST_DOMAIN, command, run};

/// Authorities in a folder, and an empty database.
#[derive(Debug)]
pub struct Cluster {
    /// Empty at first.
    pub database: Database,
    pki_dir: PathBuf,
    // The authorities' folder goes with one of them.
    folder: TempDir,
    _aged: Option<Pki>,
}

impl Cluster {
    /// A database on the server that all tests share, and what `rowcall pki init` makes.
    ///
    /// # Errors
    /// When PostgreSQL cannot be started, or what the command says.
    pub async fn new() -> Result<Self> {
        let (database, folder) = (Database::create().await?, tempfile::tempdir()?);
        let cluster = Self { database, pki_dir: folder.path().join("pki"), folder, _aged: None };
        cluster.pki(&["init", "--trust-domain", TRUST_DOMAIN, "--server-name", "localhost"])?;
        Ok(cluster)
    }

    /// The same with authorities that are so old, and so may have issued what has expired.
    ///
    /// # Errors
    /// When PostgreSQL cannot be started, or what rcgen or the file system says.
    pub async fn aged(age: Duration) -> Result<Self> {
        let (database, folder) = (Database::create().await?, tempfile::tempdir()?);
        let pki = Pki::aged(age)?;
        let admin = pki.client(Role::Operator, "admin")?;
        let client = format!(
            "server = \"localhost:7443\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
            admin.authorities, admin.certificate, admin.key
        );
        pki.put("client.toml", &client)?;
        Ok(Self { database, pki_dir: pki.dir().to_owned(), folder, _aged: Some(pki) })
    }

    /// A folder of a test's own, which goes with this.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the authorities.
    #[must_use]
    pub fn pki_dir(&self) -> &Path {
        &self.pki_dir
    }

    /// Runs `rowcall pki` on the folder: what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn pki(&self, arguments: &[&str]) -> Result<String> {
        let mut command = command("rowcall")?;
        command.arg("pki").args(arguments).arg("--dir").arg(self.pki_dir());
        printed(&command.output()?)
    }

    /// An aggregator that issues, on free ports, listening.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn aggregator(&self, interval: &str) -> Result<Issuing> {
        self.aggregator_with(interval, |_| {}).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn aggregator_with(
        &self,
        interval: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Issuing> {
        let mut command = command("rowcall-aggregator")?;
        command
            .args(["serve", "--interval", interval, "--listen", "127.0.0.1:0"])
            .args(["--enroll-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .env("ROWCALL_DATABASE", self.database.url())
            .env("ROWCALL_PKI_DIR", self.pki_dir());
        change(&mut command);
        Issuing::of(&mut command).await
    }

    /// Runs `rowcall` against an aggregator, as the operator that `rowcall pki init` made.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, at: &Issuing, arguments: &[&str]) -> Result<Output> {
        let mut command = command("rowcall")?;
        command.args(arguments).arg("--data-dir").arg(self.pki_dir());
        command.args(["--server", &format!("localhost:{}", at.address.port())]);
        Ok(command.output()?)
    }

    /// The same: what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn rowcall(&self, at: &Issuing, arguments: &[&str]) -> Result<String> {
        printed(&self.ask(at, arguments)?).with_context(|| format!("rowcall {arguments:?}"))
    }

    /// A new join token.
    ///
    /// # Errors
    /// What the command says when it fails.
    pub fn token(&self, at: &Issuing, options: &[&str]) -> Result<String> {
        let token = self.rowcall(at, &[&["token", "create", "--quiet"], options].concat())?;
        Ok(token.trim().to_owned())
    }

    /// A machine that is to have this name, with nothing on it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn node(&self, name: &str) -> Result<Node> {
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(self.folder())?.keep();
        Ok(Node { name: name.to_owned(), folder })
    }

    /// A machine that joined by one command, with a token for itself alone.
    ///
    /// # Errors
    /// What one of the commands says.
    pub fn joined(&self, at: &Issuing, name: &str) -> Result<Node> {
        let node = self.node(name)?;
        printed(&node.enroll(at.enrollment, &self.token(at, &["--host", name])?)?)?;
        Ok(node)
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
        crate::stack::number(&self.database, query, what, passes).await
    }
}

/// A running aggregator that issues certificates.
#[derive(Debug)]
pub struct Issuing {
    /// The program.
    pub process: Process,
    /// Where it takes agents.
    pub address: SocketAddr,
    /// Where nodes enrol.
    pub enrollment: SocketAddr,
    /// Probes and metrics.
    pub http: SocketAddr,
}

impl Issuing {
    async fn of(command: &mut Command) -> Result<Self> {
        let process = Process::start("rowcall-aggregator", command)?;
        // Then the schema stands, too.
        process.line("agents are welcome").await;
        let field = async |name: &str| -> Result<SocketAddr> {
            let line = process.line(&format!("{name}=")).await;
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            let value = value.and_then(|value| value.strip_prefix('='));
            Ok(value.with_context(|| format!("no {name} in {line:?}"))?.parse()?)
        };
        let (address, enrollment) = (field("address").await?, field("enrollment").await?);
        let http = field("http").await?;
        Ok(Self { process, address, enrollment, http })
    }

    /// A number of `/metrics`, by its name and labels as they stand there; none where it isn't.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let mut stream = TcpStream::connect(self.http)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?)
    }

    /// Waits until a number of `/metrics` passes.
    ///
    /// # Panics
    /// When it doesn't, with what the aggregator said.
    pub async fn metric_is(&self, name: &str, passes: impl Fn(f64) -> bool) {
        let passes = &passes;
        wait_for(format!("{name} at\n{}", self.process.output()), DEADLINE, || async move {
            self.metric(name).ok().flatten().filter(|number| passes(*number))
        })
        .await;
    }
}

/// A machine: a folder for its identity and one for its spool.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    folder: PathBuf,
}

impl Node {
    /// Where its certificate and key are once it has any.
    #[must_use]
    pub fn identity_dir(&self) -> PathBuf {
        self.folder.join("identity")
    }

    /// A file of its identity.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.identity_dir().join("current").join(name)
    }

    /// The command that enrols it, with the token in a file.
    ///
    /// # Errors
    /// When the program isn't built, or the file can't be written.
    pub fn enrolling(&self, server: SocketAddr, token: &str) -> Result<Command> {
        let mut command = command("rowcall-agent")?;
        command.args(["enroll", "--server", &format!("localhost:{}", server.port())]);
        command.args(["--name", &self.name, "--token-file"]).arg(self.token_file(token)?);
        command.env("ROWCALL_IDENTITY_DIR", self.identity_dir());
        command.env("ROWCALL_SPOOL_DIR", self.folder.join("spool"));
        Ok(command)
    }

    /// Enrols it: what came of it.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn enroll(&self, server: SocketAddr, token: &str) -> Result<Output> {
        Ok(self.enrolling(server, token)?.output()?)
    }

    /// Writes a token, readable for its owner alone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn token_file(&self, token: &str) -> Result<PathBuf> {
        let path = self.folder.join("token");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(token.as_bytes())?;
        Ok(path)
    }

    /// The command that runs its agent, in haste; it goes where the enrolment said, or where these
    /// are.
    ///
    /// # Errors
    /// When the program isn't built.
    pub fn running(&self, aggregators: &[SocketAddr]) -> Result<Command> {
        let mut command = run(&Identity::Enrolled(self.identity_dir()), aggregators)?;
        command.env("ROWCALL_SPOOL_DIR", self.folder.join("spool"));
        Ok(command)
    }

    /// Starts its agent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Process> {
        Process::start("rowcall-agent", &mut self.running(&[])?)
    }

    /// Starts its agent, which goes to these aggregators.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_at(&self, aggregators: &[SocketAddr]) -> Result<Process> {
        Process::start("rowcall-agent", &mut self.running(aggregators)?)
    }

    /// The same machine for the oracle: its agent's log and spool are kept beside its identity.
    #[must_use]
    pub fn host(&self) -> Host {
        Host::of(Identity::Enrolled(self.identity_dir()), &self.name, &self.folder.join("agent"))
    }

    /// Copies all that it has, as a machine's image is copied.
    ///
    /// # Errors
    /// What cp says.
    pub fn cloned(&self) -> Result<Self> {
        let folder = self.folder.with_extension("clone");
        ensure!(!folder.exists(), "{} is there already", folder.display());
        let status = Command::new("cp").arg("-a").args([&self.folder, &folder]).status()?;
        ensure!(status.success(), "cp failed");
        Ok(Self { name: self.name.clone(), folder })
    }

    /// Forgets all that it has, as a machine that is installed anew.
    ///
    /// # Errors
    /// What the file system says.
    pub fn wipe(&self) -> Result<()> {
        fs::remove_dir_all(&self.folder)?;
        Ok(fs::create_dir(&self.folder)?)
    }
}

/// What a command printed, if it succeeded.
///
/// # Errors
/// What it said if it failed.
pub fn printed(output: &Output) -> Result<String> {
    let (told, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {told}{said}", output.status);
    Ok(told.into_owned())
}
