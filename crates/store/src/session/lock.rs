//! A host by its name, locked: changes of one host come one after the other.

use deadpool_postgres::Transaction;
use postgres_types::ToSql;
use rowcall_core::id::HostName;

use super::{INSERT, LATEST_INSERT, LOCK};
use crate::error::{Error, Kind};

/// A host whose row is locked.
pub(crate) struct Locked {
    pub(crate) id: i32,
    /// What it is called now.
    pub(crate) name: String,
    /// It was made for that.
    pub(crate) is_new: bool,
}

/// Locks the host that has a name, or had it. None: there is none.
pub(crate) async fn find_host(
    transaction: &Transaction<'_>,
    name: &HostName,
) -> Result<Option<Locked>, Error> {
    let lock = transaction.prepare_cached(LOCK).await?;
    let row = transaction.query_opt(&lock, &[&name.as_str()]).await?;
    let locked = |row: tokio_postgres::Row| -> Result<Locked, Error> {
        Ok(Locked { id: row.try_get(0)?, name: row.try_get(1)?, is_new: false })
    };
    row.map(locked).transpose()
}

/// Locks the host that has a name, or had it; made if there is none.
pub(crate) async fn lock_host(
    transaction: &Transaction<'_>,
    name: &HostName,
) -> Result<Locked, Error> {
    if let Some(host) = find_host(transaction, name).await? {
        return Ok(host);
    }
    let insert = transaction.prepare_cached(INSERT).await?;
    if let Some(row) = transaction.query_opt(&insert, &[&name.as_str()]).await? {
        return Ok(Locked { id: row.try_get(0)?, name: name.as_str().to_owned(), is_new: true });
    }
    // Somebody else was faster, and has committed.
    find_host(transaction, name).await?.ok_or_else(|| gone(name))
}

/// A host is in the roll from now on, unless it was before.
pub(crate) async fn join_roll(transaction: &Transaction<'_>, host_id: i32) -> Result<(), Error> {
    execute(transaction, LATEST_INSERT, &[&host_id]).await
}

pub(super) fn gone(name: &HostName) -> Error {
    Error::new(
        Kind::Transient,
        format!("host {name} was made and removed by others at the same moment"),
    )
}

/// A statement without an answer.
pub(crate) async fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, parameters).await?;
    Ok(())
}
