//! What vmstat, free, df and ss say.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::witness::{Agreement, Seen, exact, seen, share};

/// What goes up and down may have moved by this share of all memory, or of a filesystem.
const MOVED_SHARE: f64 = 0.03;
/// Connections.
const A_FEW: f64 = 64.0;

/// Numbers by the words that the tools have for them.
type Said = BTreeMap<String, f64>;

/// What a program prints, in English.
fn printed(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let output = output.with_context(|| format!("{program} is missing: run `make deps`"))?;
    // df says so of each mount that it may not see, and tells the rest.
    ensure!(output.status.success() || program == "df", "{program}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All of them, one after the other.
fn said() -> Result<Said> {
    let mut said = Said::new();
    for line in printed("vmstat", &["-s"])?.lines() {
        let (number, words) = line.trim().split_once(' ').context("vmstat's number")?;
        said.insert(format!("vmstat {words}"), number.parse()?);
    }
    let free = printed("free", &["--kibi", "--wide"])?;
    let mut lines = free.lines();
    let names: Vec<_> = lines.next().context("free's names")?.split_whitespace().collect();
    for line in lines {
        let (row, numbers) = line.split_once(':').context("free's row")?;
        for (name, number) in names.iter().zip(numbers.split_whitespace()) {
            said.insert(format!("free {row} {name}"), number.parse()?);
        }
    }
    let columns = "--output=size,avail,itotal,iavail,target";
    for line in printed("df", &["--block-size=1024", "--all", columns])?.lines().skip(1) {
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
        let numbers = [number(), number(), number(), number()];
        let mount = words.collect::<Vec<_>>().join(" ");
        for (what, number) in ["size", "avail", "itotal", "iavail"].into_iter().zip(numbers) {
            said.extend(number.map(|number| (format!("df {mount} {what}"), number)));
        }
    }
    let sockets = printed("ss", &["-s"])?;
    let established = sockets.split("(estab ").nth(1).and_then(|rest| rest.split(',').next());
    said.insert("ss estab".into(), established.context("ss -s: estab")?.parse()?);
    Ok(said)
}

impl Seen<Said> {
    fn grown(&self, name: &str) -> Option<[f64; 2]> {
        let [[a, b], [c, d]] =
            [&self.first, &self.second].map(|around| [0, 1].map(|n| around[n].get(name).copied()));
        Some([c? - b?, d? - a?])
    }

    fn value(&self, name: &str) -> Option<[f64; 2]> {
        let [before, after] = [0, 1].map(|n| self.second[n].get(name).copied());
        Some([before?, after?])
    }
}

#[tokio::test]
async fn the_agent_agrees_with_vmstat_free_df_and_ss() -> Result<()> {
    let seen = seen(said).await?;
    let mut agreement = Agreement::default();
    for (ours, theirs) in
        [("context_switches", "vmstat CPU context switches"), ("forks", "vmstat forks")]
    {
        agreement.between(ours, seen.vital(ours), seen.grown(theirs), 0.0);
    }
    for (ours, theirs) in
        [("swap_in_kib", "vmstat pages swapped in"), ("swap_out_kib", "vmstat pages swapped out")]
    {
        let kib = seen.grown(theirs).map(|both| both.map(|pages| pages * 4.0));
        agreement.between(ours, seen.vital(ours), kib, 0.0);
    }
    cpu(&seen, &mut agreement);
    memory(&seen, &mut agreement);
    for one in &seen.devices.filesystems {
        let df = |what: &str| seen.value(&format!("df {} {what}", one.mount));
        let mount = &one.mount;
        let moved = df("size").map_or(0.0, |both| both[0] * MOVED_SHARE);
        agreement.between(format_args!("{mount} size"), one.size_kib.map(exact), df("size"), 1.0);
        let available = one.available_kib.map(exact);
        agreement.between(format_args!("{mount} available"), available, df("avail"), moved);
        agreement.between(format_args!("{mount} inodes"), one.inodes.map(exact), df("itotal"), 0.0);
        let inodes = one.inodes_free.map(exact);
        agreement.between(format_args!("{mount} free inodes"), inodes, df("iavail"), 2_000.0);
    }
    let root = seen.reading.sample.disk_available_kib.map(exact);
    let moved = seen.value("df / size").map_or(0.0, |both| both[0] * MOVED_SHARE);
    agreement.between("disk_available", root, seen.value("df / avail"), moved);
    let established = seen.vital("tcp_established");
    agreement.between("tcp_established", established, seen.value("ss estab"), A_FEW);
    agreement.check(20);
    Ok(())
}

/// Ticks of 10 ms by mode, as shares of all of them.
fn cpu(seen: &Seen<Said>, agreement: &mut Agreement) {
    let modes =
        ["non-nice user", "nice user", "system", "idle", "IO-wait", "IRQ", "softirq", "stolen"];
    let ticks = |mode: &str| seen.grown(&format!("vmstat {mode} cpu ticks"));
    let all = modes.iter().filter_map(|mode| ticks(mode));
    let all = all.reduce(|a, b| [a[0] + b[0], a[1] + b[1]]);
    // In points: four modes of one tick each, of the hundred or two of a second.
    let points = 3.0;
    for (ours, mode) in [
        ("cpu_user_percent", "non-nice user"),
        ("cpu_nice_percent", "nice user"),
        ("cpu_system_percent", "system"),
        ("cpu_iowait_percent", "IO-wait"),
        ("cpu_irq_percent", "IRQ"),
        ("cpu_softirq_percent", "softirq"),
        ("cpu_steal_percent", "stolen"),
    ] {
        agreement.between(ours, seen.vital(ours), share(ticks(mode), all), points);
    }
    let idle = seen.reading.sample.cpu_idle_percent;
    agreement.between("cpu_idle", idle, share(ticks("idle"), all), points);
}

fn memory(seen: &Seen<Said>, agreement: &mut Agreement) {
    let sample = &seen.reading.sample;
    let total = seen.facts.total_mem_kib.map(exact);
    let moved = total.unwrap_or_default() * MOVED_SHARE;
    agreement.between("total_mem", total, seen.value("free Mem total"), 0.0);
    let free = sample.memory_free_kib.map(exact);
    agreement.between("memory_free", free, seen.value("free Mem free"), moved);
    let available = sample.memory_available_kib.map(exact);
    agreement.between("memory_available", available, seen.value("free Mem available"), moved);
    let buffers = seen.vital("memory_buffers_kib");
    agreement.between("memory_buffers", buffers, seen.value("free Mem buffers"), moved);
    let swap = seen.vital("swap_used_kib");
    agreement.between("swap_used", swap, seen.value("free Swap used"), moved);
}
