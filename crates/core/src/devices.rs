//! What single devices did, and what drop-in files tell. The meaning and unit of each field stands
//! at the message of the same name in `telemetry.proto`; the conversions are in
//! [`crate::convert`].
//!
//! The bounds hold for an agent's whole reading, and for each record that an aggregator takes, of
//! which a reading may have several.

/// Most filesystems.
pub const MAX_FILESYSTEMS: usize = 512;
/// Most whole disks.
pub const MAX_DISKS: usize = 512;
/// Most network interfaces.
pub const MAX_INTERFACES: usize = 1_024;
/// Most temperature sensors.
pub const MAX_SENSORS: usize = 256;
/// Most software RAIDs.
pub const MAX_MD_ARRAYS: usize = 64;
/// Most memory controllers.
pub const MAX_MEMORY_CONTROLLERS: usize = 64;
/// Most control groups.
pub const MAX_CGROUPS: usize = 64;
/// Most processes.
pub const MAX_PROCESSES: usize = 256;
/// Most values from drop-in files.
pub const MAX_METRICS: usize = 4_096;
/// Most things, or collectors, that were not read.
pub const MAX_SKIPPED: usize = 1_024;
/// Longest name of a metric with the names and values of its labels, in bytes: what an index
/// entry holds.
pub const MAX_METRIC_BYTES: usize = 1_024;
/// Most labels of a metric.
pub const MAX_METRIC_LABELS: usize = 32;

/// One reading of some devices, or a part of one.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "one list for each kind, named by it")]
pub struct Devices {
    pub filesystems: Vec<Filesystem>,
    pub disks: Vec<Disk>,
    pub interfaces: Vec<Interface>,
    pub sensors: Vec<Sensor>,
    pub md_arrays: Vec<MdArray>,
    pub memory_controllers: Vec<MemoryController>,
    pub cgroups: Vec<Cgroup>,
    pub processes: Vec<Process>,
    pub metrics: Vec<Metric>,
    pub skipped: Vec<Skipped>,
}

/// A mounted filesystem.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Filesystem {
    pub mount: String,
    pub source: Option<String>,
    pub kind: Option<String>,
    pub read_only: bool,
    pub size_kib: Option<i64>,
    pub available_kib: Option<i64>,
    pub inodes: Option<i64>,
    pub inodes_free: Option<i64>,
}

/// A whole disk.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Disk {
    pub name: String,
    pub counted_since: u32,
    pub reads: i64,
    pub writes: i64,
    pub read_bytes: i64,
    pub written_bytes: i64,
    pub read_ms: i64,
    pub write_ms: i64,
    pub busy_ms: i64,
    pub in_flight: i64,
    pub busy_max_percent: Option<f32>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Interface {
    pub name: String,
    pub counted_since: u32,
    pub rx_bytes: i64,
    pub tx_bytes: i64,
    pub rx_packets: i64,
    pub tx_packets: i64,
    pub rx_errors: i64,
    pub tx_errors: i64,
    pub rx_drops: i64,
    pub tx_drops: i64,
    pub speed_mbit: Option<i32>,
    pub up: Option<bool>,
    pub rx_max_bytes_per_s: Option<i64>,
    pub tx_max_bytes_per_s: Option<i64>,
}

/// A temperature sensor.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Sensor {
    pub name: String,
    pub temperature_mc: i32,
    pub critical_mc: Option<i32>,
}

/// A software RAID.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct MdArray {
    pub name: String,
    pub level: Option<String>,
    pub state: Option<String>,
    pub disks: i32,
    pub disks_active: i32,
    pub disks_failed: i32,
    pub disks_spare: i32,
    pub sync_percent: Option<f32>,
}

/// A memory controller that counts errors.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct MemoryController {
    pub name: String,
    pub counted_since: u32,
    pub corrected_errors: i64,
    pub uncorrected_errors: i64,
}

/// A control group of the top level.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Cgroup {
    pub name: String,
    pub counted_since: u32,
    pub cpu_us: Option<i64>,
    pub throttled_us: Option<i64>,
    pub memory_kib: Option<i64>,
    pub read_bytes: Option<i64>,
    pub written_bytes: Option<i64>,
    pub processes: Option<i64>,
    pub oom_kills: Option<i64>,
}

/// A process that took much of something.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Process {
    pub command: String,
    pub pid: i32,
    pub cpu_percent: Option<f32>,
    pub memory_kib: Option<i64>,
    pub read_bytes_per_s: Option<i64>,
    pub written_bytes_per_s: Option<i64>,
}

/// A value from a drop-in file. Name and labels are valid, labels sorted by name; the value is
/// finite.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Metric {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// Something that was not read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "telemetry.proto has them")]
pub struct Skipped {
    pub collector: String,
    pub item: Option<String>,
    pub reason: SkipReason,
    pub count: i32,
}

/// Why something was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// Said by a newer agent; this version does not know it.
    Unknown,
    /// It did not answer in time.
    Hung,
    /// There are more than are read.
    Limit,
    /// It cannot be read, or not be understood.
    Unreadable,
}

impl SkipReason {
    /// The word for it in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Hung => "hung",
            Self::Limit => "limit",
            Self::Unreadable => "unreadable",
        }
    }
}
