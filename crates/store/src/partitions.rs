//! Days of `host_usage`, and of the tables beside it: one partition each, by UTC, made ahead of need.
//!
//! Which days exist is decided in the database, by its clock and in UTC, under an advisory lock;
//! several aggregators may ask at once. Where a person's default partition holds rows of a day, its
//! table does not get that day, which the log says; the others do.

use rowcall_core::id::UnixMicros;

use crate::Store;
use crate::error::{Error, said};
use crate::time::Time;

const AHEAD: &str = include_str!("../../../sql/queries/partitions/ahead.sql");
const OF_TIMES: &str = include_str!("../../../sql/queries/partitions/of_times.sql");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[AHEAD, OF_TIMES];

/// Days made ahead: so long may every aggregator be down or without the right to make one.
const DAYS_AHEAD: i32 = 7;

impl Store {
    /// Makes the days from yesterday to 7 days ahead that are missing; to be called at start and
    /// every hour. How many it made.
    ///
    /// # Errors
    /// As the database says.
    pub async fn ensure_partitions(&self) -> Result<u32, Error> {
        let connection = self.ingest.get().await?;
        let result = self.ingest.wait(count(&connection, AHEAD, &[&DAYS_AHEAD])).await;
        self.ingest.settle(connection, &result);
        if let Ok(made @ 1..) = result {
            tracing::info!(made, "days added");
        }
        result
    }

    /// Makes the days on which some records lie, as far as their time is acceptable.
    pub(crate) async fn ensure_days_of(&self, times: &[UnixMicros]) -> Result<u32, Error> {
        let times: Vec<Time> = times.iter().copied().map(Time).collect();
        let retention = self.settings.retention.as_secs_f64();
        let connection = self.ingest.get().await?;
        let result = self.ingest.wait(count(&connection, OF_TIMES, &[&times, &retention])).await;
        self.ingest.settle(connection, &result);
        result
    }
}

async fn count(
    connection: &deadpool_postgres::Object,
    sql: &str,
    parameters: &[&(dyn postgres_types::ToSql + Sync)],
) -> Result<u32, Error> {
    let row = connection.query_one(sql, parameters).await?;
    let (made, blocked): (i32, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
    for table in blocked {
        tracing::error!("{}", said(&table));
    }
    Ok(made.unsigned_abs())
}

#[cfg(test)]
mod tests;
