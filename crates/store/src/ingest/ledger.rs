//! What the records of a flush mean for their hosts' ledgers, and the marks that go with it.
//!
//! A tick is counted once, when the mark first passes the record that stands for it. Samples are
//! counted where they are stored, in `samples.sql`; here is everything else, under locks.

use std::collections::BTreeMap;

use postgres_types::ToSql;
use rowcall_core::id::HostId;
use rowcall_core::record::{Body, GapState};

use super::Item;
use super::columns::span;
use crate::EpochId;
use crate::time::Time;

/// Most ticks that a count goes up to: no clock gets there, and no sum of counts overflows.
const MAX_TICKS: i64 = 1 << 60;

/// A count of ticks, as told, within bounds.
pub(super) fn ticks(told: i64) -> i64 {
    told.clamp(0, MAX_TICKS)
}

/// Where a host's current epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) epoch_id: EpochId,
    pub(super) mark: i64,
    /// Ticks due up to the mark.
    pub(super) due: i64,
}

/// The parameters of `marks.sql`: one row per epoch, lowest host first.
#[derive(Default)]
pub(super) struct Marks {
    host_id: Vec<i32>,
    epoch_id: Vec<i32>,
    mark: Vec<i64>,
    time: Vec<Time>,
    due: Vec<i64>,
    told_due: Vec<Option<i64>>,
    quarantined: Vec<i64>,
    dropped: Vec<i64>,
    missed: Vec<i64>,
    duplicates: Vec<i64>,
}

impl Marks {
    /// What becomes of marks and ledgers when `items` are stored, all of them of their hosts'
    /// current epochs.
    pub(super) fn of(items: &[Item<'_>], current: &BTreeMap<HostId, Standing>) -> Self {
        let mut order: Vec<_> = items.iter().collect();
        order.sort_by_key(|item| span(item));
        let mut marks = Self::default();
        for epoch in order.chunk_by(|a, b| a.key() == b.key()) {
            let Some(first) = epoch.first() else { continue };
            let standing = current.get(&first.key().0);
            marks.push(epoch, standing.map_or((0, 0), |standing| (standing.mark, standing.due)));
        }
        marks
    }

    /// One epoch's records in order, what they are beyond (a mark, ticks due up to it).
    fn push(&mut self, items: &[&Item<'_>], (mut reached, mut due): (i64, i64)) {
        let (mut quarantined, mut dropped, mut missed, mut duplicates) = (0_i64, 0_i64, 0_i64, 0);
        let mut end: Option<(i64, &Item<'_>)> = None;
        for &item in items {
            let record = &item.incoming.record;
            let (_, first, through) = span(item);
            if end.is_none_or(|(end, _)| through > end) {
                end = Some((through, item));
            }
            if through <= reached {
                duplicates += i64::from(super::is_sample(item) && item.refused.is_some());
                continue;
            }
            let told = (record.due_ticks > 0).then(|| ticks(record.due_ticks));
            let since = told.map(|told| (told - due).max(0));
            let count = match &record.body {
                // Of a gap that reaches back before the mark, a part was counted.
                Body::Gap(gap) if first <= reached => {
                    let all = ticks(gap.ticks);
                    since.map_or(all, |since| since.min(all))
                }
                // What it stood for can't be read, but the agent counted it.
                Body::Invalid(_) => since.unwrap_or(0),
                body => ticks(body.ticks()),
            };
            let counter = match (&record.body, item.refused) {
                (_, Some(_)) | (Body::Invalid(_), None) => Some(&mut quarantined),
                (Body::Gap(gap), None) if gap.state == GapState::Missed => Some(&mut missed),
                (Body::Gap(_), None) => Some(&mut dropped),
                (Body::Sample(_) | Body::HostFacts(_) | Body::Devices(_), None) => None,
            };
            if let Some(counter) = counter {
                *counter = ticks(counter.saturating_add(count));
            }
            reached = through;
            due = told.unwrap_or(due);
        }
        let Some((mark, newest)) = end else { return };
        let (host_id, epoch_id) = newest.key();
        self.host_id.push(host_id.0);
        self.epoch_id.push(epoch_id.0);
        self.mark.push(mark);
        self.time.push(Time(newest.incoming.record.time));
        self.due.push(ticks(newest.incoming.record.due_ticks));
        self.told_due.push(items.iter().filter_map(|item| item.incoming.told_due).map(ticks).max());
        self.quarantined.push(quarantined);
        self.dropped.push(dropped);
        self.missed.push(missed);
        self.duplicates.push(duplicates);
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.host_id,
            &self.epoch_id,
            &self.mark,
            &self.time,
            &self.due,
            &self.told_due,
            &self.quarantined,
            &self.dropped,
            &self.missed,
            &self.duplicates,
        ]
    }
}
