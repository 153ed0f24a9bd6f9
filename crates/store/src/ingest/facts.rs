//! Records of what a host is.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use postgres_types::ToSql;
use rowcall_core::id::HostId;
use rowcall_core::record::HostFacts;

use super::Incoming;
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
    by_host: BTreeMap<HostId, Vec<(&'a Incoming, &'a HostFacts)>>,
}

impl<'a> ToldFacts<'a> {
    pub(super) fn push(&mut self, incoming: &'a Incoming, facts: &'a HostFacts) {
        self.by_host.entry(incoming.host_id).or_default().push((incoming, facts));
    }

    /// Tells them, in the order of hosts. Their rows are locked before.
    pub(super) async fn tell(self, transaction: &Transaction<'_>) -> Result<(), Error> {
        if self.by_host.is_empty() {
            return Ok(());
        }
        let statement = transaction.prepare_cached(FACTS).await?;
        for (host_id, records) in self.by_host {
            let newest = records.len().saturating_sub(MOST_OF_A_HOST);
            for (incoming, facts) in records.into_iter().skip(newest) {
                let (text, booted) = (told(facts, None)?, facts.booted.map(Time));
                let record = &incoming.record;
                let parameters: [&(dyn ToSql + Sync); 7] = [
                    &host_id.0,
                    &Time(record.time),
                    &text,
                    &facts.boot_id,
                    &booted,
                    &incoming.epoch_id.0,
                    &record.sequence.as_i64(),
                ];
                transaction.execute(&statement, &parameters).await?;
            }
        }
        Ok(())
    }
}
