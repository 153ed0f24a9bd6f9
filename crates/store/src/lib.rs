//! Rowcall's PostgreSQL: pools, migrations, sessions, ingest and reports.
//!
//! The only crate that sees `tokio-postgres` and the files in `sql/`. It knows nothing of the
//! wire: what it takes and gives are [`rowcall_core`]'s types. Works with PostgreSQL 15 to 18.

pub mod access;
mod connect;
mod error;
mod guard;
pub mod hosts;
mod identity;
mod ingest;
mod locks;
mod migrate;
mod partitions;
mod pool;
pub mod reports;
mod retention;
mod session;
mod sqlstate;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod ticks;
mod time;
mod watch;

use std::sync::Arc;

pub use connect::{check_url, url_has_password, url_shown};
pub use error::{Error, Kind};
pub use guard::{LiveMark, LiveMarks};
pub use identity::SchemaId;
pub use ingest::{Committed, Fallen, Incoming};
pub use migrate::Migration;
pub use pool::{PoolStatus, Settings};
pub use retention::{DropReason, DroppedDay, Retained};
pub use session::{
    EpochId, Lease, Mark, OpenedSession, Party, SessionHolder, SessionRefusal, Started,
    StreamHolder,
};
pub use watch::ToldClock;

use pool::{Pool, Purpose};
use rowcall_core::clock::SystemClock;

const SERVER: &str = include_str!("../../../sql/queries/migrate/server.sql");

/// The oldest PostgreSQL that works, as `server_version_num` has it.
const OLDEST_SERVER: i32 = 150_000;

/// One database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    settings: Arc<Settings>,
    ingest: Pool,
    /// Each report holds one of its connections until it is read or dropped.
    reports: Pool,
    put_aside: ingest::PutAside,
}

impl Store {
    /// Reads the URL and makes one connection to see that everything is right.
    ///
    /// # Errors
    /// [`Kind::Config`] for a URL, password, database or right that somebody must correct, and
    /// for a server that is too old or whose database is not in UTF-8; [`Kind::Transient`] when
    /// the server is out of reach or not ready yet.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let store = Self {
            ingest: Pool::new(settings, Purpose::Ingest, settings.ingest_connections)?,
            reports: Pool::new(settings, Purpose::Reports, settings.report_connections)?,
            settings: Arc::new(settings.clone()),
            put_aside: ingest::PutAside::new(SystemClock::shared()),
        };
        let connection = store.ingest.get().await?;
        let look = async { connection.query_one(SERVER, &[]).await.map_err(Error::from) };
        let result = store.ingest.wait(look).await;
        store.ingest.settle(connection, &result);
        let row = result?;
        let (version, encoding): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        if version < OLDEST_SERVER {
            return Err(Error::new(
                Kind::Config,
                format!("PostgreSQL {} is too old, 15 to 18 will do", version / 10_000),
            ));
        }
        if encoding != "UTF8" {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "the database's encoding is {encoding}, it must be UTF8: CREATE DATABASE .. \
                     ENCODING 'UTF8' TEMPLATE template0"
                ),
            ));
        }
        Ok(store)
    }

    /// Brings the schema to the version this program knows. Several processes may do so at once.
    ///
    /// A newer schema stays as it is, if its oldest compatible version allows this program.
    ///
    /// # Errors
    /// [`Kind::Schema`] if the schema is too new, or a migration was changed after it was applied.
    pub async fn migrate(&self) -> Result<Migration, Error> {
        migrate::migrate(&self.settings, migrate::STEPS).await
    }

    /// Looks whether the schema is one that this program works with, for an aggregator that may
    /// not migrate. Changes nothing.
    ///
    /// # Errors
    /// [`Kind::Schema`] if it is too new, too old or not there, with what to do; [`Kind::Config`]
    /// without the right to look.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let result = self.ingest.wait(migrate::check(&connection)).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// The schema that is there now. None: it is gone.
    ///
    /// # Errors
    /// As the database says.
    pub async fn schema_id(&self) -> Result<Option<SchemaId>, Error> {
        let connection = match self.ingest.get().await {
            // Not the expected one: what it is, only a connection without expectations can tell.
            Err(error) if error.kind() == Kind::Schema => {
                let client = pool::connect_alone(&self.settings).await?;
                return self.ingest.wait(identity::read(&client)).await;
            }
            connection => connection?,
        };
        let result = self.ingest.wait(identity::read(&connection)).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// From now on, connections that write must find this schema; None: any, as before the first
    /// call. Where they find another one, because the whole database was replaced, what needs them
    /// fails with [`Kind::Schema`], rather than give one host's samples to another of its number.
    ///
    /// Tables dropped and made anew in the same database cut no connection: that is for the caller
    /// to see, by [`Store::schema_id`].
    pub fn expect_schema(&self, schema: Option<SchemaId>) {
        self.ingest.expect_schema(schema);
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// Whatever keeps it from answering.
    pub async fn ping(&self) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let result =
            self.ingest.wait(async { Ok(connection.simple_query("SELECT 1").await?) }).await;
        self.ingest.settle(connection, &result);
        result.map(drop)
    }
}
