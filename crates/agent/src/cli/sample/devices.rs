//! For people: the devices, a table for each kind.

use std::time::Duration;

use rowcall_core::devices::{Devices, Process};

use super::table::{Align, Table};
use super::text::{Text, UNKNOWN, kib, known, size, unknown, whole_ms};
use crate::sampler::one_in_words;
use crate::status::span;

pub(super) fn write(devices: &Devices, out: &mut Text) {
    use Align::{Left, Right};
    let table = |columns: &[(&'static str, Align)], rows: Vec<Vec<String>>| {
        let mut table = Table::new(columns);
        rows.into_iter().for_each(|row| table.row(row));
        table
    };
    let filesystems = devices.filesystems.iter().map(|f| {
        let read_only = if f.read_only { "ro" } else { "rw" };
        let kind = f.kind.clone().unwrap_or_default();
        let (size, free) = (kib(f.size_kib), kib(f.available_kib));
        vec![f.mount.clone(), kind, read_only.into(), size, free, known(f.inodes_free)]
    });
    let columns = [
        ("MOUNT", Left),
        ("TYPE", Left),
        ("MODE", Left),
        ("SIZE", Right),
        ("AVAILABLE", Right),
        ("INODES FREE", Right),
    ];
    out.family("filesystems", &table(&columns, filesystems.collect()));
    let disks = devices.disks.iter().map(|d| {
        let bytes = [d.read_bytes, d.written_bytes].map(|b| size(Some(b)));
        let busy = format!("{:.1} s", Duration::from_millis(whole_ms(d.busy_ms)).as_secs_f64());
        let [read, written] = bytes;
        let (reads, writes) = (d.reads.to_string(), d.writes.to_string());
        vec![d.name.clone(), reads, writes, read, written, busy, d.in_flight.to_string()]
    });
    let columns = [
        ("DISK", Left),
        ("READS", Right),
        ("WRITES", Right),
        ("READ", Right),
        ("WRITTEN", Right),
        ("BUSY", Right),
        ("IN FLIGHT", Right),
    ];
    out.family("disks, since they are counted", &table(&columns, disks.collect()));
    let interfaces = devices.interfaces.iter().map(|i| {
        let state = i.up.map_or(UNKNOWN, |up| if up { "up" } else { "down" });
        let speed = i.speed_mbit.map_or_else(unknown, |speed| format!("{speed} Mbit/s"));
        let errors = (i.rx_errors.saturating_add(i.tx_errors)).to_string();
        let drops = (i.rx_drops.saturating_add(i.tx_drops)).to_string();
        let (rx, tx) = (size(Some(i.rx_bytes)), size(Some(i.tx_bytes)));
        vec![i.name.clone(), state.into(), speed, rx, tx, errors, drops]
    });
    let columns = [
        ("INTERFACE", Left),
        ("STATE", Left),
        ("SPEED", Right),
        ("RECEIVED", Right),
        ("SENT", Right),
        ("ERRORS", Right),
        ("DROPS", Right),
    ];
    out.family("interfaces, since they are counted", &table(&columns, interfaces.collect()));
    let sensors = devices.sensors.iter().map(|s| {
        let degrees = |mc: i32| format!("{:.1} \u{b0}C", f64::from(mc) / 1000.0);
        vec![s.name.clone(), degrees(s.temperature_mc), s.critical_mc.map_or_else(unknown, degrees)]
    });
    let columns = [("SENSOR", Left), ("TEMPERATURE", Right), ("CRITICAL", Right)];
    out.family("sensors", &table(&columns, sensors.collect()));
    let arrays = devices.md_arrays.iter().map(|a| {
        let disks = format!("{} of {}", a.disks_active, a.disks);
        let or = |text: &Option<String>| text.clone().unwrap_or_else(unknown);
        let sync = a.sync_percent.map_or_else(unknown, |share| format!("{share:.1} %"));
        vec![a.name.clone(), or(&a.level), or(&a.state), disks, a.disks_failed.to_string(), sync]
    });
    let columns = [
        ("ARRAY", Left),
        ("LEVEL", Left),
        ("STATE", Left),
        ("DISKS", Right),
        ("FAILED", Right),
        ("SYNC", Right),
    ];
    out.family("md arrays", &table(&columns, arrays.collect()));
    let controllers = devices.memory_controllers.iter().map(|c| {
        vec![c.name.clone(), c.corrected_errors.to_string(), c.uncorrected_errors.to_string()]
    });
    let columns = [("CONTROLLER", Left), ("CORRECTED", Right), ("UNCORRECTED", Right)];
    out.family("memory controllers", &table(&columns, controllers.collect()));
    let cgroups = devices.cgroups.iter().map(|c| {
        let cpu = c
            .cpu_us
            .map_or_else(unknown, |us| span(Duration::from_micros(u64::try_from(us).unwrap_or(0))));
        let (read, written) = (size(c.read_bytes), size(c.written_bytes));
        vec![c.name.clone(), cpu, kib(c.memory_kib), read, written, known(c.processes)]
    });
    let columns = [
        ("CGROUP", Left),
        ("CPU", Right),
        ("MEMORY", Right),
        ("READ", Right),
        ("WRITTEN", Right),
        ("PROCESSES", Right),
    ];
    out.family("cgroups", &table(&columns, cgroups.collect()));
    let processes = by_use(&devices.processes).into_iter().map(|p| {
        let cpu = p.cpu_percent.map_or_else(unknown, |share| format!("{share:.1} %"));
        let each_second = |bytes: Option<i64>| match bytes {
            Some(_) => format!("{}/s", size(bytes)),
            None => unknown(),
        };
        let (read, written) = (each_second(p.read_bytes_per_s), each_second(p.written_bytes_per_s));
        vec![p.pid.to_string(), cpu, kib(p.memory_kib), read, written, p.command.clone()]
    });
    let columns = [
        ("PID", Right),
        ("CPU (of one)", Right),
        ("MEMORY", Right),
        ("READS", Right),
        ("WRITES", Right),
        ("COMMAND", Left),
    ];
    out.family("processes", &table(&columns, processes.collect()));
    let metrics = devices.metrics.iter().map(|metric| {
        let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        vec![metric.name.clone(), metric.value.to_string(), labels.collect::<Vec<_>>().join(",")]
    });
    let columns = [("METRIC", Left), ("VALUE", Right), ("LABELS", Left)];
    out.family("metrics", &table(&columns, metrics.collect()));
    let skipped = devices.skipped.iter().map(|skipped| vec![one_in_words(skipped)]);
    out.family("skipped", &table(&[("", Left)], skipped.collect()));
}

/// Those that use most CPU first, of equal ones those with most memory.
fn by_use(processes: &[Process]) -> Vec<&Process> {
    let mut sorted: Vec<_> = processes.iter().collect();
    let cpu = |process: &Process| process.cpu_percent.unwrap_or(0.0);
    sorted.sort_by(|one, other| {
        let by_cpu = cpu(other).total_cmp(&cpu(one));
        by_cpu.then_with(|| other.memory_kib.cmp(&one.memory_kib))
    });
    sorted
}
