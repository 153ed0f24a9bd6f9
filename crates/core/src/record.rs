//! What an agent tells: samples, facts of the host, and gaps.

use crate::devices::Devices;
use crate::id::{Sequence, UnixMicros};
use crate::vitals::Vitals;

/// One numbered record of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number; see [`Record::through`] for what it covers.
    pub sequence: Sequence,
    /// The agent's wall clock when it was made.
    pub time: UnixMicros,
    /// Ticks that were due in its epoch up to and with this record, see [`Body::ticks`]. 0: not
    /// told.
    pub due_ticks: i64,
    /// What it carries.
    pub body: Body,
}

/// What a record carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// What was measured.
    Sample(Sample),
    /// What the host is.
    HostFacts(Box<HostFacts>),
    /// What will never come.
    Gap(Gap),
    /// What single devices did.
    Devices(Box<Devices>),
    /// Makes no sense, and why; it is put aside and acknowledged.
    Invalid(&'static str),
}

impl Body {
    /// Ticks that it stands for: one for a sample, those that it tells for a gap.
    #[must_use]
    pub fn ticks(&self) -> i64 {
        match self {
            Self::Sample(_) => 1,
            Self::Gap(gap) => gap.ticks,
            Self::HostFacts(_) | Self::Devices(_) | Self::Invalid(_) => 0,
        }
    }
}

impl Record {
    /// The last sequence that this record covers: its own, except for a gap of dropped records.
    #[must_use]
    pub fn through(&self) -> Sequence {
        match &self.body {
            Body::Gap(gap) => gap.through,
            Body::Sample(_) | Body::HostFacts(_) | Body::Devices(_) | Body::Invalid(_) => {
                self.sequence
            }
        }
    }
}

/// What an agent read at one instant. `None`: could not be read, which is not 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Span of the differences below, in microseconds.
    pub elapsed_us: Option<i64>,
    /// Time since boot, suspended time included, in microseconds.
    pub uptime_us: Option<i64>,
    /// MemFree, in KiB.
    pub memory_free_kib: Option<i64>,
    /// MemAvailable, in KiB.
    pub memory_available_kib: Option<i64>,
    /// Idle time of all CPUs without waiting for I/O, in percent. Finite.
    pub cpu_idle_percent: Option<f64>,
    /// System, irq and softirq time of all CPUs, in percent. Finite.
    pub cpu_kernel_percent: Option<f64>,
    /// Reads and writes completed by all whole disks within the span.
    pub disk_io: Option<i64>,
    /// Space an ordinary user can still fill on /, in KiB.
    pub disk_available_kib: Option<i64>,
    /// How far the record's time was moved because the clock was not set, in microseconds.
    pub clock_shift_us: Option<i64>,
    /// The rest of what the host did; none: the agent does not read it.
    pub vitals: Option<Box<Vitals>>,
}

/// What a host is. `None`: unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// Logical CPUs.
    pub cpu_number: Option<i32>,
    /// As `uname -m`.
    pub cpu_architecture: Option<String>,
    /// Model name of the first CPU.
    pub cpu_model: Option<String>,
    /// Maximum clock in MHz. Finite.
    pub cpu_mhz: Option<f64>,
    /// One instance of the L2 cache, in KiB.
    pub l2_cache_kib: Option<i64>,
    /// MemTotal, in KiB.
    pub total_mem_kib: Option<i64>,
    /// Operating system.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// The kernel's own host name.
    pub kernel_host_name: Option<String>,
    /// When the host booted, by its wall clock.
    pub booted: Option<UnixMicros>,
    /// The kernel's id of the boot that these facts are of.
    pub boot_id: Option<String>,
    /// What it runs in: "kvm", "docker", "none" on bare metal.
    pub virtualization: Option<String>,
    /// Maker and model of the machine or its board.
    pub board: Option<String>,
    /// Maker, version and date of the firmware.
    pub firmware: Option<String>,
    /// Clock of the memory in MHz. Finite.
    pub memory_mhz: Option<f64>,
    /// CPU sockets.
    pub cpu_sockets: Option<i32>,
    /// CPU cores, without their further threads.
    pub cpu_cores: Option<i32>,
    /// Whole disks, by name.
    pub disks: Option<Vec<DiskFacts>>,
    /// Interfaces with a device behind them, by name.
    pub interfaces: Option<Vec<InterfaceFacts>>,
}

/// By how much a host's memory may differ and still be the same: another kernel keeps another part
/// of it to itself.
const SAME_MEMORY: f64 = 0.01;

impl HostFacts {
    /// Whether this is another machine, or another system, than `known` was. The boot is left out,
    /// which is none of what a host is, and so is memory within 1 %.
    #[must_use]
    pub fn differ_from(&self, known: &Self) -> bool {
        let total_mem_kib = match (self.total_mem_kib, known.total_mem_kib) {
            (Some(now), Some(before)) if is_same_memory(now, before) => known.total_mem_kib,
            (now, _) => now,
        };
        let without_boot = Self {
            booted: known.booted,
            boot_id: known.boot_id.clone(),
            total_mem_kib,
            ..self.clone()
        };
        without_boot != *known
    }

    /// What is known after `told` was told: what is not told leaves what was known, and memory
    /// that differs by less than 1 % leaves what was known too, so that it can't creep.
    #[must_use]
    pub fn with_told(&self, told: &Self) -> Self {
        fn newer<T: Clone>(told: Option<&T>, known: Option<&T>) -> Option<T> {
            told.or(known).cloned()
        }
        let total_mem_kib = match (told.total_mem_kib, self.total_mem_kib) {
            (Some(now), Some(before)) if is_same_memory(now, before) => self.total_mem_kib,
            (now, before) => now.or(before),
        };
        Self {
            cpu_number: told.cpu_number.or(self.cpu_number),
            cpu_architecture: newer(told.cpu_architecture.as_ref(), self.cpu_architecture.as_ref()),
            cpu_model: newer(told.cpu_model.as_ref(), self.cpu_model.as_ref()),
            cpu_mhz: told.cpu_mhz.or(self.cpu_mhz),
            l2_cache_kib: told.l2_cache_kib.or(self.l2_cache_kib),
            total_mem_kib,
            os: newer(told.os.as_ref(), self.os.as_ref()),
            kernel: newer(told.kernel.as_ref(), self.kernel.as_ref()),
            kernel_host_name: newer(told.kernel_host_name.as_ref(), self.kernel_host_name.as_ref()),
            booted: told.booted.or(self.booted),
            boot_id: newer(told.boot_id.as_ref(), self.boot_id.as_ref()),
            virtualization: newer(told.virtualization.as_ref(), self.virtualization.as_ref()),
            board: newer(told.board.as_ref(), self.board.as_ref()),
            firmware: newer(told.firmware.as_ref(), self.firmware.as_ref()),
            memory_mhz: told.memory_mhz.or(self.memory_mhz),
            cpu_sockets: told.cpu_sockets.or(self.cpu_sockets),
            cpu_cores: told.cpu_cores.or(self.cpu_cores),
            disks: newer(told.disks.as_ref(), self.disks.as_ref()),
            interfaces: newer(told.interfaces.as_ref(), self.interfaces.as_ref()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of it")]
fn is_same_memory(now: i64, before: i64) -> bool {
    (now.saturating_sub(before)).unsigned_abs() as f64 <= before as f64 * SAME_MEMORY
}

/// What a whole disk is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskFacts {
    /// As in /sys/block.
    pub name: String,
    /// As it says of itself.
    pub model: Option<String>,
    /// In KiB.
    pub size_kib: Option<i64>,
    /// Spins.
    pub rotational: Option<bool>,
}

/// What a network interface is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// As in /sys/class/net.
    pub name: String,
    /// Its own address.
    pub mac: Option<String>,
    /// The kernel's driver.
    pub driver: Option<String>,
}

/// Samples that will never come.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Last sequence that the gap covers.
    pub through: Sequence,
    /// Due samples that are missing.
    pub ticks: i64,
    /// What became of them.
    pub state: GapState,
    /// Why.
    pub cause: GapCause,
    /// Time of the first.
    pub from: UnixMicros,
    /// Time of the last.
    pub to: UnixMicros,
}

/// What became of the samples in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapState {
    /// Said by a newer agent; this version does not know it.
    Unknown,
    /// Read, kept and dropped unacknowledged.
    Dropped,
    /// Due, never read.
    Missed,
    /// Acknowledged once, dropped since, asked for again.
    Forgotten,
    /// Damaged in the spool.
    Corrupt,
}

impl GapState {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Dropped => "dropped",
            Self::Missed => "missed",
            Self::Forgotten => "forgotten",
            Self::Corrupt => "corrupt",
        }
    }
}

/// Why a gap came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// Said by a newer agent; this version does not know it.
    Unknown,
    /// Limit of bytes or records.
    Size,
    /// Limit of age.
    Age,
    /// Agent or host were off.
    Off,
    /// The host was suspended.
    Suspended,
    /// The agent ran but did not get to read in time.
    Starved,
    /// Storage failed.
    Storage,
}

impl GapCause {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Size => "size",
            Self::Age => "age",
            Self::Off => "off",
            Self::Suspended => "suspended",
            Self::Starved => "starved",
            Self::Storage => "storage",
        }
    }
}

/// How an epoch of a spool came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpochOrigin {
    /// Not told.
    #[default]
    Unknown,
    /// There was no spool.
    New,
    /// The spool was rolled back or copied.
    RolledBack,
    /// The spool did not know any more what its epoch was.
    Damaged,
}

impl EpochOrigin {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::New => "new",
            Self::RolledBack => "rolled_back",
            Self::Damaged => "damaged",
        }
    }
}

#[cfg(test)]
mod tests;
