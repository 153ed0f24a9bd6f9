//! Records of what a host is.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use rowcall_core::id::{HostId, UnixMicros};
use rowcall_core::record::HostFacts;

use crate::error::Error;
use crate::session::told;
use crate::time::Time;

pub(super) const FACTS: &str = include_str!("../../../../sql/queries/ingest/facts.sql");

/// Most records of facts of one host that one call tells, the newest, for others wait for them: of a
/// host that changed more often than that while nobody could be told, what it was in between may
/// be lost, and a boot in between.
const MOST_OF_A_HOST: usize = 8;

/// What the records of one call tell of each host, in order.
#[derive(Default)]
pub(super) struct ToldFacts<'a> {
    by_host: BTreeMap<HostId, Vec<(UnixMicros, &'a HostFacts)>>,
}

impl<'a> ToldFacts<'a> {
    pub(super) fn push(&mut self, host_id: HostId, time: UnixMicros, facts: &'a HostFacts) {
        self.by_host.entry(host_id).or_default().push((time, facts));
    }

    /// Tells them, in the order of hosts. Their rows are locked before.
    pub(super) async fn tell(self, transaction: &Transaction<'_>) -> Result<(), Error> {
        if self.by_host.is_empty() {
            return Ok(());
        }
        let statement = transaction.prepare_cached(FACTS).await?;
        for (host_id, records) in self.by_host {
            let newest = records.len().saturating_sub(MOST_OF_A_HOST);
            for (time, facts) in records.into_iter().skip(newest) {
                let (text, booted) = (told(facts, None)?, facts.booted.map(Time));
                transaction
                    .execute(&statement, &[&host_id.0, &Time(time), &text, &facts.boot_id, &booted])
                    .await?;
            }
        }
        Ok(())
    }
}
