//! `rowcall-agent sample`: one sample, one reading of devices and the host's facts.

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
