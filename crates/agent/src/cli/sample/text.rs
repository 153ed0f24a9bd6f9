//! For people: what was read, by family, in aligned columns; `-` is unknown.

use std::time::Duration;

use rowcall_core::devices::Devices;
use rowcall_core::record::HostFacts;

use super::Shown;
use super::table::{Align, Table};
use crate::sampler::in_words;
use crate::status::{bytes, span};
use crate::utc::Utc;

/// Vitals whose name does not begin with their family's, and that family.
const FAMILIES: [(&str, &str); 10] = [
    ("context_switches", "processes"),
    ("forks", "processes"),
    ("huge_pages", "memory"),
    ("major_faults", "memory"),
    ("oom_kills", "memory"),
    ("swap", "memory"),
    ("conntrack", "network"),
    ("net", "network"),
    ("tcp", "network"),
    ("file_handles", "system"),
];

const UNKNOWN: &str = "-";

pub(crate) fn text(shown: &Shown) -> String {
    let mut text = String::new();
    host(&shown.facts, &mut text);
    sample(shown, &mut text);
    if let Some(vitals) = &shown.reading.sample.vitals {
        vitals_by_family(&vitals.values(), &mut text);
    }
    if let Some(devices) = &shown.devices {
        of_devices(devices, &mut text);
    }
    text
}

fn family(title: &str, table: &Table, text: &mut String) {
    let mut rows = String::new();
    table.write(&mut rows);
    if !rows.is_empty() {
        text.push_str(&format!("{title}\n{rows}\n"));
    }
}

fn pairs() -> Table {
    Table::new(&[("", Align::Left), ("", Align::Left)])
}

fn host(facts: &HostFacts, text: &mut String) {
    let mut table = pairs();
    let cpus = [
        facts.cpu_number.map(|number| format!("{number} of")),
        facts.cpu_model.clone(),
        facts.cpu_architecture.as_ref().map(|name| format!("({name})")),
    ];
    let layout = [
        facts.cpu_sockets.map(|number| format!("{number} sockets")),
        facts.cpu_cores.map(|number| format!("{number} cores")),
        facts.cpu_mhz.map(|mhz| format!("{mhz:.0} MHz")),
        facts.l2_cache_kib.map(|size| format!("{} of L2 cache", kib(Some(size)))),
    ];
    let memory = [
        facts.total_mem_kib.map(|size| kib(Some(size))),
        facts.memory_mhz.map(|mhz| format!("at {mhz:.0} MHz")),
    ];
    for (name, parts, separator) in [
        ("cpus", cpus.as_slice(), " "),
        ("", &layout, ", "),
        ("memory", &memory, " "),
        ("system", &[facts.os.clone(), facts.kernel.clone()], ", kernel "),
        ("host name", std::slice::from_ref(&facts.kernel_host_name), ""),
        ("board", std::slice::from_ref(&facts.board), ""),
        ("firmware", std::slice::from_ref(&facts.firmware), ""),
        ("runs in", std::slice::from_ref(&facts.virtualization), ""),
        ("booted", &[facts.booted.map(|at| Utc(at).to_string())], ""),
    ] {
        let known: Vec<_> = parts.iter().flatten().map(String::as_str).collect();
        if !known.is_empty() {
            table.row(vec![name.into(), known.join(separator)]);
        }
    }
    for disk in facts.disks.iter().flatten() {
        let kind = disk.rotational.map(|spins| if spins { "rotating" } else { "solid state" });
        let parts =
            [disk.size_kib.map(|size| kib(Some(size))), disk.model.clone(), kind.map(Into::into)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        table.row(vec![format!("disk {}", disk.name), parts.join(", ")]);
    }
    for interface in facts.interfaces.iter().flatten() {
        let parts = [interface.mac.clone(), interface.driver.clone()];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        table.row(vec![format!("interface {}", interface.name), parts.join(", ")]);
    }
    family("host", &table, text);
}

fn sample(shown: &Shown, text: &mut String) {
    let (reading, sample) = (&shown.reading, &shown.reading.sample);
    let mut table = pairs();
    let seconds = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    for (name, value) in [
        ("time", Some(Utc(reading.time).to_string())),
        ("over", sample.elapsed_us.map(|us| format!("{:.3} s", seconds(us).as_secs_f64()))),
        ("up", sample.uptime_us.map(|us| span(seconds(us)))),
        ("cpu idle", sample.cpu_idle_percent.map(|share| format!("{share:.1} %"))),
        ("cpu kernel", sample.cpu_kernel_percent.map(|share| format!("{share:.1} %"))),
        ("memory free", sample.memory_free_kib.map(|size| kib(Some(size)))),
        ("memory available", sample.memory_available_kib.map(|size| kib(Some(size)))),
        ("disk io", sample.disk_io.map(|count| count.to_string())),
        ("disk available", sample.disk_available_kib.map(|size| kib(Some(size)))),
    ] {
        table.row(vec![name.into(), value.unwrap_or_else(unknown)]);
    }
    family("sample", &table, text);
}

fn vitals_by_family(values: &[(&str, Option<f64>)], text: &mut String) {
    let mut families: Vec<(&str, Table)> = Vec::new();
    for (name, value) in values {
        let begins = |(begin, _): &&(&str, &str)| name.starts_with(begin);
        let first = name.split_once('_').map_or(*name, |(first, _)| first);
        let of = FAMILIES.iter().find(begins).map_or(first, |(_, family)| *family);
        let at = families.iter().position(|(known, _)| *known == of).unwrap_or_else(|| {
            families.push((of, pairs()));
            families.len() - 1
        });
        if let Some((_, table)) = families.get_mut(at) {
            let (name, value) = named(name, *value);
            table.row(vec![name, value]);
        }
    }
    for (title, table) in &families {
        family(title, table, text);
    }
}

/// A vital's name without its unit, and its value with it.
fn named(name: &str, value: Option<f64>) -> (String, String) {
    let (short, shown) = if let Some(short) = name.strip_suffix("_percent") {
        (short, value.map(|value| format!("{value:.1} %")))
    } else if let Some(short) = name.strip_suffix("_kib") {
        (short, value.map(|value| bytes(whole(value * 1024.0))))
    } else if let Some(short) = name.strip_suffix("_bytes") {
        (short, value.map(|value| bytes(whole(value))))
    } else if let Some(short) = name.strip_suffix("_us") {
        (short, value.map(|value| format!("{:.3} s", value / 1e6)))
    } else if name.starts_with("load") {
        (name, value.map(|value| format!("{value:.2}")))
    } else {
        (name, value.map(|value| format!("{value:.0}")))
    };
    (short.replace('_', " "), shown.unwrap_or_else(unknown))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size to show")]
fn whole(value: f64) -> u64 {
    value as u64
}

fn of_devices(devices: &Devices, text: &mut String) {
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
        ("", Left),
        ("SIZE", Right),
        ("AVAILABLE", Right),
        ("INODES FREE", Right),
    ];
    family("filesystems", &table(&columns, filesystems.collect()), text);
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
    family("disks, since they are counted", &table(&columns, disks.collect()), text);
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
        ("", Left),
        ("SPEED", Right),
        ("RECEIVED", Right),
        ("SENT", Right),
        ("ERRORS", Right),
        ("DROPS", Right),
    ];
    family("interfaces, since they are counted", &table(&columns, interfaces.collect()), text);
    let sensors = devices.sensors.iter().map(|s| {
        let degrees = |mc: i32| format!("{:.1} \u{b0}C", f64::from(mc) / 1000.0);
        vec![s.name.clone(), degrees(s.temperature_mc), s.critical_mc.map_or_else(unknown, degrees)]
    });
    let columns = [("SENSOR", Left), ("TEMPERATURE", Right), ("CRITICAL", Right)];
    family("sensors", &table(&columns, sensors.collect()), text);
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
    family("md arrays", &table(&columns, arrays.collect()), text);
    let controllers = devices.memory_controllers.iter().map(|c| {
        vec![c.name.clone(), c.corrected_errors.to_string(), c.uncorrected_errors.to_string()]
    });
    let columns = [("CONTROLLER", Left), ("CORRECTED", Right), ("UNCORRECTED", Right)];
    family("memory controllers", &table(&columns, controllers.collect()), text);
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
    family("cgroups", &table(&columns, cgroups.collect()), text);
    let processes = devices.processes.iter().map(|p| {
        let cpu = p.cpu_percent.map_or_else(unknown, |share| format!("{share:.1} %"));
        let each_second = |bytes: Option<i64>| match bytes {
            Some(_) => format!("{}/s", size(bytes)),
            None => unknown(),
        };
        let (read, written) = (each_second(p.read_bytes_per_s), each_second(p.written_bytes_per_s));
        vec![p.pid.to_string(), p.command.clone(), cpu, kib(p.memory_kib), read, written]
    });
    let columns = [
        ("PID", Right),
        ("COMMAND", Left),
        ("CPU", Right),
        ("MEMORY", Right),
        ("READS", Right),
        ("WRITES", Right),
    ];
    family("processes", &table(&columns, processes.collect()), text);
    let metrics = devices.metrics.iter().map(|metric| {
        let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
        vec![metric.name.clone(), labels.collect::<Vec<_>>().join(","), metric.value.to_string()]
    });
    let columns = [("METRIC", Left), ("LABELS", Left), ("VALUE", Right)];
    family("metrics", &table(&columns, metrics.collect()), text);
    if !devices.skipped.is_empty() {
        text.push_str(&format!("not read\n  {}\n", in_words(&devices.skipped)));
    }
}

fn unknown() -> String {
    UNKNOWN.into()
}

fn kib(size: Option<i64>) -> String {
    let to_bytes = |kib: i64| u64::try_from(kib).unwrap_or(0).saturating_mul(1024);
    size.map_or_else(unknown, |kib| bytes(to_bytes(kib)))
}

fn size(size: Option<i64>) -> String {
    size.map_or_else(unknown, |size| bytes(u64::try_from(size).unwrap_or(0)))
}

fn known(count: Option<i64>) -> String {
    count.map_or_else(unknown, |count| count.to_string())
}

fn whole_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}
