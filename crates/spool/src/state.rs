//! What the spool knows in memory, and the rules that need no disk.

use std::collections::VecDeque;
use std::time::Duration;

use rowcall_core::clock::NOT_SET_BEFORE;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, EpochOrigin, GapCause, Record};

use crate::format::{Head, Kind, record_bytes};
use crate::hole::Hole;
use crate::positions::{Moment, Newest, Positions, SLOT_BYTES};
use crate::record::{self, Lost, gap_of};
use crate::scan::offset;
use crate::segment::Segment;
use crate::{Fault, Status};

/// What of the limit of bytes no segment takes: the positions, room for those that are made anew
/// beside them, and the lock.
pub(crate) const FIXED_BYTES: u64 = 5 * 4096;

/// What waits to be written, or could not be, takes no more than this.
pub(crate) const TAIL_BYTES: usize = 256 * 1024;

/// A record that is not on disk yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) head: Head,
    pub(crate) payload: Vec<u8>,
    /// Its time is known not to collide with any that is held.
    pub(crate) settled: bool,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) positions: Positions,
    /// The positions differ from those on disk; they must be synced before anything goes on.
    pub(crate) positions_changed: bool,
    pub(crate) positions_urgent: bool,
    /// In order. The last one is written.
    pub(crate) segments: VecDeque<Segment>,
    /// The next segment is made.
    pub(crate) spare_bytes: u64,
    /// Files that go once the positions are stored, and their bytes.
    pub(crate) leftover: Vec<(String, u64)>,
    /// Grows whenever a segment goes.
    pub(crate) drops: u64,
    /// What no disk took and memory could not hold; what stands behind it is in `tail`.
    pub(crate) tail_hole: Option<Hole>,
    pub(crate) tail: VecDeque<Pending>,
    pub(crate) tail_bytes: usize,
    /// The number that comes next, and the ticks due up to there.
    pub(crate) next: u64,
    pub(crate) due: i64,
    /// Everything below this number may be sent, but for what is held back.
    pub(crate) offered: u64,
    pub(crate) offered_due: i64,
    /// The first record that waits for a clock that is set.
    pub(crate) held_back: Option<u64>,
    /// Wall clock less time since boot, once somebody told.
    pub(crate) told_clock: Option<i64>,
    /// The newest wall clock ever taken, and the time since boot of the newest record of this boot.
    pub(crate) latest_time: Option<i64>,
    pub(crate) latest_since_boot: u64,
    /// The spool's clock at some time since boot.
    pub(crate) clock: Moment,
    pub(crate) fault: Option<Fault>,
    pub(crate) not_durable: bool,
    pub(crate) write_failures: u64,
    pub(crate) orders: Orders,
}

/// What the spool's thread is to do, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Something changed.
    pub(crate) work: bool,
    /// Try the disk now, however lately it failed.
    pub(crate) force: bool,
    /// Begin this epoch.
    pub(crate) epoch: Option<(Epoch, EpochOrigin)>,
    /// Stop after one more round.
    pub(crate) stop: bool,
    /// Rounds begun and ended.
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    /// It is gone.
    pub(crate) gone: bool,
}

/// What stands at a number.
#[derive(Debug)]
pub(crate) enum Place {
    /// A record that needs no disk.
    Here(Box<Record>),
    /// In the segment, or lost from it.
    Segment(Box<Segment>),
    /// Nothing yet.
    End,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl State {
    /// The spool's clock at a time since boot.
    pub(crate) fn stamp(&self, since_boot: u64) -> u64 {
        self.clock.stamp.saturating_add(since_boot.saturating_sub(self.clock.since_boot))
    }

    /// Takes a record.
    pub(crate) fn append(
        &mut self,
        time: UnixMicros,
        since_boot: Duration,
        body: Body,
    ) -> Sequence {
        let number = self.next;
        let ticks = body.ticks().max(0);
        let boot = self.positions.boot;
        let mut since_boot = micros(since_boot);
        if time < NOT_SET_BEFORE {
            // It may become the record's time: no two are the same.
            since_boot = since_boot.max(self.latest_since_boot.saturating_add(1));
            match self.told_clock {
                Some(offset) if self.positions.shift(boot).is_none() => self.set_shift(offset),
                Some(_) => {}
                None if self.positions.shift(boot).is_none() => {
                    self.held_back.get_or_insert(number);
                }
                None => {}
            }
        }
        self.latest_since_boot = self.latest_since_boot.max(since_boot);
        let stamp = self.stamp(since_boot);
        self.due = self.due.saturating_add(ticks);
        let head = Head {
            kind: Kind::Record,
            number,
            span: 0,
            due: self.due,
            ticks,
            stamp,
            since_boot,
            boot,
            time: time.0,
        };
        if ticks > 0 {
            let time = time.0;
            self.positions.newest = Some(Newest { number, time, since_boot, boot });
        }
        let payload = record::payload(body);
        self.tail_bytes = self.tail_bytes.saturating_add(memory(&payload));
        self.tail.push_back(Pending { head, payload, settled: false });
        self.next = number.saturating_add(1);
        while self.tail_bytes > TAIL_BYTES && self.tail.len() > 1 {
            self.give_up_oldest_of_tail();
        }
        record::sequence(&self.positions, number)
    }

    fn give_up_oldest_of_tail(&mut self) {
        let Some(pending) = self.tail.pop_front() else { return };
        self.tail_bytes = self.tail_bytes.saturating_sub(memory(&pending.payload));
        let head = &pending.head;
        let dropped = record::dropped(&self.positions, head, &pending.payload);
        Hole::grow(&mut self.tail_hole, &dropped, GapCause::Storage);
        // What nobody can get any more cannot be held back.
        if self.held_back.is_some_and(|held| held <= head.number) {
            let next = self.tail.iter().find(|p| self.waits_for_clock(&p.head));
            self.held_back = next.map(|p| p.head.number);
        }
    }

    /// A record of this boot whose own clock was not set, while nobody has told it since.
    pub(crate) fn waits_for_clock(&self, head: &Head) -> bool {
        let boot = self.positions.boot;
        head.boot == boot
            && head.kind == Kind::Record
            && UnixMicros(head.time) < NOT_SET_BEFORE
            && self.positions.shift(boot).is_none()
    }

    /// The clock of this boot is known from now on.
    pub(crate) fn clock_is(&mut self, wall: UnixMicros, since_boot: Duration) -> bool {
        if wall < NOT_SET_BEFORE || self.told_clock.is_some() {
            return false;
        }
        let since_boot = i64::try_from(micros(since_boot)).unwrap_or(i64::MAX);
        let offset = wall.0.saturating_sub(since_boot);
        self.told_clock = Some(offset);
        let is_wanted =
            self.held_back.is_some() && self.positions.shift(self.positions.boot).is_none();
        if is_wanted {
            self.set_shift(offset);
        }
        is_wanted
    }

    fn set_shift(&mut self, offset: i64) {
        self.positions.set_shift(self.positions.boot, offset);
        self.positions_changed = true;
        self.positions_urgent = true;
        // Records whose times were out of range are now somewhere up to here.
        let now = offset.saturating_add(i64::try_from(self.latest_since_boot).unwrap_or(i64::MAX));
        self.latest_time = self.latest_time.max(Some(now));
        for segment in &mut self.segments {
            if let Some((min, max)) = &mut segment.times
                && *min < NOT_SET_BEFORE.0
            {
                *max = now.max(*max);
            }
        }
    }

    /// Everything up to a sequence is committed.
    pub(crate) fn release(&mut self, through: Sequence, wall: UnixMicros) -> bool {
        let number = self.positions.base.saturating_add(through.as_u64());
        if number >= self.end() || number <= self.positions.acknowledged {
            return false;
        }
        self.positions.acknowledged = number;
        self.positions.acknowledged_at = Some(wall);
        if let Some(hole) = self.positions.hole.take() {
            self.positions.hole = hole.after(number);
        }
        self.positions_changed = true;
        true
    }

    /// A record, or a hole, is on disk.
    pub(crate) fn forget_written(&mut self, head: &Head) {
        let through = head.through();
        self.tail_hole = self.tail_hole.take().and_then(|hole| hole.after(through));
        while let Some(front) = self.tail.front().filter(|front| front.head.number <= through) {
            self.tail_bytes = self.tail_bytes.saturating_sub(memory(&front.payload));
            self.tail.pop_front();
        }
        if through >= self.offered {
            self.offered = through.saturating_add(1);
            self.offered_due = head.due;
        }
    }

    /// One past the last number that may be sent now.
    pub(crate) fn end(&self) -> u64 {
        self.held_back.map_or(self.offered, |held| held.min(self.offered))
    }

    /// The lowest number that may be sent, acknowledged or not.
    pub(crate) fn oldest(&self) -> u64 {
        let base = self.positions.base.saturating_add(1);
        match &self.positions.hole {
            Some(hole) => hole.first.max(base),
            None => self.positions.floor.max(base).min(self.next),
        }
    }

    /// Ticks due before the oldest.
    pub(crate) fn due_before_oldest(&self) -> i64 {
        let oldest = self.oldest();
        match &self.positions.hole {
            Some(hole) => hole.due_at(oldest.saturating_sub(1)),
            None if oldest > self.positions.floor => self.positions.base_due,
            None => self.positions.floor_due,
        }
    }

    /// Where what is in memory begins, and ticks due before that.
    pub(crate) fn tail_start(&self) -> (u64, i64) {
        match (&self.tail_hole, self.tail.front()) {
            (Some(hole), _) => (hole.first, hole.due_before),
            (None, Some(front)) => (front.head.number, front.head.due_before()),
            (None, None) => (self.next, self.due),
        }
    }

    pub(crate) fn time_of(&self, head: &Head) -> UnixMicros {
        self.positions.time(head.time, head.boot, head.since_boot).0
    }

    /// The last segment that begins at or below a number.
    pub(crate) fn segment_of(&self, number: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.first <= number).checked_sub(1)
    }

    /// What stands at a number that may be sent.
    pub(crate) fn place(&self, number: u64) -> Place {
        if number >= self.end() {
            return Place::End;
        }
        if let Some(hole) = self.positions.hole.as_ref().filter(|hole| number <= hole.through) {
            return Place::Here(Box::new(gap_of(&self.positions, hole, number)));
        }
        if number >= self.tail_start().0 {
            return self.in_memory(number);
        }
        match self.segment_of(number).and_then(|at| self.segments.get(at)) {
            Some(segment) if number <= segment.last => Place::Segment(Box::new(segment.clone())),
            _ => Place::Here(Box::new(self.lost(number).gap(&self.positions, number))),
        }
    }

    fn in_memory(&self, number: u64) -> Place {
        if let Some(hole) = self.tail_hole.as_ref().filter(|hole| number <= hole.through) {
            return Place::Here(Box::new(gap_of(&self.positions, hole, number)));
        }
        let at = self.tail.partition_point(|pending| pending.head.through() < number);
        match self.tail.get(at) {
            Some(pending) if pending.head.number <= number => {
                let record = record::record(&self.positions, &pending.head, &pending.payload);
                Place::Here(Box::new(record))
            }
            _ => Place::End,
        }
    }

    /// The stretch of lost records around a number that is in no segment.
    pub(crate) fn lost(&self, number: u64) -> Lost {
        let before = self.segment_of(number).and_then(|at| self.segments.get(at));
        let next = self.segment_of(number).map_or(0, |at| at + 1);
        let after = self.segments.get(next);
        let (first, due_before) = match before {
            Some(segment) => (segment.last + 1, segment.due_last),
            // Also where positions that make no sense leave a space below what is held.
            None => (self.positions.floor.min(number), self.positions.floor_due),
        };
        let (after_number, after_due) =
            after.map_or_else(|| self.tail_start(), |s| (s.first, s.due_before));
        let tail = self.tail.front().map(|pending| &pending.head);
        // Segments beside it may be lost as well.
        let head_before = self.segments.range(..next).rev().find_map(|s| s.newest.as_ref());
        let head_after = self.segments.range(next..).find_map(|s| s.oldest.as_ref()).or(tail);
        Lost {
            first,
            through: after_number.saturating_sub(1),
            due_before,
            due_through: after_due,
            before: head_before.map(|head| self.time_of(head)),
            after: head_after.map(|head| self.time_of(head)),
            known: self.positions.known,
            base: (self.positions.base, self.positions.base_due),
        }
    }

    /// Bytes of the files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.records_bytes() + 2 * offset(SLOT_BYTES)
    }

    /// Bytes of all files but those that [`FIXED_BYTES`] are for.
    pub(crate) fn records_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.len).sum();
        let leftover: u64 = self.leftover.iter().map(|(_, bytes)| bytes).sum();
        segments + self.spare_bytes + leftover
    }

    /// Records that are not acknowledged; the gap in front counts as one.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let positions = &self.positions;
        let begin = positions.acknowledged.saturating_add(1).max(positions.floor);
        let gap = u64::from(positions.hole.is_some());
        self.next.saturating_sub(begin).saturating_add(gap)
    }

    /// Numbers of this epoch that are lost, with those already gone.
    pub(crate) fn damaged(&self) -> u64 {
        let inside: u64 = self.segments.iter().map(|segment| segment.damaged).sum();
        let mut expected = self.positions.floor;
        let mut between = 0;
        for segment in &self.segments {
            between += self.lost_from(expected, segment.first);
            expected = segment.last.saturating_add(1);
        }
        between += self.lost_from(expected, self.tail_start().0);
        self.positions.damaged_gone.saturating_add(inside).saturating_add(between)
    }

    fn lost_from(&self, expected: u64, next: u64) -> u64 {
        next.saturating_sub(expected.max(self.positions.base.saturating_add(1)))
    }

    /// What it holds, but for the age of the oldest.
    pub(crate) fn status(&self, oldest_unacknowledged_age: Option<Duration>) -> Status {
        let positions = &self.positions;
        let dropped = self.tail_hole.as_ref().map_or(0, |hole| hole.through + 1 - hole.first);
        Status {
            epoch: positions.epoch,
            origin: positions.origin,
            oldest: record::sequence(positions, self.oldest()),
            next: record::sequence(positions, self.next),
            unacknowledged_records: self.unacknowledged(),
            size_bytes: self.size_bytes(),
            waiting_bytes: self.waiting_bytes(),
            oldest_unacknowledged_age,
            dropped_records: positions.dropped.saturating_add(dropped),
            damaged_records: self.damaged(),
            due_ticks: self.due.saturating_sub(positions.base_due),
            fault: self.fault.or_else(|| self.not_durable.then_some(Fault::NotDurable)),
            write_failures: self.write_failures,
            acknowledged: positions.acknowledged_at.and_then(|at| {
                let through = positions.acknowledged.checked_sub(positions.base)?;
                Some((Sequence::new(through).ok()?, at))
            }),
        }
    }
}

/// What a waiting record takes in memory.
pub(crate) fn memory(payload: &[u8]) -> usize {
    record_bytes(payload.len()) + size_of::<Pending>()
}
