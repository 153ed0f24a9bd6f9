//! Records as columns of arrays, one array per parameter, units converted.

use postgres_types::ToSql;
use rowcall_core::id::HostId;
use rowcall_core::record::{Body, Gap, Sample};

use super::Item;
use super::ledger::ticks;
use crate::EpochId;
use crate::time::Time;

/// The parameters of `samples.sql` that have one element per sample.
#[derive(Default)]
pub(super) struct Samples {
    host_id: Vec<i32>,
    epoch_id: Vec<i32>,
    sequence: Vec<i64>,
    time: Vec<Time>,
    elapsed_s: Vec<Option<f32>>,
    uptime_s: Vec<Option<i64>>,
    memory_free: Vec<Option<i64>>,
    memory_available: Vec<Option<i64>>,
    cpu_idle: Vec<Option<f32>>,
    cpu_kernel: Vec<Option<f32>>,
    disk_io: Vec<Option<i64>>,
    disk_available: Vec<Option<i64>>,
    needed: Vec<i64>,
    due: Vec<i64>,
    told_due: Vec<Option<i64>>,
    again: Vec<bool>,
}

impl Samples {
    /// `needed`: what the mark must have got to; 0 where that was checked. `again`: an earlier
    /// record of the call covers its sequence.
    pub(super) fn push(&mut self, item: &Item<'_>, sample: &Sample, needed: i64, again: bool) {
        self.host_id.push(item.incoming.host_id.0);
        self.epoch_id.push(item.incoming.epoch_id.0);
        self.sequence.push(item.incoming.record.sequence.as_i64());
        self.time.push(Time(item.incoming.record.time));
        self.elapsed_s.push(sample.elapsed_us.and_then(seconds));
        self.uptime_s.push(sample.uptime_us.map(|micros| micros / 1_000_000));
        self.memory_free.push(sample.memory_free_kib.map(mib));
        self.memory_available.push(sample.memory_available_kib.map(mib));
        self.cpu_idle.push(sample.cpu_idle_percent.and_then(real));
        self.cpu_kernel.push(sample.cpu_kernel_percent.and_then(real));
        self.disk_io.push(sample.disk_io);
        self.disk_available.push(sample.disk_available_kib.map(mib));
        self.needed.push(needed);
        self.due.push(ticks(item.incoming.record.due_ticks));
        self.told_due.push(item.incoming.told_due.map(ticks));
        self.again.push(again);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.host_id.is_empty()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.host_id,
            &self.epoch_id,
            &self.sequence,
            &self.time,
            &self.elapsed_s,
            &self.uptime_s,
            &self.memory_free,
            &self.memory_available,
            &self.cpu_idle,
            &self.cpu_kernel,
            &self.disk_io,
            &self.disk_available,
        ]
    }

    /// The last parameters.
    pub(super) fn more_parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.needed, &self.due, &self.told_due, &self.again]
    }
}

/// The parameters of `gaps.sql`.
#[derive(Default)]
pub(super) struct Gaps {
    host_id: Vec<i32>,
    epoch_id: Vec<i32>,
    sequence: Vec<i64>,
    through: Vec<i64>,
    ticks: Vec<i64>,
    state: Vec<&'static str>,
    cause: Vec<&'static str>,
    from: Vec<Time>,
    to: Vec<Time>,
}

impl Gaps {
    pub(super) fn push(&mut self, item: &Item<'_>, gap: &Gap) {
        self.host_id.push(item.incoming.host_id.0);
        self.epoch_id.push(item.incoming.epoch_id.0);
        self.sequence.push(item.incoming.record.sequence.as_i64());
        self.through.push(gap.through.as_i64());
        self.ticks.push(gap.ticks);
        self.state.push(gap.state.as_str());
        self.cause.push(gap.cause.as_str());
        self.from.push(Time(gap.from));
        self.to.push(Time(gap.to));
    }

    pub(super) fn len(&self) -> usize {
        self.host_id.len()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.host_id,
            &self.epoch_id,
            &self.sequence,
            &self.through,
            &self.ticks,
            &self.state,
            &self.cause,
            &self.from,
            &self.to,
        ]
    }
}

/// The parameters of `quarantine.sql`.
#[derive(Default)]
pub(super) struct Refused<'a> {
    host_id: Vec<i32>,
    epoch_id: Vec<i32>,
    sequence: Vec<i64>,
    time: Vec<Time>,
    reason: Vec<&'a str>,
}

impl<'a> Refused<'a> {
    pub(super) fn push(&mut self, item: &Item<'_>, reason: &'a str) {
        self.host_id.push(item.incoming.host_id.0);
        self.epoch_id.push(item.incoming.epoch_id.0);
        self.sequence.push(item.incoming.record.sequence.as_i64());
        self.time.push(Time(item.incoming.record.time));
        self.reason.push(reason);
    }

    pub(super) fn len(&self) -> usize {
        self.host_id.len()
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.host_id, &self.epoch_id, &self.sequence, &self.time, &self.reason]
    }
}

/// For each record, what the mark of its epoch must have got to, for no hole to be between it and
/// the epoch's records here.
///
/// That is just below the last of their runs without a hole: what stands before it is covered by
/// such a mark anyway. One stream has no holes; one that was replaced and its successor may have,
/// when the database went back in time between the two.
pub(super) fn needed_marks(items: &[Item<'_>]) -> Vec<i64> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by_key(|index| span(&items[*index]));
    let mut needed = vec![0; items.len()];
    for epoch in order.chunk_by(|a, b| items[*a].key() == items[*b].key()) {
        let (mut below, mut reached) = (0, i64::MIN);
        for (_, first, through) in epoch.iter().map(|index| span(&items[*index])) {
            if first > reached.saturating_add(1) {
                below = first.saturating_sub(1);
            }
            reached = reached.max(through);
        }
        epoch.iter().for_each(|index| needed[*index] = below);
    }
    needed
}

/// For each record, whether one before it, in the order of sequences, covers its sequence: of two
/// streams of a host that are there at once, both may bring it.
pub(super) fn covered(items: &[Item<'_>]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|index| span(&items[*index]));
    let mut covered = vec![false; items.len()];
    for epoch in order.chunk_by(|a, b| items[*a].key() == items[*b].key()) {
        let mut reached = i64::MIN;
        for &index in epoch {
            let (_, first, through) = span(&items[index]);
            covered[index] = first <= reached;
            reached = reached.max(through);
        }
    }
    covered
}

/// Whose record it is, its sequence, and the last one that it covers.
pub(super) fn span(item: &Item<'_>) -> ((HostId, EpochId), i64, i64) {
    let record = &item.incoming.record;
    (item.key(), record.sequence.as_i64(), record.through().as_i64())
}

/// Whether a record is a sample that is to be stored as such.
pub(super) fn as_sample<'a>(item: &Item<'a>) -> Option<&'a Sample> {
    match (&item.incoming.record.body, item.refused) {
        (Body::Sample(sample), None) => Some(sample),
        _ => None,
    }
}

/// Rounded down, as `df -m` and `free -m` do.
fn mib(kib: i64) -> i64 {
    kib.div_euclid(1024)
}

#[expect(clippy::cast_precision_loss, reason = "a span to 7 digits is what the column holds")]
fn seconds(micros: i64) -> Option<f32> {
    real(micros as f64 / 1e6)
}

/// As a column of type `real`; what does not fit it is unknown.
#[expect(clippy::cast_possible_truncation, reason = "the result is checked")]
fn real(value: f64) -> Option<f32> {
    let real = value as f32;
    real.is_finite().then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_a_real_are_unknown() {
        assert_eq!(real(99.5), Some(99.5));
        for value in [f64::MAX, -f64::MAX, f64::INFINITY, f64::NAN] {
            assert_eq!(real(value), None, "{value}");
        }
    }

    #[test]
    fn kib_are_rounded_down_to_mib() {
        assert_eq!(mib(1023), 0);
        assert_eq!(mib(1024), 1);
        assert_eq!(mib(24 << 30), 24 << 20);
        assert_eq!(mib(i64::MAX), i64::MAX / 1024);
    }
}
