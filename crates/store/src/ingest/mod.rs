//! Records into rows, durable when the call returns.
//!
//! - Atomic per call: rows, marks and everything else in one transaction, which for samples alone
//!   is one statement. The exception is a call with a row that the database does not take: then
//!   the records before it, itself (put aside) and those after it commit one after the other, so
//!   that a mark never passes what is not stored.
//! - All or nothing per host and epoch: of an epoch that is not its host's current one, nothing
//!   is stored. Nor where the epoch's mark does not reach up to its first record: then the
//!   database went back in time, and a mark that passed the hole would hide it from the agent.
//! - What a call stored already changes nothing when it comes again, but the count of what did.
//! - A host's ledger moves with its mark: each tick is counted when the mark passes it.
//! - Samples are rows by host and time: of those of one call and epoch with the same time, the
//!   first is one, and the others are put aside. So are readings of devices.
//! - Vitals are stored with their sample or not at all.
//! - Records of one epoch stand in order of their sequences; the session machine sees to that.

mod aside;
mod columns;
mod devices;
mod facts;
mod ledger;
mod vitals;
mod write;

use rowcall_core::id::{HostId, UnixMicros};
use rowcall_core::record::{Body, Record};

use crate::error::{Error, Kind};
use crate::session::CONFLICT_TRIES;
use crate::{EpochId, Store};

pub(crate) use aside::PutAside;
use devices::Kept;
/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&[&str]] = &[write::QUERIES, devices::QUERIES];

/// A day can go missing again while we make it, by retention in another process; once is chance.
const PARTITION_TRIES: u32 = 3;

/// A record as it came from a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Who sent it.
    pub host_id: HostId,
    /// The epoch it belongs to.
    pub epoch_id: EpochId,
    /// What it is.
    pub record: Record,
    /// Ticks that were due on the node up to its newest record, where the batch that this record
    /// ended told it.
    pub told_due: Option<i64>,
}

/// What became of the records of one call: all of them are durable now, except those of
/// [`Committed::superseded`] and [`Committed::fallen`]. The numbers add up to those that are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// New rows of `host_usage`.
    pub samples: u64,
    /// Samples, gaps and refused records that were there already.
    pub duplicates: u64,
    /// Records newly put aside; of many of one host and day most are only counted.
    pub quarantined: u64,
    /// New gaps.
    pub gaps: u64,
    /// Records of what a host is.
    pub facts: u64,
    /// New rows of `rowcall.device_sample`.
    pub device_rows: u64,
    /// Readings of devices that are older than they are kept: not stored, and acknowledged.
    pub expired: u64,
    /// New rows of `host_metric`, which came in readings of devices; not in the sum.
    pub metric_rows: u64,
    /// Epochs that are not their host's current one any more: nothing of theirs was stored or
    /// may be acknowledged; end the stream. A host may have another stream in the same call that
    /// is current, hence the epoch.
    pub superseded: Vec<(HostId, EpochId)>,
    /// Epochs whose mark does not reach up to what was to be stored: the database went back in
    /// time. Nothing of theirs may be acknowledged; end the stream, and the agent sees how far the
    /// mark is and sends again from there. Nothing of theirs was stored either, or where the call
    /// was committed in pieces, nothing beyond a hole.
    pub fallen: Vec<Fallen>,
}

/// An epoch whose mark is lower than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fallen {
    /// The host.
    pub host_id: HostId,
    /// Its current epoch.
    pub epoch_id: EpochId,
    /// The sequence that the mark must have got to for the records to be stored; it had.
    pub from: i64,
    /// What it is now; 0: nothing is committed.
    pub to: i64,
}

impl Committed {
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.duplicates += other.duplicates;
        self.quarantined += other.quarantined;
        self.gaps += other.gaps;
        self.facts += other.facts;
        self.device_rows += other.device_rows;
        self.expired += other.expired;
        self.metric_rows += other.metric_rows;
        self.superseded.extend(other.superseded);
        self.superseded.sort_unstable();
        self.superseded.dedup();
        self.fallen.extend(other.fallen);
        self.fallen.sort_unstable();
        self.fallen.dedup_by_key(|fallen| (fallen.host_id, fallen.epoch_id));
    }
}

/// A record on its way: as it came, or to be put aside for a reason that the server gave.
#[derive(Clone, Copy)]
struct Item<'a> {
    incoming: &'a Incoming,
    refused: Option<&'a str>,
}

impl<'a> Item<'a> {
    fn new(incoming: &'a Incoming) -> Self {
        Self { incoming, refused: None }
    }

    fn key(&self) -> (HostId, EpochId) {
        (self.incoming.host_id, self.incoming.epoch_id)
    }
}

impl Store {
    /// Stores records. Returns after COMMIT: what it returns may be acknowledged.
    ///
    /// Conflicts between transactions and missing days are settled here; after any other
    /// transient error the whole call is to be repeated.
    ///
    /// # Errors
    /// As the database says; then nothing may be acknowledged, though a part may be stored.
    pub async fn ingest(&self, records: &[Incoming]) -> Result<Committed, Error> {
        self.put_aside.log_rest();
        let mut items: Vec<_> = records.iter().map(Item::new).collect();
        aside::of_equal_times(&mut items);
        let mut committed = Committed::default();
        // Pieces still to store, the earliest last.
        let mut pieces = vec![items.as_slice()];
        while let Some(piece) = pieces.pop() {
            if piece.is_empty() {
                continue;
            }
            match self.store(piece).await {
                Ok(stored) => committed.add(stored),
                // A day that stays missing is one that a person cut out: its rows are bad, too.
                Err(error) if matches!(error.kind(), Kind::Data | Kind::MissingPartition) => {
                    match piece {
                        [one] => committed.add(self.put_aside(*one, &error).await?),
                        many => {
                            let (earlier, later) = many.split_at(many.len() / 2);
                            pieces.push(later);
                            pieces.push(earlier);
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(committed)
    }

    /// Stores one piece, in one transaction.
    async fn store(&self, items: &[Item<'_>]) -> Result<Committed, Error> {
        let (mut conflicts, mut days) = (0, 0);
        loop {
            let mut connection = self.ingest.get().await?;
            let result = self.ingest.wait(write::write(&mut connection, items, self.kept())).await;
            self.ingest.settle(connection, &result);
            match result {
                Err(error) if error.is_conflict() && conflicts + 1 < CONFLICT_TRIES => {
                    conflicts += 1;
                }
                Err(error) if error.kind() == Kind::MissingPartition && days < PARTITION_TRIES => {
                    days += 1;
                    let made = self.ensure_days_of(&times_of_rows(items)).await?;
                    tracing::info!(made, "days of samples were missing");
                }
                other => return other,
            }
        }
    }

    fn kept(&self) -> Kept {
        Kept {
            samples_s: self.settings.retention.as_secs_f64(),
            devices_s: self.settings.device_retention.as_secs_f64(),
        }
    }

    async fn put_aside(&self, item: Item<'_>, error: &Error) -> Result<Committed, Error> {
        let reason: String = error.to_string().chars().take(500).collect();
        self.put_aside.log(item.incoming, &reason);
        self.store(&[Item { refused: Some(&reason), ..item }]).await
    }
}

fn is_sample(item: &Item<'_>) -> bool {
    matches!(item.incoming.record.body, Body::Sample(_))
}

/// Whether it becomes a row by host and time.
fn has_own_time(item: &Item<'_>) -> bool {
    matches!(item.incoming.record.body, Body::Sample(_) | Body::Devices(_))
}

fn times_of_rows(items: &[Item<'_>]) -> Vec<UnixMicros> {
    items.iter().filter(|item| has_own_time(item)).map(|item| item.incoming.record.time).collect()
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
