//! A queue in memory, for as long as the process lives.
//!
//! When it is full it gives up the oldest acknowledged record first; then the oldest that is not
//! acknowledged, which joins the one gap record in front of the others. The gap grows as more is
//! dropped, so a full queue costs no more than its limits, however long the aggregator is away.

use std::collections::{BTreeMap, VecDeque};

use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, Gap, GapCause, GapState, HostFacts, Record};
use rowcall_core::session::agent::Holdings;

use super::{Spool, Status, wire_bytes};

/// Dropped records that stood for another number of ticks than one, remembered one by one. Past
/// this, neighbours are summed up; only a gap that is sent in parts could then tell a part of its
/// ticks a little early.
const REMEMBERED_ODD_TICKS: usize = 256;

/// How much a queue may hold, acknowledged records included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records, at least 2.
    pub records: usize,
    /// Bytes of memory.
    pub bytes: usize,
}

/// A bounded queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    limits: Limits,
    epoch: Epoch,
    next: Sequence,
    /// Acknowledged up to here; what is held may begin before it.
    acknowledged: Option<Sequence>,
    records: VecDeque<Record>,
    bytes: usize,
    dropped: Dropped,
    /// The latest time ever taken: only a record that isn't later can collide with one held.
    latest: Option<UnixMicros>,
}

/// What is known of the records inside the gap in front.
#[derive(Debug, Default)]
struct Dropped {
    /// All records dropped in this epoch.
    records: u64,
    /// Ticks beyond one for each sequence, where a record stood for another number of them.
    odd_ticks: BTreeMap<Sequence, i64>,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(epoch: Epoch, limits: Limits) -> Self {
        Self {
            limits: Limits { records: limits.records.max(2), bytes: limits.bytes },
            epoch,
            next: Sequence::FIRST,
            acknowledged: None,
            records: VecDeque::new(),
            bytes: 0,
            dropped: Dropped::default(),
            latest: None,
        }
    }

    fn is_acknowledged(&self, record: &Record) -> bool {
        self.acknowledged.is_some_and(|through| record.through() <= through)
    }

    fn is_over_limits(&self) -> bool {
        self.records.len() > self.limits.records || self.bytes > self.limits.bytes
    }

    /// Gives up records until the queue is within its limits. The newest always stays.
    fn make_room(&mut self) {
        while self.is_over_limits() && self.records.len() > 1 {
            let Some(oldest) = self.records.front() else { return };
            if self.is_acknowledged(oldest) {
                self.pop();
            } else if is_dropped_gap(oldest) {
                // The gap and the newest record are the least that is held.
                if self.records.len() <= 2 {
                    return;
                }
                self.grow_gap();
            } else {
                self.start_gap();
            }
        }
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes = self.bytes.saturating_sub(memory_bytes(&record));
        Some(record)
    }

    fn push_front(&mut self, record: Record) {
        self.bytes = self.bytes.saturating_add(memory_bytes(&record));
        self.records.push_front(record);
    }

    /// The oldest record becomes a gap that covers it.
    fn start_gap(&mut self) {
        let Some(oldest) = self.pop() else { return };
        self.dropped.odd_ticks.clear();
        let ticks = self.dropped.note(&oldest);
        let (from, to) = span(&oldest);
        let gap = gap(oldest.sequence, oldest.through(), ticks, from, to, oldest.time);
        self.push_front(gap);
    }

    /// The record behind the gap in front joins it.
    fn grow_gap(&mut self) {
        let (Some(front), Some(record)) = (self.pop(), self.pop()) else { return };
        let Body::Gap(ref before) = front.body else { return };
        let ticks = before.ticks.saturating_add(self.dropped.note(&record));
        let (_, to) = span(&record);
        let gap = gap(front.sequence, record.through(), ticks, before.from, to, record.time);
        self.push_front(gap);
    }

    /// The part of the gap in front that begins at `from`. Where the part begins in time is no
    /// longer known, so it keeps the whole gap's beginning.
    fn gap_from(&self, record: &Record, whole: &Gap, from: Sequence) -> Record {
        let ticks = self.dropped.ticks(from, whole.through).min(whole.ticks);
        gap(from, whole.through, ticks, whole.from, whole.to, record.time)
    }

    fn free_time(&self, mut time: UnixMicros) -> UnixMicros {
        if self.latest.is_none_or(|latest| time > latest) {
            return time;
        }
        let mut held: Vec<i64> = self
            .records
            .iter()
            .map(|record| record.time.0)
            .filter(|held| *held >= time.0)
            .collect();
        held.sort_unstable();
        for held in held {
            if held == time.0 {
                time = time.plus_micros(1);
            }
        }
        time
    }
}

impl Holdings for MemoryQueue {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn oldest(&self) -> Sequence {
        self.records.front().map_or(self.next, |record| record.sequence)
    }

    fn next(&self) -> Sequence {
        self.next
    }

    fn time_at(&self, sequence: Sequence) -> Option<UnixMicros> {
        let at = self.records.partition_point(|record| record.through() < sequence);
        self.records.get(at).filter(|record| record.through() == sequence).map(|record| record.time)
    }
}

impl Spool for MemoryQueue {
    fn append(&mut self, time: UnixMicros, body: Body) -> Sequence {
        let sequence = self.next;
        let time = self.free_time(time);
        self.latest = self.latest.max(Some(time));
        let body = match body {
            // A gap of ticks covers no sequence but its own, whatever its maker thought.
            Body::Gap(gap) => Body::Gap(Gap { through: sequence, ..gap }),
            body => body,
        };
        let record = Record { due_ticks: 0, sequence, time, body };
        self.bytes = self.bytes.saturating_add(memory_bytes(&record));
        self.records.push_back(record);
        self.next = sequence.next();
        self.make_room();
        sequence
    }

    fn read_from(&mut self, from: Sequence, max_bytes: usize) -> Vec<Record> {
        let first = self.records.partition_point(|record| record.through() < from);
        let mut batch = Vec::new();
        let mut bytes = 0;
        for record in self.records.range(first..) {
            let record = match &record.body {
                Body::Gap(gap) if record.sequence < from => self.gap_from(record, gap, from),
                _ => record.clone(),
            };
            bytes += wire_bytes(&record);
            if bytes > max_bytes && !batch.is_empty() {
                break;
            }
            batch.push(record);
        }
        batch
    }

    fn release(&mut self, through: Sequence) {
        if through >= self.next || self.acknowledged.is_some_and(|before| through <= before) {
            return;
        }
        self.acknowledged = Some(through);
        // A gap that grew after it was sent: keep what is not acknowledged of it. Nothing
        // acknowledged is held before a gap, so nothing is torn apart.
        if let Some(front) = self.records.front()
            && let Body::Gap(gap) = &front.body
            && front.sequence <= through
            && gap.through > through
        {
            let rest = self.gap_from(front, gap, through.next());
            self.pop();
            self.push_front(rest);
        }
    }

    fn new_epoch(&mut self, epoch: Epoch) {
        while self.records.front().is_some_and(|record| self.is_acknowledged(record)) {
            self.pop();
        }
        let mut next = Sequence::FIRST;
        self.dropped.records = 0;
        let mut odd_ticks = BTreeMap::new();
        for record in &mut self.records {
            let (first, last) = (record.sequence, record.through());
            let width = last.as_u64() - first.as_u64();
            record.sequence = next;
            let through = at(next.as_u64() + width);
            if let Body::Gap(gap) = &mut record.body {
                gap.through = through;
                if gap.state == GapState::Dropped {
                    self.dropped.records += width + 1;
                    for (odd, ticks) in self.dropped.odd_ticks.range(first..=last) {
                        let moved = odd.as_u64() - first.as_u64() + next.as_u64();
                        odd_ticks.insert(at(moved), *ticks);
                    }
                }
            }
            next = through.next();
        }
        self.dropped.odd_ticks = odd_ticks;
        self.epoch = epoch;
        self.next = next;
        self.acknowledged = None;
    }

    fn status(&self) -> Status {
        let acknowledged = self.records.partition_point(|record| self.is_acknowledged(record));
        let unacknowledged = self.records.len() - acknowledged;
        Status {
            unacknowledged_records: u64::try_from(unacknowledged).unwrap_or(u64::MAX),
            size_bytes: u64::try_from(self.bytes).unwrap_or(u64::MAX),
            oldest_unacknowledged: self.records.get(acknowledged).map(|record| span(record).0),
            dropped_records: self.dropped.records,
        }
    }
}

impl Dropped {
    /// A record is dropped: how many ticks it stood for.
    fn note(&mut self, record: &Record) -> i64 {
        self.records = self.records.saturating_add(1);
        let ticks = match &record.body {
            Body::Sample(_) => 1,
            Body::Gap(gap) => gap.ticks,
            Body::HostFacts(_) | Body::Invalid(_) => 0,
        };
        if ticks != 1 {
            self.odd_ticks.insert(record.sequence, ticks - 1);
            if self.odd_ticks.len() > REMEMBERED_ODD_TICKS
                && let Some((_, first)) = self.odd_ticks.pop_first()
                && let Some(mut second) = self.odd_ticks.first_entry()
            {
                *second.get_mut() += first;
            }
        }
        ticks
    }

    /// Ticks of the dropped records from `first` through `last`.
    fn ticks(&self, first: Sequence, last: Sequence) -> i64 {
        let sequences = last.as_i64() - first.as_i64() + 1;
        self.odd_ticks
            .range(first..=last)
            .fold(sequences, |sum, (_, odd)| sum.saturating_add(*odd))
            .max(0)
    }
}

fn at(number: u64) -> Sequence {
    Sequence::new(number).expect("numbers made of sequences that are held are sequences")
}

fn is_dropped_gap(record: &Record) -> bool {
    matches!(&record.body, Body::Gap(gap) if gap.state == GapState::Dropped)
}

fn gap(
    sequence: Sequence,
    through: Sequence,
    ticks: i64,
    from: UnixMicros,
    to: UnixMicros,
    time: UnixMicros,
) -> Record {
    // The record's time is that of the last record it covers: that one may be committed already,
    // with its acknowledgement lost, and then its time is the mark's.
    let body = Gap { through, ticks, state: GapState::Dropped, cause: GapCause::Size, from, to };
    Record { due_ticks: 0, sequence, time, body: Body::Gap(body) }
}

/// The time that a record speaks of.
fn span(record: &Record) -> (UnixMicros, UnixMicros) {
    match &record.body {
        Body::Gap(gap) => (gap.from, gap.to),
        Body::Sample(_) | Body::HostFacts(_) | Body::Invalid(_) => (record.time, record.time),
    }
}

/// What a record takes in memory, without the allocator's own.
pub(super) fn memory_bytes(record: &Record) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
    let heap = match &record.body {
        Body::HostFacts(HostFacts {
            cpu_architecture,
            cpu_model,
            os,
            kernel,
            kernel_host_name,
            ..
        }) => [cpu_architecture, cpu_model, os, kernel, kernel_host_name].map(text).iter().sum(),
        Body::Sample(_) | Body::Gap(_) | Body::Invalid(_) => 0,
    };
    size_of::<Record>() + heap
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::record::Sample;

    fn queue(records: usize) -> MemoryQueue {
        let epoch = Epoch::from_random(14);
        MemoryQueue::new(epoch, Limits { records, bytes: 1 << 20 })
    }

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    fn fill(queue: &mut MemoryQueue, times: std::ops::RangeInclusive<i64>) {
        for time in times {
            queue.append(UnixMicros(time), Body::Sample(Sample::default()));
        }
    }

    fn held(queue: &mut MemoryQueue) -> Vec<(u64, u64)> {
        let oldest = queue.oldest();
        let records = queue.read_from(oldest, usize::MAX);
        records.iter().map(|r| (r.sequence.as_u64(), r.through().as_u64())).collect()
    }

    fn gap_at(queue: &mut MemoryQueue, from: u64) -> Gap {
        match queue.read_from(sequence(from), 1).remove(0).body {
            Body::Gap(gap) => gap,
            body => panic!("no gap but {body:?}"),
        }
    }

    #[test]
    fn acknowledged_records_stay_until_their_room_is_needed() {
        let mut queue = queue(4);
        fill(&mut queue, 1..=4);
        queue.release(sequence(2));
        assert_eq!(queue.oldest(), sequence(1));
        assert_eq!(queue.status().unacknowledged_records, 2);
        fill(&mut queue, 5..=6);
        assert_eq!(held(&mut queue), [(3, 3), (4, 4), (5, 5), (6, 6)]);
        assert_eq!(queue.status().dropped_records, 0);
    }

    #[test]
    fn what_is_dropped_unacknowledged_becomes_one_growing_gap() {
        let mut queue = queue(4);
        fill(&mut queue, 1..=9);
        assert_eq!(held(&mut queue), [(1, 6), (7, 7), (8, 8), (9, 9)]);
        let gap = gap_at(&mut queue, 1);
        assert_eq!((gap.ticks, gap.state, gap.cause), (6, GapState::Dropped, GapCause::Size));
        assert_eq!((gap.from, gap.to), (UnixMicros(1), UnixMicros(6)));
        assert_eq!(queue.status().dropped_records, 6);
        assert_eq!(queue.status().oldest_unacknowledged, Some(UnixMicros(1)));
    }

    #[test]
    fn a_gap_counts_the_ticks_of_what_it_swallows() {
        let mut queue = queue(2);
        fill(&mut queue, 1..=2);
        queue.append(UnixMicros(3), Body::HostFacts(HostFacts::default()));
        let missed = Gap {
            through: Sequence::FIRST,
            ticks: 10,
            state: GapState::Missed,
            cause: GapCause::Starved,
            from: UnixMicros(3),
            to: UnixMicros(4),
        };
        queue.append(UnixMicros(4), Body::Gap(missed));
        fill(&mut queue, 5..=5);
        assert_eq!(gap_at(&mut queue, 1).ticks, 1 + 1 + 10);
        assert_eq!(gap_at(&mut queue, 3).ticks, 10, "from the facts on");
        assert_eq!(gap_at(&mut queue, 4).ticks, 10, "from the missed ticks on");
    }

    #[test]
    fn the_rest_of_a_gap_is_told_where_its_beginning_is_committed() {
        let mut queue = queue(3);
        fill(&mut queue, 1..=7);
        assert_eq!(held(&mut queue), [(1, 5), (6, 6), (7, 7)]);
        let rest = gap_at(&mut queue, 4);
        assert_eq!((rest.through, rest.ticks), (sequence(5), 2));
        queue.release(sequence(3));
        assert_eq!(held(&mut queue), [(4, 5), (6, 6), (7, 7)]);
        assert_eq!(gap_at(&mut queue, 4).ticks, 2);
    }

    #[test]
    fn a_mark_at_a_record_that_was_dropped_meanwhile_finds_its_time() {
        let mut queue = queue(2);
        fill(&mut queue, 1..=5);
        assert_eq!(held(&mut queue), [(1, 4), (5, 5)]);
        assert_eq!(queue.time_at(sequence(4)), Some(UnixMicros(4)));
        assert_eq!(queue.time_at(sequence(2)), None, "no longer known");
        assert_eq!(queue.time_at(sequence(6)), None);
    }

    #[test]
    fn a_time_still_held_is_moved_by_a_microsecond() {
        let mut queue = queue(9);
        for time in [5, 5, 5, 3, 6] {
            queue.append(UnixMicros(time), Body::Sample(Sample::default()));
        }
        let records = queue.read_from(Sequence::FIRST, usize::MAX);
        let times: Vec<_> = records.iter().map(|record| record.time.0).collect();
        assert_eq!(times, [5, 6, 7, 3, 8]);
    }

    #[test]
    fn a_batch_is_bounded_but_never_empty() {
        let mut queue = queue(9);
        fill(&mut queue, 1..=4);
        let one = wire_bytes(&queue.read_from(Sequence::FIRST, 0)[0]);
        assert_eq!(queue.read_from(Sequence::FIRST, 0).len(), 1);
        assert_eq!(queue.read_from(Sequence::FIRST, 3 * one).len(), 3);
        assert_eq!(queue.read_from(sequence(5), 100), []);
    }

    #[test]
    fn a_new_epoch_numbers_what_is_unacknowledged_from_one() {
        let mut queue = queue(4);
        fill(&mut queue, 1..=3);
        queue.release(sequence(2));
        fill(&mut queue, 4..=7);
        assert_eq!(held(&mut queue), [(3, 4), (5, 5), (6, 6), (7, 7)]);
        queue.new_epoch(Epoch::from_random(99 << 1));
        assert_eq!(queue.epoch().as_u64(), 99);
        assert_eq!(held(&mut queue), [(1, 2), (3, 3), (4, 4), (5, 5)]);
        assert_eq!(queue.next(), sequence(6));
        assert_eq!(queue.status().dropped_records, 2);
        assert_eq!(gap_at(&mut queue, 1).ticks, 2);
    }

    #[test]
    fn bytes_bound_the_queue_too() {
        let one = memory_bytes(&Record {
            due_ticks: 0,
            sequence: Sequence::FIRST,
            time: UnixMicros(0),
            body: Body::Sample(Sample::default()),
        });
        let limits = Limits { records: 1000, bytes: 5 * one };
        let mut queue = MemoryQueue::new(Epoch::from_random(2), limits);
        fill(&mut queue, 1..=100);
        assert_eq!(queue.records.len(), 5);
        assert_eq!(queue.status().size_bytes, u64::try_from(5 * one).unwrap());
    }
}
