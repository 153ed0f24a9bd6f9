//! What waits to be sent: the interface of every queue, and the one in memory.

mod memory;
#[cfg(test)]
mod model;
mod shared;

use rowcall_core::convert::record_to_wire;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, Record};
use rowcall_core::session::agent::Holdings;

pub use memory::{Limits, MemoryQueue};
pub use shared::Queue;

/// A queue of numbered records.
///
/// - Sequences are dense: each record starts one above what the one before covers.
/// - Nothing unacknowledged disappears without a gap record in its place.
/// - Acknowledged records stay until their room is needed: a database that lost rows gets them
///   again.
/// - It is bounded, and never refuses a record. Where storage fails it degrades by itself, puts a
///   gap where a record was lost, and tells so in its [`Status`].
pub trait Spool: Holdings + Send {
    /// Takes a record and gives it the next sequence. A time that a record still held has is
    /// moved on by 1 us until it is free: host and time name a row.
    fn append(&mut self, time: UnixMicros, body: Body) -> Sequence;

    /// Records in order from the one at `from`, at most `max_bytes` of them as [`wire_bytes`]
    /// counts, but at least one if there is any. Where `from` lies inside a gap, the rest of the
    /// gap comes first.
    fn read_from(&mut self, from: Sequence, max_bytes: usize) -> Vec<Record>;

    /// Everything up to `through` is committed.
    fn release(&mut self, through: Sequence);

    /// Starts a new epoch: what is unacknowledged is numbered anew from 1, what is acknowledged is
    /// forgotten.
    fn new_epoch(&mut self, epoch: Epoch);

    /// What it holds.
    fn status(&self) -> Status;
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Records that are not acknowledged.
    pub unacknowledged_records: u64,
    /// Bytes the queue takes.
    pub size_bytes: u64,
    /// Time of the oldest unacknowledged record; of a gap, where it begins.
    pub oldest_unacknowledged: Option<UnixMicros>,
    /// Records of this epoch that were dropped unacknowledged.
    pub dropped_records: u64,
}

/// What a record adds to an encoded Batch, in bytes.
#[must_use]
pub fn wire_bytes(record: &Record) -> usize {
    use prost::Message;
    let body = record_to_wire(record).encoded_len();
    1 + prost::length_delimiter_len(body) + body
}
