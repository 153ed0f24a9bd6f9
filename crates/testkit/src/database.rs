//! Real databases: one temporary PostgreSQL server per test process, an empty database per call.
//!
//! The server is started by the first call, with `fsync` off, and stopped by its guard when the
//! process ends, killed or not. A test that stops, kills or pauses a server takes one of its own,
//! [`crate::server::OwnServer`], for others share this one. Another PostgreSQL is tested by
//! setting `PG_BIN` to the folder of its binaries.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rowcall_postgres::Options;
pub use rowcall_postgres::{Server, Shutdown};
use tokio::sync::OnceCell;
pub use tokio_postgres::Client;
use tokio_postgres::NoTls;

/// What a server for tests is told.
pub(crate) const TEST_SETTINGS: [(&str, &str); 3] = [
    ("fsync", "off"),
    // Connections that all tests of a process may hold together.
    ("max_connections", "400"),
    // Locks per connection; a query over many partitions takes one for each and for its indexes.
    ("max_locks_per_transaction", "512"),
];

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);

/// An empty database of its own for a test. It stays until the process ends.
#[derive(Debug)]
pub struct Database {
    server: &'static Server,
    name: String,
}

impl Database {
    /// Makes an empty database on the server of this process.
    ///
    /// # Errors
    ///
    /// When the server cannot be started (no binaries: the error names the package), or refuses.
    pub async fn create() -> anyhow::Result<Self> {
        let server = Self::server().await?;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&server.url("postgres")).await?;
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .with_context(|| format!("create database {name}"))?;
        Ok(Self { server, name })
    }

    /// The server that all databases of this process are on; started where it isn't yet.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn server() -> anyhow::Result<&'static Server> {
        SERVER
            .get_or_try_init(|| async {
                let start = || test_options().start();
                tokio::task::spawn_blocking(start)
                    .await
                    .context("start PostgreSQL in a thread")?
                    .context("start PostgreSQL for tests")
            })
            .await
    }

    /// The database's name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The database's URL, for tokio-postgres and for `rowcall-aggregator`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The line that opens the database with `psql` in a shell.
    pub fn psql_line(&self) -> String {
        self.server.psql_line(&self.name)
    }

    /// A new connection to the database.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        connect(&self.url()).await
    }
}

/// Options of a temporary server for tests: what is written need not survive the machine's crash,
/// there is room for many connections, and the rest is as in production.
pub fn test_options() -> Options {
    TEST_SETTINGS
        .into_iter()
        .fold(Options::temporary(), |options, (name, value)| options.setting(name, value))
}

/// Connects to a database of any server; the connection ends when the client is dropped.
///
/// # Errors
///
/// When the URL is wrong or the server refuses.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.with_context(|| format!("connect to {url}"))?;
    // Its error is also the error of the client's next call.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn databases_are_apart() {
        let (one, two) = tokio::join!(Database::create(), Database::create());
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one.url(), two.url());
        let client = one.connect().await.unwrap();
        client.batch_execute("CREATE TABLE mine (n int)").await.unwrap();
        let select = "SELECT to_regclass('mine') IS NOT NULL, current_database()::text";
        for (database, there) in [(&one, true), (&two, false)] {
            let row = database.connect().await.unwrap().query_one(select, &[]).await.unwrap();
            assert_eq!(row.get::<_, bool>(0), there);
            assert_eq!(row.get::<_, String>(1), database.name());
        }
    }

    #[tokio::test]
    async fn a_server_of_its_own_can_be_stopped() {
        let mut server =
            tokio::task::spawn_blocking(|| test_options().start()).await.unwrap().unwrap();
        let client = connect(&server.url("postgres")).await.unwrap();
        tokio::task::spawn_blocking(move || {
            server.stop(Shutdown::Fast).unwrap();
        })
        .await
        .unwrap();
        client.simple_query("SELECT 1").await.unwrap_err();
    }
}
