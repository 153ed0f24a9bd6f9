//! What hosts wait for.

use rowcall_core::id::UnixMicros;
use tokio_postgres::Row;

use super::Frame;
use super::rows::{FromRow, time, unknown, whole};
use crate::error::Error;

/// What one host waited for: averages over the range. `None`: not known.
#[derive(Clone, Debug, PartialEq)]
pub struct PressureRow {
    /// The host.
    pub host_name: String,
    /// What it waited for most. `None`: it has samples, and nothing that tells.
    pub waits_for: Option<Wait>,
    /// How much of the time some task waited for that, in percent.
    pub wait_percent: Option<f32>,
    /// Time in which some tasks waited for a CPU, in percent.
    pub cpu_some_percent: Option<f32>,
    /// Time in which some tasks waited for memory, in percent.
    pub memory_some_percent: Option<f32>,
    /// Time in which all of them did, in percent.
    pub memory_full_percent: Option<f32>,
    /// Time in which some tasks waited for I/O, in percent.
    pub io_some_percent: Option<f32>,
    /// Time in which all of them did, in percent.
    pub io_full_percent: Option<f32>,
    /// Time of all CPUs spent waiting for I/O, in percent.
    pub iowait_percent: Option<f32>,
    /// Time of all CPUs taken by the hypervisor for others, in percent.
    pub steal_percent: Option<f32>,
    /// Load average over 1 minute per CPU.
    pub load_per_cpu: Option<f32>,
    /// Highest 10 s of CPU busy time, in percent.
    pub cpu_busy_max_percent: Option<f32>,
    /// Read from swap and written to it, in KiB.
    pub swapped_kib: Option<u64>,
    /// Processes that were killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// Samples in the range that tell any of it; where none does, samples in the range.
    pub samples: u64,
}

/// What hosts wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// Nothing worth the name: below 1 % of the time.
    Nothing,
    /// A CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Reads and writes.
    Io,
}

/// A boot of a host within the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootedRow {
    /// The host.
    pub host_name: String,
    /// When, by its own clock.
    pub booted_at: UnixMicros,
}

impl FromRow for PressureRow {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        let waits_for = match row.try_get(1)? {
            None => None,
            Some("nothing") => Some(Wait::Nothing),
            Some("cpu") => Some(Wait::Cpu),
            Some("memory") => Some(Wait::Memory),
            Some("io") => Some(Wait::Io),
            Some(other) => return Err(unknown("wait", other)),
        };
        Ok(Self {
            host_name: row.try_get(0)?,
            waits_for,
            wait_percent: row.try_get(2)?,
            cpu_some_percent: row.try_get(3)?,
            memory_some_percent: row.try_get(4)?,
            memory_full_percent: row.try_get(5)?,
            io_some_percent: row.try_get(6)?,
            io_full_percent: row.try_get(7)?,
            iowait_percent: row.try_get(8)?,
            steal_percent: row.try_get(9)?,
            load_per_cpu: row.try_get(10)?,
            cpu_busy_max_percent: row.try_get(11)?,
            swapped_kib: whole(row, 12)?,
            oom_kills: whole(row, 13)?,
            samples: whole(row, 14)?.unwrap_or(0),
        })
    }
}

impl FromRow for BootedRow {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        Ok(Self { host_name: row.try_get(0)?, booted_at: time(row, 1)? })
    }
}
