//! What an aggregator tells of itself and of its hosts' clocks, so that nobody is blamed wrongly.
//!
//! All by the database's clock: aggregators' and hosts' own may be off.

use std::time::Duration;

use postgres_types::ToSql;
use rowcall_core::id::{HostId, RunId, UnixMicros};

use crate::Store;
use crate::error::Error;
use crate::time::Time;

const OBSERVED: &str = include_str!("../../../sql/queries/watch/observed.sql");
const TOLD_CLOCKS: &str = include_str!("../../../sql/queries/watch/told_clocks.sql");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[OBSERVED, TOLD_CLOCKS];

/// What a host told of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldClock {
    /// Which host.
    pub host_id: HostId,
    /// Its wall clock when it told.
    pub clock: UnixMicros,
    /// How long ago that was.
    pub waited: Duration,
}

impl Store {
    /// This aggregator can receive samples and commit them: a row of `rowcall.aggregator_span`
    /// goes on until now, or begins, after more than 60 s without such a call. `stopping`: it ends
    /// now, on purpose. To be called at each commit or at least every 20 s.
    ///
    /// # Errors
    /// As the database says.
    pub async fn observed(
        &self,
        aggregator: &str,
        run: RunId,
        stopping: bool,
    ) -> Result<(), Error> {
        self.tell(OBSERVED, &[&aggregator, &run.as_i64(), &stopping]).await
    }

    /// Keeps which hosts' clocks are off by more than their interval, in `rowcall.clock_span`. Of
    /// all others nothing is written, nor of hosts that are not known.
    ///
    /// # Errors
    /// As the database says.
    pub async fn told_clocks(&self, told: &[ToldClock]) -> Result<(), Error> {
        if told.is_empty() {
            return Ok(());
        }
        let hosts: Vec<i32> = told.iter().map(|told| told.host_id.0).collect();
        let clocks: Vec<Time> = told.iter().map(|told| Time(told.clock)).collect();
        let waited: Vec<f64> = told.iter().map(|told| told.waited.as_secs_f64()).collect();
        self.tell(TOLD_CLOCKS, &[&hosts, &clocks, &waited]).await
    }

    async fn tell(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.execute(&statement, parameters).await?;
            Ok(())
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}

#[cfg(test)]
mod tests;
