//! Rows of reports to parts of an answer.
//!
//! Each builder takes rows in their order and gives a part whenever one is full, so that memory
//! is bounded by a part, except for the [roll](super::roll).

use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::{
    BalanceRow, Counts, HardwareRow, Integrity, IntegrityKind, MemoryRow, Spread,
};

/// Most hosts in one part.
pub(super) const PART_HOSTS: usize = 500;
/// Most cells (hosts x windows) in one part, unless a single host has more.
const PART_CELLS: usize = 125_000;

/// How many hosts of so many windows go into one part.
pub(super) fn hosts_in_part(windows: usize) -> usize {
    (PART_CELLS / windows.max(1)).clamp(1, PART_HOSTS)
}

/// Hardware rows come ordered by number of CPUs.
#[derive(Debug, Default)]
pub(super) struct Hardware {
    groups: Vec<pb::HardwareGroup>,
    hosts: usize,
}

impl Hardware {
    pub(super) fn push(&mut self, row: HardwareRow) -> Option<pb::SummaryResponse> {
        let full = if self.hosts == PART_HOSTS { self.take() } else { None };
        let cpu_number = row.cpu_number;
        let host = pb::HardwareHost {
            host_name: row.host_name,
            total_mem_kib: row.total_mem_kib,
            cpu_architecture: row.cpu_architecture,
            cpu_model: row.cpu_model,
            cpu_mhz: row.cpu_mhz.map(to_f32),
            l2_cache_kib: row.l2_cache_kib,
            changed_at: Some(crate::timestamp(row.changed_at)),
        };
        match self.groups.last_mut() {
            Some(group) if group.cpu_number == cpu_number => group.hosts.push(host),
            _ => self.groups.push(pb::HardwareGroup { cpu_number, hosts: vec![host] }),
        }
        self.hosts += 1;
        full
    }

    /// What is left.
    pub(super) fn take(&mut self) -> Option<pb::SummaryResponse> {
        let Self { groups, .. } = std::mem::take(self);
        (!groups.is_empty()).then(|| pb::SummaryResponse {
            hardware: Some(pb::HardwareReport { groups }),
            ..Default::default()
        })
    }
}

/// Memory rows come ordered by name, then window; windows without samples have none.
#[derive(Debug)]
pub(super) struct Memory {
    windows: usize,
    hosts: Vec<pb::MemoryHost>,
}

impl Memory {
    pub(super) fn new(windows: u32) -> Self {
        Self { windows: size(windows), hosts: Vec::new() }
    }

    pub(super) fn push(&mut self, row: MemoryRow) -> Option<pb::SummaryResponse> {
        let is_next = self.hosts.last().is_none_or(|host| host.host_name != row.host_name);
        let mut full = None;
        if is_next {
            if self.hosts.len() >= hosts_in_part(self.windows) {
                full = self.take();
            }
            let unknown = vec![f32::NAN; self.windows];
            self.hosts.push(pb::MemoryHost {
                host_name: row.host_name,
                used_percent: unknown.clone(),
                unavailable_percent: unknown,
            });
        }
        let at = size(row.window);
        if let Some(host) = self.hosts.last_mut() {
            if let (Some(cell), Some(value)) = (host.used_percent.get_mut(at), row.used_percent) {
                *cell = value;
            }
            let cell = host.unavailable_percent.get_mut(at);
            if let (Some(cell), Some(value)) = (cell, row.unavailable_percent) {
                *cell = value;
            }
        }
        full
    }

    /// What is left.
    pub(super) fn take(&mut self) -> Option<pb::SummaryResponse> {
        let hosts = std::mem::take(&mut self.hosts);
        (!hosts.is_empty()).then(|| pb::SummaryResponse {
            memory: Some(pb::MemoryReport { hosts }),
            ..Default::default()
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a report shows seven digits of a MHz")]
fn to_f32(number: f64) -> f32 {
    number as f32
}

pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Windows in one part of a balance.
const PART_WINDOWS: usize = 5_000;

/// The parts of a balance.
pub(super) fn balance(rows: Vec<BalanceRow>) -> impl Iterator<Item = pb::SummaryResponse> {
    let mut rows = rows.into_iter().map(|row| pb::BalanceWindow {
        start: Some(crate::timestamp(row.start)),
        hosts: row.hosts,
        cpu_busy_percent: Some(spread(row.cpu_busy_percent)),
        memory_used_percent: Some(spread(row.memory_used_percent)),
        net_bytes_per_s: known(row.net_bytes_per_s),
        disk_busy_percent: known(row.disk_busy_percent),
    });
    std::iter::from_fn(move || {
        let windows: Vec<_> = rows.by_ref().take(PART_WINDOWS).collect();
        (!windows.is_empty()).then(|| pb::SummaryResponse {
            balance: Some(pb::BalanceReport { windows }),
            ..Default::default()
        })
    })
}

/// Absent where no host tells.
fn known(values: Spread) -> Option<pb::Spread> {
    values.mean.is_some().then(|| spread(values))
}

fn spread(spread: Spread) -> pb::Spread {
    pb::Spread {
        mean: spread.mean,
        standard_deviation: spread.standard_deviation,
        min: spread.min,
        max: spread.max,
        coefficient_of_variation: spread.coefficient_of_variation,
        weighted_mean: spread.weighted_mean,
        weighted_standard_deviation: spread.weighted_standard_deviation,
    }
}

/// The one part of an integrity report.
pub(super) fn integrity(report: Integrity) -> pb::SummaryResponse {
    let findings = report
        .findings
        .into_iter()
        .map(|finding| pb::IntegrityFinding {
            host_name: finding.host_name,
            kind: kind(finding.kind).into(),
            samples: finding.samples,
            from: Some(crate::timestamp(finding.from)),
            to: Some(crate::timestamp(finding.to)),
            detail: finding.detail,
        })
        .collect();
    let lines = report.ledger.into_iter().map(|line| pb::HostLedger {
        host_name: line.host_name,
        spool_epoch: line.epoch,
        opened_at: Some(crate::timestamp(line.opened_at)),
        closed_at: line.closed_at.map(crate::timestamp),
        counts: Some(counts(line.counts)),
    });
    let integrity = pb::IntegrityReport {
        findings,
        total_findings: report.total,
        ledger_totals: Some(counts(report.ledger_total)),
        ledger: lines.collect(),
    };
    pb::SummaryResponse { integrity: Some(integrity), ..Default::default() }
}

fn counts(counts: Counts) -> pb::Ledger {
    pb::Ledger {
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

fn kind(kind: IntegrityKind) -> pb::IntegrityKind {
    match kind {
        IntegrityKind::Dropped => pb::IntegrityKind::Dropped,
        IntegrityKind::UnexplainedGap => pb::IntegrityKind::UnexplainedGap,
        IntegrityKind::EpochChanged => pb::IntegrityKind::EpochChanged,
        IntegrityKind::Quarantined => pb::IntegrityKind::Quarantined,
        IntegrityKind::Impossible => pb::IntegrityKind::Impossible,
        IntegrityKind::ClockSkew => pb::IntegrityKind::ClockSkew,
        IntegrityKind::Missed => pb::IntegrityKind::Missed,
        IntegrityKind::Restarted => pb::IntegrityKind::Restarted,
        IntegrityKind::Unbalanced => pb::IntegrityKind::Unbalanced,
        IntegrityKind::DuplicateIdentity => pb::IntegrityKind::DuplicateIdentity,
        IntegrityKind::HardwareChanged => pb::IntegrityKind::HardwareChanged,
        IntegrityKind::NotRead => pb::IntegrityKind::NotRead,
    }
}

/// Appends a part as protobuf would, except that hosts of the same hardware group join it.
pub(super) fn merge(whole: &mut pb::SummaryResponse, part: pb::SummaryResponse) {
    if let Some(hardware) = part.hardware {
        let groups = &mut whole.hardware.get_or_insert_default().groups;
        for group in hardware.groups {
            match groups.last_mut() {
                Some(last) if last.cpu_number == group.cpu_number => last.hosts.extend(group.hosts),
                _ => groups.push(group),
            }
        }
    }
    if let Some(memory) = part.memory {
        whole.memory.get_or_insert_default().hosts.extend(memory.hosts);
    }
    if let Some(roll) = part.roll {
        let into = whole.roll.get_or_insert_default();
        into.incomplete.extend(roll.incomplete);
        into.unobserved.extend(roll.unobserved);
        if roll.totals.is_some() {
            let incomplete = std::mem::take(&mut into.incomplete);
            let unobserved = std::mem::take(&mut into.unobserved);
            *into = pb::RollReport { incomplete, unobserved, ..roll };
        }
    }
    if let Some(balance) = part.balance {
        whole.balance.get_or_insert_default().windows.extend(balance.windows);
    }
    if let Some(pressure) = part.pressure {
        let into = whole.pressure.get_or_insert_default();
        into.hosts.extend(pressure.hosts);
        into.unknown_hosts = into.unknown_hosts.max(pressure.unknown_hosts);
        into.further_hosts = into.further_hosts.max(pressure.further_hosts);
    }
    if let Some(integrity) = part.integrity {
        let into = whole.integrity.get_or_insert_default();
        into.findings.extend(integrity.findings);
        into.total_findings = into.total_findings.max(integrity.total_findings);
        into.ledger_totals = integrity.ledger_totals.or(into.ledger_totals);
        into.ledger.extend(integrity.ledger);
    }
}
