//! Reading devices, on a thread of their own: one collector per file.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
}

impl DeviceReader {
    /// Reads below `root`: "/" in service, a recorded tree in tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, collect: Collect) -> Self {
        Self { root: root.into(), collect }
    }

    /// Reads every device once, within [`Collect::deadline`].
    pub async fn read(&mut self, peaks: Peaks) -> Devices {
        tracing::trace!(root = %self.root.display(), ?self.collect, ?peaks, "devices");
        Devices::default()
    }
}

/// A reading in parts that each fit one record of the spool.
#[must_use]
pub fn parts(devices: Devices) -> Vec<Devices> {
    vec![devices]
}
