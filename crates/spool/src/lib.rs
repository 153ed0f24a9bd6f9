//! The durable queue of an agent: every record is on disk before it is sent, and stays there until
//! its room is needed.
//!
//! [`Spool`] is a handle to share. Appending never waits for the disk: a thread of the spool's own
//! writes and syncs what has come meanwhile, and only what is synced is offered to be sent. Where
//! the disk fails, what could not be written is kept in a small bounded memory and offered all the
//! same; what does not fit there becomes a gap.

mod bytes;
mod disk;
mod drops;
mod error;
mod format;
mod hole;
mod image;
mod inspect;
mod kept;
mod open;
mod positions;
mod read;
mod record;
mod recover;
mod room;
mod scan;
mod segment;
mod segments;
mod slots;
mod spool;
mod state;
#[cfg(test)]
mod tests;
mod times;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::EpochOrigin;

pub use error::{InspectError, OpenError};
pub use image::{Image, read_image};
pub use inspect::{Inspection, check, inspect, newest};
pub use record::wire_bytes;
pub use spool::Spool;

/// Where it lies and how much it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its folder; made if it isn't there.
    pub dir: PathBuf,
    /// Most bytes of records on disk, acknowledged ones included.
    pub max_bytes: u64,
    /// Records older than this are dropped, acknowledged or not.
    pub max_age: Duration,
    /// The name of the host whose records these are; a spool of another host is not opened. Empty:
    /// whoever it belongs to.
    pub owner: String,
}

/// The newest record of an earlier process that stands for ticks: a sample, or missed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its time, by the wall clock of then.
    pub time: UnixMicros,
    /// Its time since boot, if the host was not rebooted since.
    pub since_boot: Option<Duration>,
    /// The interval that was in force.
    pub interval: Option<Duration>,
}

/// What was found when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The newest record, if there is any.
    pub last: Option<Last>,
    /// Records that it holds, and how many of them are not acknowledged.
    pub records: u64,
    /// See above.
    pub unacknowledged_records: u64,
    /// Records that are damaged and skipped.
    pub damaged_records: u64,
    /// The epoch was begun just now.
    pub epoch_is_new: bool,
    /// The host was booted since it was last open; false for a new one.
    pub boot_is_new: bool,
}

/// What keeps it from being durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lies in memory or on a network.
    NotDurable,
    /// No room on the disk.
    NoSpace,
    /// It cannot be written.
    Io,
}

/// What it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its epoch.
    pub epoch: Epoch,
    /// How the epoch came about.
    pub origin: EpochOrigin,
    /// Lowest sequence held, and the next one to be given.
    pub oldest: Sequence,
    /// See above.
    pub next: Sequence,
    /// Records that are not acknowledged.
    pub unacknowledged_records: u64,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes of what is not acknowledged, in whole segments.
    pub waiting_bytes: u64,
    /// Age of the oldest unacknowledged record.
    pub oldest_unacknowledged_age: Option<Duration>,
    /// Records of this epoch that were dropped unacknowledged.
    pub dropped_records: u64,
    /// Records of this epoch that were found damaged.
    pub damaged_records: u64,
    /// Ticks that were due in this epoch up to and with the newest record.
    pub due_ticks: i64,
    /// What keeps it from being durable now, and since its opening how often writing failed.
    pub fault: Option<Fault>,
    /// See above.
    pub write_failures: u64,
    /// The last acknowledgement: up to which sequence, and when.
    pub acknowledged: Option<(Sequence, UnixMicros)>,
}
