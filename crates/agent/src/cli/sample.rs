//! `rowcall-agent sample`: one sample, one reading of devices and the host's facts.

mod devices;
mod json;
mod table;
mod text;

use rowcall_core::devices::Devices;
use rowcall_core::record::HostFacts;

use crate::sample::Reading;
use crate::sample::host_facts::MachineIds;

pub(super) use json::json;
pub(crate) use json::skipped;
pub(super) use text::text;

/// What is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) reading: Reading,
    /// None where devices are not read.
    pub(crate) devices: Option<Devices>,
    pub(crate) facts: HostFacts,
    pub(crate) machine: MachineIds,
}

impl Shown {
    /// Without peaks: a single reading has none, and what it read is none of them.
    pub(super) fn without_peaks(mut self) -> Self {
        if let Some(vitals) = &mut self.reading.sample.vitals {
            vitals.cpu_busy_max_percent = None;
            vitals.memory_used_max_kib = None;
            vitals.disk_busy_max_percent = None;
        }
        if let Some(devices) = &mut self.devices {
            for disk in &mut devices.disks {
                disk.busy_max_percent = None;
            }
            for interface in &mut devices.interfaces {
                interface.rx_max_bytes_per_s = None;
                interface.tx_max_bytes_per_s = None;
            }
        }
        self
    }
}

/// How wide standard output is; what a line of a log takes where it is no terminal.
pub(super) fn width() -> usize {
    const NO_TERMINAL: usize = 160;
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(NO_TERMINAL)
}

#[cfg(test)]
mod tests;
