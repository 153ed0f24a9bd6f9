//! What the reports answer, row by row. Units and rules stand in the files of
//! `sql/queries/reports/`.

use rowcall_core::id::UnixMicros;
use tokio_postgres::Row;

use super::Frame;
use super::ledger::{Counts, LedgerRow};
use crate::error::{Error, Kind};
use crate::time::Time;

/// What a host is. `None`: not known.
#[derive(Clone, Debug, PartialEq)]
pub struct HardwareRow {
    /// Its name.
    pub host_name: String,
    /// Logical CPUs.
    pub cpu_number: Option<u32>,
    /// Memory in KiB.
    pub total_mem_kib: Option<u64>,
    /// As `uname -m`.
    pub cpu_architecture: Option<String>,
    /// Model name of the first CPU.
    pub cpu_model: Option<String>,
    /// Maximum clock in MHz.
    pub cpu_mhz: Option<f64>,
    /// One instance of the L2 cache, in KiB.
    pub l2_cache_kib: Option<u64>,
    /// When one of these last changed.
    pub changed_at: UnixMicros,
}

/// One host's average used memory in one window. `None`: not known.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRow {
    /// The host.
    pub host_name: String,
    /// Index of the window, from 0.
    pub window: u32,
    /// total - free, in percent of total.
    pub used_percent: Option<f32>,
    /// total - available, in percent of total.
    pub unavailable_percent: Option<f32>,
}

/// How one host answered in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollRow {
    /// The host.
    pub host_name: String,
    /// Index of the window, from 0.
    pub window: u32,
    /// How it answered.
    pub state: WindowState,
    /// Samples in the window.
    pub samples: u32,
    /// The newest sample ever taken of the host.
    pub last_sample_at: Option<UnixMicros>,
}

/// How a host answered in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowState {
    /// Enough samples, in time.
    Complete,
    /// No samples.
    Silent,
    /// Some samples, fewer than needed.
    Partial,
    /// Enough samples now, but fewer than needed 60 s after the window's end.
    Late,
    /// Too few, but enough for the time in which an aggregator could have received any.
    Unobserved,
    /// Too few, but enough for the time outside a planned stop of the agent.
    Excused,
    /// Too few, of a host that was heard with a clock that was off.
    Skewed,
    /// Still open, before the host joined or after it was retired.
    NotJudged,
}

/// A time in which no aggregator could have received anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnobservedRow {
    /// Its start.
    pub from: UnixMicros,
    /// Its end; `None` while it lasts.
    pub to: Option<UnixMicros>,
    /// Why.
    pub cause: UnobservedCause,
}

/// Why nobody could have received anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnobservedCause {
    /// The aggregator was stopped.
    Stopped,
    /// It ended without a word.
    Down,
    /// It ran, and the database took no writes.
    Database,
}

/// How evenly load spreads over the hosts in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceRow {
    /// Start of the window.
    pub start: UnixMicros,
    /// Hosts with samples in it.
    pub hosts: u32,
    /// CPU busy time, 100 - idle, in percent.
    pub cpu_busy_percent: Spread,
    /// Used memory, total - free, in percent.
    pub memory_used_percent: Spread,
    /// Received and sent, in bytes per second.
    pub net_bytes_per_s: Spread,
    /// Time in which the busiest disk had requests in flight, in percent.
    pub disk_busy_percent: Spread,
}

/// A distribution over hosts, each with its average over the window. `None`: no host could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: Option<f32>,
    /// Standard deviation of the population.
    pub standard_deviation: Option<f32>,
    /// Least.
    pub min: Option<f32>,
    /// Most.
    pub max: Option<f32>,
    /// Standard deviation over mean; none where the mean is 0.
    pub coefficient_of_variation: Option<f32>,
    /// Mean in which a host counts as often as it has CPUs.
    pub weighted_mean: Option<f32>,
    /// Standard deviation about that mean, weighted likewise.
    pub weighted_standard_deviation: Option<f32>,
}

/// What does not add up: the worst, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Worst first, at most 1,000.
    pub findings: Vec<IntegrityRow>,
    /// In all.
    pub total: u64,
    /// What became of every due sample of all epochs that were open within the range.
    pub ledger_total: Counts,
    /// Epochs of which something is not committed or does not add up: the latter first, then those
    /// with the most that is not committed, at most 1,000.
    pub ledger: Vec<LedgerRow>,
}

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityRow {
    /// The host.
    pub host_name: String,
    /// What it is.
    pub kind: IntegrityKind,
    /// Samples that it concerns; 0 where that cannot be counted.
    pub samples: u64,
    /// Time of the first.
    pub from: UnixMicros,
    /// Time of the last.
    pub to: UnixMicros,
    /// In words, for people.
    pub detail: String,
}

/// Kinds of findings, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntegrityKind {
    /// The ledger of an epoch does not add up.
    Unbalanced,
    /// Two agents claimed one host for 2 minutes or longer.
    DuplicateIdentity,
    /// An agent dropped samples before they were acknowledged.
    Dropped,
    /// Fewer samples between two that arrived than were due, and no record says why.
    UnexplainedGap,
    /// A spool was replaced; what the old one held beyond its mark is unknown.
    EpochChanged,
    /// Records were refused and kept aside.
    Quarantined,
    /// A value that cannot be.
    Impossible,
    /// A host's clock is off.
    ClockSkew,
    /// An agent missed ticks.
    Missed,
    /// An agent was started anew.
    Restarted,
    /// A host's hardware or system is another one.
    HardwareChanged,
    /// Something on a host could not be read.
    NotRead,
}

/// A row of an answer.
pub(super) trait FromRow: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the statement and this program do not fit together.
    fn read(row: &Row, frame: &Frame) -> Result<Self, Error>;
}

pub(super) fn time(row: &Row, column: usize) -> Result<UnixMicros, Error> {
    Ok(row.try_get::<_, Time>(column)?.0)
}

pub(super) fn maybe_time(row: &Row, column: usize) -> Result<Option<UnixMicros>, Error> {
    Ok(row.try_get::<_, Option<Time>>(column)?.map(|time| time.0))
}

fn window(row: &Row, column: usize, frame: &Frame) -> Result<u32, Error> {
    let micros = time(row, column)?.since(frame.from);
    u32::try_from(micros / (i64::from(frame.window_s) * 1_000_000))
        .ok()
        .filter(|index| micros >= 0 && *index < frame.windows)
        .ok_or_else(|| Error::new(Kind::Internal, "a report's window lies outside its range"))
}

/// A number that is negative only if somebody wrote it by hand; then it is not known.
pub(super) fn whole(row: &Row, column: usize) -> Result<Option<u64>, Error> {
    Ok(row.try_get::<_, Option<i64>>(column)?.and_then(|number| u64::try_from(number).ok()))
}

fn count32(row: &Row, column: usize) -> Result<u32, Error> {
    Ok(u32::try_from(row.try_get::<_, i64>(column)?).unwrap_or(u32::MAX))
}

impl FromRow for HardwareRow {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        let cpus: Option<i32> = row.try_get(1)?;
        Ok(Self {
            host_name: row.try_get(0)?,
            cpu_number: cpus.and_then(|number| u32::try_from(number).ok()),
            total_mem_kib: whole(row, 2)?,
            cpu_architecture: row.try_get(3)?,
            cpu_model: row.try_get(4)?,
            cpu_mhz: row.try_get(5)?,
            l2_cache_kib: whole(row, 6)?,
            changed_at: time(row, 7)?,
        })
    }
}

impl FromRow for MemoryRow {
    fn read(row: &Row, frame: &Frame) -> Result<Self, Error> {
        Ok(Self {
            host_name: row.try_get(0)?,
            window: window(row, 1, frame)?,
            used_percent: row.try_get(2)?,
            unavailable_percent: row.try_get(3)?,
        })
    }
}

impl FromRow for RollRow {
    fn read(row: &Row, frame: &Frame) -> Result<Self, Error> {
        let samples: i32 = row.try_get(3)?;
        Ok(Self {
            host_name: row.try_get(0)?,
            window: window(row, 1, frame)?,
            state: match row.try_get(2)? {
                "complete" => WindowState::Complete,
                "silent" => WindowState::Silent,
                "partial" => WindowState::Partial,
                "late" => WindowState::Late,
                "unobserved" => WindowState::Unobserved,
                "excused" => WindowState::Excused,
                "skewed" => WindowState::Skewed,
                "not_judged" => WindowState::NotJudged,
                other => return Err(unknown("state", other)),
            },
            samples: u32::try_from(samples).unwrap_or(0),
            last_sample_at: maybe_time(row, 4)?,
        })
    }
}

impl FromRow for UnobservedRow {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        Ok(Self {
            from: time(row, 0)?,
            to: maybe_time(row, 1)?,
            cause: match row.try_get(2)? {
                "stopped" => UnobservedCause::Stopped,
                "down" => UnobservedCause::Down,
                "database" => UnobservedCause::Database,
                other => return Err(unknown("cause", other)),
            },
        })
    }
}

impl FromRow for BalanceRow {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        let spread = |first: usize| -> Result<Spread, Error> {
            Ok(Spread {
                mean: row.try_get(first)?,
                standard_deviation: row.try_get(first + 1)?,
                min: row.try_get(first + 2)?,
                max: row.try_get(first + 3)?,
                coefficient_of_variation: row.try_get(first + 4)?,
                weighted_mean: row.try_get(first + 5)?,
                weighted_standard_deviation: row.try_get(first + 6)?,
            })
        };
        Ok(Self {
            start: time(row, 0)?,
            hosts: count32(row, 1)?,
            cpu_busy_percent: spread(2)?,
            memory_used_percent: spread(9)?,
            net_bytes_per_s: spread(16)?,
            disk_busy_percent: spread(23)?,
        })
    }
}

impl FromRow for (IntegrityRow, u64) {
    fn read(row: &Row, _: &Frame) -> Result<Self, Error> {
        let finding = IntegrityRow {
            host_name: row.try_get(0)?,
            kind: match row.try_get(1)? {
                "unbalanced" => IntegrityKind::Unbalanced,
                "duplicate_identity" => IntegrityKind::DuplicateIdentity,
                "dropped" => IntegrityKind::Dropped,
                "unexplained_gap" => IntegrityKind::UnexplainedGap,
                "epoch_changed" => IntegrityKind::EpochChanged,
                "quarantined" => IntegrityKind::Quarantined,
                "impossible" => IntegrityKind::Impossible,
                "clock_skew" => IntegrityKind::ClockSkew,
                "missed" => IntegrityKind::Missed,
                "restarted" => IntegrityKind::Restarted,
                "hardware_changed" => IntegrityKind::HardwareChanged,
                "not_read" => IntegrityKind::NotRead,
                other => return Err(unknown("kind", other)),
            },
            samples: whole(row, 2)?.unwrap_or(0),
            from: time(row, 3)?,
            to: time(row, 4)?,
            detail: row.try_get(5)?,
        };
        Ok((finding, whole(row, 6)?.unwrap_or(0)))
    }
}

pub(super) fn unknown(what: &str, word: &str) -> Error {
    Error::new(Kind::Internal, format!("a report answers with the unknown {what} {word:?}"))
}
