//! What whole disks do, from /proc/diskstats.
//!
//! A whole disk is what has a `device` link in /sys/block: so no partition, loop, ram, device
//! mapper or md device, which would count the same request again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use procfs::DiskStat;
use rowcall_core::vitals::Vitals;

use super::proc_file::{Buffer, ProcFile};
use super::text::lines;
use super::{LOOK_AGAIN_EVERY, count, highest, is_due, percent, real};

/// Reads the disks and remembers what they had done.
#[derive(Debug)]
pub(super) struct Disks {
    file: ProcFile,
    sys_block: PathBuf,
    /// Everything in the file, partitions too, so that each is looked up in /sys but rarely.
    known: HashMap<String, Disk>,
    looked_up: Option<Duration>,
    /// Readings so far.
    reading: u64,
    is_sampled: bool,
}

#[derive(Debug)]
struct Disk {
    /// Another disk may come back under the same letters.
    number: (i32, i32),
    is_whole: bool,
    seen: u64,
    /// At the previous sample.
    sampled: Option<Counters>,
    /// At the previous reading: when, and the milliseconds it had been busy.
    spanned: Option<(Duration, u64)>,
    /// Busy time in percent in the busiest span since the previous sample.
    busiest: Option<f64>,
    /// And since peaks were taken.
    peak: Option<f64>,
}

/// Since the disk appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    reads: u64,
    writes: u64,
    read_sectors: u64,
    written_sectors: u64,
    busy_ms: u64,
}

/// What one disk did between two samples.
#[derive(Clone, Copy, Debug)]
struct Done {
    requests: u64,
    read_sectors: Option<u64>,
    written_sectors: Option<u64>,
    busy_ms: Option<u64>,
}

/// What all whole disks did since the previous sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    /// Requests completed.
    pub(super) requests: u64,
    read_sectors: u64,
    written_sectors: u64,
    /// Busy time of the busiest disk in percent, over the interval and in its busiest span.
    busy: Option<f64>,
    busiest: Option<f64>,
}

impl Activity {
    fn add(&mut self, done: &Done) {
        let sum = |sum: u64, part: Option<u64>| sum.saturating_add(part.unwrap_or(0));
        self.requests = sum(self.requests, Some(done.requests));
        self.read_sectors = sum(self.read_sectors, done.read_sectors);
        self.written_sectors = sum(self.written_sectors, done.written_sectors);
    }

    /// Writes down all but the classic column.
    pub(super) fn tell(&self, vitals: &mut Vitals) {
        vitals.disk_busy_percent = self.busy.map(real);
        vitals.disk_busy_max_percent = self.busiest.map(real);
        // The kernel's sectors are of 512 bytes, whatever the disk's are.
        vitals.disk_read_kib = count(self.read_sectors / 2);
        vitals.disk_written_kib = count(self.written_sectors / 2);
    }
}

impl Disks {
    /// Reads `<root>/proc/diskstats` and `<root>/sys/block`.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            file: ProcFile::new(root.join("proc/diskstats")),
            sys_block: root.join("sys/block"),
            known: HashMap::new(),
            looked_up: None,
            reading: 0,
            is_sampled: false,
        }
    }

    /// What was done since the previous call, by the disks that were there at both; `None` when it
    /// is the first, or the file could not be read or understood at either. A disk whose counters
    /// went back was replaced and did nothing.
    pub(super) fn sample(
        &mut self,
        buffer: &mut Buffer,
        at: Duration,
        elapsed: Option<Duration>,
        shortest: Duration,
    ) -> Option<Activity> {
        let mut activity = Activity::default();
        let read = self.read(buffer, at, |disk, now| {
            disk.span(at, shortest, now.busy_ms);
            let before = disk.sampled.replace(*now);
            let busiest = disk.busiest.take();
            let Some(done) = before.and_then(|before| now.since(&before)) else { return };
            let busy = done.busy_ms.zip(elapsed).and_then(|(ms, span)| busy_percent(ms, span));
            disk.peak = highest(disk.peak, busy);
            activity.add(&done);
            activity.busy = highest(activity.busy, busy);
            activity.busiest = highest(activity.busiest, highest(busy, busiest));
        });
        if read.is_none() {
            self.known.clear();
        }
        let was_sampled = std::mem::replace(&mut self.is_sampled, read.is_some());
        read.filter(|()| was_sampled).map(|()| activity)
    }

    /// Reads how busy each disk was since the previous reading.
    pub(super) fn peak(&mut self, buffer: &mut Buffer, at: Duration, shortest: Duration) {
        let read = self.read(buffer, at, |disk, now| disk.span(at, shortest, now.busy_ms));
        if read.is_none() {
            for disk in self.known.values_mut() {
                disk.spanned = None;
            }
        }
    }

    /// The busiest spans since they were last taken, of whole disks.
    pub(super) fn take_peaks(&mut self) -> BTreeMap<String, f32> {
        let peaks = self.known.iter_mut().filter_map(|(name, disk)| {
            let peak = disk.peak.take()?;
            Some((name.clone(), real(peak)))
        });
        peaks.collect()
    }

    /// Calls `each` with every whole disk.
    fn read(
        &mut self,
        buffer: &mut Buffer,
        at: Duration,
        mut each: impl FnMut(&mut Disk, &Counters),
    ) -> Option<()> {
        let text = self.file.read(buffer)?;
        let look_again = is_due(&mut self.looked_up, at, LOOK_AGAIN_EVERY);
        if (look_again || self.known.is_empty()) && !self.sys_block.is_dir() {
            return None;
        }
        self.reading += 1;
        for line in lines(text) {
            let stat = DiskStat::from_line(str::from_utf8(line).ok()?).ok()?;
            let number = (stat.major, stat.minor);
            let now = Counters::of(&stat);
            let is_whole = || is_whole(&self.sys_block, &stat.name);
            let disk = match self.known.get_mut(&stat.name) {
                Some(disk) if disk.number == number => {
                    if look_again {
                        disk.is_whole = is_whole();
                    }
                    disk
                }
                _ => {
                    let disk = Disk::new(number, is_whole());
                    self.known.entry(stat.name).insert_entry(disk).into_mut()
                }
            };
            if disk.seen != self.reading && disk.is_whole {
                each(disk, &now);
            }
            disk.seen = self.reading;
        }
        self.known.retain(|_, disk| disk.seen == self.reading);
        Some(())
    }
}

impl Disk {
    fn new(number: (i32, i32), is_whole: bool) -> Self {
        Self { number, is_whole, seen: 0, sampled: None, spanned: None, busiest: None, peak: None }
    }

    /// Ends a span between two readings. One that is too short tells nothing.
    fn span(&mut self, at: Duration, shortest: Duration, busy_ms: u64) {
        let Some((began, before)) = self.spanned.replace((at, busy_ms)) else { return };
        let lasted = at.checked_sub(began).filter(|lasted| *lasted >= shortest);
        let busy = lasted
            .zip(busy_ms.checked_sub(before))
            .and_then(|(lasted, busy_ms)| busy_percent(busy_ms, lasted));
        self.busiest = highest(self.busiest, busy);
        self.peak = highest(self.peak, busy);
    }
}

/// sysfs writes '!' where a device's name has '/'.
fn is_whole(sys_block: &Path, name: &str) -> bool {
    sys_block.join(name.replace('/', "!")).join("device").symlink_metadata().is_ok()
}

fn busy_percent(busy_ms: u64, lasted: Duration) -> Option<f64> {
    percent(busy_ms.checked_mul(1000)?, u64::try_from(lasted.as_micros()).ok()?)
}

impl Counters {
    fn of(stat: &DiskStat) -> Self {
        Self {
            reads: stat.reads,
            writes: stat.writes,
            read_sectors: stat.sectors_read,
            written_sectors: stat.sectors_written,
            busy_ms: stat.time_in_progress,
        }
    }

    /// `None` when the disk was replaced. Its other counters have fewer bits, and wrap.
    fn since(&self, earlier: &Self) -> Option<Done> {
        let reads = self.reads.checked_sub(earlier.reads)?;
        let writes = self.writes.checked_sub(earlier.writes)?;
        Some(Done {
            requests: reads.saturating_add(writes),
            read_sectors: self.read_sectors.checked_sub(earlier.read_sectors),
            written_sectors: self.written_sectors.checked_sub(earlier.written_sectors),
            busy_ms: self.busy_ms.checked_sub(earlier.busy_ms),
        })
    }
}

#[cfg(test)]
mod tests;
