//! What is kept, and what is dropped: whole days of `host_usage` with what stands beside it, days of
//! readings of devices sooner, old refused records, and what explained samples that are gone.
//!
//! Which day goes is decided in the database, by its clock and in UTC, under the lock that days are
//! made under. Today and yesterday always stay, and so does what a person made of a partition. Each
//! dropped day is recorded in `rowcall.dropped_day`; ingest refuses samples of it and of all before.
//!
//! Dropping takes the table for itself for a moment. It never waits long for those who have it:
//! ingest would wait behind it.

use std::fmt;
use std::time::Duration;

use postgres_types::ToSql;

use crate::Store;
use crate::error::{Error, Kind};

const DROP_DAY: &str = include_str!("../../../sql/queries/retention/drop_day.sql");
const DROP_DEVICE_DAY: &str = include_str!("../../../sql/queries/retention/drop_device_day.sql");
const FORGET_DEVICES: &str = include_str!("../../../sql/queries/retention/forget_devices.sql");
const TOO_LARGE: &str = include_str!("../../../sql/queries/retention/too_large.sql");
const FORGET_OLD: &str = include_str!("../../../sql/queries/retention/forget_old.sql");
const FORGET_ACCESS: &str = include_str!("../../../sql/queries/retention/forget_access.sql");
const FORGET_REFUSED: &str = include_str!("../../../sql/queries/retention/forget_refused.sql");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[
    DROP_DAY,
    DROP_DEVICE_DAY,
    TOO_LARGE,
    FORGET_OLD,
    FORGET_ACCESS,
    FORGET_REFUSED,
    FORGET_DEVICES,
];

/// Tries to drop days while others hold the table, in one call.
const TRIES: u32 = 5;
/// Pause between them, so that the others can go on.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1_000 });
/// Most days that one call drops; the next call goes on.
const MOST_DAYS: usize = 100;
/// Most deletions of 10,000 rows of a kind in one call.
const MOST_DELETIONS: u32 = 100;

/// Tables that have days beside those of `host_usage`.
const BESIDE_USAGE: usize = 3;

/// Which days.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// Those of `host_usage`, with what stands beside it.
    Usage,
    /// Those of devices, which are dropped sooner.
    Devices,
}

/// What became of a try to drop a day.
enum Freed {
    Dropped(DroppedDay),
    /// Others hold the table.
    Held,
    /// There is none to drop.
    Nothing,
}

/// What [`Store::retain`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Days of `host_usage`, oldest first.
    pub days: Vec<DroppedDay>,
    /// Days of readings of devices, of metrics, or of vitals without samples, each table by itself;
    /// those that went with a day of `host_usage` are not among them.
    pub device_days: u64,
    /// Rows of `rowcall.quarantine` that were older than 30 days.
    pub quarantine_rows: u64,
    /// Gaps, closed epochs and intervals that ended 30 days before the oldest sample kept; tokens and
    /// conflicts that were over a year ago, certificates that expired 90 days ago, sessions of
    /// aggregators that are gone; devices of which no reading is left.
    pub old_rows: u64,
}

/// A day of `host_usage` that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedDay {
    /// The day, UTC, as `2026-11-03`.
    pub day: String,
    /// What it took on disk, in bytes, indexes included.
    pub bytes: u64,
    /// Why.
    pub reason: DropReason,
}

/// Why a day was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// All of it was older than the retention.
    Age,
    /// It was the oldest day of a database that was too large.
    Size,
}

impl DropReason {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Store {
    /// Drops the days of `host_usage` that are past the retention or, oldest first, above the
    /// database's size, those of devices past theirs, refused records older than 30 days, and what explained samples that are
    /// gone, or let in who does not come any more; to be called every hour. Several processes may
    /// call it at once: one of them works, the others find nothing to do.
    ///
    /// A day that reports hold is tried again a few times and then left for the next call.
    ///
    /// # Errors
    /// As the database says. Once a day is dropped, errors are logged instead, so that the caller
    /// learns of the day.
    pub async fn retain(&self) -> Result<Retained, Error> {
        let mut retained = Retained::default();
        let result = self.drop_days(&mut retained.days).await;
        let result = match result {
            Ok(()) => self.drop_device_days(&mut retained.device_days).await,
            error => error,
        };
        let devices = self.settings.device_retention.as_secs_f64();
        let result = match result {
            Ok(()) => self.forget(FORGET_DEVICES, &[&devices], &mut retained.old_rows).await,
            error => error,
        };
        let result = match result {
            Ok(()) => self.forget(FORGET_REFUSED, &[], &mut retained.quarantine_rows).await,
            error => error,
        };
        let retention = self.settings.retention.as_secs_f64();
        let result = match result {
            Ok(()) => self.forget(FORGET_OLD, &[&retention], &mut retained.old_rows).await,
            error => error,
        };
        let result = match result {
            Ok(()) => self.forget(FORGET_ACCESS, &[], &mut retained.old_rows).await,
            error => error,
        };
        match result {
            Err(error) if retained == Retained::default() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "not all is dropped that should be; tried again next time");
                Ok(retained)
            }
            Ok(()) => Ok(retained),
        }
    }

    async fn drop_days(&self, days: &mut Vec<DroppedDay>) -> Result<(), Error> {
        while days.len() < MOST_DAYS {
            match self.unless_held(Whose::Usage).await? {
                Freed::Dropped(day) => days.push(day),
                Freed::Held => return Ok(()),
                Freed::Nothing => return self.warn_if_too_large().await,
            }
        }
        Ok(())
    }

    async fn drop_device_days(&self, days: &mut u64) -> Result<(), Error> {
        for _ in 0..MOST_DAYS * BESIDE_USAGE {
            match self.unless_held(Whose::Devices).await? {
                Freed::Dropped(_) => *days += 1,
                Freed::Held | Freed::Nothing => break,
            }
        }
        Ok(())
    }

    /// Drops one, with a few tries where others hold the table.
    async fn unless_held(&self, whose: Whose) -> Result<Freed, Error> {
        let mut blocked = 0;
        loop {
            let dropped = match whose {
                Whose::Usage => self.drop_day().await,
                Whose::Devices => self.drop_device_day().await,
            };
            let whose = match whose {
                Whose::Usage => "host_usage",
                Whose::Devices => "devices",
            };
            match dropped {
                Ok(Some(day)) => return Ok(Freed::Dropped(day)),
                Ok(None) => return Ok(Freed::Nothing),
                // Somebody has the table.
                Err(error) if error.sqlstate() == Some("55P03") => {
                    blocked += 1;
                    if blocked == TRIES {
                        tracing::warn!(
                            tries = blocked,
                            "a day of {whose} was not dropped: reports hold the table; tried again \
                             next time"
                        );
                        return Ok(Freed::Held);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                // A person's view, or the like, stands on it.
                Err(error) if error.sqlstate() == Some("2BP01") => {
                    return Err(error.with_context(&format!(
                        "the oldest day of {whose} stays, and with it all later ones"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn drop_day(&self) -> Result<Option<DroppedDay>, Error> {
        let retention = self.settings.retention.as_secs_f64();
        let limit = self.size_limit();
        let connection = self.ingest.get().await?;
        let work = async {
            let row = connection.query_opt(DROP_DAY, &[&retention, &limit]).await?;
            let Some(row) = row else { return Ok(None) };
            let reason = match row.try_get("reason")? {
                "age" => DropReason::Age,
                "size" => DropReason::Size,
                other => {
                    let words = format!("a day was dropped for the unknown reason {other:?}");
                    return Err(Error::new(Kind::Internal, words));
                }
            };
            let bytes: i64 = row.try_get("bytes")?;
            Ok(Some(DroppedDay { day: row.try_get("day")?, bytes: bytes.unsigned_abs(), reason }))
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    async fn drop_device_day(&self) -> Result<Option<DroppedDay>, Error> {
        let retention = self.settings.retention.as_secs_f64();
        let devices = self.settings.device_retention.as_secs_f64();
        let connection = self.ingest.get().await?;
        let work = async {
            let row = connection.query_opt(DROP_DEVICE_DAY, &[&retention, &devices]).await?;
            let Some(row) = row else { return Ok(None) };
            let (day, bytes): (String, i64) = (row.try_get("day")?, row.try_get("bytes")?);
            tracing::info!(day, bytes, "day of devices dropped");
            Ok(Some(DroppedDay { day, bytes: bytes.unsigned_abs(), reason: DropReason::Age }))
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Nothing is left to drop, and yet it is too large: somebody must make room.
    async fn warn_if_too_large(&self) -> Result<(), Error> {
        let Some(limit) = self.size_limit() else { return Ok(()) };
        let connection = self.ingest.get().await?;
        let work = async {
            let row = connection.query_opt(TOO_LARGE, &[&limit]).await?;
            Ok(row.map(|row| row.try_get::<_, i64>(0)).transpose()?)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        if let Some(bytes) = result? {
            tracing::warn!(
                bytes,
                limit,
                "the database is larger than it may be, and only today and yesterday are left"
            );
        }
        Ok(())
    }

    fn size_limit(&self) -> Option<i64> {
        self.settings.max_database_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Deletes, by one of the queries that tell how many, until none is left.
    async fn forget(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        rows: &mut u64,
    ) -> Result<(), Error> {
        for _ in 0..MOST_DELETIONS {
            let connection = self.ingest.get().await?;
            let work =
                async { Ok(connection.query_one(sql, parameters).await?.try_get::<_, i64>(0)?) };
            let result = self.ingest.wait(work).await;
            self.ingest.settle(connection, &result);
            match result? {
                0 => break,
                deleted => *rows += deleted.unsigned_abs(),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
