//! Reading the machine: one collector per file.
//!
//! [`Sampler`] reads what changes, [`host_facts`] what the host is, [`Reader`] runs both on a
//! thread of their own, so that a read that hangs stalls neither the stream nor the stop.
//!
//! What cannot be read is `None`, never 0 and never a guess. Counters come from the kernel and are
//! differences over the time since the previous sample; the first sample needs a
//! [`Sampler::prime`] before it. Linux-only collectors read below a root path that tests replace.

#[cfg(target_os = "linux")]
mod cpu;
#[cfg(target_os = "linux")]
mod disk_io;
mod disk_space;
pub mod host_facts;
#[cfg(target_os = "linux")]
mod linux_facts;
mod memory;
mod reader;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rowcall_core::clock::Clock;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Sample;

use crate::collect::Collect;
use crate::devices::Peaks;

pub use reader::{Reader, Unread};

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
    memory: memory::Reader,
    previous: Option<Counters>,
}

/// Counters since boot, and when they were read.
#[derive(Debug)]
struct Counters {
    since_boot: Duration,
    #[cfg(target_os = "linux")]
    cpu: Option<cpu::Times>,
    #[cfg(target_os = "linux")]
    disks: Option<disk_io::Counts>,
}

/// What two readings of the counters give.
#[derive(Debug, Default)]
struct Differences {
    cpu_idle_percent: Option<f64>,
    cpu_kernel_percent: Option<f64>,
    disk_io: Option<i64>,
}

impl Sampler {
    /// Reads below `root`: "/" in service, a recorded tree in tests. Memory is always this
    /// machine's.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, _collect: &Collect) -> Self {
        let root = root.into();
        let memory = memory::Reader::new(&root);
        Self { root, memory, previous: None }
    }

    /// Reads the counters that the next sample's differences start from.
    pub fn prime(&mut self, clock: &dyn Clock) {
        self.previous = Some(Counters::read(&self.root, clock.since_boot()));
    }

    /// Reads what peaks are kept of, between two samples.
    pub fn peak(&mut self, _clock: &dyn Clock) {}

    /// The busiest moments of devices since they were last taken.
    pub fn take_peaks(&mut self) -> Peaks {
        Peaks::default()
    }

    /// Takes a sample. Without a sample or [`Sampler::prime`] before it, its differences are
    /// `None`.
    pub fn sample(&mut self, clock: &dyn Clock) -> Reading {
        let (time, since_boot, monotonic) = (clock.wall(), clock.since_boot(), clock.monotonic());
        let counters = Counters::read(&self.root, since_boot);
        let elapsed =
            self.previous.as_ref().and_then(|previous| since_boot.checked_sub(previous.since_boot));
        let differences =
            self.previous.as_ref().map(|previous| counters.since(previous)).unwrap_or_default();
        self.previous = Some(counters);
        let memory = self.memory.read();
        let sample = Sample {
            elapsed_us: elapsed.and_then(micros),
            uptime_us: micros(since_boot),
            memory_free_kib: memory.free_kib,
            memory_available_kib: memory.available_kib,
            cpu_idle_percent: differences.cpu_idle_percent,
            cpu_kernel_percent: differences.cpu_kernel_percent,
            disk_io: differences.disk_io,
            disk_available_kib: disk_space::available_kib(&self.root),
            clock_shift_us: None,
            vitals: None,
        };
        Reading { time, since_boot, monotonic, sample }
    }
}

#[cfg(target_os = "linux")]
impl Counters {
    fn read(root: &Path, since_boot: Duration) -> Self {
        Self { since_boot, cpu: cpu::Times::read(root), disks: disk_io::Counts::read(root) }
    }

    fn since(&self, earlier: &Self) -> Differences {
        let shares = match (&self.cpu, &earlier.cpu) {
            (Some(now), Some(before)) => now.shares_since(before),
            _ => None,
        };
        let completed = match (&self.disks, &earlier.disks) {
            (Some(now), Some(before)) => Some(now.completed_since(before)),
            _ => None,
        };
        Differences {
            cpu_idle_percent: shares.map(|shares| shares.idle),
            cpu_kernel_percent: shares.map(|shares| shares.kernel),
            disk_io: completed.and_then(|n| i64::try_from(n).ok()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Counters {
    fn read(_root: &Path, since_boot: Duration) -> Self {
        Self { since_boot }
    }

    fn since(&self, _earlier: &Self) -> Differences {
        Differences::default()
    }
}

fn micros(duration: Duration) -> Option<i64> {
    i64::try_from(duration.as_micros()).ok()
}

fn kib(bytes: u64) -> Option<i64> {
    i64::try_from(bytes / 1024).ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rowcall_core::clock::{SystemClock, TestClock};
    use std::fs;

    fn write_tree(root: &Path, cpu: &str, reads: u64) {
        fs::create_dir_all(root.join("proc")).unwrap();
        fs::create_dir_all(root.join("sys/block/sda/device")).unwrap();
        let stat = format!("cpu  {cpu}\nctxt 1\nbtime 1\nprocesses 1\n");
        fs::write(root.join("proc/stat"), stat).unwrap();
        let disk = format!("8 0 sda {reads} 0 0 0 5 0 0 0 0 0 0\n");
        fs::write(root.join("proc/diskstats"), disk).unwrap();
    }

    #[test]
    fn differences_span_the_time_since_the_previous_reading() {
        let root = tempfile::tempdir().unwrap();
        let clock = TestClock::at(UnixMicros(1_000_000));
        let mut sampler = Sampler::new(root.path(), &Collect::default());
        write_tree(root.path(), "0 0 0 100 0 0 0 0", 7);
        sampler.prime(&clock);
        clock.advance(Duration::from_secs(2));
        write_tree(root.path(), "25 0 25 250 0 0 0 0", 10);
        let reading = sampler.sample(&clock);
        assert_eq!(reading.time, UnixMicros(3_000_000));
        assert_eq!(reading.sample.elapsed_us, Some(2_000_000));
        assert_eq!(reading.sample.uptime_us, Some(3_602_000_000));
        assert_eq!(reading.sample.cpu_idle_percent, Some(75.0));
        assert_eq!(reading.sample.cpu_kernel_percent, Some(12.5));
        assert_eq!(reading.sample.disk_io, Some(3));
    }

    #[test]
    fn without_a_reading_before_it_a_sample_has_no_differences() {
        let root = tempfile::tempdir().unwrap();
        write_tree(root.path(), "1 1 1 1", 1);
        let sample = Sampler::new(root.path(), &Collect::default())
            .sample(&TestClock::at(UnixMicros(0)))
            .sample;
        assert_eq!(
            (sample.elapsed_us, sample.cpu_idle_percent, sample.disk_io),
            (None, None, None)
        );
        assert!(sample.memory_free_kib.is_some());
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_the_rest_still_comes() {
        let root = tempfile::tempdir().unwrap();
        let clock = TestClock::at(UnixMicros(0));
        let mut sampler = Sampler::new(root.path(), &Collect::default());
        sampler.prime(&clock);
        clock.advance(Duration::from_secs(1));
        let sample = sampler.sample(&clock).sample;
        assert_eq!((sample.cpu_idle_percent, sample.disk_io), (None, None));
        assert_eq!(sample.elapsed_us, Some(1_000_000));
        assert!(sample.memory_available_kib.is_some());
    }

    #[test]
    fn this_machine_gives_sane_values() {
        let mut sampler = Sampler::new("/", &Collect::default());
        sampler.prime(&SystemClock);
        // Enough work that the kernel's clock ticks.
        let until = SystemClock.monotonic() + Duration::from_millis(50);
        while SystemClock.monotonic() < until {}
        let reading = sampler.sample(&SystemClock);
        let sample = reading.sample;
        let (idle, kernel) = (sample.cpu_idle_percent.unwrap(), sample.cpu_kernel_percent.unwrap());
        assert!((0.0..=100.0).contains(&idle) && (0.0..=100.0).contains(&kernel));
        assert!(idle + kernel <= 100.0 + 1e-9, "{idle} + {kernel}");
        assert!(sample.elapsed_us.unwrap() >= 50_000);
        assert!(sample.disk_io.unwrap() >= 0);
        assert!(sample.disk_available_kib.unwrap() >= 0);
        assert!(reading.time.0 > 1_600_000_000_000_000);
    }
}
