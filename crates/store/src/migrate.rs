//! The schema's versions: applied once each, in order, under an advisory lock.
//!
//! The files are part of the program. A migration is append-only from the first tag on: a changed
//! one is found by its checksum and refused. The database records its version and the oldest
//! version that may still use it, so that an older program keeps working beside a newer one until
//! a migration says otherwise.

use tokio_postgres::Client;

use crate::error::{Error, Kind};
use crate::locks;
use crate::pool::{Settings, connect_alone};

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// From 1, without holes.
    pub(crate) version: u32,
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// The oldest version whose program still works with the schema after this step.
    pub(crate) oldest_compatible: u32,
}

macro_rules! step {
    ($version:literal, $name:literal, oldest_compatible: $oldest:literal) => {
        Step {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../../sql/migrations/", $name, ".sql")),
            oldest_compatible: $oldest,
        }
    };
}

/// All steps, oldest first.
pub(crate) const STEPS: &[Step] = &[
    step!(1, "V0001__hosts_and_usage", oldest_compatible: 1),
    step!(2, "V0002__reader_role", oldest_compatible: 1),
    step!(3, "V0003__retention", oldest_compatible: 1),
    step!(4, "V0004__ledger", oldest_compatible: 4),
    // A program of before would let those in whose access ended.
    step!(5, "V0005__access", oldest_compatible: 5),
    step!(6, "V0006__diagnostics", oldest_compatible: 5),
    step!(7, "V0007__history", oldest_compatible: 5),
];

const PREPARE: &str = include_str!("../../../sql/queries/migrate/prepare.sql");
const READY: &str = include_str!("../../../sql/queries/migrate/ready.sql");
const APPLIED: &str = include_str!("../../../sql/queries/migrate/applied.sql");
const VERSION: &str = include_str!("../../../sql/queries/migrate/version.sql");
const RECORD: &str = include_str!("../../../sql/queries/migrate/record.sql");
const SET_VERSION: &str = include_str!("../../../sql/queries/migrate/set_version.sql");
const ROLES: &str = include_str!("../../../sql/queries/migrate/roles.sql");

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The schema's version before; 0: there was none.
    pub from: u32,
    /// The schema's version now.
    pub to: u32,
}

/// Brings the schema to the last of `steps`.
///
/// # Errors
/// [`Kind::Schema`] if the database is too new for this program or its history is another one;
/// [`Kind::Config`] without the rights; others as they come.
pub(crate) async fn migrate(settings: &Settings, steps: &[Step]) -> Result<Migration, Error> {
    let mut client = connect_alone(settings).await?;
    // Held until the connection ends, also when this future is dropped half way.
    client.execute("SELECT pg_advisory_lock($1)", &[&locks::MIGRATE]).await?;
    // Waiting for another process was fine; blocking ingest behind a lock of ours is not.
    let timeout = settings.lock_timeout.as_millis();
    client.batch_execute(&format!("SET lock_timeout = {timeout}")).await?;

    if !client.query_one(READY, &[]).await?.try_get::<_, bool>(0)? {
        client.batch_execute(PREPARE).await.map_err(no_rights)?;
    }
    let known = steps.last().map_or(0, |step| step.version);
    let (from, oldest) = version(&client).await?;
    check_compatible(from, oldest, known)?;
    check_history(&client, steps).await?;
    for step in steps.iter().filter(|step| step.version > from) {
        apply(&mut client, step).await?;
        tracing::info!(version = step.version, name = step.name, "schema migrated");
    }
    if from <= known {
        // That a role is missing is told once, not at every start.
        if from == known {
            client.batch_execute("SET client_min_messages = warning").await?;
        }
        let failed = |error| no_rights(error).with_context("rights of the roles");
        client.batch_execute(ROLES).await.map_err(failed)?;
    }
    Ok(Migration { from, to: from.max(known) })
}

/// Looks, without changing anything, whether the schema is one that this program works with.
///
/// # Errors
/// [`Kind::Schema`] if it is too new, too old or not there.
pub(crate) async fn check(client: &Client) -> Result<(), Error> {
    let known = STEPS.last().map_or(0, |step| step.version);
    let ready = client.query_one(READY, &[]).await?.try_get(0)?;
    let (version, oldest) = if ready { version(client).await? } else { (0, 0) };
    check_compatible(version, oldest, known)?;
    if version < known {
        return Err(Error::new(
            Kind::Schema,
            format!(
                "the database's schema has version {version}, this program needs {known}: run \
                 `rowcall-aggregator migrate` as the database's owner"
            ),
        ));
    }
    Ok(())
}

fn check_compatible(version: u32, oldest: u32, known: u32) -> Result<(), Error> {
    if oldest <= known {
        return Ok(());
    }
    Err(Error::new(
        Kind::Schema,
        format!(
            "the database's schema has version {version} and needs a program of schema version \
             {oldest} or later; this one knows {known}: install a newer release"
        ),
    ))
}

/// The version in force, and the oldest one that may use it.
async fn version(client: &Client) -> Result<(u32, u32), Error> {
    let Some(row) = client.query_opt(VERSION, &[]).await? else { return Ok((0, 0)) };
    let number = |index| -> Result<u32, Error> {
        let number: i32 = row.try_get(index)?;
        u32::try_from(number)
            .map_err(|_| Error::new(Kind::Schema, format!("rowcall.schema holds {number}")))
    };
    Ok((number(0)?, number(1)?))
}

/// What was applied must be what this program holds.
async fn check_history(client: &Client, steps: &[Step]) -> Result<(), Error> {
    for row in client.query(APPLIED, &[]).await? {
        let (version, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let step = steps.iter().find(|step| i64::from(step.version) == i64::from(version));
        if let Some(step) = step
            && checksum != self::checksum(step.sql)
        {
            return Err(Error::new(
                Kind::Schema,
                format!(
                    "migration {} in the database is not the one in this program: the file was \
                     changed after it was applied; use the release that made the database, or \
                     restore the file",
                    step.name
                ),
            ));
        }
    }
    Ok(())
}

async fn apply(client: &mut Client, step: &Step) -> Result<(), Error> {
    let failed = |error: tokio_postgres::Error| {
        no_rights(error).with_context(&format!("migration {}", step.name))
    };
    let transaction = client.transaction().await?;
    transaction.batch_execute(step.sql).await.map_err(failed)?;
    let version = i32::try_from(step.version)
        .map_err(|_| Error::new(Kind::Internal, "a schema version beyond 2^31"))?;
    let oldest = i32::try_from(step.oldest_compatible)
        .map_err(|_| Error::new(Kind::Internal, "a schema version beyond 2^31"))?;
    transaction.execute(RECORD, &[&version, &step.name, &checksum(step.sql)]).await?;
    transaction.execute(SET_VERSION, &[&version, &oldest]).await?;
    transaction.commit().await?;
    Ok(())
}

fn no_rights(error: tokio_postgres::Error) -> Error {
    if error.code().map(tokio_postgres::error::SqlState::code) != Some("42501") {
        return error.into();
    }
    Error::from(error).with_context(
        "the user may not change the schema; make it the database's owner (ALTER DATABASE .. \
         OWNER TO ..) or run `rowcall-aggregator migrate` once as the owner",
    )
}

/// 64-bit FNV-1a of a file as 16 hex digits. It finds an edit, not an attack: whoever can change
/// the database can change what it says about itself. Line ends of all systems count the same.
pub(crate) fn checksum(sql: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in sql.bytes().filter(|byte| *byte != b'\r') {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests;
