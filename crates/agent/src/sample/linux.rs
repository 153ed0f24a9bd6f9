//! All of a Linux machine that a sample tells.

use std::path::Path;
use std::time::Duration;

use rowcall_core::record::Sample;
use rowcall_core::vitals::Vitals;

use super::cpu::Stat;
use super::disk_io::Disks;
use super::interfaces::Interfaces;
use super::memory::Memory;
use super::pressure::Pressure;
use super::proc_file::{Buffer, ProcFile};
use super::processes::Processes;
use super::tcp::Tcp;
use super::text::{first_number, number, words};
use super::{count, highest, load, real, vmstat};
use crate::devices::Peaks;

/// Reads each file at most once in a sample, and keeps it open.
#[derive(Debug)]
pub(super) struct Machine {
    buffer: Buffer,
    stat_file: ProcFile,
    meminfo: ProcFile,
    disks: Disks,
    /// Read only where something asks for it.
    interfaces: Option<Interfaces>,
    more: Option<More>,
    previous: Option<Stat>,
    /// The CPUs' time at the previous reading.
    spanned: Option<(Duration, Stat)>,
    highest: Highest,
    /// A span between two readings that is shorter tells nothing.
    shortest_span: Duration,
}

/// Since the previous sample.
#[derive(Clone, Copy, Debug, Default)]
struct Highest {
    cpu_busy: Option<f64>,
    memory_used_kib: Option<i64>,
}

/// What no classic column needs.
#[derive(Debug)]
struct More {
    loadavg: ProcFile,
    vmstat_file: ProcFile,
    vmstat: vmstat::Counters,
    page_bytes: u64,
    pressure: Pressure,
    tcp: Tcp,
    processes: Processes,
    conntrack: ProcFile,
    file_handles: ProcFile,
}

impl Machine {
    /// Reads below `root`.
    pub(super) fn new(root: &Path, vitals: bool, devices: bool, shortest_span: Duration) -> Self {
        let proc = root.join("proc");
        Self {
            buffer: Buffer::default(),
            stat_file: ProcFile::new(proc.join("stat")),
            meminfo: ProcFile::new(proc.join("meminfo")),
            disks: Disks::new(root),
            interfaces: (vitals || devices).then(|| Interfaces::new(root)),
            more: vitals.then(|| More::new(root)),
            previous: None,
            spanned: None,
            highest: Highest::default(),
            shortest_span,
        }
    }

    /// Reads everything. Differences are since the previous call, `elapsed` ago.
    pub(super) fn sample(&mut self, at: Duration, elapsed: Option<Duration>, sample: &mut Sample) {
        let mut vitals = Vitals::default();
        self.cpu(at, sample, &mut vitals);
        self.memory(sample, &mut vitals);
        let disks = self.disks.sample(&mut self.buffer, at, elapsed, self.shortest_span);
        sample.disk_io = disks.and_then(|disks| count(disks.requests));
        if let Some(disks) = disks {
            disks.tell(&mut vitals);
        }
        if let Some(interfaces) = &mut self.interfaces {
            interfaces.read(&mut self.buffer, at, elapsed, &mut vitals);
        }
        if let Some(more) = &mut self.more {
            more.read(&mut self.buffer, at, elapsed, &mut vitals);
            sample.vitals = Some(Box::new(vitals));
        }
    }

    /// Reads what peaks are kept of.
    pub(super) fn peak(&mut self, at: Duration) {
        let stat = self.stat_file.read(&mut self.buffer).map(Stat::parse);
        self.span(at, stat);
        let memory = self.meminfo.read(&mut self.buffer).map(Memory::parse);
        self.uses(memory.as_ref());
        self.disks.peak(&mut self.buffer, at, self.shortest_span);
    }

    /// The busiest moments of devices since they were last taken.
    pub(super) fn take_peaks(&mut self) -> Peaks {
        let interfaces = self.interfaces.as_mut().map(Interfaces::take_peaks).unwrap_or_default();
        Peaks { disks: self.disks.take_peaks(), interfaces }
    }

    fn cpu(&mut self, at: Duration, sample: &mut Sample, vitals: &mut Vitals) {
        let stat = self.stat_file.read(&mut self.buffer).map(Stat::parse);
        self.span(at, stat);
        let before = std::mem::replace(&mut self.previous, stat);
        let shares = before.zip(stat).and_then(|(before, stat)| stat.shares_since(&before));
        let busy = shares.map(|shares| shares.busy);
        vitals.cpu_busy_max_percent = highest(self.highest.cpu_busy.take(), busy).map(real);
        sample.cpu_idle_percent = shares.map(|shares| shares.idle);
        sample.cpu_kernel_percent = shares.map(|shares| shares.kernel);
        if let Some(stat) = stat {
            stat.tell(&before.unwrap_or_default(), shares.as_ref(), vitals);
        }
    }

    fn memory(&mut self, sample: &mut Sample, vitals: &mut Vitals) {
        let memory = self.meminfo.read(&mut self.buffer).map(Memory::parse);
        self.uses(memory.as_ref());
        vitals.memory_used_max_kib = self.highest.memory_used_kib.take();
        let Some(memory) = memory else { return };
        sample.memory_free_kib = memory.free_kib;
        sample.memory_available_kib = memory.available_kib;
        memory.tell(vitals);
    }

    /// Ends a span of the CPUs' time between two readings.
    fn span(&mut self, at: Duration, stat: Option<Stat>) {
        let before = std::mem::replace(&mut self.spanned, stat.map(|stat| (at, stat)));
        let Some(((began, before), stat)) = before.zip(stat) else { return };
        if at.checked_sub(began).is_some_and(|lasted| lasted >= self.shortest_span) {
            let busy = stat.shares_since(&before).map(|shares| shares.busy);
            self.highest.cpu_busy = highest(self.highest.cpu_busy, busy);
        }
    }

    fn uses(&mut self, memory: Option<&Memory>) {
        let used = memory.and_then(Memory::used_kib);
        self.highest.memory_used_kib = highest(self.highest.memory_used_kib, used);
    }
}

impl More {
    fn new(root: &Path) -> Self {
        let proc = root.join("proc");
        Self {
            loadavg: ProcFile::new(proc.join("loadavg")),
            vmstat_file: ProcFile::new(proc.join("vmstat")),
            vmstat: vmstat::Counters::default(),
            page_bytes: procfs::page_size(),
            pressure: Pressure::new(root),
            tcp: Tcp::new(root),
            processes: Processes::new(root),
            conntrack: ProcFile::new(proc.join("sys/net/netfilter/nf_conntrack_count")),
            file_handles: ProcFile::new(proc.join("sys/fs/file-nr")),
        }
    }

    fn read(
        &mut self,
        buffer: &mut Buffer,
        at: Duration,
        elapsed: Option<Duration>,
        vitals: &mut Vitals,
    ) {
        if let Some(text) = self.loadavg.read(buffer) {
            load::tell(text, vitals);
        }
        let vmstat = self.vmstat_file.read(buffer).map(vmstat::Counters::parse).unwrap_or_default();
        let before = std::mem::replace(&mut self.vmstat, vmstat);
        vmstat.tell(&before, self.page_bytes, vitals);
        self.pressure.read(buffer, elapsed, vitals);
        self.tcp.read(buffer, vitals);
        vitals.processes = self.processes.count(at).and_then(count);
        vitals.conntrack = self.conntrack.read(buffer).and_then(first_number).and_then(count);
        vitals.file_handles = self.file_handles.read(buffer).and_then(open_files).and_then(count);
    }
}

/// Of "allocated, free, most", those that are in use.
fn open_files(text: &[u8]) -> Option<u64> {
    let mut numbers = words(text.strip_suffix(b"\n")?).map(number);
    let (allocated, free) = (numbers.next()??, numbers.next()??);
    allocated.checked_sub(free)
}
