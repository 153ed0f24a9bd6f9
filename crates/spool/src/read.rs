//! Reading what may be sent, without holding anybody up.
//!
//! The state says where a record lies; the disk is read without its lock. A segment that goes
//! meanwhile is noticed by the number of drops, and the reading begins anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::Clock;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::Record;

use crate::disk::{Disk, File};
use crate::format::{HEADER_BYTES, Head};
use crate::positions::{Known, Positions};
use crate::record::{self, Lost, wire_bytes};
use crate::scan::{Scanner, offset};
use crate::segment::Segment;
use crate::state::{Place, State};

/// Segments may go while one is read: this often it begins anew.
const TRIES: usize = 8;

/// No batch is longer; what the protocol allows is less.
const MOST_RECORDS: usize = 16 * 1024;

/// Where the last reading ended, so that the next one need not search its segment.
#[derive(Debug)]
struct Cursor {
    segment: u64,
    /// No record before this offset has a number of at least `number`.
    offset: u64,
    number: u64,
    /// The record before.
    before: Option<Head>,
    file: Arc<dyn File>,
}

/// Reads for one spool.
#[derive(Debug)]
pub(crate) struct Reader {
    disk: Arc<dyn Disk>,
    cursor: Mutex<Option<Cursor>>,
}

/// Records of a segment.
struct Part {
    records: Vec<Record>,
    /// One past what they cover.
    next: u64,
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, cursor: Mutex::new(None) }
    }

    /// Records from a sequence on, see [`crate::Spool::read_from`].
    pub(crate) fn read(
        &self,
        state: &Mutex<State>,
        from: Sequence,
        max_bytes: usize,
    ) -> Vec<Record> {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..TRIES {
            let (drops, epoch) = {
                let state = lock();
                (state.drops, state.positions.epoch)
            };
            let records = self.read_once(state, from, max_bytes);
            let state = lock();
            if state.drops == drops && state.positions.epoch == epoch {
                return records;
            }
        }
        Vec::new()
    }

    fn read_once(&self, state: &Mutex<State>, from: Sequence, max_bytes: usize) -> Vec<Record> {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0_usize;
        let mut number = {
            let state = lock();
            state.positions.base.saturating_add(from.as_u64()).max(state.oldest())
        };
        while records.len() < MOST_RECORDS {
            let (place, end, positions) = {
                let state = lock();
                (state.place(number), state.end(), state.positions.clone())
            };
            match place {
                Place::End => break,
                Place::Here(record) => {
                    bytes = bytes.saturating_add(wire_bytes(&record));
                    if bytes > max_bytes && !records.is_empty() {
                        break;
                    }
                    number = positions.base.saturating_add(record.through().as_u64()) + 1;
                    records.push(*record);
                }
                Place::Segment(segment) => {
                    let room = max_bytes.saturating_sub(bytes);
                    let is_first = records.is_empty();
                    let part = self.segment(&positions, &segment, number, end, room, is_first);
                    bytes += part.records.iter().map(wire_bytes).sum::<usize>();
                    number = part.next;
                    records.extend(part.records);
                    if number <= segment.last {
                        break;
                    }
                }
            }
        }
        records
    }

    /// Records of one segment from a number on, up to its end, to `end`, or until `room` bytes are
    /// taken; with `at_least_one` a first one may be larger.
    fn segment(
        &self,
        positions: &Positions,
        segment: &Segment,
        from: u64,
        end: u64,
        room: usize,
        at_least_one: bool,
    ) -> Part {
        let mut part = Part { records: Vec::new(), next: from };
        let mut held = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = self.cursor_at(&mut held, segment, from);
        let Some((mut cursor, salt)) = cursor.zip(segment.salt) else {
            let (number, due) = (segment.last.saturating_add(1), segment.due_last);
            let lost = lost(positions, segment, None, number, due, None);
            part.records.push(lost.gap(positions, from));
            part.next = number;
            return part;
        };
        let file = Arc::clone(&cursor.file);
        let mut scanner = Scanner::new(file.as_ref(), salt, cursor.offset, segment.data_end);
        let mut found = scanner.next(cursor.number);
        let mut bytes = 0_usize;
        while part.next <= segment.last && part.next < end && part.records.len() < MOST_RECORDS {
            let record = match &found {
                Some(found) if found.head.number <= part.next => {
                    // What is wanted may begin behind it, or inside.
                    (found.head.through() >= part.next).then(|| {
                        record::record_from(positions, &found.head, scanner.payload(), part.next)
                    })
                }
                found => {
                    // With nothing more to be found the rest of the segment is lost.
                    let after = found.as_ref().map(|found| &found.head);
                    let number =
                        after.map_or_else(|| segment.last.saturating_add(1), |head| head.number);
                    let due = after.map_or(segment.due_last, Head::due_before);
                    let lost = lost(positions, segment, cursor.before.as_ref(), number, due, after);
                    Some(lost.gap(positions, part.next))
                }
            };
            if let Some(record) = record {
                bytes = bytes.saturating_add(wire_bytes(&record));
                if bytes > room && !(at_least_one && part.records.is_empty()) {
                    break;
                }
                let through = positions.base.saturating_add(record.through().as_u64());
                part.next = through.saturating_add(1);
                part.records.push(record);
            }
            if let Some(passed) = found.filter(|found| found.head.through() < part.next) {
                cursor.offset = passed.next;
                cursor.number = passed.head.through().saturating_add(1);
                cursor.before = Some(passed.head);
                found = scanner.next(cursor.number);
            }
        }
        *held = Some(cursor);
        part
    }

    /// Time of the record that ends at a sequence, if it is held and whole.
    pub(crate) fn time_at(&self, state: &Mutex<State>, sequence: Sequence) -> Option<UnixMicros> {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, number, positions) = {
            let state = lock();
            let number = state.positions.base.saturating_add(sequence.as_u64());
            if number < state.oldest() {
                return None;
            }
            (state.place(number), number, state.positions.clone())
        };
        let found = match place {
            Place::End => return None,
            Place::Here(record) => {
                let is_lost = matches!(
                    &record.body,
                    rowcall_core::record::Body::Gap(gap)
                        if gap.state == rowcall_core::record::GapState::Corrupt
                );
                return (record.through() == sequence && !is_lost).then_some(record.time);
            }
            Place::Segment(segment) => self.find(&segment, number)?,
        };
        let (time, _) = positions.time(found.time, found.boot, found.since_boot);
        (found.through() == number).then_some(time)
    }

    fn find(&self, segment: &Segment, number: u64) -> Option<Head> {
        let file = self.disk.open(&segment.name()).ok()?;
        let mut scanner = Scanner::whole(file.as_ref(), segment.salt?, segment.data_end);
        let mut least = segment.first;
        while let Some(found) = scanner.next(least) {
            if found.head.through() >= number {
                return (found.head.number <= number).then_some(found.head);
            }
            least = found.head.through().saturating_add(1);
        }
        None
    }

    /// Age of the oldest record that is not acknowledged.
    pub(crate) fn oldest_age(&self, state: &Mutex<State>, clock: &dyn Clock) -> Option<Duration> {
        let since_boot = u64::try_from(clock.since_boot().as_micros()).unwrap_or(u64::MAX);
        let (now, number, segment) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = state.stamp(since_boot);
            let positions = &state.positions;
            let number = positions.acknowledged.saturating_add(1).max(positions.floor);
            if let Some(hole) = positions.hole.as_ref().or(state.tail_hole.as_ref())
                && number >= hole.first
            {
                let age = clock.wall().since(hole.from);
                return Some(Duration::from_micros(u64::try_from(age).unwrap_or(0)));
            }
            if number >= state.next {
                return None;
            }
            let tail = state.tail.iter().find(|pending| pending.head.number >= number);
            let segment = state.segment_of(number).and_then(|at| state.segments.get(at));
            let segment =
                segment.or_else(|| state.segments.front()).filter(|s| number <= s.last).cloned();
            if segment.is_none() {
                let stamp = tail.map(|pending| pending.head.stamp);
                let age = stamp.map_or(0, |stamp| now.saturating_sub(stamp));
                return Some(Duration::from_micros(age));
            }
            (now, number, segment)
        };
        let stamp = segment.and_then(|segment| self.find(&segment, number)).map(|head| head.stamp);
        Some(Duration::from_micros(now.saturating_sub(stamp.unwrap_or(now))))
    }

    /// What was due up to a number that was sent, and when that was. Reads on from where it was
    /// asked last: acknowledgements go forward.
    pub(crate) fn known(&self, state: &Mutex<State>, number: u64) -> Known {
        let (segment, positions) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match due_in_memory(&state, number) {
                Ok(due) => {
                    let mut tail = state.tail.iter().map(|pending| &pending.head);
                    let newest = state.segments.iter().filter_map(|s| s.newest.as_ref());
                    let head = newest.rev().find(|head| head.through() == number);
                    let head = head.or_else(|| tail.find(|head| head.number == number));
                    return Known { number, due, time: head.map(|head| state.time_of(head)) };
                }
                Err(segment) => (segment, state.positions.clone()),
            }
        };
        match self.find_on(&segment, number).filter(|head| head.through() == number) {
            Some(head) => {
                let time = positions.time(head.time, head.boot, head.since_boot).0;
                Known { number, due: head.due, time: Some(time) }
            }
            None => Known { number, due: self.due_at(state, number), time: None },
        }
    }

    /// The first record that reaches a number.
    fn find_on(&self, segment: &Segment, number: u64) -> Option<Head> {
        let mut held = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = self.cursor_at(&mut held, segment, number)?;
        let file = Arc::clone(&cursor.file);
        let mut scanner =
            Scanner::new(file.as_ref(), segment.salt?, cursor.offset, segment.data_end);
        let mut reached = None;
        while let Some(found) = scanner.next(cursor.number) {
            cursor.offset = found.next;
            cursor.number = found.head.through().saturating_add(1);
            cursor.before = Some(found.head);
            if found.head.through() >= number {
                reached = Some(found.head);
                break;
            }
        }
        *held = Some(cursor);
        reached
    }

    /// Where the last reading ended, or else the segment's beginning.
    fn cursor_at(&self, held: &mut Option<Cursor>, segment: &Segment, from: u64) -> Option<Cursor> {
        let cursor = held.take().filter(|c| c.segment == segment.first && c.number <= from);
        cursor.or_else(|| {
            let file = self.disk.open(&segment.name()).ok()?;
            let (number, offset) = (segment.first, offset(HEADER_BYTES));
            Some(Cursor { segment: number, offset, number, before: None, file })
        })
    }

    /// Ticks due up to and with a number, which need not be held any more.
    pub(crate) fn due_at(&self, state: &Mutex<State>, number: u64) -> i64 {
        let segment = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match due_in_memory(&state, number) {
                Ok(due) => return due,
                Err(segment) => segment,
            }
        };
        let mut due = segment.due_before;
        let mut last = segment.first.saturating_sub(1);
        let Some((file, salt)) = self.disk.open(&segment.name()).ok().zip(segment.salt) else {
            return segment.due_last;
        };
        let mut scanner = Scanner::whole(file.as_ref(), salt, segment.data_end);
        while let Some(found) = scanner.next(last.saturating_add(1)) {
            if found.head.number > number {
                let positions = &state.lock().unwrap_or_else(PoisonError::into_inner).positions;
                return lost_between(last, due, &found.head, positions).due_at(number);
            }
            due = found.head.due;
            last = found.head.through();
            if last >= number {
                break;
            }
        }
        due
    }
}

/// Ticks due up to a number, where no segment must be read for it.
fn due_in_memory(state: &State, number: u64) -> Result<i64, Box<Segment>> {
    let positions = &state.positions;
    if let Some(hole) = positions.hole.as_ref().filter(|hole| number + 1 >= hole.first) {
        if number <= hole.through {
            return Ok(hole.due_at(number));
        }
    } else if number <= positions.base {
        return Ok(positions.base_due);
    }
    if number < positions.floor {
        return Ok(positions.floor_due);
    }
    if number + 1 >= state.tail_start().0 {
        if let Some(hole) = state.tail_hole.as_ref().filter(|hole| number <= hole.through) {
            return Ok(hole.due_at(number));
        }
        let at = state.tail.partition_point(|pending| pending.head.number <= number);
        return Ok(match at.checked_sub(1).and_then(|at| state.tail.get(at)) {
            Some(pending) => pending.head.due,
            None => state.tail_start().1,
        });
    }
    match state.segment_of(number).and_then(|at| state.segments.get(at)) {
        Some(segment) if number == segment.last => Ok(segment.due_last),
        Some(segment) if number < segment.last => Err(Box::new(segment.clone())),
        _ => Ok(state.lost(number).due_at(number)),
    }
}

/// What is lost between a number and the record found behind it.
fn lost_between(last: u64, due: i64, found: &Head, positions: &Positions) -> Lost {
    Lost {
        first: last.saturating_add(1),
        through: found.number.saturating_sub(1),
        due_before: due,
        due_through: found.due_before(),
        before: None,
        after: None,
        known: positions.known,
        base: (positions.base, positions.base_due),
    }
}

/// What is lost before `number`, inside a segment.
fn lost(
    positions: &Positions,
    segment: &Segment,
    before: Option<&Head>,
    number: u64,
    due: i64,
    after: Option<&Head>,
) -> Lost {
    let time = |head: &Head| positions.time(head.time, head.boot, head.since_boot).0;
    Lost {
        first: before.map_or(segment.first, |head| head.through().saturating_add(1)),
        through: number.saturating_sub(1),
        due_before: before.map_or(segment.due_before, |head| head.due),
        due_through: due,
        before: before.map(time),
        after: after.map(time),
        known: positions.known,
        base: (positions.base, positions.base_due),
    }
}
