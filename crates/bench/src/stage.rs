//! What every part needs: a PostgreSQL server as in production, an authority, and our programs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use arc_swap::ArcSwap;
use rowcall_postgres::{Options, Server};
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_testkit::database::Client;
use rowcall_testkit::database::connect;
use rowcall_testkit::process::Process;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::Connector;
use rowcall_tls::load::{Files, Material};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// What is set on the database server; everything else is PostgreSQL's default, so `fsync`,
/// `full_page_writes` and `synchronous_commit` are on.
pub(crate) const SERVER_SETTINGS: [(&str, &str); 3] =
    [("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("max_connections", "100")];

const TRUST_DOMAIN: &str = "bench.example";

/// Flow-control windows of a client, as the agent's.
const CLIENT_WINDOW_BYTES: u32 = 64 * 1024;

/// The agent is measured as it is shipped: with what its unit sets.
const AGENT_UNIT: &str = include_str!("../../../deploy/systemd/rowcall-agent.service");

/// The variables that a unit sets.
fn environment(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    unit.lines()
        .filter_map(|line| line.strip_prefix("Environment="))
        .flat_map(str::split_ascii_whitespace)
        .filter_map(|word| word.split_once('='))
}

/// Server, authority and programs.
#[derive(Debug)]
pub(crate) struct Stage {
    server: Server,
    ca: TestCa,
    folder: TempDir,
    programs: PathBuf,
}

impl Stage {
    /// Starts the database server, with its data in a temporary folder.
    pub(crate) async fn new(programs: Option<&Path>) -> Result<Self> {
        let programs = match programs {
            Some(dir) => dir.to_owned(),
            None => beside_this_program()?,
        };
        for name in ["rowcall-aggregator", "rowcall-agent"] {
            let path = programs.join(name);
            ensure!(
                path.is_file(),
                "{} is missing: run `make bench`, or build it first",
                path.display()
            );
        }
        let server = tokio::task::spawn_blocking(|| server_options().start());
        let server = server.await?.context("start PostgreSQL")?;
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        Ok(Self { server, ca: TestCa::root("bench CA")?, folder, programs })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to the server itself.
    pub(crate) async fn admin(&self) -> Result<Client> {
        connect(&self.server.url("postgres")).await
    }

    pub(crate) fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// The server's Unix socket.
    pub(crate) fn postgres_socket(&self) -> PathBuf {
        self.server.socket_dir().join(format!(".s.PGSQL.{}", self.server.port()))
    }

    /// The server's first process, the parent of the others.
    pub(crate) fn postgres_pid(&self) -> Result<u32> {
        self.server.pid().context("PostgreSQL has ended")
    }

    pub(crate) async fn connect(&self, database: &str) -> Result<Client> {
        connect(&self.url(database)).await
    }

    /// An empty database with Rowcall's schema, and a connection to it.
    pub(crate) async fn database(&self, name: &str) -> Result<Client> {
        let admin = self.admin().await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let store = self.store(name).await?;
        store.migrate().await?;
        store.ensure_partitions().await?;
        self.connect(name).await
    }

    /// The store on a database, as the aggregator opens it.
    pub(crate) async fn store(&self, database: &str) -> Result<rowcall_store::Store> {
        let settings = rowcall_store::Settings::new(self.url(database));
        Ok(rowcall_store::Store::connect(&settings).await?)
    }

    /// What is dirty goes to disk now, so that nothing before this moment is measured after it.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        Ok(self.admin().await?.batch_execute("CHECKPOINT").await?)
    }

    /// An aggregator on a free port that welcomes agents.
    pub(crate) async fn aggregator(&self, database: &str, interval: &str) -> Result<Aggregator> {
        self.aggregator_at(0, database, interval, &[]).await
    }

    /// An aggregator on this port, with more settings.
    pub(crate) async fn aggregator_at(
        &self,
        port: u16,
        database: &str,
        interval: &str,
        more: &[&str],
    ) -> Result<Aggregator> {
        let leaf = Leaf::server().dns_names(&["localhost"]);
        let files = self.ca.write(self.folder(), "aggregator", &leaf)?;
        let mut command = self.command("rowcall-aggregator");
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--http-listen", "off"])
            .args(["--interval", interval, "--trust-domain", TRUST_DOMAIN])
            .args(more)
            .env("ROWCALL_DATABASE", self.url(database))
            .env("ROWCALL_CERTIFICATE", &files.certificate)
            .env("ROWCALL_KEY", &files.key)
            .env("ROWCALL_CLIENT_CA", &files.authorities);
        let process = Process::start("rowcall-aggregator", &mut command)?;
        let line = process.line("listening").await;
        process.line("agents are welcome").await;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("address="))
            .with_context(|| format!("no address in {line:?}"))?
            .parse()?;
        Ok(Aggregator { process, address })
    }

    /// Where the agent of `name` keeps its spool.
    pub(crate) fn spool_dir(&self, name: &str) -> PathBuf {
        self.folder().join(format!("spool-{name}"))
    }

    /// The real agent, with a certificate for `name`.
    pub(crate) fn agent(&self, name: &str, aggregator: &Aggregator) -> Result<Process> {
        self.agent_with(name, aggregator.address.port(), &[])
    }

    /// The same to a port of this machine, with settings, each as the variable that it has.
    pub(crate) fn agent_with(
        &self,
        name: &str,
        port: u16,
        settings: &[(&str, &str)],
    ) -> Result<Process> {
        let files = self.client("agent", name)?;
        let mut command = self.command("rowcall-agent");
        let address = format!("https://localhost:{port}");
        command
            .arg("run")
            .envs(environment(AGENT_UNIT))
            .env("ROWCALL_AGGREGATOR", address)
            .env("ROWCALL_SPOOL_DIR", self.spool_dir(name))
            .env("ROWCALL_CERTIFICATE", &files.certificate)
            .env("ROWCALL_KEY", &files.key)
            .env("ROWCALL_CA", &files.authorities)
            .envs(settings.iter().copied());
        Process::start("rowcall-agent", &mut command)
    }

    /// A connection to an aggregator with a certificate for this role and name.
    pub(crate) async fn dial(
        &self,
        aggregator: SocketAddr,
        role: &str,
        name: &str,
    ) -> Result<Channel> {
        self.route(aggregator, role, name)?.dial().await
    }

    /// The way to an aggregator with a certificate for this role and name.
    pub(crate) fn route(&self, aggregator: SocketAddr, role: &str, name: &str) -> Result<Route> {
        let files = self.client(role, name)?;
        let material = Material::load(&Files {
            certificate: files.certificate,
            key: files.key,
            authorities: files.authorities,
        })?;
        let config = Arc::new(ArcSwap::from_pointee(client_config(&material)?));
        let connector = Connector::new(config).with_server_name("localhost".try_into()?);
        let endpoint = Endpoint::from_shared(format!("https://{aggregator}"))?
            .initial_stream_window_size(CLIENT_WINDOW_BYTES)
            .initial_connection_window_size(CLIENT_WINDOW_BYTES);
        Ok(Route { endpoint, connector, address: aggregator })
    }

    /// The files of a client with this role and name.
    pub(crate) fn client(&self, role: &str, name: &str) -> Result<Paths> {
        let leaf = Leaf::client(&format!("spiffe://{TRUST_DOMAIN}/{role}/{name}"));
        self.ca.write(self.folder(), &format!("{role}-{name}"), &leaf)
    }

    /// One of our programs, without what our own environment says to it.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("ROWCALL_") {
                command.env_remove(key);
            }
        }
        command.env("NO_COLOR", "1").current_dir(self.folder());
        command
    }
}

/// Who dials whom, with keys and files read already.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    endpoint: Endpoint,
    connector: Connector,
    address: SocketAddr,
}

impl Route {
    /// A connection.
    pub(crate) async fn dial(&self) -> Result<Channel> {
        Ok(self.endpoint.connect_with_connector(self.connector.clone()).await?)
    }

    /// TCP, TLS and the server's first bytes, then nothing more.
    pub(crate) async fn handshake(&self) -> Result<()> {
        let ip = self.address.ip().to_string();
        drop(self.connector.connect(&ip, self.address.port()).await?);
        Ok(())
    }
}

/// A running aggregator. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Aggregator {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

fn server_options() -> Options {
    SERVER_SETTINGS
        .into_iter()
        .fold(Options::temporary(), |options, (name, value)| options.setting(name, value))
}

fn beside_this_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's own path")?;
    Ok(own.parent().context("this program has no folder")?.to_owned())
}
