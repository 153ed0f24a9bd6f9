//! A sample between two others: what in it can't be true, if they are.
//!
//! Nothing here depends on how long anything takes. A counter lies between what it was before and
//! after; what was counted within a sample's interval is no more than what the counters grew by
//! around it; what goes up and down is near what it was around; all the rest is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Result;
use serde_json::Value;

/// Counters of devices, and of the machine.
const COUNTERS: [&str; 20] = [
    "reads",
    "writes",
    "read_bytes",
    "written_bytes",
    "read_ms",
    "write_ms",
    "busy_ms",
    "rx_bytes",
    "tx_bytes",
    "rx_packets",
    "tx_packets",
    "rx_errors",
    "tx_errors",
    "rx_drops",
    "tx_drops",
    "corrected_errors",
    "uncorrected_errors",
    "cpu_us",
    "throttled_us",
    "uptime_us",
];

/// What goes up and down, and not many times within seconds.
const GAUGES: [&str; 18] = [
    "available_kib",
    "disk_available_kib",
    "inodes_free",
    "memory_free_kib",
    "memory_available_kib",
    "memory_buffers_kib",
    "memory_cached_kib",
    "memory_slab_kib",
    "memory_kib",
    "huge_pages_kib",
    "huge_pages_free_kib",
    "swap_used_kib",
    "load_1",
    "load_5",
    "load_15",
    "processes",
    "file_handles",
    "temperature_mc",
];
/// A gauge is at least half of what it was around, at most twice, and beside that may differ by so
/// many things,
const A_FEW: f64 = 64.0;
/// files or inodes,
const FILES: f64 = 20_000.0;
/// or KiB.
const KIB: f64 = 4.0 * 1024.0 * 1024.0;

/// What moves at any moment, beside all vitals and numbers of the sample that are named nowhere
/// here: only whether it is known can be compared.
const OF_THE_MOMENT: [&str; 3] = ["in_flight", "sync_percent", "cpu_mhz"];

/// What was counted within the interval, and the counters, in units that are so large.
const COUNTED: [(&str, &[&str], f64); 15] = [
    ("vitals.context_switches", &["ctxt"], 1.0),
    ("vitals.forks", &["processes"], 1.0),
    ("vitals.swap_in_kib", &["pswpin"], 4.0),
    ("vitals.swap_out_kib", &["pswpout"], 4.0),
    ("vitals.major_faults", &["pgmajfault"], 1.0),
    ("vitals.oom_kills", &["oom_kill"], 1.0),
    ("vitals.disk_read_kib", &["disks.read_bytes"], 1.0 / 1024.0),
    ("vitals.disk_written_kib", &["disks.written_bytes"], 1.0 / 1024.0),
    ("sample.disk_io", &["disks.reads", "disks.writes"], 1.0),
    ("vitals.net_rx_bytes", &["interfaces.rx_bytes"], 1.0),
    ("vitals.net_tx_bytes", &["interfaces.tx_bytes"], 1.0),
    ("vitals.net_rx_packets", &["interfaces.rx_packets"], 1.0),
    ("vitals.net_tx_packets", &["interfaces.tx_packets"], 1.0),
    ("vitals.net_errors", &["interfaces.rx_errors", "interfaces.tx_errors"], 1.0),
    ("vitals.net_drops", &["interfaces.rx_drops", "interfaces.tx_drops"], 1.0),
];

/// What can't be 0 while a busy process of this test runs.
const NEVER_0: [&str; 4] =
    ["vitals.context_switches", "vitals.cpu_user_percent", "vitals.load_1", "sample.elapsed_us"];

/// Counters of the whole machine by the words of the kernel's files.
#[derive(Debug, Default)]
pub(super) struct Counted(BTreeMap<String, f64>);

impl Counted {
    /// As they are now.
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")? + &fs::read_to_string("/proc/vmstat")?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Ok(Self(lines.filter_map(|(name, n)| Some((name.into(), n.parse().ok()?))).collect()))
    }
}

/// A sample taken without the sandbox, and counters read between it and the one within.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) sample: Value,
    pub(super) counted: Counted,
}

impl Around {
    /// What a counter of the machine, or, by "disks." and the like, the sum of those of all such
    /// devices grew by until `after`. None where devices came or went, or are unknown.
    fn grown(&self, name: &str, after: &Self) -> Option<f64> {
        let Some((list, field)) = name.split_once('.') else {
            return Some(after.counted.0.get(name)? - self.counted.0.get(name)?);
        };
        let [before, after] = [self, after].map(|one| by_name(&one.sample["devices"][list]));
        if before.is_empty() || !before.keys().eq(after.keys()) {
            return None;
        }
        let sum = |devices: BTreeMap<String, &Value>| {
            devices.values().map(|one| one[field].as_f64()).sum::<Option<f64>>()
        };
        Some(sum(after)? - sum(before)?)
    }
}

/// Paths of what the sample can't have read, with the three values.
pub(super) fn differences(
    before: &Around,
    inside: &Value,
    after: &Around,
) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    compare("", &before.sample, inside, &after.sample, &mut found);
    let at = |path: &str| {
        let (group, field) = path.split_once('.')?;
        inside[group][field].as_f64()
    };
    for (path, counters, unit) in COUNTED {
        let grown = counters.iter().map(|name| before.grown(name, after));
        let most = grown.sum::<Option<f64>>().map(|grown| grown * unit);
        // Whole KiB, rounded on their way.
        if at(path).zip(most).is_some_and(|(ours, most)| !(0.0..=most + 1.0).contains(&ours)) {
            found.insert((path.into(), format!("{:?} of at most {most:?}", at(path))));
        }
    }
    for path in NEVER_0 {
        if at(path) == Some(0.0) {
            found.insert((path.into(), "0".into()));
        }
    }
    for (name, value) in inside["vitals"].as_object().into_iter().flatten() {
        let is_share = |value| (0.0..=100.0).contains(&value);
        if name.ends_with("_percent") && !value.as_f64().is_none_or(is_share) {
            found.insert((format!("vitals.{name}"), value.to_string()));
        }
    }
    found
}

fn compare(
    path: &str,
    before: &Value,
    inside: &Value,
    after: &Value,
    found: &mut BTreeSet<(String, String)>,
) {
    let all = [before, inside, after];
    let mut differs = || found.insert((path.to_owned(), format!("{before}, {inside}, {after}")));
    let is_known = all.map(|value| !value.is_null());
    if is_known[1] != is_known[0] && is_known[1] != is_known[2] {
        differs();
    } else if path == "devices.processes" {
        processes(path, all, found);
    } else if inside.is_object() {
        for name in names_of(all) {
            let path = format!("{path}.{name}");
            let of = |value: &Value| value.get(&name).cloned().unwrap_or_default();
            compare(path.trim_start_matches('.'), &of(before), &of(inside), &of(after), found);
        }
    } else if inside.is_array() {
        let lists = all.map(by_name);
        let names: BTreeSet<_> = lists.iter().flat_map(BTreeMap::keys).collect();
        for name in names {
            let [before, inside, after] = [0, 1, 2].map(|n| lists[n].get(name).copied());
            match (before, inside, after) {
                (None, Some(_), None) | (Some(_), None, Some(_)) => {
                    found.insert((path.to_owned(), format!("{name} is in one alone, or not")));
                }
                // It may have come or gone meanwhile.
                (before, Some(inside), after) => {
                    let [before, after] = [before, after].map(|one| one.unwrap_or(&Value::Null));
                    compare(&format!("{path}[]"), before, inside, after, found);
                }
                (_, None, _) => {}
            }
        }
    } else if is_known[1] && !is_possible(path, all) {
        differs();
    }
}

/// Could this number or word have been read between the two others?
fn is_possible(path: &str, [before, inside, after]: [&Value; 3]) -> bool {
    let field = path.rsplit('.').next().unwrap_or(path);
    let (is_vital, is_device) = (path.starts_with("vitals."), path.starts_with("devices."));
    let Some(ours) = inside.as_f64() else { return inside == before || inside == after };
    let around = || [before, after].into_iter().filter_map(Value::as_f64);
    let low = around().fold(f64::INFINITY, f64::min);
    let high = around().fold(f64::NEG_INFINITY, f64::max);
    if GAUGES.contains(&field) {
        let beside = match field {
            "inodes_free" | "file_handles" | "temperature_mc" => FILES,
            kib if kib.ends_with("_kib") => KIB,
            _ => A_FEW,
        };
        (low / 2.0 - beside..=high * 2.0 + beside).contains(&ours)
    } else if COUNTERS.contains(&field) || is_device && field == "oom_kills" {
        let at_least = before.as_f64().unwrap_or(0.0);
        (at_least..=after.as_f64().unwrap_or(f64::INFINITY)).contains(&ours)
    } else if is_vital || path.starts_with("sample.") || OF_THE_MOMENT.contains(&field) {
        true
    } else {
        inside == before || inside == after
    }
}

/// Which they are changes from moment to moment; what is known of most of them doesn't.
fn processes(path: &str, all: [&Value; 3], found: &mut BTreeSet<(String, String)>) {
    let lists = all.map(|value| value.as_array().map_or(&[][..], Vec::as_slice));
    let fields: BTreeSet<_> =
        lists.iter().copied().flatten().flat_map(|one| names_of([one])).collect();
    for name in fields {
        let known = lists
            .map(|list| list.iter().filter(|one| !one[&name].is_null()).count() * 2 > list.len());
        if known[1] != known[0] && known[1] != known[2] {
            found.insert((format!("{path}[].{name}"), "known to one alone".into()));
        }
    }
}

fn names_of<const N: usize>(values: [&Value; N]) -> BTreeSet<String> {
    values
        .iter()
        .filter_map(|value| value.as_object())
        .flat_map(|one| one.keys().cloned())
        .collect()
}

/// The items of a list: devices by their names, filesystems by their mounts, the rest as it is.
fn by_name(list: &Value) -> BTreeMap<String, &Value> {
    let name = |one: &Value| {
        let name = ["mount", "name"].iter().find_map(|name| one.get(name)?.as_str());
        name.map_or_else(|| one.to_string(), str::to_owned)
    };
    list.as_array().into_iter().flatten().map(|one| (name(one), one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(before: &str, inside: &str, after: &str) -> Vec<String> {
        let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let around = |text: &str| Around { sample: value(text), counted: Counted::default() };
        let found = differences(&around(before), &value(inside), &around(after));
        found.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn what_is_hidden_or_made_up_is_seen() {
        let whole = r#"{"a":{"b":1,"c":null},"d":[{"name":"x","up":true}]}"#;
        assert_eq!(paths(whole, whole, whole), Vec::<String>::new());
        let other = r#"{"a":{"b":null,"c":1},"d":[{"name":"x","up":false}]}"#;
        assert_eq!(paths(whole, other, whole), ["a.b", "a.c", "d[].up"]);
        assert_eq!(paths(whole, other, other), Vec::<String>::new(), "it changed meanwhile");
        assert_eq!(paths(whole, r#"{"a":{"b":1},"d":[]}"#, whole), ["d"]);
        assert_eq!(paths(r#"{"d":[]}"#, whole, r#"{"d":[]}"#), ["a", "d"]);
    }

    #[test]
    fn a_counter_lies_between_and_a_gauge_near() {
        let disk =
            |reads: u32| format!(r#"{{"devices":{{"disks":[{{"name":"x","reads":{reads}}}]}}}}"#);
        for (reads, wrong) in [(4, true), (5, false), (9, false), (10, true)] {
            let found = paths(&disk(5), &disk(reads), &disk(9));
            assert_eq!(!found.is_empty(), wrong, "{reads}: {found:?}");
        }
        let none = r#"{"devices":{"disks":[]}}"#;
        assert_eq!(paths(&disk(5), &disk(9), none), Vec::<String>::new(), "it went after that");
        assert_eq!(paths(&disk(5), &disk(4), none), ["devices.disks[].reads"]);
        assert_eq!(paths(none, &disk(4), &disk(3)), ["devices.disks[].reads"]);
        let count = |processes: u32| format!(r#"{{"vitals":{{"processes":{processes}}}}}"#);
        for (processes, wrong) in [(1, true), (150, false), (500, false), (1_000, true)] {
            let found = paths(&count(200), &count(processes), &count(300));
            assert_eq!(!found.is_empty(), wrong, "{processes}: {found:?}");
        }
    }

    #[test]
    fn no_more_is_counted_than_the_counters_grew_by() {
        let sample = |io: u32, reads: u32| {
            format!(
                r#"{{"sample":{{"disk_io":{io}}},
                    "devices":{{"disks":[{{"name":"x","reads":{reads},"writes":0}}]}}}}"#
            )
        };
        assert_eq!(paths(&sample(0, 0), &sample(7, 3), &sample(900, 7)), Vec::<String>::new());
        assert_eq!(paths(&sample(0, 0), &sample(70, 3), &sample(0, 7)), ["sample.disk_io"]);
        let idle = r#"{"vitals":{"context_switches":0,"cpu_irq_percent":101}}"#;
        assert_eq!(paths(idle, idle, idle), ["vitals.context_switches", "vitals.cpu_irq_percent"]);
    }
}
