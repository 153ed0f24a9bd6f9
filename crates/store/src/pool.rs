//! Two pools of connections to one database, so that reports cannot starve ingest.
//!
//! A connection is direct, not through a pooler in transaction mode: advisory locks and prepared
//! statements belong to it. What it is set to (times in UTC, time-outs, commits that wait for the
//! disk) goes with its first message, so no statement ever runs with other settings.

use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, RecyclingMethod, Runtime,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config};

use crate::Store;
use crate::connect::{self, Connector};
use crate::error::{Error, Kind, Target, said};
use crate::guard::Guard;
use crate::identity::{Expected, SchemaId};

/// How to reach the database, and how much of it to take.
#[derive(Clone)]
pub struct Settings {
    /// `postgresql://user:password@host:port/database`, or with `?host=/folder` for a socket; also
    /// as `key=value` pairs. Parameters are the driver's, and `sslmode`, `sslrootcert`, `sslcert`,
    /// `sslkey` and `passfile` with libpq's meaning.
    pub url: String,
    /// Connections that write samples and open sessions. Default: 4.
    pub ingest_connections: usize,
    /// Connections that answer reports. Default: 4.
    pub report_connections: usize,
    /// A statement that takes longer is cancelled by the server. Default: 30 s.
    pub statement_timeout: Duration,
    /// A statement that waits longer for a lock is cancelled by the server. Default: 10 s.
    pub lock_timeout: Duration,
    /// Time for one attempt to connect. Default: 5 s.
    pub connect_timeout: Duration,
    /// Time to wait for a free connection of a pool. Default: 10 s.
    pub pool_wait: Duration,
    /// Samples older than this, by the database's clock, are put aside. Default: 30 days.
    pub retention: Duration,
    /// Readings of devices and metrics older than this, by the database's clock, are not stored, and
    /// their days are dropped. From a day to `retention`, which it never exceeds. Default: 7 days.
    pub device_retention: Duration,
    /// Above this size of the database, in bytes, the oldest day of samples is dropped, whatever
    /// its age. Default: none, only their age counts.
    pub max_database_bytes: Option<u64>,
}

impl Settings {
    /// The defaults for a database.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Reads the URL, and the files that it names, without connecting. Blocks for the files.
    ///
    /// # Errors
    /// [`Kind::Config`] for what somebody must correct.
    pub fn check(&self) -> Result<(), Error> {
        connect::check(&self.url)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "postgresql:///host_agent".into(),
            ingest_connections: 4,
            report_connections: 4,
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            pool_wait: Duration::from_secs(10),
            retention: Duration::from_secs(30 * 86_400),
            device_retention: Duration::from_secs(7 * 86_400),
            max_database_bytes: None,
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("ingest_connections", &self.ingest_connections)
            .field("report_connections", &self.report_connections)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("pool_wait", &self.pool_wait)
            .field("retention", &self.retention)
            .field("device_retention", &self.device_retention)
            .field("max_database_bytes", &self.max_database_bytes)
            .finish_non_exhaustive()
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Samples and sessions: few statements, each prepared once and planned once.
    Ingest,
    /// Reports.
    Reports,
    /// Migrations, which may take as long as they need.
    Migration,
}

/// Reads the URL and adds what every connection needs.
///
/// # Errors
/// A URL that cannot be read, or that asks for what we cannot do.
pub(crate) fn connector(settings: &Settings, purpose: Purpose) -> Result<Connector, Error> {
    let millis = |time: Duration| if purpose == Purpose::Migration { 0 } else { time.as_millis() };
    let mut options = format!(
        "-c TimeZone=UTC -c search_path=public -c synchronous_commit=on -c statement_timeout={} \
         -c lock_timeout={} -c idle_in_transaction_session_timeout={}",
        millis(settings.statement_timeout),
        millis(settings.lock_timeout),
        millis(settings.statement_timeout),
    );
    if purpose == Purpose::Ingest {
        // One plan for all: planning a flush again each time costs more than running it. Without
        // sequential scans every way to join walks the hosts by their index, lowest id first: two
        // writers of the same hosts then wait for each other instead of running into a deadlock.
        options.push_str(" -c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off");
    }
    if purpose == Purpose::Reports {
        // Planned for its range each time, which takes milliseconds. Compiling takes longer than
        // the report over an hour of 10,000 hosts, and its hash tables need more than 4 MB.
        options.push_str(" -c plan_cache_mode=force_custom_plan -c jit=off -c work_mem=64MB");
    }
    let connector = Connector::new(&settings.url, &options, settings.connect_timeout)?;
    // A report of a standby is better than none; whoever writes has no use for it.
    Ok(if purpose == Purpose::Reports { connector.or_reader() } else { connector })
}

/// What a pool of connections is doing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that it may have.
    pub max: usize,
    /// Connections that it has, busy and idle.
    pub size: usize,
    /// Connections that are idle.
    pub available: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

impl Store {
    /// How much of the pools is in use, by the pools' names. Asks nobody.
    #[must_use]
    pub fn pool_status(&self) -> [(&'static str, PoolStatus); 2] {
        [("ingest", self.ingest.status()), ("reports", self.reports.status())]
    }
}

/// Some connections for one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pool: deadpool_postgres::Pool,
    target: Target,
    expected: Expected,
    guard: Guard,
    size: usize,
    /// Whoever gets a connection that was used before is sure that it is not busy.
    asks_before_use: bool,
    /// The server cancels a statement after its own time-out; a server that does not even do
    /// that is given up after this.
    patience: Duration,
}

impl Pool {
    pub(crate) fn new(
        settings: &Settings,
        purpose: Purpose,
        connections: usize,
    ) -> Result<Self, Error> {
        let connector = connector(settings, purpose)?;
        let (target, create_timeout) = (connector.target(), connector.total_patience());
        let size = connections.max(1);
        // A report's connection may have idled for hours: ask whether it lives. A flush finds
        // out by itself, and is repeated.
        let recycling_method = match purpose {
            Purpose::Reports => RecyclingMethod::Verified,
            Purpose::Ingest | Purpose::Migration => RecyclingMethod::Fast,
        };
        let asks_before_use = matches!(recycling_method, RecyclingMethod::Verified);
        let (expected, guard) = (Expected::default(), Guard::default());
        // The connector knows it all; the pool's own settings stay empty.
        let manager =
            Manager::from_connect(Config::new(), connector, ManagerConfig { recycling_method });
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .wait_timeout(Some(settings.pool_wait))
            .create_timeout(Some(create_timeout))
            .recycle_timeout(Some(settings.connect_timeout))
            .runtime(Runtime::Tokio1)
            .post_create(check(
                expected.clone(),
                guard.clone(),
                target.clone(),
                settings.connect_timeout,
            ))
            .build()
            .map_err(|error| Error::new(Kind::Internal, format!("connection pool: {error}")))?;
        let patience = settings.statement_timeout + settings.connect_timeout;
        Ok(Self { pool, target, expected, guard, size, asks_before_use, patience })
    }

    /// A connection, new or used before.
    ///
    /// # Errors
    /// Transient when all are busy or the database is out of reach; else what to do about it.
    pub(crate) async fn get(&self) -> Result<Connection, Error> {
        let connection = self.pool.get().await;
        let connection = connection.map_err(|error| Error::pool(&self.target, self.size, error));
        if connection.as_ref().is_err_and(|error| error.kind() == Kind::WentBack) {
            // Those that idle were made before, perhaps to the server of before.
            self.pool.retain(|_, _| false);
        }
        connection
            .map(|object| Connection { object: Some(object), keep_unsettled: self.asks_before_use })
    }

    /// What new connections are compared with.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// From now on connections must find this schema; None: any.
    pub(crate) fn expect_schema(&self, schema: Option<SchemaId>) {
        if self.expected.set(schema) {
            // Those that are there were made for another one.
            self.pool.retain(|_, _| false);
        }
    }

    /// Waits for work with the database, but not for ever.
    ///
    /// # Errors
    /// The work's, or that there was no answer.
    pub(crate) async fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(result) => result,
            Err(_) => Err(self.no_answer()),
        }
    }

    fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max: status.max_size,
            size: status.size,
            available: status.available,
            waiting: status.waiting,
        }
    }

    /// How long to wait for a word from the server.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The error when it has said nothing for that long.
    pub(crate) fn no_answer(&self) -> Error {
        Error::no_answer(&self.target, self.patience.as_secs())
    }

    /// Gives a connection back, or throws it away if the work's error spoils it.
    pub(crate) fn settle<T>(&self, mut connection: Connection, result: &Result<T, Error>) {
        if !result.as_ref().is_err_and(Error::spoils_connection) {
            connection.keep_unsettled = true;
            return;
        }
        connection.keep_unsettled = false;
        drop(connection);
        // All idle ones lead to the same server: one that restarts, only reads or is gone.
        self.pool.retain(|_, _| false);
    }
}

/// A connection of a pool. After use it is [settled](Pool::settle); where its user was dropped
/// instead, in the midst of a statement, whoever got it next would wait for the end of that, so
/// it is thrown away, unless the pool asks before it hands out a used one.
#[derive(Debug)]
pub(crate) struct Connection {
    /// There until it is dropped.
    object: Option<Object>,
    keep_unsettled: bool,
}

impl Deref for Connection {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object.as_ref().expect("only Drop takes it")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Object {
        self.object.as_mut().expect("only Drop takes it")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && !self.keep_unsettled
        {
            drop(Object::take(object));
        }
    }
}

/// Refuses a new connection that leads to another schema than the expected one, or to a database
/// that lacks what it had committed.
fn check(expected: Expected, guard: Guard, target: Target, patience: Duration) -> Hook {
    Hook::async_fn(move |client, _| {
        let (expected, guard, target) = (expected.clone(), guard.clone(), target.clone());
        Box::pin(async move {
            let checks = async {
                expected.check(client).await?;
                guard.check(client).await
            };
            let result = match tokio::time::timeout(patience, checks).await {
                Ok(result) => result,
                Err(_) => Err(Error::no_connection(&target)),
            };
            match result {
                Ok(()) => Ok(()),
                Err(error) => Err(HookError::Backend(connect::pack(error).await)),
            }
        })
    })
}

/// A connection of its own, outside the pools, for migrations. The server's notices go to the
/// log, where a person reads them.
///
/// # Errors
/// Why it did not work, and what to do about it.
pub(crate) async fn connect_alone(settings: &Settings) -> Result<Client, Error> {
    let connector = connector(settings, Purpose::Migration)?;
    let connecting = tokio::time::timeout(connector.total_patience(), connector.connect());
    let (client, mut connection) = match connecting.await {
        Ok(result) => result?,
        Err(_) => return Err(Error::no_connection(&connector.target())),
    };
    tokio::spawn(async move {
        // Ends when the client is dropped, or with the error that the client's caller sees.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let AsyncMessage::Notice(notice) = message else { continue };
            // What a migration raises is for people; that something exists already is not.
            if *notice.code() == SqlState::SUCCESSFUL_COMPLETION {
                tracing::warn!(
                    hint = notice.hint().map(said),
                    "database: {}",
                    said(notice.message())
                );
            } else {
                let code = said(notice.code().code());
                tracing::debug!(code, "database: {}", said(notice.message()));
            }
        }
    });
    Ok(client)
}

#[cfg(test)]
mod tests;
