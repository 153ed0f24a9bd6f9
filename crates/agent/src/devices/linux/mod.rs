//! Devices as Linux tells them, below a root path: "/" in service, a tree of files in tests.

mod cgroups;
mod cgroups_v1;
mod counted;
mod disks;
mod files;
mod filesystems;
mod interfaces;
mod md_arrays;
mod memory_controllers;
mod metrics;
mod mountinfo;
mod processes;
mod sensors;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rowcall_core::clock::SharedClock;

use self::counted::CountedSince;
use super::found::Source;
use crate::collect::{Collect, Collector};

/// What all collectors share.
#[derive(Debug)]
pub(super) struct Context {
    root: PathBuf,
    collect: Collect,
    clock: SharedClock,
    counted_since: OnceLock<CountedSince>,
}

impl Context {
    pub(super) fn new(root: PathBuf, collect: Collect, clock: SharedClock) -> Self {
        Self { root, collect, clock, counted_since: OnceLock::new() }
    }

    /// A path below the root.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// What counters of this boot are told apart by. The boot is that of the first reading.
    fn counted_since(&self) -> CountedSince {
        *self.counted_since.get_or_init(|| CountedSince::read(&self.root))
    }
}

/// What reads for a collector.
pub(super) fn source(collector: Collector, context: &Arc<Context>) -> Box<dyn Source> {
    let context = Arc::clone(context);
    match collector {
        Collector::Filesystems => Box::new(filesystems::Filesystems::new(context)),
        Collector::Disks => Box::new(disks::Disks::new(context)),
        Collector::Interfaces => Box::new(interfaces::Interfaces::new(context)),
        Collector::Sensors => Box::new(sensors::Sensors(context)),
        Collector::MdArrays => Box::new(md_arrays::MdArrays::new(context)),
        Collector::MemoryControllers => Box::new(memory_controllers::MemoryControllers(context)),
        Collector::Cgroups => Box::new(cgroups::Cgroups(context)),
        Collector::Processes => Box::new(processes::Processes::new(context)),
        Collector::Metrics => Box::new(metrics::Metrics(context)),
    }
}
