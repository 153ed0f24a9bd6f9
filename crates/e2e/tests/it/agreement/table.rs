//! Everything that both the agent and node_exporter tell of this machine.

use std::fs;

use anyhow::Result;
use rowcall_core::vitals::Vitals;

use super::exporter::{Exporter, Scrape};
use super::witness::{Agreement, Seen, exact, seen, share};

/// What goes up and down may have moved this far between two readings of it: memory, of all of it.
const MEMORY_SHARE: f64 = 0.03;
/// Connections, files, processes.
const A_FEW: f64 = 64.0;
/// In points of percent: the kernel counts CPU time in ticks of 10 ms.
const CPU_POINTS: f64 = 3.0;
/// In seconds, of what is a share of the span: it is rounded on its way.
const ROUNDED_S: f64 = 0.01;

/// How a vital and a family compare.
#[derive(Clone, Copy, Debug)]
enum As {
    /// Counted within the span, in units of theirs that are this large.
    Difference(f64),
    /// The value itself, in units of theirs this large, which may have moved so far.
    Value(f64, f64),
    /// A share of all CPUs' time, of seconds by CPU and mode.
    CpuShare,
    /// A share of the span, of seconds.
    TimeShare,
    /// The same of all memory, in bytes.
    Memory,
}

use As::{CpuShare, Difference, Memory, TimeShare, Value};

/// Names and values.
type Labels = &'static [(&'static str, &'static str)];

/// Vitals, and the families with labels whose sum they are.
const VITALS: &[(&str, &str, Labels, As)] = &[
    ("cpu_user_percent", "node_cpu_seconds_total", &[("mode", "user")], CpuShare),
    ("cpu_nice_percent", "node_cpu_seconds_total", &[("mode", "nice")], CpuShare),
    ("cpu_system_percent", "node_cpu_seconds_total", &[("mode", "system")], CpuShare),
    ("cpu_iowait_percent", "node_cpu_seconds_total", &[("mode", "iowait")], CpuShare),
    ("cpu_irq_percent", "node_cpu_seconds_total", &[("mode", "irq")], CpuShare),
    ("cpu_softirq_percent", "node_cpu_seconds_total", &[("mode", "softirq")], CpuShare),
    ("cpu_steal_percent", "node_cpu_seconds_total", &[("mode", "steal")], CpuShare),
    ("cpu_guest_percent", "node_cpu_guest_seconds_total", &[], CpuShare),
    ("load_1", "node_load1", &[], Value(1.0, 0.01)),
    ("load_5", "node_load5", &[], Value(1.0, 0.01)),
    ("load_15", "node_load15", &[], Value(1.0, 0.01)),
    ("processes_running", "node_procs_running", &[], Value(1.0, A_FEW)),
    ("processes_blocked", "node_procs_blocked", &[], Value(1.0, A_FEW)),
    ("context_switches", "node_context_switches_total", &[], Difference(1.0)),
    ("forks", "node_forks_total", &[], Difference(1.0)),
    ("memory_buffers_kib", "node_memory_Buffers_bytes", &[], Memory),
    ("memory_cached_kib", "node_memory_Cached_bytes", &[], Memory),
    ("memory_dirty_kib", "node_memory_Dirty_bytes", &[], Memory),
    ("memory_slab_kib", "node_memory_Slab_bytes", &[], Memory),
    ("huge_pages_kib", "node_memory_Hugetlb_bytes", &[], Memory),
    ("swap_in_kib", "node_vmstat_pswpin", &[], Difference(4.0)),
    ("swap_out_kib", "node_vmstat_pswpout", &[], Difference(4.0)),
    ("major_faults", "node_vmstat_pgmajfault", &[], Difference(1.0)),
    ("oom_kills", "node_vmstat_oom_kill", &[], Difference(1.0)),
    ("pressure_cpu_some_percent", "node_pressure_cpu_waiting_seconds_total", &[], TimeShare),
    ("pressure_memory_some_percent", "node_pressure_memory_waiting_seconds_total", &[], TimeShare),
    ("pressure_memory_full_percent", "node_pressure_memory_stalled_seconds_total", &[], TimeShare),
    ("pressure_io_some_percent", "node_pressure_io_waiting_seconds_total", &[], TimeShare),
    ("pressure_io_full_percent", "node_pressure_io_stalled_seconds_total", &[], TimeShare),
    ("tcp_established", "node_netstat_Tcp_CurrEstab", &[], Value(1.0, A_FEW)),
    ("tcp_retransmitted", "node_netstat_Tcp_RetransSegs", &[], Difference(1.0)),
    ("tcp_listen_drops", "node_netstat_TcpExt_ListenDrops", &[], Difference(1.0)),
    ("conntrack", "node_nf_conntrack_entries", &[], Value(1.0, A_FEW)),
    ("file_handles", "node_filefd_allocated", &[], Value(1.0, 2_000.0)),
];

/// Vitals that are made of the disks or the interfaces that the agent chooses: their family.
const OF_DEVICES: &[(&str, &str, f64)] = &[
    ("disk_read_kib", "node_disk_read_bytes_total", 1.0 / 1024.0),
    ("disk_written_kib", "node_disk_written_bytes_total", 1.0 / 1024.0),
    ("net_rx_bytes", "node_network_receive_bytes_total", 1.0),
    ("net_tx_bytes", "node_network_transmit_bytes_total", 1.0),
    ("net_rx_packets", "node_network_receive_packets_total", 1.0),
    ("net_tx_packets", "node_network_transmit_packets_total", 1.0),
];

/// Vitals that node_exporter's defaults don't tell, or only in parts that other rows hold.
const OURS_ALONE: &[&str] = &[
    // Maxima within the span.
    "cpu_busy_max_percent",
    "memory_used_max_kib",
    "disk_busy_max_percent",
    // Compared below, from several families.
    "disk_busy_percent",
    "huge_pages_free_kib",
    "swap_used_kib",
    "net_errors",
    "net_drops",
    // Of a collector that is off by default, and of a newer version.
    "processes",
    "pressure_cpu_full_percent",
    // Of the stream.
    "clock_offset_us",
];

type Around = Seen<Scrape>;

#[test]
fn every_vital_is_compared_or_said_to_be_ours_alone() {
    let compared = VITALS.iter().map(|row| row.0).chain(OF_DEVICES.iter().map(|row| row.0));
    let mut named: Vec<_> = compared.chain(OURS_ALONE.iter().copied()).collect();
    let mut all = Vitals::NAMES.to_vec();
    named.sort_unstable();
    all.sort_unstable();
    assert_eq!(named, all);
}

#[tokio::test]
async fn the_agent_and_node_exporter_agree_on_everything_that_both_tell() -> Result<()> {
    let exporter = Exporter::start().await?;
    let seen = seen(|| exporter.scrape()).await?;
    let mut agreement = Agreement::default();
    vitals(&seen, &mut agreement);
    of_devices(&seen, &mut agreement);
    memory(&seen, &mut agreement);
    disks(&seen, &mut agreement);
    interfaces(&seen, &mut agreement);
    filesystems(&seen, &mut agreement);
    others(&seen, &mut agreement);
    facts(&seen, &mut agreement);
    agreement.check(60);
    Ok(())
}

impl Around {
    /// What a family's counters have grown by, at least and at most.
    fn grown(&self, family: &str, labels: &[(&str, &str)]) -> Option<[f64; 2]> {
        let [[a, b], [c, d]] =
            [&self.first, &self.second].map(|around| [0, 1].map(|n| around[n].sum(family, labels)));
        Some([c? - b?, d? - a?])
    }

    /// What a family's values were just before and just after the second reading.
    fn value(&self, family: &str, labels: &[(&str, &str)], scale: f64) -> Option<[f64; 2]> {
        let [before, after] = [0, 1].map(|n| self.second[n].sum(family, labels));
        Some([before? * scale, after? * scale])
    }
}

fn scaled(theirs: Option<[f64; 2]>, scale: f64) -> Option<[f64; 2]> {
    theirs.map(|both| both.map(|value| value * scale))
}

fn vitals(seen: &Around, agreement: &mut Agreement) {
    let memory = seen.facts.total_mem_kib.map_or(0.0, exact) * MEMORY_SHARE;
    // Guests' time is part of user time, and stands in no mode of its own.
    let cpus = seen.grown("node_cpu_seconds_total", &[]);
    for (name, family, labels, how) in VITALS {
        let (ours, elapsed) = (seen.vital(name), seen.elapsed());
        let (theirs, tolerance) = match how {
            Difference(unit) => (scaled(seen.grown(family, labels), *unit), 0.0),
            Value(unit, moved) => (seen.value(family, labels, *unit), *moved),
            CpuShare => (share(seen.grown(family, labels), cpus), CPU_POINTS),
            TimeShare => {
                let points = 100.0 / elapsed;
                (scaled(seen.grown(family, labels), points), ROUNDED_S * points)
            }
            Memory => (seen.value(family, labels, 1.0 / 1024.0), memory),
        };
        agreement.between(format_args!("{name} and {family}"), ours, theirs, tolerance);
    }
}

fn of_devices(seen: &Around, agreement: &mut Agreement) {
    let is_net = |family: &str| family.starts_with("node_network");
    for (name, family, unit) in OF_DEVICES {
        let names = if is_net(family) { counted_interfaces(seen) } else { disk_names(seen) };
        let grown = names.iter().map(|device| seen.grown(family, &[("device", device)]));
        let sum = grown.flatten().reduce(|a, b| [a[0] + b[0], a[1] + b[1]]);
        // Bytes are whole KiB in ours.
        let whole = if is_net(family) { 0.0 } else { 1.0 };
        agreement.between(
            format_args!("{name} and {family}"),
            seen.vital(name),
            scaled(sum, *unit),
            whole,
        );
    }
    for (name, kind) in [("net_errors", "errs"), ("net_drops", "drop")] {
        let grown = counted_interfaces(seen).into_iter().flat_map(|device| {
            ["receive", "transmit"].map(|direction| {
                seen.grown(
                    &format!("node_network_{direction}_{kind}_total"),
                    &[("device", &device)],
                )
            })
        });
        let sum = grown.flatten().reduce(|a, b| [a[0] + b[0], a[1] + b[1]]);
        agreement.between(name, seen.vital(name), sum, 0.0);
    }
    let family = "node_disk_io_time_seconds_total";
    let busiest = disk_names(seen)
        .iter()
        .filter_map(|disk| seen.grown(family, &[("device", disk)]))
        .reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])]);
    let points = 100.0 / seen.elapsed();
    let busiest = scaled(busiest, points).map(|both| both.map(|share| share.min(100.0)));
    agreement.between(
        "disk_busy_percent",
        seen.vital("disk_busy_percent"),
        busiest,
        ROUNDED_S * points,
    );
}

/// Whole disks, as the agent lists them.
fn disk_names(seen: &Around) -> Vec<String> {
    seen.facts.disks.iter().flatten().map(|disk| disk.name.clone()).collect()
}

/// Interfaces with a device behind them; where there are none, all that node_exporter has, which
/// leaves out loopback.
fn counted_interfaces(seen: &Around) -> Vec<String> {
    let real: Vec<_> = seen.facts.interfaces.iter().flatten().map(|one| one.name.clone()).collect();
    if !real.is_empty() {
        return real;
    }
    let all = seen.second[1].labels("node_network_receive_bytes_total", "device");
    all.into_iter().filter(|name| *name != "lo").map(str::to_owned).collect()
}

fn memory(seen: &Around, agreement: &mut Agreement) {
    let sample = &seen.reading.sample;
    let moved = seen.facts.total_mem_kib.map_or(0.0, exact) * MEMORY_SHARE;
    let bytes = |family: &str| seen.value(family, &[], 1.0 / 1024.0);
    let free = sample.memory_free_kib.map(exact);
    agreement.between("memory_free", free, bytes("node_memory_MemFree_bytes"), moved);
    let available = sample.memory_available_kib.map(exact);
    agreement.between(
        "memory_available",
        available,
        bytes("node_memory_MemAvailable_bytes"),
        moved,
    );
    let total = seen.facts.total_mem_kib.map(exact);
    agreement.between("total_mem", total, bytes("node_memory_MemTotal_bytes"), 0.0);
    let less = |of: &str, less: &str| {
        let (of, less) = (bytes(of)?, bytes(less)?);
        Some([of[0] - less[0], of[1] - less[1]])
    };
    let used = less("node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes");
    agreement.between("swap_used_kib", seen.vital("swap_used_kib"), used, moved);
    let page = bytes("node_memory_Hugepagesize_bytes").map_or(0.0, |both| both[0]);
    let huge = seen.value("node_memory_HugePages_Free", &[], page);
    agreement.between("huge_pages_free_kib", seen.vital("huge_pages_free_kib"), huge, 0.0);
}

fn disks(seen: &Around, agreement: &mut Agreement) {
    for disk in &seen.devices.disks {
        let device = [("device", disk.name.as_str())];
        for (what, ours, family, unit) in [
            ("reads", disk.reads, "node_disk_reads_completed_total", 1.0),
            ("writes", disk.writes, "node_disk_writes_completed_total", 1.0),
            ("read_bytes", disk.read_bytes, "node_disk_read_bytes_total", 1.0),
            ("written_bytes", disk.written_bytes, "node_disk_written_bytes_total", 1.0),
            ("read_ms", disk.read_ms, "node_disk_read_time_seconds_total", 1000.0),
            ("write_ms", disk.write_ms, "node_disk_write_time_seconds_total", 1000.0),
            ("busy_ms", disk.busy_ms, "node_disk_io_time_seconds_total", 1000.0),
        ] {
            let theirs = seen.value(family, &device, unit);
            // Seconds of a float are milliseconds but for the last bits.
            agreement.between(format_args!("{} {what}", disk.name), Some(exact(ours)), theirs, 0.5);
        }
        let flying = seen.value("node_disk_io_now", &device, 1.0);
        agreement.between(
            format_args!("{} in flight", disk.name),
            Some(exact(disk.in_flight)),
            flying,
            queue_depth(&disk.name),
        );
    }
}

/// What a disk has in flight may change between two readings by all that its queues take.
fn queue_depth(disk: &str) -> f64 {
    let queues = format!("/sys/block/{disk}");
    let depth = fs::read_to_string(format!("{queues}/queue/nr_requests"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(A_FEW);
    let hardware = fs::read_dir(format!("{queues}/mq")).map_or(1, Iterator::count);
    f64::from(u32::try_from(hardware).unwrap_or(1)) * depth
}

fn interfaces(seen: &Around, agreement: &mut Agreement) {
    let names = seen.devices.interfaces.iter().filter(|one| one.name != "lo");
    for one in names {
        let device = [("device", one.name.as_str())];
        for (ours, family) in [
            (one.rx_bytes, "receive_bytes"),
            (one.tx_bytes, "transmit_bytes"),
            (one.rx_packets, "receive_packets"),
            (one.tx_packets, "transmit_packets"),
            (one.rx_errors, "receive_errs"),
            (one.tx_errors, "transmit_errs"),
            (one.rx_drops, "receive_drop"),
            (one.tx_drops, "transmit_drop"),
        ] {
            let theirs = seen.value(&format!("node_network_{family}_total"), &device, 1.0);
            agreement.between(
                format_args!("{} {family}", one.name),
                Some(exact(ours)),
                theirs,
                0.0,
            );
        }
        // Theirs is bytes; a link that is down or virtual says -1 or nothing.
        let speed = seen.value("node_network_speed_bytes", &device, 8.0 / 1e6);
        let speed = speed.filter(|both| both[0] > 0.0);
        agreement.between(
            format_args!("{} speed", one.name),
            one.speed_mbit.map(f64::from),
            speed,
            0.0,
        );
        let up = seen.value("node_network_up", &device, 1.0);
        agreement.between(
            format_args!("{} up", one.name),
            one.up.map(|up| f64::from(u8::from(up))),
            up,
            0.0,
        );
    }
}

fn filesystems(seen: &Around, agreement: &mut Agreement) {
    for one in &seen.devices.filesystems {
        let at = [("mountpoint", one.mount.as_str())];
        // They leave out some folders that hold mounts of other programs.
        let Some(size) = seen.value("node_filesystem_size_bytes", &at, 1.0 / 1024.0) else {
            continue;
        };
        let mount = &one.mount;
        agreement.between(format_args!("{mount} size"), one.size_kib.map(exact), Some(size), 1.0);
        let moved = size[0] * MEMORY_SHARE;
        let space = seen.value("node_filesystem_avail_bytes", &at, 1.0 / 1024.0);
        agreement.between(
            format_args!("{mount} available"),
            one.available_kib.map(exact),
            space,
            moved,
        );
        let inodes = seen.value("node_filesystem_files", &at, 1.0);
        agreement.between(format_args!("{mount} inodes"), one.inodes.map(exact), inodes, 0.0);
        let free = seen.value("node_filesystem_files_free", &at, 1.0);
        agreement.between(
            format_args!("{mount} free inodes"),
            one.inodes_free.map(exact),
            free,
            2_000.0,
        );
        let read_only = seen.value("node_filesystem_readonly", &at, 1.0);
        let ours = Some(f64::from(u8::from(one.read_only)));
        agreement.between(format_args!("{mount} read-only"), ours, read_only, 0.0);
    }
    let root = seen.value("node_filesystem_avail_bytes", &[("mountpoint", "/")], 1.0 / 1024.0);
    let ours = seen.reading.sample.disk_available_kib.map(exact);
    let moved = root.map_or(0.0, |both| both[0] * MEMORY_SHARE);
    agreement.between("disk_available", ours, root, moved);
}

/// What few machines have: compared where this one does.
fn others(seen: &Around, agreement: &mut Agreement) {
    for one in &seen.devices.md_arrays {
        let (name, state) = (("device", one.name.as_str()), |state| ("state", state));
        let active = seen.value("node_md_disks", &[name, state("active")], 1.0);
        agreement.between(&one.name, Some(f64::from(one.disks_active)), active, 0.0);
        let failed = seen.value("node_md_disks", &[name, state("failed")], 1.0);
        agreement.between(&one.name, Some(f64::from(one.disks_failed)), failed, 0.0);
    }
    for one in &seen.devices.memory_controllers {
        let controller = [("controller", one.name.trim_start_matches("mc"))];
        let family = |kind| format!("node_edac_{kind}_errors_total");
        let corrected = seen.value(&family("correctable"), &controller, 1.0);
        agreement.between(&one.name, Some(exact(one.corrected_errors)), corrected, 0.0);
        let uncorrected = seen.value(&family("uncorrectable"), &controller, 1.0);
        agreement.between(&one.name, Some(exact(one.uncorrected_errors)), uncorrected, 0.0);
    }
}

fn facts(seen: &Around, agreement: &mut Agreement) {
    let (facts, theirs) = (&seen.facts, &seen.second[1]);
    let release = theirs.labels("node_uname_info", "release");
    agreement.same(
        "kernel",
        facts.kernel.as_slice(),
        &*release.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(),
    );
    let system = theirs.labels("node_os_info", "pretty_name");
    agreement.same("os", facts.os.as_deref(), system.first().copied());
    let architecture = theirs.labels("node_uname_info", "machine");
    agreement.same(
        "architecture",
        facts.cpu_architecture.as_deref(),
        architecture.first().copied(),
    );
    let cpus = theirs.labels("node_cpu_seconds_total", "cpu").len();
    agreement.same("CPUs", facts.cpu_number.and_then(|n| usize::try_from(n).ok()), Some(cpus));
    let booted = facts.booted.map(|time| exact(time.0 / 1_000_000));
    agreement.between("booted", booted, seen.value("node_boot_time_seconds", &[], 1.0), 0.0);
}
