//! The private PostgreSQL: its calls block, so they run on blocking threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rowcall_postgres::{Server, Shutdown};

/// How often to look whether the server is still there.
const LOOK: Duration = Duration::from_secs(1);

/// A running server.
#[derive(Debug)]
pub(super) struct Database {
    server: Arc<Mutex<Server>>,
    dir: PathBuf,
    is_new: bool,
}

impl Database {
    /// Starts the server of a directory, made if need be. Takes the directory's lock.
    pub(super) async fn start(dir: &Path, database: &str) -> anyhow::Result<Self> {
        let is_new = !dir.join("postgres").exists();
        let options = Server::options(dir).database(database);
        let started = tokio::task::spawn_blocking(move || options.start()).await;
        let server = match started.context("start PostgreSQL")? {
            Ok(server) => server,
            Err(rowcall_postgres::Error::InUse { dir, pid }) => {
                let (who, how) = match pid {
                    Some(pid) => (format!("process {pid}"), format!("stop it (kill {pid})")),
                    None => ("another process".to_owned(), "stop it".to_owned()),
                };
                let dir = dir.display();
                bail!("{dir} is already in use by {who}; {how}, or give another --data-dir");
            }
            Err(error) => return Err(error).context("cannot start PostgreSQL"),
        };
        let dir = server.dir().to_owned();
        Ok(Self { server: Arc::new(Mutex::new(server)), dir, is_new })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Server) -> T) -> T {
        look(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The directory's real path.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// In words: version, user, and whether its data are new.
    pub(super) fn describe(&self) -> String {
        let new = if self.is_new { "new data directory" } else { "the data of the last time" };
        self.with(|server| {
            format!("version {}, {new}, as user {}", server.version_major(), server.os_user())
        })
    }

    /// For the aggregator.
    pub(super) fn url(&self, database: &str) -> String {
        self.with(|server| server.url(database))
    }

    /// For people.
    pub(super) fn psql_line(&self, database: &str) -> String {
        self.with(|server| server.psql_line(database))
    }

    /// Waits a moment; when the server has crashed meanwhile, it is started again.
    pub(super) async fn watch(&self) {
        tokio::time::sleep(LOOK).await;
        if self.with(Server::is_running) {
            return;
        }
        tracing::warn!("PostgreSQL has ended unexpectedly; starting it again");
        let server = Arc::clone(&self.server);
        let start = move || server.lock().unwrap_or_else(PoisonError::into_inner).start();
        match tokio::task::spawn_blocking(start).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot start PostgreSQL again"),
            Err(error) => tracing::error!(%error, "cannot start PostgreSQL again"),
        }
    }

    /// Stops the server and frees the directory.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let stop = move || {
            let stopped = self.with(|server| server.stop(Shutdown::Fast));
            drop(self);
            stopped
        };
        let stopped = tokio::task::spawn_blocking(stop).await.context("stop PostgreSQL")?;
        stopped.context("cannot stop PostgreSQL")
    }
}
