//! What an agent tells: samples, facts of the host, and gaps.

use crate::id::{Sequence, UnixMicros};

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
    HostFacts(HostFacts),
    /// What will never come.
    Gap(Gap),
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
            Self::HostFacts(_) | Self::Invalid(_) => 0,
        }
    }
}

impl Record {
    /// The last sequence that this record covers: its own, except for a gap of dropped records.
    #[must_use]
    pub fn through(&self) -> Sequence {
        match &self.body {
            Body::Gap(gap) => gap.through,
            Body::Sample(_) | Body::HostFacts(_) | Body::Invalid(_) => self.sequence,
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
