//! Readings of devices. What has no name is left out; a counter that no column can hold takes its
//! whole device with it, since a rate from it would be wrong. What is beyond the bounds of a list
//! is left out too: no record of an agent of ours reaches them.

use super::facts::MAX_NAME_BYTES;
use super::{clean_text, clean_text_within, number};
use crate::devices::{
    Cgroup, Devices, Disk, Filesystem, Interface, MAX_CGROUPS, MAX_DISKS, MAX_FILESYSTEMS,
    MAX_INTERFACES, MAX_MD_ARRAYS, MAX_MEMORY_CONTROLLERS, MAX_METRIC_BYTES, MAX_METRIC_LABELS,
    MAX_METRICS, MAX_PROCESSES, MAX_SENSORS, MAX_SKIPPED, MdArray, MemoryController, Metric,
    Process, Sensor, SkipReason, Skipped,
};
use crate::proto::v1 as pb;
use crate::vitals::{percent_up_to, share};

/// CPU time of a process, of one CPU: what 8,192 of them give, which is the most that Linux is built
/// for.
const MAX_CPU_PERCENT: f32 = 819_200.0;
/// Longest name and value of a label, and longest name of a metric, in bytes.
const MAX_WORD_BYTES: usize = 256;

/// Checks a reading.
pub(super) fn from_wire(wire: pb::Devices) -> Devices {
    fn checked<T, U>(list: Vec<T>, most: usize, check: fn(T) -> Option<U>) -> Vec<U> {
        list.into_iter().filter_map(check).take(most).collect()
    }
    Devices {
        filesystems: checked(wire.filesystems, MAX_FILESYSTEMS, filesystem),
        disks: checked(wire.disks, MAX_DISKS, disk),
        interfaces: checked(wire.interfaces, MAX_INTERFACES, interface),
        sensors: checked(wire.sensors, MAX_SENSORS, sensor),
        md_arrays: checked(wire.md_arrays, MAX_MD_ARRAYS, md_array),
        memory_controllers: checked(
            wire.memory_controllers,
            MAX_MEMORY_CONTROLLERS,
            memory_controller,
        ),
        cgroups: checked(wire.cgroups, MAX_CGROUPS, cgroup),
        processes: checked(wire.processes, MAX_PROCESSES, process),
        metrics: checked(wire.metrics, MAX_METRICS, metric),
        skipped: checked(wire.skipped, MAX_SKIPPED, skipped),
    }
}

fn name(name: &str) -> Option<String> {
    clean_text_within(name, MAX_NAME_BYTES)
}

fn int(number: u32) -> Option<i32> {
    i32::try_from(number).ok()
}

fn filesystem(wire: pb::Filesystem) -> Option<Filesystem> {
    Some(Filesystem {
        mount: name(&wire.mount)?,
        source: clean_text(&wire.source),
        kind: clean_text(&wire.r#type),
        read_only: wire.read_only,
        size_kib: wire.size_kib.and_then(number),
        available_kib: wire.available_kib.and_then(number),
        inodes: wire.inodes.and_then(number),
        inodes_free: wire.inodes_free.and_then(number),
    })
}

fn disk(wire: pb::Disk) -> Option<Disk> {
    Some(Disk {
        name: name(&wire.name)?,
        counted_since: wire.counted_since,
        reads: number(wire.reads)?,
        writes: number(wire.writes)?,
        read_bytes: number(wire.read_bytes)?,
        written_bytes: number(wire.written_bytes)?,
        read_ms: number(wire.read_ms)?,
        write_ms: number(wire.write_ms)?,
        busy_ms: number(wire.busy_ms)?,
        in_flight: number(wire.in_flight)?,
        busy_max_percent: share(wire.busy_max_percent),
    })
}

fn interface(wire: pb::Interface) -> Option<Interface> {
    Some(Interface {
        name: name(&wire.name)?,
        counted_since: wire.counted_since,
        rx_bytes: number(wire.rx_bytes)?,
        tx_bytes: number(wire.tx_bytes)?,
        rx_packets: number(wire.rx_packets)?,
        tx_packets: number(wire.tx_packets)?,
        rx_errors: number(wire.rx_errors)?,
        tx_errors: number(wire.tx_errors)?,
        rx_drops: number(wire.rx_drops)?,
        tx_drops: number(wire.tx_drops)?,
        speed_mbit: wire.speed_mbit.and_then(int),
        up: wire.up,
        rx_max_bytes_per_s: wire.rx_max_bytes_per_s.and_then(number),
        tx_max_bytes_per_s: wire.tx_max_bytes_per_s.and_then(number),
    })
}

fn sensor(wire: pb::Sensor) -> Option<Sensor> {
    Some(Sensor {
        name: name(&wire.name)?,
        temperature_mc: wire.temperature_mc,
        critical_mc: wire.critical_mc,
    })
}

fn md_array(wire: pb::MdArray) -> Option<MdArray> {
    Some(MdArray {
        name: name(&wire.name)?,
        level: clean_text(&wire.level),
        state: clean_text(&wire.state),
        disks: int(wire.disks)?,
        disks_active: int(wire.disks_active)?,
        disks_failed: int(wire.disks_failed)?,
        disks_spare: int(wire.disks_spare)?,
        sync_percent: share(wire.sync_percent),
    })
}

fn memory_controller(wire: pb::MemoryController) -> Option<MemoryController> {
    Some(MemoryController {
        name: name(&wire.name)?,
        counted_since: wire.counted_since,
        corrected_errors: number(wire.corrected_errors)?,
        uncorrected_errors: number(wire.uncorrected_errors)?,
    })
}

fn cgroup(wire: pb::Cgroup) -> Option<Cgroup> {
    Some(Cgroup {
        name: name(&wire.name)?,
        counted_since: wire.counted_since,
        cpu_us: wire.cpu_us.and_then(number),
        throttled_us: wire.throttled_us.and_then(number),
        memory_kib: wire.memory_kib.and_then(number),
        read_bytes: wire.read_bytes.and_then(number),
        written_bytes: wire.written_bytes.and_then(number),
        processes: wire.processes.and_then(number),
        oom_kills: wire.oom_kills.and_then(number),
    })
}

fn process(wire: pb::Process) -> Option<Process> {
    Some(Process {
        command: name(&wire.command)?,
        pid: int(wire.pid)?,
        cpu_percent: percent_up_to(wire.cpu_percent, MAX_CPU_PERCENT),
        memory_kib: wire.memory_kib.and_then(number),
        read_bytes_per_s: wire.read_bytes_per_s.and_then(number),
        written_bytes_per_s: wire.written_bytes_per_s.and_then(number),
    })
}

fn metric(wire: pb::Metric) -> Option<Metric> {
    let labels = wire.labels.len();
    if !is_metric_name(&wire.name) || !wire.value.is_finite() || labels > MAX_METRIC_LABELS {
        return None;
    }
    let mut labels = Vec::with_capacity(wire.labels.len());
    for label in wire.labels {
        if !is_label_name(&label.name) {
            return None;
        }
        let value = clean_text_within(&label.value, MAX_WORD_BYTES).unwrap_or_default();
        labels.push((label.name, value));
    }
    let words = |(name, value): &(String, String)| name.len() + value.len();
    if wire.name.len() + labels.iter().map(words).sum::<usize>() > MAX_METRIC_BYTES {
        return None;
    }
    labels.sort();
    labels.dedup_by(|later, earlier| later.0 == earlier.0);
    Some(Metric { name: wire.name, labels, value: wire.value })
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, at most 256 bytes.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    name.len() <= MAX_WORD_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, at most 256 bytes.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

fn skipped(wire: pb::Skipped) -> Option<Skipped> {
    Some(Skipped {
        reason: match wire.reason() {
            pb::SkipReason::Unspecified => SkipReason::Unknown,
            pb::SkipReason::Hung => SkipReason::Hung,
            pb::SkipReason::Limit => SkipReason::Limit,
            pb::SkipReason::Unreadable => SkipReason::Unreadable,
        },
        collector: name(&wire.collector)?,
        item: name(&wire.item),
        count: int(wire.count)?.max(1),
    })
}

/// A reading as it goes on the wire.
pub(super) fn to_wire(devices: &Devices) -> pb::Devices {
    fn each<T, U>(list: &[T], to: fn(&T) -> U) -> Vec<U> {
        list.iter().map(to).collect()
    }
    pb::Devices {
        filesystems: each(&devices.filesystems, |it| pb::Filesystem {
            mount: it.mount.clone(),
            source: it.source.clone().unwrap_or_default(),
            r#type: it.kind.clone().unwrap_or_default(),
            read_only: it.read_only,
            size_kib: some(it.size_kib),
            available_kib: some(it.available_kib),
            inodes: some(it.inodes),
            inodes_free: some(it.inodes_free),
        }),
        disks: each(&devices.disks, |it| pb::Disk {
            name: it.name.clone(),
            counted_since: it.counted_since,
            reads: plain(it.reads),
            writes: plain(it.writes),
            read_bytes: plain(it.read_bytes),
            written_bytes: plain(it.written_bytes),
            read_ms: plain(it.read_ms),
            write_ms: plain(it.write_ms),
            busy_ms: plain(it.busy_ms),
            in_flight: plain(it.in_flight),
            busy_max_percent: it.busy_max_percent,
        }),
        interfaces: each(&devices.interfaces, |it| pb::Interface {
            name: it.name.clone(),
            counted_since: it.counted_since,
            rx_bytes: plain(it.rx_bytes),
            tx_bytes: plain(it.tx_bytes),
            rx_packets: plain(it.rx_packets),
            tx_packets: plain(it.tx_packets),
            rx_errors: plain(it.rx_errors),
            tx_errors: plain(it.tx_errors),
            rx_drops: plain(it.rx_drops),
            tx_drops: plain(it.tx_drops),
            speed_mbit: it.speed_mbit.and_then(|mbit| u32::try_from(mbit).ok()),
            up: it.up,
            rx_max_bytes_per_s: some(it.rx_max_bytes_per_s),
            tx_max_bytes_per_s: some(it.tx_max_bytes_per_s),
        }),
        sensors: each(&devices.sensors, |it| pb::Sensor {
            name: it.name.clone(),
            temperature_mc: it.temperature_mc,
            critical_mc: it.critical_mc,
        }),
        md_arrays: each(&devices.md_arrays, |it| pb::MdArray {
            name: it.name.clone(),
            level: it.level.clone().unwrap_or_default(),
            state: it.state.clone().unwrap_or_default(),
            disks: small(it.disks),
            disks_active: small(it.disks_active),
            disks_failed: small(it.disks_failed),
            disks_spare: small(it.disks_spare),
            sync_percent: it.sync_percent,
        }),
        memory_controllers: each(&devices.memory_controllers, |it| pb::MemoryController {
            name: it.name.clone(),
            counted_since: it.counted_since,
            corrected_errors: plain(it.corrected_errors),
            uncorrected_errors: plain(it.uncorrected_errors),
        }),
        cgroups: each(&devices.cgroups, |it| pb::Cgroup {
            name: it.name.clone(),
            counted_since: it.counted_since,
            cpu_us: some(it.cpu_us),
            throttled_us: some(it.throttled_us),
            memory_kib: some(it.memory_kib),
            read_bytes: some(it.read_bytes),
            written_bytes: some(it.written_bytes),
            processes: some(it.processes),
            oom_kills: some(it.oom_kills),
        }),
        processes: each(&devices.processes, |it| pb::Process {
            command: it.command.clone(),
            pid: small(it.pid),
            cpu_percent: it.cpu_percent,
            memory_kib: some(it.memory_kib),
            read_bytes_per_s: some(it.read_bytes_per_s),
            written_bytes_per_s: some(it.written_bytes_per_s),
        }),
        metrics: each(&devices.metrics, |it| pb::Metric {
            name: it.name.clone(),
            labels: each(&it.labels, |(name, value)| pb::MetricLabel {
                name: name.clone(),
                value: value.clone(),
            }),
            value: it.value,
        }),
        skipped: each(&devices.skipped, |it| pb::Skipped {
            collector: it.collector.clone(),
            item: it.item.clone().unwrap_or_default(),
            reason: reason(it.reason).into(),
            count: small(it.count),
        }),
    }
}

fn reason(reason: SkipReason) -> pb::SkipReason {
    match reason {
        SkipReason::Unknown => pb::SkipReason::Unspecified,
        SkipReason::Hung => pb::SkipReason::Hung,
        SkipReason::Limit => pb::SkipReason::Limit,
        SkipReason::Unreadable => pb::SkipReason::Unreadable,
    }
}

fn some(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

fn plain(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn small(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests;
