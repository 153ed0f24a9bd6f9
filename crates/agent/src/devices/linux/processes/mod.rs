//! The processes that take most, from one pass over /proc/PID/stat.
//!
//! Of each process one file is read. /proc/PID/io is read of those alone that are new or used CPU
//! time since the previous pass (who reads or writes much does; what little a process does within
//! one tick of CPU is told by its next read), and of those that are told. It is refused to an agent
//! that is neither root nor the process's owner: such a process is asked once in its life, has no
//! I/O numbers then, and is found by its CPU time and memory alone.
//!
//! Where /proc hides the processes of others (`hidepid`), they are not seen.

mod seen;
mod stat;
mod top;

use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{MAX_PROCESSES, Process, SkipReason};
use rustix::fs::{Mode, OFlags, RawDir, openat};

use self::seen::{Io, Seen, give_back, micros, started};
use self::stat::Stat;
use self::top::{Thresholds, Top, Usage};
use super::Context;
use super::files::{self, MAX_NAME_BYTES};
use crate::collect::Collector;
use crate::devices::found::{Found, Source};

/// Most processes that are looked at.
const MAX_LOOKED_AT: usize = 65_536;

/// What a process has to take of one CPU to be told, in percent; and of all memory.
const MIN_PERCENT: f64 = 1.0;

/// What it has to read and write together, in bytes per second.
const MIN_IO_BYTES_PER_S: i64 = 64 * 1024;

/// Bytes of a line in /proc/PID/stat, which has at most 52 numbers and a name.
const MAX_STAT_BYTES: usize = 2048;

/// Stands for a name of which nothing can be shown.
const NO_NAME: &str = "(no name)";

/// Longest name of a process, in bytes.
const MAX_COMMAND_BYTES: usize = 64;

/// Reads processes.
#[derive(Debug)]
pub(super) struct Processes {
    context: Arc<Context>,
    proc: Option<OwnedFd>,
    /// By pid.
    seen: Vec<Seen>,
    passed: Option<Duration>,
    pids: Vec<i32>,
    most_looked_at: usize,
    ticks_per_second: f64,
    kib_per_page: u64,
}

impl Processes {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            proc: None,
            seen: seen::table(),
            passed: None,
            pids: seen::table(),
            most_looked_at: MAX_LOOKED_AT,
            ticks_per_second: procfs::ticks_per_second() as f64,
            kib_per_page: procfs::page_size() / 1024,
        }
    }
}

impl Source for Processes {
    fn read(&mut self, found: &mut Found) {
        if self.proc.is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.proc = rustix::fs::open(self.context.path("proc"), flags, Mode::empty()).ok();
        }
        let now = micros(self.context.clock.since_boot());
        match self.pass(Duration::from_micros(now)) {
            Ok((usages, too_many)) => {
                found.skip(Collector::Processes, None, SkipReason::Limit, too_many);
                let process = |usage| self.process(usage);
                found.devices.processes = usages.into_iter().map(process).collect();
            }
            Err(_) => {
                self.proc = None;
                found.unreadable(Collector::Processes, None);
            }
        }
    }
}

impl Processes {
    /// Looks at every process; gives those to tell, and how many there were too many.
    fn pass(&mut self, at: Duration) -> io::Result<(Vec<Usage>, usize)> {
        let Some(proc) = &self.proc else { return Err(io::ErrorKind::NotFound.into()) };
        let too_many = list(proc, self.most_looked_at, &mut self.pids)?;
        // This process at least is one of them, where it is a table of processes at all.
        if self.pids.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let most = self.context.collect.top_processes.min(MAX_PROCESSES / 3);
        let mut top = Top::new(most, self.thresholds());
        let pass = Pass {
            proc,
            at,
            since: self.passed.filter(|since| *since < at),
            ticks_per_second: self.ticks_per_second,
        };
        // In one table: those that are known move up over those that are gone, new ones are added
        // behind all, and sorted in afterwards.
        let known = self.seen.len();
        let (mut kept, mut next) = (0, 0);
        self.seen.reserve_exact(self.pids.len().saturating_sub(known));
        let mut line = [0; MAX_STAT_BYTES];
        for &pid in &self.pids {
            // What is gone by now is no concern.
            let Some(bytes) = read_of(proc, pid, "stat", &mut line).ok() else { continue };
            let Some(stat) = stat::parse(bytes) else { continue };
            let earlier = &self.seen[next..known];
            next += earlier.iter().take_while(|it| it.pid < pid).count();
            let same_pid = self.seen[next..known].first().copied().filter(|it| it.pid == pid);
            let before = same_pid.filter(|it| it.started == started(&stat));
            let (seen, usage) = pass.look(pid, &stat, before.as_ref(), self.kib_per_page);
            top.offer(&usage, || name(&stat));
            if same_pid.is_some() {
                self.seen[kept] = seen;
                (kept, next) = (kept + 1, next + 1);
            } else {
                self.seen.push(seen);
            }
        }
        self.seen.drain(kept..known);
        if self.seen.len() > kept {
            self.seen.sort_unstable_by_key(|it| it.pid);
        }
        let mut usages = top.into_all();
        for usage in &mut usages {
            pass.complete(usage, &mut self.seen);
        }
        give_back(&mut self.seen);
        give_back(&mut self.pids);
        self.passed = Some(at);
        Ok((usages, too_many))
    }

    fn thresholds(&self) -> Thresholds {
        // Without a total, memory finds nobody.
        let total_kib = files::with_value(&self.context.path("proc/meminfo"), |bytes| {
            let line = bytes.split(|byte| *byte == b'\n').next()?;
            let words = std::str::from_utf8(line).ok()?.strip_prefix("MemTotal:")?;
            words.split_ascii_whitespace().next()?.parse::<i64>().ok()
        });
        Thresholds {
            cpu_percent: MIN_PERCENT,
            memory_kib: total_kib.map_or(i64::MAX, |kib| (kib / 100).max(1)),
            io_bytes_per_s: MIN_IO_BYTES_PER_S,
        }
    }

    fn process(&self, usage: Usage) -> Process {
        let arguments =
            self.context.collect.process_arguments.then(|| self.arguments(usage.pid)).flatten();
        Process {
            command: arguments.unwrap_or(usage.name),
            pid: usage.pid,
            cpu_percent: usage.cpu_percent.map(rounded),
            memory_kib: Some(usage.memory_kib),
            read_bytes_per_s: usage.read_bytes_per_s,
            written_bytes_per_s: usage.written_bytes_per_s,
        }
    }

    /// A command with its arguments; a thread of the kernel has none.
    fn arguments(&self, pid: i32) -> Option<String> {
        let mut bytes = [0; 2 * MAX_NAME_BYTES];
        let bytes = read_of(self.proc.as_ref()?, pid, "cmdline", &mut bytes).ok()?;
        let spaced: Vec<_> =
            bytes.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
        clean_text_within(&String::from_utf8_lossy(&spaced), MAX_NAME_BYTES)
    }
}

/// One pass.
struct Pass<'a> {
    proc: &'a OwnedFd,
    at: Duration,
    /// The previous one.
    since: Option<Duration>,
    ticks_per_second: f64,
}

impl Pass<'_> {
    fn look(
        &self,
        pid: i32,
        stat: &Stat<'_>,
        known: Option<&Seen>,
        kib_per_page: u64,
    ) -> (Seen, Usage) {
        // CPU time and I/O until then.
        let before = match (known, self.since) {
            (Some(known), _) => Some((known.cpu_ticks, Io::from(known.io))),
            // All that it did, it did since then.
            (None, Some(since)) if self.started_after(stat, since) => {
                Some((0, Io::Read { read: 0, written: 0, at: since }))
            }
            _ => None,
        };
        let ticks = before.and_then(|(ticks, _)| stat.cpu_ticks.checked_sub(ticks));
        let seconds = self.since.map(|since| (self.at - since).as_secs_f64());
        let kib = stat.resident_pages.saturating_mul(kib_per_page);
        let mut usage = Usage {
            pid,
            cpu_percent: ticks
                .zip(seconds)
                .map(|(ticks, seconds)| ticks as f64 / self.ticks_per_second / seconds * 100.0),
            memory_kib: i64::try_from(kib).unwrap_or(i64::MAX),
            ..Usage::default()
        };
        let is_busy = ticks != Some(0) || stat.state == b'D';
        let io = match known.map(|it| Io::from(it.io)) {
            Some(Io::Refused) => Io::Refused,
            Some(io) if !is_busy => io,
            _ => {
                let io = self.io(pid);
                (usage.read_bytes_per_s, usage.written_bytes_per_s) =
                    rates(before.map(|(_, io)| io), io).unzip();
                io
            }
        };
        let seen = Seen { pid, started: started(stat), cpu_ticks: stat.cpu_ticks, io: io.into() };
        (seen, usage)
    }

    fn started_after(&self, stat: &Stat<'_>, since: Duration) -> bool {
        stat.started_ticks as f64 / self.ticks_per_second >= since.as_secs_f64()
    }

    fn io(&self, pid: i32) -> Io {
        let mut text = [0; 512];
        let io = read_of(self.proc, pid, "io", &mut text).ok().and_then(stat::io);
        io.map_or(Io::Refused, |(read, written)| Io::Read { read, written, at: self.at })
    }

    /// Adds the I/O of a process that is told and was not asked for it.
    fn complete(&self, usage: &mut Usage, seen: &mut [Seen]) {
        let Ok(at) = seen.binary_search_by_key(&usage.pid, |it| it.pid) else { return };
        let seen = &mut seen[at];
        let last = Io::from(seen.io);
        if matches!(last, Io::Read { at, .. } if at < self.at) {
            let now = self.io(usage.pid);
            (usage.read_bytes_per_s, usage.written_bytes_per_s) = rates(Some(last), now).unzip();
            seen.io = now.into();
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for a measurement")]
fn rounded(percent: f64) -> f32 {
    percent as f32
}

/// Bytes per second between two readings.
fn rates(last: Option<Io>, now: Io) -> Option<(i64, i64)> {
    let (Some(Io::Read { read, written, at }), Io::Read { read: r, written: w, at: later }) =
        (last, now)
    else {
        return None;
    };
    let micros = later.checked_sub(at)?.as_micros();
    let rate = |from: u64, to: u64| {
        let bytes = u128::from(to.checked_sub(from)?);
        // Counters that went wild give a rate that no disk has.
        i64::try_from((bytes * 1_000_000).checked_div(micros)?).ok()
    };
    Some((rate(read, r)?, rate(written, w)?))
}

/// At most so many pids, sorted; and how many there are too many.
fn list(proc: &OwnedFd, most: usize, pids: &mut Vec<i32>) -> io::Result<usize> {
    pids.clear();
    rustix::fs::seek(proc, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [const { MaybeUninit::uninit() }; 16 * 1024];
    let mut entries = RawDir::new(proc, &mut buffer);
    let mut too_many = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = std::str::from_utf8(entry.file_name().to_bytes()).ok();
        match name.and_then(|name| name.parse::<i32>().ok()).filter(|pid| *pid > 0) {
            Some(pid) if pids.len() < most => pids.push(pid),
            Some(_) => too_many += 1,
            None => {}
        }
    }
    // The kernel gives them in this order already; the tables are walked side by side.
    pids.sort_unstable();
    pids.dedup();
    Ok(too_many)
}

/// Reads a file of a process, as much of it as has room.
fn read_of<'b>(
    proc: impl AsFd,
    pid: i32,
    file: &str,
    buffer: &'b mut [u8],
) -> io::Result<&'b [u8]> {
    let mut path = [0; 32];
    let mut rest = &mut path[..];
    write!(rest, "{pid}/{file}\0")?;
    let path = std::ffi::CStr::from_bytes_until_nul(&path).map_err(io::Error::other)?;
    let file = File::from(openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    Ok(&buffer[..length])
}

/// The name that is shown: of a thread of the kernel without its number, which differs for each. A
/// process may take its name away, and is told all the same.
fn name(stat: &Stat<'_>) -> String {
    let name = String::from_utf8_lossy(stat.name);
    let name = if stat.is_kernel { name.split('/').next().unwrap_or("") } else { &name };
    clean_text_within(name, MAX_COMMAND_BYTES).unwrap_or_else(|| NO_NAME.to_owned())
}

#[cfg(test)]
mod tests;
