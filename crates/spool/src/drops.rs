//! The part of the thread that drops segments: over the limits of bytes and age, or for their room.
//! A file is counted until it is gone, and no file is made before there is room for it.

use std::io;

use rowcall_core::record::GapCause;

use crate::format::{Head, Kind};
use crate::hole::{Dropped, Hole};
use crate::positions::Positions;
use crate::record::Lost;
use crate::scan::Scanner;
use crate::segment::Segment;
use crate::state::FIXED_BYTES;
use crate::writer::Writer;

impl Writer {
    /// Drops what is over the limits of bytes and age.
    pub(crate) fn keep_limits(&mut self) -> io::Result<()> {
        self.remove_leftover()?;
        loop {
            let spare = if self.spare.is_none() { self.limits.segment_bytes } else { 0 };
            let is_over = self.is_over(spare);
            let cause = {
                let state = self.shared.lock();
                let now = u64::try_from(self.clock.since_boot().as_micros()).unwrap_or(u64::MAX);
                let now = state.stamp(now);
                let is_only = state.segments.len() == 1;
                let newest = state.segments.front().map(|oldest| oldest.newest);
                // Nothing in it can be read.
                let is_lost = newest == Some(None) && !is_only;
                // Nothing is held, or nothing of the only one.
                let is_empty = newest.flatten().is_none() && !is_lost;
                let is_old = newest
                    .flatten()
                    .is_some_and(|newest| now.saturating_sub(newest.stamp) > self.limits.age_us);
                if is_over && !is_empty {
                    GapCause::Size
                } else if is_lost {
                    GapCause::Storage
                } else if is_old {
                    GapCause::Age
                } else {
                    return Ok(());
                }
            };
            if self.shared.lock().segments.len() == 1 {
                let (first, due) = self.shared.lock().tail_start();
                self.begin_segment(first, due).map(drop)?;
                // It is shorter now, which may do.
                continue;
            }
            if self.drop_oldest(cause)?.is_none() {
                return Ok(());
            }
            self.remove_leftover()?;
        }
    }

    fn is_over(&self, more: u64) -> bool {
        self.shared.lock().records_bytes() + FIXED_BYTES + more > self.limits.bytes
    }

    /// Makes room for a file of so many bytes within the limit.
    pub(crate) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        self.remove_leftover()?;
        while self.is_over(bytes) && self.drop_oldest(GapCause::Size)?.is_some() {
            self.remove_leftover()?;
        }
        Ok(())
    }

    /// Removes the files of what was dropped, once the gap that tells of it is on disk.
    pub(crate) fn remove_leftover(&mut self) -> io::Result<()> {
        let leftover = self.shared.lock().leftover.clone();
        if leftover.is_empty() {
            return Ok(());
        }
        self.store_positions(true)?;
        for (name, _) in &leftover {
            self.disk.remove(name)?;
            self.shared.lock().leftover.retain(|(left, _)| left != name);
        }
        Ok(())
    }

    /// Drops the oldest segment, if it is not the only one. Its file is left over; what of it was
    /// not acknowledged is in the gap in front, which must be stored before the file goes.
    pub(crate) fn drop_oldest(&self, cause: GapCause) -> io::Result<Option<Segment>> {
        let (oldest, next, positions) = {
            let state = self.shared.lock();
            let (Some(oldest), Some(next)) = (state.segments.front(), state.segments.get(1)) else {
                return Ok(None);
            };
            (oldest.clone(), (next.first, next.due_before), state.positions.clone())
        };
        let gone = self.what_goes(&positions, &oldest, next, cause);
        {
            let mut state = self.shared.lock();
            let acknowledged = state.positions.acknowledged;
            let positions = &mut state.positions;
            positions.floor = next.0;
            positions.floor_due = next.1;
            positions.hole = gone.hole.and_then(|hole| hole.after(acknowledged));
            positions.dropped += gone.dropped;
            positions.damaged_gone += gone.damaged;
            state.segments.pop_front();
            state.leftover.push((oldest.name(), oldest.len));
            state.drops += 1;
        }
        self.hold_back_again();
        Ok(Some(oldest))
    }

    /// What waited for a clock is dropped: finds the next record that does.
    fn hold_back_again(&self) {
        let (floor, segments) = {
            let state = self.shared.lock();
            let floor = state.positions.floor;
            if state.held_back.is_none_or(|held| held >= floor) {
                return;
            }
            (floor, state.segments.iter().cloned().collect::<Vec<_>>())
        };
        let on_disk = segments.iter().find_map(|segment| {
            let file = self.disk.open(&segment.name()).ok()?;
            let mut scanner = Scanner::whole(file.as_ref(), segment.salt?, segment.data_end);
            let mut least = floor.max(segment.first);
            while let Some(found) = scanner.next(least) {
                if self.shared.lock().waits_for_clock(&found.head) {
                    return Some(found.head.number);
                }
                least = found.head.through().saturating_add(1);
            }
            None
        });
        let mut state = self.shared.lock();
        let in_memory = state.tail.iter().find(|pending| state.waits_for_clock(&pending.head));
        let in_memory = in_memory.map(|pending| pending.head.number);
        if state.held_back.is_some() {
            state.held_back = on_disk.or(in_memory);
        }
    }

    fn what_goes(
        &self,
        positions: &Positions,
        oldest: &Segment,
        (next, next_due): (u64, i64),
        cause: GapCause,
    ) -> Gone {
        let acknowledged = positions.acknowledged;
        let mut gone = Gone {
            hole: positions.hole.clone(),
            dropped: next.saturating_sub(positions.floor.max(acknowledged + 1)),
            damaged: 0,
        };
        let mut last = positions.floor - 1;
        let mut due = positions.floor_due;
        let mut before = None;
        let file = self.disk.open(&oldest.name()).ok();
        let mut scanner = file
            .as_deref()
            .zip(oldest.salt)
            .map(|(file, salt)| Scanner::whole(file, salt, oldest.data_end));
        loop {
            let found = scanner.as_mut().and_then(|scanner| scanner.next(last + 1));
            let found = found.filter(|found| found.head.number < next);
            let (number, due_before) = found
                .map_or((next, next_due), |found| (found.head.number, found.head.due_before()));
            if number > last + 1 {
                let time = |head: &Head| positions.time(head.time, head.boot, head.since_boot).0;
                let lost = Lost {
                    first: last + 1,
                    through: number - 1,
                    due_before: due,
                    due_through: due_before,
                    before: before.as_ref().map(time),
                    after: found.as_ref().map(|found| time(&found.head)),
                    known: positions.known,
                    base: (positions.base, positions.base_due),
                };
                gone.damaged += number - (last + 1).max(positions.base + 1).min(number);
                gone.lose(&lost, positions, cause);
            }
            let Some(found) = found else { return gone };
            let payload = scanner.as_ref().map_or(&[][..], Scanner::payload);
            gone.take(&found.head, payload, positions, cause);
            last = found.head.through();
            due = found.head.due;
            before = Some(found.head);
        }
    }
}

/// What goes with a segment.
struct Gone {
    hole: Option<Hole>,
    dropped: u64,
    damaged: u64,
}

impl Gone {
    fn lose(&mut self, lost: &Lost, positions: &Positions, cause: GapCause) {
        let first = lost.first.max(positions.acknowledged + 1);
        if first > lost.through {
            return;
        }
        let due_before = lost.due_at(first - 1);
        let gap = lost.gap(positions, first);
        let dropped = Dropped {
            first,
            through: lost.through,
            due_before,
            ticks: lost.due_through.saturating_sub(due_before),
            from: gap.time,
            to: lost.after.unwrap_or(gap.time),
            time: gap.time,
        };
        Hole::grow(&mut self.hole, &dropped, cause);
    }

    fn take(&mut self, head: &Head, payload: &[u8], positions: &Positions, cause: GapCause) {
        if head.through() <= positions.acknowledged {
            return;
        }
        if head.kind == Kind::Hole {
            let hole = Hole::decode(&mut crate::bytes::Take(payload));
            if let Some(hole) = hole.and_then(|hole| hole.after(positions.acknowledged)) {
                // Counted when it was dropped first.
                self.dropped = self.dropped.saturating_sub(hole.through + 1 - hole.first);
                Hole::join(&mut self.hole, hole);
            }
            return;
        }
        Hole::grow(&mut self.hole, &crate::record::dropped(positions, head, payload), cause);
    }
}
