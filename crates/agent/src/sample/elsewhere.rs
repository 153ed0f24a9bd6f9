//! What sysinfo tells of a machine that does not run Linux: memory, swap in use and load. Uptime
//! comes from the clock, space from statvfs. The rest is unknown.

use std::path::Path;
use std::time::Duration;

use rowcall_core::record::Sample;
use rowcall_core::vitals::Vitals;
use sysinfo::System;

use super::memory::by_sysinfo::Reader;
use super::{highest, real};
use crate::devices::Peaks;

/// Reads this machine.
#[derive(Debug)]
pub(super) struct Machine {
    memory: Reader,
    vitals: bool,
    memory_used_kib: Option<i64>,
}

impl Machine {
    /// Always this machine; `root` is where files would be.
    pub(super) fn new(root: &Path, vitals: bool, _devices: bool, _shortest_span: Duration) -> Self {
        Self { memory: Reader::new(root), vitals, memory_used_kib: None }
    }

    /// Reads everything.
    pub(super) fn sample(
        &mut self,
        _at: Duration,
        _elapsed: Option<Duration>,
        sample: &mut Sample,
    ) {
        let memory = self.memory.read();
        let memory_used_max_kib = highest(self.memory_used_kib.take(), memory.used_kib());
        sample.memory_free_kib = memory.free_kib;
        sample.memory_available_kib = memory.available_kib;
        if self.vitals {
            let load = System::load_average().ok();
            let mut vitals = Vitals {
                memory_used_max_kib,
                load_1: load.as_ref().map(|load| real(load.one)),
                load_5: load.as_ref().map(|load| real(load.five)),
                load_15: load.as_ref().map(|load| real(load.fifteen)),
                ..Vitals::default()
            };
            memory.tell(&mut vitals);
            sample.vitals = Some(Box::new(vitals));
        }
    }

    /// Reads what peaks are kept of.
    pub(super) fn peak(&mut self, _at: Duration) {
        self.memory_used_kib = highest(self.memory_used_kib, self.memory.read().used_kib());
    }

    /// Nothing is known of devices.
    pub(super) fn take_peaks(&self) -> Peaks {
        Peaks::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysinfo_gives_memory_swap_and_load() {
        let mut machine = Machine::new(Path::new("/"), true, true, Duration::ZERO);
        let mut sample = Sample::default();
        machine.peak(Duration::ZERO);
        machine.sample(Duration::ZERO, None, &mut sample);
        let vitals = sample.vitals.unwrap();
        assert!(sample.memory_free_kib.unwrap() > 0 && sample.memory_available_kib.unwrap() > 0);
        assert!(vitals.memory_used_max_kib.unwrap() > 0 && vitals.swap_used_kib.is_some());
        assert!(vitals.load_1.unwrap() >= 0.0 && vitals.load_15.unwrap() >= 0.0);
        assert_eq!(vitals.known(), 5, "and nothing that it does not know");
        assert_eq!((sample.cpu_idle_percent, sample.disk_io), (None, None));
        assert_eq!(machine.take_peaks(), Peaks::default());
    }
}
