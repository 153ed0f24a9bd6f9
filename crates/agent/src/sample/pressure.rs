//! Time in which tasks waited for CPU, memory and I/O, from /proc/pressure.
//!
//! The totals are read, not the kernel's own averages: they span the same time as all the rest. By
//! hand, since procfs needs both lines and the CPU's `full` came eight versions after its `some`.

use std::path::Path;
use std::time::Duration;

use rowcall_core::vitals::Vitals;

use super::proc_file::{Buffer, ProcFile};
use super::text::{lines, number, words};
use super::{percent, real};

/// Reads the three files.
#[derive(Debug)]
pub(super) struct Pressure {
    cpu: Resource,
    memory: Resource,
    io: Resource,
}

#[derive(Debug)]
struct Resource {
    file: ProcFile,
    previous: Totals,
}

/// Microseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    some: Option<u64>,
    full: Option<u64>,
}

impl Pressure {
    /// Reads `<root>/proc/pressure`.
    pub(super) fn new(root: &Path) -> Self {
        let resource = |name: &str| Resource {
            file: ProcFile::new(root.join("proc/pressure").join(name)),
            previous: Totals::default(),
        };
        Self { cpu: resource("cpu"), memory: resource("memory"), io: resource("io") }
    }

    /// Writes down the shares of the time since the previous call.
    pub(super) fn read(
        &mut self,
        buffer: &mut Buffer,
        elapsed: Option<Duration>,
        vitals: &mut Vitals,
    ) {
        let elapsed = elapsed.and_then(|elapsed| u64::try_from(elapsed.as_micros()).ok());
        let (some, full) = self.cpu.shares(buffer, elapsed);
        vitals.pressure_cpu_some_percent = some;
        vitals.pressure_cpu_full_percent = full;
        let (some, full) = self.memory.shares(buffer, elapsed);
        vitals.pressure_memory_some_percent = some;
        vitals.pressure_memory_full_percent = full;
        let (some, full) = self.io.shares(buffer, elapsed);
        vitals.pressure_io_some_percent = some;
        vitals.pressure_io_full_percent = full;
    }
}

impl Resource {
    fn shares(
        &mut self,
        buffer: &mut Buffer,
        elapsed_us: Option<u64>,
    ) -> (Option<f32>, Option<f32>) {
        let now = self.file.read(buffer).map(Totals::parse).unwrap_or_default();
        let before = std::mem::replace(&mut self.previous, now);
        let share = |now: Option<u64>, before: Option<u64>| {
            percent(now?.checked_sub(before?)?, elapsed_us?).map(real)
        };
        (share(now.some, before.some), share(now.full, before.full))
    }
}

impl Totals {
    fn parse(text: &[u8]) -> Self {
        let mut totals = Self::default();
        for line in lines(text) {
            let mut words = words(line);
            let total = match words.next() {
                Some(b"some") => &mut totals.some,
                Some(b"full") => &mut totals.full,
                _ => continue,
            };
            *total = words.find_map(|word| word.strip_prefix(b"total=")).and_then(number);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    fn write(root: &Path, name: &str, text: &str) {
        fs::create_dir_all(root.join("proc/pressure")).unwrap();
        fs::write(root.join("proc/pressure").join(name), text).unwrap();
    }

    fn line(kind: &str, total: u64) -> String {
        format!("{kind} avg10=99.00 avg60=1.00 avg300=0.12 total={total}\n")
    }

    #[test]
    fn shares_are_of_the_interval_and_a_missing_full_line_takes_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let (mut pressure, mut buffer) = (Pressure::new(root.path()), Buffer::default());
        let mut read = |elapsed| {
            let mut vitals = Vitals::default();
            pressure.read(&mut buffer, elapsed, &mut vitals);
            vitals
        };
        write(root.path(), "cpu", &line("some", 1_000));
        write(root.path(), "memory", &(line("some", 100) + &line("full", 50)));
        assert_eq!(read(None), Vitals::default(), "nothing to compare with");
        write(root.path(), "cpu", &line("some", 251_000));
        write(root.path(), "memory", &(line("some", 500_100) + &line("full", 2_000_050)));
        let vitals = read(SECOND);
        assert_eq!(vitals.pressure_cpu_some_percent, Some(25.0));
        assert_eq!(vitals.pressure_cpu_full_percent, None, "5.12 and before have no such line");
        assert_eq!(vitals.pressure_memory_some_percent, Some(50.0));
        assert_eq!(vitals.pressure_memory_full_percent, Some(100.0), "read a moment later");
        assert_eq!(vitals.pressure_io_some_percent, None, "no file");
    }

    #[test]
    fn totals_that_went_back_or_were_unreadable_once_give_no_share() {
        let root = tempfile::tempdir().unwrap();
        let (mut pressure, mut buffer) = (Pressure::new(root.path()), Buffer::default());
        let mut io = |text: &str| {
            write(root.path(), "io", text);
            let mut vitals = Vitals::default();
            pressure.read(&mut buffer, SECOND, &mut vitals);
            vitals.pressure_io_some_percent
        };
        io(&line("some", 500_000));
        assert_eq!(io(&line("some", 400_000)), None);
        assert_eq!(io(&line("some", 500_000)), Some(10.0));
        assert_eq!(io("some avg10=0.00 total=6\u{fffd}\n"), None);
        assert_eq!(io(&line("some", 900_000)), None, "it would span two intervals");
        assert_eq!(io("some avg10=0.00 avg60=0.00 avg300=0.00 total=91"), None, "cut");
    }
}
