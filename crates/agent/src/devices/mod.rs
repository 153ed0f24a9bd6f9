//! Reading devices, on threads of their own: one collector per file.
//!
//! [`DeviceReader::read`] hands one collector after another to a thread `rowcall-devices`, which
//! sleeps between readings. What does not answer in time is left behind with its thread, named, and
//! not asked again until it came back; the others go on (see `worker.rs`).
//!
//! Numbers are the kernel's own counters, with what resets them beside them; only of processes the
//! agent computes rates, since most of them are gone by the next reading. What cannot be read is
//! absent or named in [`Devices::skipped`], never 0 and never a guess. Everything is read on Linux
//! alone: elsewhere a reading is empty.

mod filter;
mod found;
#[cfg(target_os = "linux")]
mod linux;
mod parts;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rowcall_core::clock::{SharedClock, SystemClock};
use rowcall_core::devices::Devices;

use crate::collect::{Collect, Collector};

pub use parts::parts;

use found::Source;
use worker::Workers;

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
    workers: Workers,
    deadline: std::time::Duration,
}

impl DeviceReader {
    /// Reads below `root`: "/" in service, a recorded tree in tests. Drop-in files are read where
    /// the settings say, whatever the root.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, collect: Collect) -> Self {
        Self::with_clock(root, collect, SystemClock::shared())
    }

    /// As [`DeviceReader::new`], with the clock that tells how long ago the previous reading was.
    /// The deadline is kept by the runtime's clock.
    #[must_use]
    pub fn with_clock(root: impl Into<PathBuf>, collect: Collect, clock: SharedClock) -> Self {
        let deadline = collect.deadline;
        let wanted: Vec<_> =
            Collector::ALL.into_iter().filter(|it| !collect.off.contains(it)).collect();
        let sources = sources(root.into(), collect, clock);
        Self { workers: Workers::new(wanted, sources), deadline }
    }

    /// Reads every device once, within [`Collect::deadline`].
    pub async fn read(&mut self, peaks: Peaks) -> Devices {
        let mut devices = self.workers.read(self.deadline).await;
        for disk in &mut devices.disks {
            disk.busy_max_percent = peaks.disks.get(&disk.name).copied();
        }
        for interface in &mut devices.interfaces {
            if let Some(&(rx, tx)) = peaks.interfaces.get(&interface.name) {
                interface.rx_max_bytes_per_s = Some(rx);
                interface.tx_max_bytes_per_s = Some(tx);
            }
        }
        devices
    }
}

/// Makes the source of a collector, where this system has one.
type Sources = Box<dyn Fn(Collector) -> Option<Box<dyn Source>> + Send>;

#[cfg(target_os = "linux")]
fn sources(root: PathBuf, collect: Collect, clock: SharedClock) -> Sources {
    let context = std::sync::Arc::new(linux::Context::new(root, collect, clock));
    Box::new(move |collector| Some(linux::source(collector, &context)))
}

#[cfg(not(target_os = "linux"))]
fn sources(_root: PathBuf, _collect: Collect, _clock: SharedClock) -> Sources {
    Box::new(|_collector| None)
}
