//! Reading the machine: one collector per file.
//!
//! [`Sampler`] reads what changes, [`host_facts`] what the host is, [`Reader`] runs both on a
//! thread of their own, so that a read that hangs stalls neither the stream nor the stop.
//!
//! What cannot be read is `None`, never 0 and never a guess. Counters come from the kernel and are
//! differences over the time since the previous sample; the first sample needs a
//! [`Sampler::prime`] before it. Everything is read below a root path that tests replace, and files
//! of the kernel stay open.
//!
//! On Linux, `linux` puts together what the collectors read. Elsewhere sysinfo gives memory, swap in
//! use and load, the clock uptime and statvfs space (`elsewhere`); all the rest is unknown there.

#[cfg(target_os = "linux")]
mod cpu;
#[cfg(target_os = "linux")]
mod disk_io;
mod disk_space;
#[cfg(any(not(target_os = "linux"), test))]
mod elsewhere;
pub mod host_facts;
#[cfg(target_os = "linux")]
mod interfaces;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod linux_facts;
#[cfg(target_os = "linux")]
mod load;
mod memory;
#[cfg(target_os = "linux")]
mod pressure;
#[cfg(target_os = "linux")]
mod proc_file;
#[cfg(target_os = "linux")]
mod processes;
mod reader;
#[cfg(target_os = "linux")]
mod tcp;
#[cfg(target_os = "linux")]
mod text;
#[cfg(target_os = "linux")]
mod vmstat;

use std::path::PathBuf;
use std::time::Duration;

use rowcall_core::clock::Clock;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Sample;

use crate::collect::Collect;
use crate::devices::Peaks;
#[cfg(not(target_os = "linux"))]
use elsewhere as platform;
#[cfg(target_os = "linux")]
use linux as platform;

pub use reader::{Reader, Unread};

/// Readings for peaks never come more often.
const MIN_PEAKS_EVERY: Duration = Duration::from_millis(100);

/// A span between two readings counts as a peak when it is at least this part of the usual one:
/// the busy moment of a sample's own reading is no peak of the host.
const SHORTEST_SPAN_PART: u32 = 4;

/// What a device or /proc itself is like is looked up again this often.
#[cfg(target_os = "linux")]
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(3600);

/// A sample and the wall clock at which it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The wall clock, as read.
    pub time: UnixMicros,
    /// Time since boot at the same instant, sleep included.
    pub since_boot: Duration,
    /// The monotonic clock at the same instant, which sleep stops.
    pub monotonic: Duration,
    /// What was measured.
    pub sample: Sample,
}

/// Takes samples; remembers the counters of the one before.
#[derive(Debug)]
pub struct Sampler {
    root: PathBuf,
    machine: platform::Machine,
    /// Time since boot at the previous sample.
    previous: Option<Duration>,
    /// Where something asks for peaks.
    peaks_every: Option<Duration>,
    /// When the next reading for peaks is due, by the monotonic clock.
    peak_due: Option<Duration>,
}

impl Sampler {
    /// Reads below `root`: "/" in service, a recorded tree in tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, collect: &Collect) -> Self {
        let root = root.into();
        let devices = collect.devices_every.is_some();
        let every = collect.peaks_every.max(MIN_PEAKS_EVERY);
        let shortest_span = every / SHORTEST_SPAN_PART;
        Self {
            machine: platform::Machine::new(&root, collect.vitals, devices, shortest_span),
            root,
            previous: None,
            peaks_every: (collect.vitals || devices).then_some(every),
            peak_due: None,
        }
    }

    /// Reads the counters that the next sample's differences start from.
    pub fn prime(&mut self, clock: &dyn Clock) {
        let _from_boot_on = self.read(clock);
    }

    /// Takes a sample. Without a sample or [`Sampler::prime`] before it, its differences are
    /// `None`.
    pub fn sample(&mut self, clock: &dyn Clock) -> Reading {
        let mut reading = self.read(clock);
        reading.sample.disk_available_kib = disk_space::available_kib(&self.root);
        reading
    }

    fn read(&mut self, clock: &dyn Clock) -> Reading {
        let (time, since_boot, monotonic) = (clock.wall(), clock.since_boot(), clock.monotonic());
        let elapsed = self.previous.replace(since_boot).and_then(|at| since_boot.checked_sub(at));
        let mut sample = Sample {
            elapsed_us: elapsed.and_then(micros),
            uptime_us: micros(since_boot),
            ..Sample::default()
        };
        self.machine.sample(since_boot, elapsed, &mut sample);
        self.peak_due = self.peaks_every.map(|every| monotonic.saturating_add(every));
        Reading { time, since_boot, monotonic, sample }
    }

    /// When [`Sampler::peak`] is due, by the monotonic clock: some time after every other reading.
    /// `None` before the first one, and where nothing asks for peaks.
    #[must_use]
    pub fn peak_due(&self) -> Option<Duration> {
        self.peak_due
    }

    /// Reads what peaks are kept of, between two samples.
    pub fn peak(&mut self, clock: &dyn Clock) {
        self.machine.peak(clock.since_boot());
        self.peak_due = self.peaks_every.map(|every| clock.monotonic().saturating_add(every));
    }

    /// The busiest moments of devices since they were last taken.
    pub fn take_peaks(&mut self) -> Peaks {
        self.machine.take_peaks()
    }
}

fn micros(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_micros()).ok()
}

fn kib(bytes: u64) -> Option<i64> {
    i64::try_from(bytes / 1024).ok()
}

/// As the columns hold it.
#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for a measurement")]
fn real(value: f64) -> f32 {
    value as f32
}

/// As the columns hold it.
#[cfg(target_os = "linux")]
fn count(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

/// Never above 100: what two files tell was not read in the same instant.
#[cfg(target_os = "linux")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    // Differences stay far below 2^53, where a float is exact.
    (whole > 0).then(|| (part as f64 * 100.0 / whole as f64).min(100.0))
}

fn highest<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one < other { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Whether to look again, and when that was last done.
#[cfg(target_os = "linux")]
fn is_due(last: &mut Option<Duration>, now: Duration, every: Duration) -> bool {
    let age = last.and_then(|last| now.checked_sub(last));
    let is_due = age.is_none_or(|age| age >= every);
    if is_due {
        *last = Some(now);
    }
    is_due
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
