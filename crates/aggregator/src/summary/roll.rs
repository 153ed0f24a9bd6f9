//! The parts of a roll. Its order needs all incomplete hosts: those wait encoded, two bytes a cell.

use std::collections::HashMap;

use prost::Message as _;
use rowcall_core::id::UnixMicros;
use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::{Frame, RollRow, UnobservedRow, WindowState};

use super::parts::{hosts_in_part, size};
use super::unobserved::Unobserved;

/// When each host booted within the range, oldest first.
pub(super) type Boots = HashMap<String, Vec<UnixMicros>>;

/// Roll rows come ordered by name, then window.
#[derive(Debug)]
pub(super) struct Roll {
    windows: usize,
    current: Option<pb::RollHost>,
    incomplete: Vec<Incomplete>,
    unobserved: Unobserved,
    boots: Boots,
    totals: pb::RollTotals,
    complete_hosts: u32,
    hosts: u32,
}

/// A host that is missing something, and its place in the order.
#[derive(Debug)]
struct Incomplete {
    silent: u32,
    partial: u32,
    late: u32,
    name: String,
    encoded: Vec<u8>,
}

impl Roll {
    /// For the windows of a frame, with the times that nobody observed and the boots of hosts.
    pub(super) fn new(frame: &Frame, unobserved: Vec<UnobservedRow>, boots: Boots) -> Self {
        Self {
            windows: size(frame.windows),
            current: None,
            incomplete: Vec::new(),
            unobserved: Unobserved::new(frame, unobserved),
            boots,
            totals: pb::RollTotals::default(),
            complete_hosts: 0,
            hosts: 0,
        }
    }

    pub(super) fn push(&mut self, row: RollRow) {
        if self.current.as_ref().is_none_or(|host| host.host_name != row.host_name) {
            self.finish_host();
            let booted_at = self.boots.remove(&row.host_name).unwrap_or_default();
            self.current = Some(pb::RollHost {
                host_name: row.host_name,
                states: vec![pb::WindowState::NotJudged.into(); self.windows],
                samples: vec![0; self.windows],
                last_sample_at: row.last_sample_at.map(crate::timestamp),
                booted_at: booted_at.into_iter().map(crate::timestamp).collect(),
            });
        }
        let (at, state) = (size(row.window), state(row.state));
        if let Some(host) = &mut self.current {
            if let Some(cell) = host.states.get_mut(at) {
                *cell = state.into();
            }
            if let Some(cell) = host.samples.get_mut(at) {
                *cell = row.samples;
            }
        }
    }

    fn finish_host(&mut self) {
        let Some(host) = self.current.take() else { return };
        let mut counts = [0_u32; 9];
        for state in &host.states {
            if let Some(count) = usize::try_from(*state).ok().and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
        let [_, complete, silent, partial, late, unobserved, excused, not_judged, skewed] = counts;
        self.totals.complete += u64::from(complete);
        self.totals.silent += u64::from(silent);
        self.totals.partial += u64::from(partial);
        self.totals.late += u64::from(late);
        self.totals.unobserved += u64::from(unobserved);
        self.totals.excused += u64::from(excused);
        self.totals.not_judged += u64::from(not_judged);
        self.totals.skewed += u64::from(skewed);
        self.hosts += 1;
        if unobserved > 0 {
            self.unobserved.count(&host);
        }
        // Windows that nobody observed are the aggregator's failing; they make no host incomplete.
        if silent + partial + late + excused + skewed == 0 {
            // Of a host without a complete window nothing can be said.
            self.complete_hosts += u32::from(complete > 0);
            return;
        }
        let encoded = host.encode_to_vec();
        self.incomplete.push(Incomplete { silent, partial, late, name: host.host_name, encoded });
    }

    /// All parts. Totals stand in the last one only, since merging would keep the last anyway.
    pub(super) fn finish(mut self, finished_windows: u32) -> Parts {
        self.finish_host();
        // Most of each first.
        self.incomplete.sort_unstable_by(|a, b| {
            (b.silent, b.partial, b.late)
                .cmp(&(a.silent, a.partial, a.late))
                .then_with(|| a.name.cmp(&b.name))
        });
        let totals = pb::RollReport {
            finished_windows,
            totals: Some(self.totals),
            incomplete: Vec::new(),
            complete_hosts: self.complete_hosts,
            hosts: self.hosts,
            unobserved: self.unobserved.finish(),
        };
        Parts {
            hosts: self.incomplete.into_iter(),
            in_part: hosts_in_part(self.windows),
            totals: Some(totals),
        }
    }
}

/// The parts of a roll, made one by one.
#[derive(Debug)]
pub(super) struct Parts {
    hosts: std::vec::IntoIter<Incomplete>,
    in_part: usize,
    totals: Option<pb::RollReport>,
}

impl Iterator for Parts {
    type Item = pb::SummaryResponse;

    fn next(&mut self) -> Option<Self::Item> {
        let incomplete: Vec<_> = self
            .hosts
            .by_ref()
            .take(self.in_part)
            .filter_map(|host| pb::RollHost::decode(host.encoded.as_slice()).ok())
            .collect();
        let report = if self.hosts.len() == 0 {
            pb::RollReport { incomplete, ..self.totals.take()? }
        } else {
            pb::RollReport { incomplete, ..Default::default() }
        };
        Some(pb::SummaryResponse { roll: Some(report), ..Default::default() })
    }
}

fn state(state: WindowState) -> pb::WindowState {
    match state {
        WindowState::Complete => pb::WindowState::Complete,
        WindowState::Silent => pb::WindowState::Silent,
        WindowState::Partial => pb::WindowState::Partial,
        WindowState::Late => pb::WindowState::Late,
        WindowState::Unobserved => pb::WindowState::Unobserved,
        WindowState::Excused => pb::WindowState::Excused,
        WindowState::Skewed => pb::WindowState::Skewed,
        WindowState::NotJudged => pb::WindowState::NotJudged,
    }
}
