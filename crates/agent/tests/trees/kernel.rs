//! How the kernel writes its files, in the formats of several versions.

use std::fmt::Write as _;

use super::machine::Machine;

/// Versions whose formats differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kernel {
    /// CentOS 7: no discards in diskstats, no pressure.
    V3_10,
    /// With discards.
    V4_18,
    /// With flushes, and pressure without the `full` line for CPU.
    V5_15,
    /// With all of it.
    V6,
}

/// CPU time in ticks of 10 ms: user, nice, system, idle, iowait, irq, softirq, steal, guest and
/// guest_nice.
pub(crate) type Ticks = [u64; 10];

/// Counters of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Io {
    pub(crate) reads: u64,
    pub(crate) read_sectors: u64,
    pub(crate) read_ms: u64,
    pub(crate) writes: u64,
    pub(crate) written_sectors: u64,
    pub(crate) write_ms: u64,
    pub(crate) in_flight: u64,
    pub(crate) busy_ms: u64,
}

/// Counters of one direction of an interface.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) errors: u64,
    pub(crate) drops: u64,
}

/// A process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) pid: u32,
    pub(crate) command: &'a str,
    pub(crate) cpu_ticks: u64,
    pub(crate) resident_kib: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

/// /proc/stat of `cpus` CPUs, which share the time evenly, with `intr` as long as on a real machine.
pub(crate) fn stat(cpus: u64, total: Ticks, [ctxt, forks, running, blocked]: [u64; 4]) -> String {
    let line = |ticks: Ticks| ticks.map(|n| n.to_string()).join(" ");
    let mut text = format!("cpu  {}\n", line(total));
    for cpu in 0..cpus {
        writeln!(text, "cpu{cpu} {}", line(total.map(|n| n / cpus))).unwrap();
    }
    writeln!(text, "intr 987654321{}", " 0".repeat(2048)).unwrap();
    let rest = "softirq 30000 1 2 3 4 5 6 7 8 9 10";
    write!(
        text,
        "ctxt {ctxt}\nbtime 1763884800\nprocesses {forks}\nprocs_running {running}\n\
         procs_blocked {blocked}\n{rest}\n"
    )
    .unwrap();
    text
}

/// Keys and values as in /proc/meminfo, in KiB but for those that count huge pages.
pub(crate) fn meminfo(values: &[(&str, u64)]) -> String {
    let mut text = String::new();
    for (key, value) in values {
        let unit = if key.starts_with("HugePages_") { "" } else { " kB" };
        writeln!(text, "{:16}{value:8}{unit}", format!("{key}:")).unwrap();
    }
    text
}

/// Keys and values as in /proc/vmstat.
pub(crate) fn vmstat(values: &[(&str, u64)]) -> String {
    values.iter().map(|(key, value)| format!("{key} {value}\n")).collect()
}

/// A pressure file: microseconds of `some` and, where the kernel has it, of `full`.
pub(crate) fn pressure(some: u64, full: Option<u64>) -> String {
    let line = |kind, total| format!("{kind} avg10=0.12 avg60=0.34 avg300=0.56 total={total}\n");
    line("some", some) + &full.map(|total| line("full", total)).unwrap_or_default()
}

/// A line of /proc/diskstats.
pub(crate) fn diskstats(kernel: Kernel, device: (u32, u32), name: &str, io: Io) -> String {
    let Io { reads, read_sectors, read_ms, writes, written_sectors, write_ms, in_flight, busy_ms } =
        io;
    let (major, minor) = device;
    let weighted = read_ms + write_ms;
    let mut line = format!(
        "{major:4} {minor:7} {name} {reads} 3 {read_sectors} {read_ms} {writes} 5 {written_sectors} \
         {write_ms} {in_flight} {busy_ms} {weighted}"
    );
    if kernel >= Kernel::V4_18 {
        line += " 11 0 1024 7";
    }
    if kernel >= Kernel::V5_15 {
        line += " 13 9";
    }
    line + "\n"
}

/// /proc/net/dev of these interfaces.
pub(crate) fn net_dev(interfaces: &[(String, Flow, Flow)]) -> String {
    let mut text =
        "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    \
                    packets errs drop fifo colls carrier compressed\n"
            .to_owned();
    for (name, rx, tx) in interfaces {
        writeln!(
            text,
            "{name:>6}: {} {} {} {}    0     0          0         0 {} {} {} {}    0     0       0          0",
            rx.bytes, rx.packets, rx.errors, rx.drops, tx.bytes, tx.packets, tx.errors, tx.drops
        )
        .unwrap();
    }
    text
}

/// /proc/net/snmp with these numbers of TCP.
pub(crate) fn snmp(established: u64, retransmitted: u64) -> String {
    format!(
        "Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 1000\n\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets \
         CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
         Tcp: 1 200 120000 -1 50 60 7 8 {established} 9000 8000 {retransmitted} 1 2 0\n\
         Udp: InDatagrams NoPorts InErrors OutDatagrams\nUdp: 1 2 3 4\n"
    )
}

/// /proc/net/netstat with this number of connections that a full listen queue dropped.
pub(crate) fn netstat(listen_overflows: u64, listen_drops: u64) -> String {
    format!(
        "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed ListenOverflows ListenDrops \
         TCPMemoryPressures\nTcpExt: 0 0 0 {listen_overflows} {listen_drops} 0\n\
         IpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 0\n"
    )
}

impl Machine {
    /// With what is below /sys of a whole disk, which is of a model, so large and spins or not.
    pub(crate) fn disk(
        self,
        name: &str,
        (major, minor): (u32, u32),
        (model, kib, spins): (&str, u64, bool),
    ) -> Self {
        let device = format!("sys/devices/pci0000:00/{name}-host/block/{name}");
        self.link(
            &format!("sys/block/{name}"),
            &format!("../devices/pci0000:00/{name}-host/block/{name}"),
        )
        .lines(
            &device,
            &[
                ("dev", &format!("{major}:{minor}")),
                ("size", &(kib * 2).to_string()),
                ("removable", "0"),
                ("queue/rotational", if spins { "1" } else { "0" }),
            ],
        )
        .link(&format!("{device}/device"), "../..")
        .lines(&format!("sys/devices/pci0000:00/{name}-host"), &[("model", model)])
    }

    /// With a block device that has nothing behind it: a loop, an md or a mapped one.
    pub(crate) fn virtual_disk(self, name: &str, (major, minor): (u32, u32), kib: u64) -> Self {
        let device = format!("sys/devices/virtual/block/{name}");
        self.link(&format!("sys/block/{name}"), &format!("../devices/virtual/block/{name}")).lines(
            &device,
            &[("dev", &format!("{major}:{minor}")), ("size", &(kib * 2).to_string())],
        )
    }

    /// With what is below /sys of an interface; `driver` is that of the device behind it, if any.
    pub(crate) fn interface(
        self,
        name: &str,
        index: u32,
        driver: Option<&str>,
        (state, speed): (&str, Option<i64>),
    ) -> Self {
        let bus = if driver.is_some() { "pci0000:00" } else { "virtual" };
        let at = format!("sys/devices/{bus}/net/{name}");
        let flags = if state == "down" { "0x1002" } else { "0x1003" };
        let mut machine = self
            .link(&format!("sys/class/net/{name}"), &format!("../../devices/{bus}/net/{name}"))
            .lines(
                &at,
                &[
                    ("ifindex", &index.to_string()),
                    ("iflink", &index.to_string()),
                    ("address", &format!("52:54:00:00:{:02x}:{:02x}", index >> 8, index & 255)),
                    ("addr_assign_type", "0"),
                    ("type", if name == "lo" { "772" } else { "1" }),
                    ("flags", flags),
                    ("operstate", state),
                    ("mtu", "1500"),
                ],
            );
        if let Some(speed) = speed {
            machine = machine.lines(&at, &[("speed", &speed.to_string()), ("carrier", "1")]);
        }
        let Some(driver) = driver else { return machine };
        let device = format!("sys/devices/{bus}/{name}-device");
        machine
            .link(&format!("{at}/device"), &format!("../../{name}-device"))
            .folder(&format!("sys/bus/pci/drivers/{driver}"))
            .link(&format!("{device}/driver"), &format!("../../../bus/pci/drivers/{driver}"))
    }

    /// With a process.
    pub(crate) fn task(self, task: Task<'_>) -> Self {
        let Task { pid, command, cpu_ticks, resident_kib, read_bytes, written_bytes } = task;
        let (user, system) = (cpu_ticks / 2, cpu_ticks - cpu_ticks / 2);
        let (pages, bytes) = (resident_kib / 4, resident_kib * 1024);
        let at = format!("proc/{pid}");
        self.file(
            &format!("{at}/stat"),
            format!(
                "{pid} ({command}) S 1 {pid} {pid} 0 -1 4194304 100 0 5 0 {user} {system} 0 0 20 0 1 0 \
                 {pid}00 {bytes} {pages} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 \
                 0 0 0 0 0 0 0 0\n"
            ),
        )
        .file(&format!("{at}/statm"), format!("{} {pages} 100 10 0 100 0\n", pages * 2))
        .file(&format!("{at}/comm"), format!("{command}\n"))
        .file(&format!("{at}/cmdline"), format!("/usr/bin/{command}\0--secret=hunter2\0"))
        .file(
            &format!("{at}/status"),
            format!("Name:\t{command}\nState:\tS (sleeping)\nPid:\t{pid}\nVmRSS:\t{resident_kib} kB\n"),
        )
        .file(
            &format!("{at}/io"),
            format!(
                "rchar: {read_bytes}\nwchar: {written_bytes}\nsyscr: 1\nsyscw: 1\nread_bytes: \
                 {read_bytes}\nwrite_bytes: {written_bytes}\ncancelled_write_bytes: 0\n"
            ),
        )
    }
}
