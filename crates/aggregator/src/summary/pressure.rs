//! The parts of a pressure report.

use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::{PressureRow, Wait};

use super::parts::PART_HOSTS;

/// Most hosts of a report: with all other reports of 10,000 hosts they fit one answer.
const MOST_HOSTS: usize = 1_000;

/// Pressure rows come with those first that wait most.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    report: pb::PressureReport,
    listed: usize,
}

impl Pressure {
    pub(super) fn push(&mut self, row: PressureRow) -> Option<pb::SummaryResponse> {
        let Some(wait) = row.waits_for else {
            self.report.unknown_hosts += 1;
            return None;
        };
        if self.listed == MOST_HOSTS {
            self.report.further_hosts += 1;
            return None;
        }
        self.listed += 1;
        // How many are not listed stands in the last part alone.
        let full = (self.report.hosts.len() == PART_HOSTS).then(|| {
            let hosts = std::mem::take(&mut self.report.hosts);
            pressure(pb::PressureReport { hosts, ..Default::default() })
        });
        self.report.hosts.push(pb::HostPressure {
            host_name: row.host_name,
            waits_for: waits_for(wait).into(),
            wait_percent: row.wait_percent,
            cpu_some_percent: row.cpu_some_percent,
            memory_some_percent: row.memory_some_percent,
            memory_full_percent: row.memory_full_percent,
            io_some_percent: row.io_some_percent,
            io_full_percent: row.io_full_percent,
            iowait_percent: row.iowait_percent,
            steal_percent: row.steal_percent,
            load_per_cpu: row.load_per_cpu,
            cpu_busy_max_percent: row.cpu_busy_max_percent,
            swapped_kib: row.swapped_kib,
            oom_kills: row.oom_kills,
            samples: row.samples,
        });
        full
    }

    /// What is left.
    pub(super) fn finish(self) -> pb::SummaryResponse {
        pressure(self.report)
    }
}

fn pressure(report: pb::PressureReport) -> pb::SummaryResponse {
    pb::SummaryResponse { pressure: Some(report), ..Default::default() }
}

fn waits_for(wait: Wait) -> pb::Wait {
    match wait {
        Wait::Nothing => pb::Wait::Nothing,
        Wait::Cpu => pb::Wait::Cpu,
        Wait::Memory => pb::Wait::Memory,
        Wait::Io => pb::Wait::Io,
    }
}
