//! The answer as JSON, for scripts. Names are the contract's own, in `snake_case`; times are
//! RFC 3339 in UTC; enumerations are words in `snake_case` without their prefix; what is absent or
//! not a number is `null`; reports that were not asked for are left out.

use anyhow::Context as _;
use rowcall_proto::v1;
use serde::Serialize;

use super::{json_time as time, json_word as word};

/// One JSON document on one line.
pub(super) fn render(answer: &v1::SummaryResponse) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(&Answer::from(answer)).context("write JSON")?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Answer<'a> {
    from: Option<String>,
    to: Option<String>,
    window_s: u32,
    generated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware: Option<Hardware<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roll: Option<Roll<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pressure: Option<Pressure<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity: Option<Integrity<'a>>,
}

#[derive(Serialize)]
struct Hardware<'a> {
    groups: Vec<Group<'a>>,
}

#[derive(Serialize)]
struct Group<'a> {
    cpu_number: Option<u32>,
    hosts: Vec<Host<'a>>,
}

#[derive(Serialize)]
struct Host<'a> {
    host_name: &'a str,
    total_mem_kib: Option<u64>,
    cpu_architecture: Option<&'a str>,
    cpu_model: Option<&'a str>,
    cpu_mhz: Option<f32>,
    l2_cache_kib: Option<u64>,
    changed_at: Option<String>,
}

#[derive(Serialize)]
struct Memory<'a> {
    hosts: Vec<MemoryHost<'a>>,
}

#[derive(Serialize)]
struct MemoryHost<'a> {
    host_name: &'a str,
    used_percent: &'a [f32],
    unavailable_percent: &'a [f32],
}

#[derive(Serialize)]
struct Roll<'a> {
    finished_windows: u32,
    totals: Totals,
    incomplete: Vec<RollHost<'a>>,
    complete_hosts: u32,
    hosts: u32,
    unobserved: Vec<Unobserved>,
}

#[derive(Serialize)]
struct Unobserved {
    from: Option<String>,
    to: Option<String>,
    cause: String,
    hosts: u32,
}

#[derive(Serialize)]
struct Totals {
    complete: u64,
    silent: u64,
    partial: u64,
    late: u64,
    unobserved: u64,
    excused: u64,
    not_judged: u64,
    skewed: u64,
}

#[derive(Serialize)]
struct RollHost<'a> {
    host_name: &'a str,
    states: Vec<String>,
    samples: &'a [u32],
    last_sample_at: Option<String>,
    booted_at: Vec<Option<String>>,
}

#[derive(Serialize)]
struct Balance {
    windows: Vec<BalanceWindow>,
}

#[derive(Serialize)]
struct BalanceWindow {
    start: Option<String>,
    hosts: u32,
    cpu_busy_percent: Spread,
    memory_used_percent: Spread,
    net_bytes_per_s: Option<Spread>,
    disk_busy_percent: Option<Spread>,
}

#[derive(Serialize)]
struct Spread {
    mean: Option<f32>,
    standard_deviation: Option<f32>,
    min: Option<f32>,
    max: Option<f32>,
    coefficient_of_variation: Option<f32>,
    weighted_mean: Option<f32>,
    weighted_standard_deviation: Option<f32>,
}

#[derive(Serialize)]
struct Pressure<'a> {
    hosts: Vec<HostPressure<'a>>,
    unknown_hosts: u32,
    further_hosts: u32,
}

#[derive(Serialize)]
struct HostPressure<'a> {
    host_name: &'a str,
    waits_for: String,
    wait_percent: Option<f32>,
    cpu_some_percent: Option<f32>,
    memory_some_percent: Option<f32>,
    memory_full_percent: Option<f32>,
    io_some_percent: Option<f32>,
    io_full_percent: Option<f32>,
    iowait_percent: Option<f32>,
    steal_percent: Option<f32>,
    load_per_cpu: Option<f32>,
    cpu_busy_max_percent: Option<f32>,
    swapped_kib: Option<u64>,
    oom_kills: Option<u64>,
    samples: u64,
}

#[derive(Serialize)]
struct Integrity<'a> {
    findings: Vec<Finding<'a>>,
    total_findings: u64,
    ledger_totals: Option<Ledger>,
    ledger: Vec<HostLedger<'a>>,
}

#[derive(Serialize)]
struct Ledger {
    due: u64,
    committed: u64,
    quarantined: u64,
    spooled: u64,
    dropped: u64,
    missed: u64,
    duplicates: u64,
    epochs: u64,
    unbalanced_epochs: u64,
}

#[derive(Serialize)]
struct HostLedger<'a> {
    host_name: &'a str,
    /// Text: a name, and beyond what all readers of JSON take for a whole number.
    spool_epoch: String,
    opened_at: Option<String>,
    closed_at: Option<String>,
    counts: Option<Ledger>,
}

#[derive(Serialize)]
struct Finding<'a> {
    host_name: &'a str,
    kind: String,
    samples: u64,
    from: Option<String>,
    to: Option<String>,
    detail: &'a str,
}

impl<'a> From<&'a v1::SummaryResponse> for Answer<'a> {
    fn from(answer: &'a v1::SummaryResponse) -> Self {
        Self {
            from: time(answer.from.as_ref()),
            to: time(answer.to.as_ref()),
            window_s: answer.window_s,
            generated_at: time(answer.generated_at.as_ref()),
            hardware: answer.hardware.as_ref().map(hardware),
            memory: answer.memory.as_ref().map(memory),
            roll: answer.roll.as_ref().map(roll),
            balance: answer.balance.as_ref().map(balance),
            pressure: answer.pressure.as_ref().map(pressure),
            integrity: answer.integrity.as_ref().map(integrity),
        }
    }
}

fn hardware(report: &v1::HardwareReport) -> Hardware<'_> {
    fn host(host: &v1::HardwareHost) -> Host<'_> {
        Host {
            host_name: &host.host_name,
            total_mem_kib: host.total_mem_kib,
            cpu_architecture: host.cpu_architecture.as_deref(),
            cpu_model: host.cpu_model.as_deref(),
            cpu_mhz: host.cpu_mhz,
            l2_cache_kib: host.l2_cache_kib,
            changed_at: time(host.changed_at.as_ref()),
        }
    }
    fn group(group: &v1::HardwareGroup) -> Group<'_> {
        Group { cpu_number: group.cpu_number, hosts: group.hosts.iter().map(host).collect() }
    }
    Hardware { groups: report.groups.iter().map(group).collect() }
}

fn memory(report: &v1::MemoryReport) -> Memory<'_> {
    fn host(host: &v1::MemoryHost) -> MemoryHost<'_> {
        let v1::MemoryHost { host_name, used_percent, unavailable_percent } = host;
        MemoryHost { host_name, used_percent, unavailable_percent }
    }
    Memory { hosts: report.hosts.iter().map(host).collect() }
}

fn roll(report: &v1::RollReport) -> Roll<'_> {
    fn host(host: &v1::RollHost) -> RollHost<'_> {
        RollHost {
            host_name: &host.host_name,
            states: host.states().map(|s| word(s.as_str_name(), "WINDOW_STATE_")).collect(),
            samples: &host.samples,
            last_sample_at: time(host.last_sample_at.as_ref()),
            booted_at: host.booted_at.iter().map(|at| time(Some(at))).collect(),
        }
    }
    fn span(span: &v1::UnobservedSpan) -> Unobserved {
        Unobserved {
            from: time(span.from.as_ref()),
            to: time(span.to.as_ref()),
            cause: word(span.cause().as_str_name(), "UNOBSERVED_CAUSE_"),
            hosts: span.hosts,
        }
    }
    let v1::RollTotals { complete, silent, partial, late, unobserved, excused, not_judged, skewed } =
        report.totals.unwrap_or_default();
    Roll {
        finished_windows: report.finished_windows,
        totals: Totals { complete, silent, partial, late, unobserved, excused, not_judged, skewed },
        incomplete: report.incomplete.iter().map(host).collect(),
        complete_hosts: report.complete_hosts,
        hosts: report.hosts,
        unobserved: report.unobserved.iter().map(span).collect(),
    }
}

fn balance(report: &v1::BalanceReport) -> Balance {
    let window = |window: &v1::BalanceWindow| BalanceWindow {
        start: time(window.start.as_ref()),
        hosts: window.hosts,
        cpu_busy_percent: spread(window.cpu_busy_percent.as_ref()),
        memory_used_percent: spread(window.memory_used_percent.as_ref()),
        net_bytes_per_s: window.net_bytes_per_s.as_ref().map(|values| spread(Some(values))),
        disk_busy_percent: window.disk_busy_percent.as_ref().map(|values| spread(Some(values))),
    };
    Balance { windows: report.windows.iter().map(window).collect() }
}

fn spread(spread: Option<&v1::Spread>) -> Spread {
    let spread = spread.copied().unwrap_or_default();
    Spread {
        mean: spread.mean,
        standard_deviation: spread.standard_deviation,
        min: spread.min,
        max: spread.max,
        coefficient_of_variation: spread.coefficient_of_variation,
        weighted_mean: spread.weighted_mean,
        weighted_standard_deviation: spread.weighted_standard_deviation,
    }
}

fn pressure(report: &v1::PressureReport) -> Pressure<'_> {
    fn host(host: &v1::HostPressure) -> HostPressure<'_> {
        HostPressure {
            host_name: &host.host_name,
            waits_for: word(host.waits_for().as_str_name(), "WAIT_"),
            wait_percent: host.wait_percent,
            cpu_some_percent: host.cpu_some_percent,
            memory_some_percent: host.memory_some_percent,
            memory_full_percent: host.memory_full_percent,
            io_some_percent: host.io_some_percent,
            io_full_percent: host.io_full_percent,
            iowait_percent: host.iowait_percent,
            steal_percent: host.steal_percent,
            load_per_cpu: host.load_per_cpu,
            cpu_busy_max_percent: host.cpu_busy_max_percent,
            swapped_kib: host.swapped_kib,
            oom_kills: host.oom_kills,
            samples: host.samples,
        }
    }
    Pressure {
        hosts: report.hosts.iter().map(host).collect(),
        unknown_hosts: report.unknown_hosts,
        further_hosts: report.further_hosts,
    }
}

fn integrity(report: &v1::IntegrityReport) -> Integrity<'_> {
    fn finding(finding: &v1::IntegrityFinding) -> Finding<'_> {
        Finding {
            host_name: &finding.host_name,
            kind: word(finding.kind().as_str_name(), "INTEGRITY_KIND_"),
            samples: finding.samples,
            from: time(finding.from.as_ref()),
            to: time(finding.to.as_ref()),
            detail: &finding.detail,
        }
    }
    fn counts(counts: &v1::Ledger) -> Ledger {
        Ledger {
            due: counts.due,
            committed: counts.committed,
            quarantined: counts.quarantined,
            spooled: counts.spooled,
            dropped: counts.dropped,
            missed: counts.missed,
            duplicates: counts.duplicates,
            epochs: counts.epochs,
            unbalanced_epochs: counts.unbalanced_epochs,
        }
    }
    fn line(line: &v1::HostLedger) -> HostLedger<'_> {
        HostLedger {
            host_name: &line.host_name,
            spool_epoch: line.spool_epoch.to_string(),
            opened_at: time(line.opened_at.as_ref()),
            closed_at: time(line.closed_at.as_ref()),
            counts: line.counts.as_ref().map(counts),
        }
    }
    Integrity {
        findings: report.findings.iter().map(finding).collect(),
        total_findings: report.total_findings,
        ledger_totals: report.ledger_totals.as_ref().map(counts),
        ledger: report.ledger.iter().map(line).collect(),
    }
}
