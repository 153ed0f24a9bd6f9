//! In which order batches of many hosts are written: fair to every host, in order for each.
//!
//! Each host has a lane, first in, first out. A host that had nothing waiting is *fresh*, and fresh
//! lanes go first: a live sample is in the next flush, however many others drain a backlog. What a
//! lane holds beyond [`QUANTUM`] waits its turn among the *steady* ones, which are served round and
//! round. A lane that was emptied stays among these until its turn comes, so nobody is fresh again
//! by sending small pieces one after another.

use std::collections::{HashMap, VecDeque, hash_map::Entry};
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::id::{HostId, UnixMicros};
use rowcall_core::record::{Body, Record};
use rowcall_store::{EpochId, Incoming};

use crate::registry::Live;

/// Most records that a host has written in one turn. Few enough that a flush of the default size
/// serves several hosts, enough that a backlog touches few hosts' marks per flush.
pub(super) const QUANTUM: usize = 256;

/// A batch of one stream.
#[derive(Debug)]
pub(super) struct Batch<R> {
    pub(super) live: Arc<Live>,
    pub(super) host: HostId,
    pub(super) epoch: EpochId,
    pub(super) records: std::vec::IntoIter<Record>,
    /// What the agent told with it of how many ticks were due.
    pub(super) told_due: Option<i64>,
    /// When it came, by our clock.
    pub(super) received_at: UnixMicros,
    /// Given back when its last record is taken.
    pub(super) _room: R,
}

/// A record that is to be written now, with what its stream must be told.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) live: Arc<Live>,
    pub(crate) incoming: Incoming,
    /// A sample that had come more than [`LATE`] after its time.
    pub(crate) is_late: bool,
}

/// What comes later than this after its time was kept on its node meanwhile.
const LATE: Duration = Duration::from_secs(60);

/// Everything that waits. `R` is what a batch holds on to while it does.
#[derive(Debug)]
pub(super) struct Lanes<R> {
    by_host: HashMap<HostId, VecDeque<Batch<R>>>,
    fresh: VecDeque<HostId>,
    steady: VecDeque<HostId>,
    records: usize,
}

impl<R> Default for Lanes<R> {
    fn default() -> Self {
        Self {
            by_host: HashMap::new(),
            fresh: VecDeque::new(),
            steady: VecDeque::new(),
            records: 0,
        }
    }
}

impl<R> Lanes<R> {
    /// Records that wait.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn push(&mut self, batch: Batch<R>) {
        self.records += batch.records.len();
        match self.by_host.entry(batch.host) {
            Entry::Occupied(lane) => lane.into_mut().push_back(batch),
            Entry::Vacant(place) => {
                self.fresh.push_back(batch.host);
                place.insert(VecDeque::from([batch]));
            }
        }
    }

    /// What is to be written next: at most `most` records.
    pub(super) fn take(&mut self, most: usize) -> Vec<Pending> {
        let mut taken = Vec::with_capacity(most.min(self.records));
        while taken.len() < most {
            let (host, is_fresh) = match (self.fresh.pop_front(), &mut self.steady) {
                (Some(host), _) => (host, true),
                (None, steady) => match steady.pop_front() {
                    Some(host) => (host, false),
                    None => break,
                },
            };
            let Some(lane) = self.by_host.get_mut(&host) else { continue };
            let turn = QUANTUM.min(most - taken.len());
            let before = taken.len();
            serve(lane, turn, &mut taken);
            self.records -= taken.len() - before;
            match (lane.is_empty(), is_fresh) {
                (true, false) => drop(self.by_host.remove(&host)),
                // The flush is full, the turn was not: the rest is still due first.
                (false, true) if turn < QUANTUM => self.fresh.push_front(host),
                (true, true) | (false, _) => self.steady.push_back(host),
            }
        }
        taken
    }
}

/// Moves up to `most` records of a lane, oldest first.
fn serve<R>(lane: &mut VecDeque<Batch<R>>, most: usize, taken: &mut Vec<Pending>) {
    let full = taken.len() + most;
    while taken.len() < full
        && let Some(batch) = lane.front_mut()
    {
        if let Some(record) = batch.records.next() {
            let age_us = batch.received_at.since(record.time);
            let is_late = matches!(record.body, Body::Sample(_))
                && u64::try_from(age_us).is_ok_and(|us| Duration::from_micros(us) > LATE);
            // It is about all records before, too.
            let told_due = batch.told_due.filter(|_| batch.records.len() == 0);
            let (host_id, epoch_id) = (batch.host, batch.epoch);
            let incoming = Incoming { host_id, epoch_id, record, told_due };
            taken.push(Pending { live: Arc::clone(&batch.live), incoming, is_late });
        }
        if batch.records.len() == 0 {
            lane.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::registry::tests::live;
    use rowcall_core::id::{Sequence, UnixMicros};
    use rowcall_core::record::{Body, Sample};

    /// A batch of these sequences; says when it has given its room back.
    fn push(
        lanes: &mut Lanes<Arc<()>>,
        host: i32,
        sequences: std::ops::RangeInclusive<u64>,
    ) -> Weak<()> {
        let room = Arc::new(());
        let given_back = Arc::downgrade(&room);
        let record = |n| Record {
            due_ticks: 0,
            sequence: Sequence::new(n).unwrap(),
            time: UnixMicros(0),
            body: Body::Sample(Sample::default()),
        };
        lanes.push(Batch {
            live: live("n"),
            host: HostId(host),
            epoch: EpochId(1),
            records: sequences.map(record).collect::<Vec<_>>().into_iter(),
            told_due: Some(77),
            received_at: UnixMicros(60_000_001),
            _room: room,
        });
        given_back
    }

    /// Runs of one host in what a flush takes: host, first and last sequence.
    fn flush(lanes: &mut Lanes<Arc<()>>, most: usize) -> Vec<(i32, u64, u64)> {
        let mut runs: Vec<(i32, u64, u64)> = Vec::new();
        for pending in lanes.take(most) {
            let host = pending.incoming.host_id.0;
            let sequence = pending.incoming.record.sequence.as_u64();
            match runs.last_mut() {
                Some(run) if run.0 == host && run.2 + 1 == sequence => run.2 = sequence,
                _ => runs.push((host, sequence, sequence)),
            }
        }
        runs
    }

    #[test]
    fn a_live_sample_is_in_the_next_flush_whatever_others_have_waiting() {
        let mut lanes = Lanes::default();
        for flooder in 1..=50 {
            drop(push(&mut lanes, flooder, 1..=3_400));
        }
        // All of them have had their first turn.
        for _ in 0..50 {
            assert_eq!(flush(&mut lanes, 1_000).iter().map(|r| r.2 + 1 - r.1).sum::<u64>(), 1_000);
        }
        drop(push(&mut lanes, 99, 1..=1));
        assert_eq!(flush(&mut lanes, 1_000)[0], (99, 1, 1));
    }

    #[test]
    fn hosts_with_a_backlog_take_turns() {
        let mut lanes = Lanes::default();
        drop(push(&mut lanes, 1, 1..=3_000));
        drop(push(&mut lanes, 2, 1..=300));
        drop(push(&mut lanes, 3, 1..=10));
        assert_eq!(
            flush(&mut lanes, 1_000),
            [(1, 1, 256), (2, 1, 256), (3, 1, 10), (1, 257, 512), (2, 257, 300), (1, 513, 690)]
        );
    }

    #[test]
    fn a_host_that_fills_the_queue_with_small_batches_is_not_served_before_others() {
        let mut lanes = Lanes::default();
        drop(push(&mut lanes, 1, 1..=2_000));
        assert_eq!(flush(&mut lanes, 256), [(1, 1, 256)]);
        drop(push(&mut lanes, 2, 1..=1));
        assert_eq!(flush(&mut lanes, 1), [(2, 1, 1)]);
        // Again at once: it has had its turn, the other one comes first.
        drop(push(&mut lanes, 2, 2..=2));
        assert_eq!(flush(&mut lanes, 300), [(1, 257, 512), (2, 2, 2), (1, 513, 555)]);
    }

    #[test]
    fn batches_of_one_host_stay_in_order_and_give_their_room_back_when_they_are_taken() {
        let mut lanes = Lanes::default();
        let first = push(&mut lanes, 1, 1..=3);
        drop(push(&mut lanes, 2, 1..=2));
        let second = push(&mut lanes, 1, 4..=6);
        assert_eq!(flush(&mut lanes, 4), [(1, 1, 4)]);
        assert_eq!((first.strong_count(), second.strong_count()), (0, 1));
        assert_eq!(flush(&mut lanes, 100), [(1, 5, 6), (2, 1, 2)]);
        assert_eq!((second.strong_count(), lanes.records()), (0, 0));
    }

    #[test]
    fn a_flush_that_ends_within_a_turn_goes_on_there() {
        let mut lanes = Lanes::default();
        drop(push(&mut lanes, 1, 1..=5));
        drop(push(&mut lanes, 2, 1..=5));
        assert_eq!(flush(&mut lanes, 7), [(1, 1, 5), (2, 1, 2)]);
        drop(push(&mut lanes, 3, 1..=1));
        assert_eq!(flush(&mut lanes, 7), [(2, 3, 5), (3, 1, 1)]);
    }

    #[test]
    fn lanes_that_are_done_with_leave_nothing_behind() {
        let mut lanes = Lanes::default();
        for host in 1..=100 {
            drop(push(&mut lanes, host, 1..=1));
        }
        assert_eq!(lanes.take(usize::MAX).len(), 100);
        assert_eq!((lanes.by_host.len(), lanes.steady.len(), lanes.fresh.len()), (0, 0, 0));
    }
}
