//! Damaged files: each costs what it tells, and nothing else.

use std::collections::BTreeSet;

use super::machine::{Entry, Machine};
use super::machines::ALL;
use super::observed::Observer;

/// What a file tells: the beginnings of the lines that may change when it is damaged. The first
/// whose start a path has holds for it; a file that stands nowhere here may change nothing.
const TELLS: &[(&str, &[&str])] = &[
    (".dockerenv", &["facts virtualization"]),
    ("etc/os-release", &["facts os"]),
    ("proc/cpuinfo", &["facts cpu_", "facts virtualization"]),
    ("proc/device-tree/model", &["facts board"]),
    ("proc/diskstats", &["disk ", "sample disk_io", "vitals disk_"]),
    ("proc/loadavg", &["vitals load_", "vitals processes "]),
    ("proc/mdstat", &["md "]),
    (
        "proc/meminfo",
        &[
            "facts total_mem",
            "sample memory_",
            "vitals huge_pages",
            "vitals memory_",
            "vitals swap_used",
        ],
    ),
    ("proc/pressure/cpu", &["vitals pressure_cpu_"]),
    ("proc/pressure/io", &["vitals pressure_io_"]),
    ("proc/pressure/memory", &["vitals pressure_memory_"]),
    ("proc/self/net/dev", &["interface ", "vitals net_"]),
    ("proc/self/net/netstat", &["vitals tcp_listen_drops"]),
    ("proc/self/net/snmp", &["vitals tcp_"]),
    (
        "proc/stat",
        &[
            "facts booted",
            "facts cpu_number",
            "sample cpu_",
            "vitals context_switches",
            "vitals cpu_",
            "vitals forks",
            "vitals processes_",
        ],
    ),
    ("proc/sys/fs/file-nr", &["vitals file_handles"]),
    ("proc/sys/kernel/hostname", &["facts kernel_host_name"]),
    ("proc/sys/kernel/osrelease", &["facts kernel ", "facts virtualization"]),
    ("proc/sys/kernel/random/boot_id", &["facts boot_id"]),
    ("proc/sys/net/netfilter/nf_conntrack_count", &["vitals conntrack"]),
    ("proc/vmstat", &["vitals major_faults", "vitals oom_kills", "vitals swap_"]),
    ("proc/1/cgroup", &["facts virtualization"]),
    ("proc/1/mountinfo", &["filesystem "]),
    // A number: one of a process.
    ("proc/#", &["process ", "vitals processes "]),
    ("sys/class/dmi/id/bios_", &["facts firmware"]),
    ("sys/class/dmi/id/", &["facts board", "facts virtualization"]),
    ("sys/class/hwmon/", &["sensor "]),
    ("sys/class/thermal/", &["sensor "]),
    ("sys/devices/system/cpu/cpu0/cache/", &["facts l2_cache"]),
    ("sys/devices/system/cpu/cpu0/cpufreq/", &["facts cpu_mhz"]),
    ("sys/devices/system/edac/", &["controller "]),
    ("sys/devices/pci0000:00/net/", &["facts interfaces", "interface "]),
    ("sys/devices/virtual/net/", &["interface "]),
    ("sys/devices/pci0000:00/", &["disk ", "facts disks"]),
    ("sys/fs/cgroup/", &["cgroup "]),
];

/// Files whose format differs between kernels and machines: damaged on each of them.
const FORMATS: [&str; 6] = [
    "proc/1/mountinfo",
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/vmstat",
];

/// What a damaged file may change.
fn told_by(path: &str) -> &'static [&'static str] {
    let is_process = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let starts = |start: &str| match start.strip_suffix('#') {
        Some(folder) => path.strip_prefix(folder).is_some_and(is_process),
        None => path.starts_with(start),
    };
    TELLS.iter().find(|(start, _)| starts(start)).map_or(&[], |(_, told)| told)
}

/// Makes of a file's text another one; none: the file is gone.
type Damage = fn(&str) -> Option<String>;

/// Ways to damage a file.
const DAMAGES: [(&str, Damage); 7] = [
    ("missing", |_| None),
    ("empty", |_| Some(String::new())),
    ("cut in the middle", |text| {
        Some(
            text.char_indices()
                .take_while(|(at, _)| *at < text.len() / 2)
                .map(|(_, c)| c)
                .collect(),
        )
    }),
    ("garbage", |_| Some("\u{1}\u{0}\u{fffd}\u{7f}\n\u{0}: = [\n\n  9x 9x\n".repeat(40))),
    ("huge numbers", |text| Some(with_numbers(text, "18446744073709551615"))),
    ("numbers that no type holds", |text| Some(with_numbers(text, "99999999999999999999999999"))),
    ("negative numbers", |text| Some(with_numbers(text, "-7"))),
];

/// The text with another number in the place of each.
fn with_numbers(text: &str, number: &str) -> String {
    let mut damaged = String::new();
    let mut is_number = false;
    let mut last = ' ';
    for c in text.chars() {
        // A digit within a name is part of it.
        is_number = c.is_ascii_digit() && (is_number || last.is_whitespace() || last == '=');
        if !is_number {
            damaged.push(c);
        } else if !last.is_ascii_digit() {
            damaged.push_str(number);
        }
        last = c;
    }
    damaged
}

/// The machine with one file damaged.
fn damaged(machine: &Machine, path: &str, damage: Damage) -> Machine {
    let Some(Entry::File(text)) = machine.0.get(path) else { panic!("{path} is no file") };
    match damage(text) {
        Some(text) => machine.clone().file(path, text),
        // The folder stays.
        None => {
            let (folder, _) = path.rsplit_once('/').unwrap_or(("proc", path));
            machine.clone().without(path).folder(folder)
        }
    }
}

/// The paths to damage: one of each kind (those that differ in numbers alone are alike) that no
/// machine before had.
fn to_damage(machine: &Machine, kinds: &mut BTreeSet<String>) -> Vec<String> {
    let kind = |path: &str| path.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let is_new = |(path, _): &(&str, &str)| FORMATS.contains(path) || kinds.insert(kind(path));
    machine.files().filter(is_new).map(|(path, _)| path.to_owned()).collect()
}

#[tokio::test]
async fn a_damaged_file_costs_what_it_tells_and_nothing_else() {
    let mut wrong = Vec::new();
    let mut kinds = BTreeSet::new();
    for (name, machine) in ALL {
        let (before, after) = (machine(0), machine(1));
        let mut observer = Observer::new();
        let whole: BTreeSet<_> =
            observer.watch(before.clone(), after.clone()).await.lines().into_iter().collect();
        for path in to_damage(&after, &mut kinds) {
            for (how, damage) in DAMAGES {
                let observed = observer.watch(before.clone(), damaged(&after, &path, damage)).await;
                let lines: BTreeSet<_> = observed.lines().into_iter().collect();
                let unexpected = whole
                    .symmetric_difference(&lines)
                    .filter(|line| !line.starts_with("skipped "))
                    .find(|line| !told_by(&path).iter().any(|told| line.starts_with(told)));
                if let Some(line) = unexpected {
                    wrong.push(format!("{name}: {path} is {how}: {line}"));
                }
                if let Some(line) = lines.iter().find(|line| has_impossible_number(line)) {
                    wrong.push(format!("{name}: {path} is {how}, and this cannot be: {line}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "{} in all", wrong.len());
}

/// Shares and counts that no machine has. Temperatures may be below zero.
fn has_impossible_number(line: &str) -> bool {
    let Some((name, value)) = line.strip_prefix("vitals ").and_then(|rest| rest.split_once(" = "))
    else {
        return false;
    };
    value.parse::<f64>().is_ok_and(|value| {
        value < 0.0 || !value.is_finite() || name.ends_with("_percent") && value > 100.0
    })
}

#[tokio::test]
async fn a_machine_of_nothing_but_damage_is_read_to_the_end() {
    for (name, machine) in ALL {
        let (before, after) = (machine(0), machine(1));
        for (how, damage) in DAMAGES {
            let all = |machine: &Machine| {
                let paths: Vec<_> = machine.files().map(|(path, _)| path.to_owned()).collect();
                paths.iter().fold(machine.clone(), |machine, path| damaged(&machine, path, damage))
            };
            let mut observer = Observer::new();
            // Damaged from the beginning, and damaged and whole again under an agent that runs.
            let observed = observer.watch(all(&before), all(&after)).await;
            let line = observed.lines().into_iter().find(|line| has_impossible_number(line));
            assert_eq!(line, None, "{name}, all {how}");
            observer.watch(all(&before), after.clone()).await;
        }
    }
}
