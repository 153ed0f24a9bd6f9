//! For people: what was read, by family, in aligned columns; `-` is unknown.

use std::time::Duration;

use rowcall_core::record::HostFacts;

use super::table::{Align, Table};
use super::{Shown, devices};
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

/// Vitals that were counted over the time of the sample: shown by the second.
const COUNTED: [&str; 16] = [
    "context_switches",
    "forks",
    "swap_in_kib",
    "swap_out_kib",
    "major_faults",
    "oom_kills",
    "disk_read_kib",
    "disk_written_kib",
    "net_rx_bytes",
    "net_tx_bytes",
    "net_rx_packets",
    "net_tx_packets",
    "net_errors",
    "net_drops",
    "tcp_retransmitted",
    "tcp_listen_drops",
];

/// Stands for what is not known.
pub(super) const UNKNOWN: &str = "-";

/// In lines of so many characters, where what has to be whole leaves that room.
pub(crate) fn text(shown: &Shown, width: usize) -> String {
    let mut out = Text { text: String::new(), width };
    host(&shown.facts, &mut out);
    sample(shown, &mut out);
    if let Some(vitals) = &shown.reading.sample.vitals {
        vitals_by_family(&vitals.values(), elapsed(shown), &mut out);
    }
    if let Some(read) = &shown.devices {
        devices::write(read, &mut out);
    }
    out.text
}

/// What is written so far, and how wide it may be.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    width: usize,
}

impl Text {
    /// A table under its title; nothing without a row.
    pub(super) fn family(&mut self, title: &str, table: &Table) {
        let mut rows = String::new();
        table.write(self.width, &mut rows);
        if !rows.is_empty() {
            self.text.push_str(&format!("{title}\n{rows}\n"));
        }
    }
}

fn pairs() -> Table {
    Table::new(&[("", Align::Left), ("", Align::Left)])
}

fn host(facts: &HostFacts, out: &mut Text) {
    let mut table = pairs();
    let plural = |number: i32, noun: &str| {
        let s = if number == 1 { "" } else { "s" };
        format!("{number} {noun}{s}")
    };
    let layout = [
        facts.cpu_sockets.map(|number| plural(number, "socket")),
        facts.cpu_cores.map(|number| plural(number, "core")),
    ];
    let layout: Vec<_> = layout.into_iter().flatten().collect();
    let cpus = facts.cpu_number.map(|number| match layout.as_slice() {
        [] => number.to_string(),
        parts => format!("{number} ({})", parts.join(", ")),
    });
    let mhz = |mhz: Option<f64>| mhz.map(|mhz| format!("{mhz:.0} MHz"));
    for (name, value) in [
        ("CPUs", cpus),
        ("architecture", facts.cpu_architecture.clone()),
        ("CPU model", facts.cpu_model.clone()),
        ("CPU clock", mhz(facts.cpu_mhz)),
        ("L2 cache", facts.l2_cache_kib.map(|size| kib(Some(size)))),
        ("memory", facts.total_mem_kib.map(|size| kib(Some(size)))),
        ("memory clock", mhz(facts.memory_mhz)),
        ("system", facts.os.clone()),
        ("kernel", facts.kernel.clone()),
        ("kernel host name", facts.kernel_host_name.clone()),
        ("virtualization", facts.virtualization.clone().map(machine)),
        ("board", facts.board.clone()),
        ("firmware", facts.firmware.clone()),
        ("booted", facts.booted.map(|at| Utc(at).to_string())),
    ] {
        if let Some(value) = value {
            table.row(vec![name.into(), value]);
        }
    }
    for disk in facts.disks.iter().flatten() {
        let kind = disk.rotational.map(|spins| if spins { "spins" } else { "solid state" });
        let parts =
            [disk.size_kib.map(|size| kib(Some(size))), kind.map(Into::into), disk.model.clone()];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        table.row(vec![format!("disk {}", disk.name), parts.join(", ")]);
    }
    for interface in facts.interfaces.iter().flatten() {
        let parts = [interface.mac.clone(), interface.driver.clone()];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        table.row(vec![format!("interface {}", interface.name), parts.join(", ")]);
    }
    out.family("host", &table);
}

/// `none` is systemd's word for a real machine.
fn machine(word: String) -> String {
    if word == "none" { "bare metal".into() } else { word }
}

/// The seconds that the sample is of.
fn elapsed(shown: &Shown) -> Option<f64> {
    let us = u64::try_from(shown.reading.sample.elapsed_us?).ok().filter(|us| *us > 0)?;
    Some(Duration::from_micros(us).as_secs_f64())
}

fn sample(shown: &Shown, out: &mut Text) {
    let (reading, sample) = (&shown.reading, &shown.reading.sample);
    let mut table = pairs();
    let seconds = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    let disk_io = |(count, seconds)| format!("{:.0}/s", count as f64 / seconds);
    for (name, value) in [
        ("time", Some(Utc(reading.time).to_string())),
        ("over", elapsed(shown).map(|seconds| format!("{seconds:.3} s"))),
        ("up", sample.uptime_us.map(|us| span(seconds(us)))),
        ("cpu idle", sample.cpu_idle_percent.map(|share| format!("{share:.1} %"))),
        ("cpu kernel", sample.cpu_kernel_percent.map(|share| format!("{share:.1} %"))),
        ("memory free", sample.memory_free_kib.map(|size| kib(Some(size)))),
        ("memory available", sample.memory_available_kib.map(|size| kib(Some(size)))),
        ("disk io", sample.disk_io.zip(elapsed(shown)).map(disk_io)),
        ("disk available", sample.disk_available_kib.map(|size| kib(Some(size)))),
    ] {
        table.row(vec![name.into(), value.unwrap_or_else(unknown)]);
    }
    out.family("sample", &table);
}

fn vitals_by_family(values: &[(&str, Option<f64>)], seconds: Option<f64>, out: &mut Text) {
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
            let (name, value) = named(name, *value, seconds);
            table.row(vec![name, value]);
        }
    }
    for (title, table) in &families {
        out.family(title, table);
    }
}

/// A vital's name without its unit, and its value with it.
fn named(name: &str, value: Option<f64>, seconds: Option<f64>) -> (String, String) {
    let is_counted = COUNTED.contains(&name);
    let value = if is_counted { value.zip(seconds).map(|(value, s)| value / s) } else { value };
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
    let per = if is_counted { "/s" } else { "" };
    let mut short = short.replace('_', " ");
    if name == "memory_used_max_kib" {
        // Unlike the reports' "used", which is total - free.
        short.push_str(" (total - available)");
    }
    (short, shown.map_or_else(unknown, |shown| shown + per))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size to show")]
fn whole(value: f64) -> u64 {
    value as u64
}

pub(super) fn unknown() -> String {
    UNKNOWN.into()
}

pub(super) fn kib(size: Option<i64>) -> String {
    let to_bytes = |kib: i64| u64::try_from(kib).unwrap_or(0).saturating_mul(1024);
    size.map_or_else(unknown, |kib| bytes(to_bytes(kib)))
}

pub(super) fn size(size: Option<i64>) -> String {
    size.map_or_else(unknown, |size| bytes(u64::try_from(size).unwrap_or(0)))
}

pub(super) fn known(count: Option<i64>) -> String {
    count.map_or_else(unknown, |count| count.to_string())
}

pub(super) fn whole_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}
