//! The ledger's lines.

use rowcall_core::id::UnixMicros;
use tokio_postgres::Row;

use super::Frame;
use super::rows::{FromRow, maybe_time, time, whole};
use crate::error::Error;

/// The ledger of one epoch of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The host.
    pub host_name: String,
    /// The random number of the spool's life.
    pub epoch: u64,
    /// When it began.
    pub opened_at: UnixMicros,
    /// When another one took over; `None`: it is the current one.
    pub closed_at: Option<UnixMicros>,
    /// What became of its samples.
    pub counts: Counts,
}

/// What became of due samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks that were due, as the agent counts.
    pub due: u64,
    /// Samples that are rows.
    pub committed: u64,
    /// Samples that were put aside.
    pub quarantined: u64,
    /// Samples that the agent still keeps, as last told.
    pub spooled: u64,
    /// Samples that the agent gave up, or lost.
    pub dropped: u64,
    /// Ticks at which nothing was read.
    pub missed: u64,
    /// Samples that came again.
    pub duplicates: u64,
    /// Epochs added up.
    pub epochs: u64,
    /// Those of them in which due is not the sum of the five that follow it.
    pub unbalanced_epochs: u64,
}

/// A line of the ledger: of an epoch, or the sum of all, which names no host.
pub(super) enum LedgerLine {
    Total(Counts),
    Epoch(LedgerRow),
}

impl FromRow for LedgerLine {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        let count = |column| Ok::<u64, Error>(whole(row, column)?.unwrap_or(0));
        let counts = Counts {
            due: count(4)?,
            committed: count(5)?,
            quarantined: count(6)?,
            spooled: count(7)?,
            dropped: count(8)?,
            missed: count(9)?,
            duplicates: count(10)?,
            epochs: count(11)?,
            unbalanced_epochs: count(12)?,
        };
        let Some(host_name) = row.try_get(0)? else { return Ok(Self::Total(counts)) };
        let (opened_at, closed_at) = (time(row, 2)?, maybe_time(row, 3)?);
        Ok(Self::Epoch(LedgerRow { host_name, epoch: count(1)?, opened_at, closed_at, counts }))
    }
}
