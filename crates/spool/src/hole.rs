//! Records that were dropped unacknowledged, and how many ticks they stood for.

use std::collections::BTreeMap;

use rowcall_core::id::UnixMicros;
use rowcall_core::record::GapCause;

use crate::bytes::{Put, Take};

/// Dropped records that stood for another number of ticks than one, remembered one by one. Past
/// this, neighbours are summed up; only a gap that is sent in parts could then tell a part of its
/// ticks a little early.
const REMEMBERED_ODD_TICKS: usize = 200;

/// A range of dropped records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: u64,
    pub(crate) through: u64,
    /// Ticks due before the first.
    pub(crate) due_before: i64,
    /// Ticks beyond one for each number, where a record stood for another number of them.
    odd: BTreeMap<u64, i64>,
    /// Time of the first and of the last.
    pub(crate) from: UnixMicros,
    pub(crate) to: UnixMicros,
    /// Time of the last record: it may be committed already, with its acknowledgement lost, and
    /// then its time is the mark's.
    pub(crate) time: UnixMicros,
    /// Why the last one was dropped.
    pub(crate) cause: GapCause,
}

/// What is dropped: a record, or a stretch of damaged ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped {
    pub(crate) first: u64,
    pub(crate) through: u64,
    pub(crate) due_before: i64,
    pub(crate) ticks: i64,
    pub(crate) from: UnixMicros,
    pub(crate) to: UnixMicros,
    pub(crate) time: UnixMicros,
}

impl Hole {
    /// Drops what stands right behind `hole`.
    pub(crate) fn grow(hole: &mut Option<Self>, dropped: &Dropped, cause: GapCause) {
        let hole = hole.get_or_insert_with(|| Self {
            first: dropped.first,
            through: dropped.first.saturating_sub(1),
            due_before: dropped.due_before,
            odd: BTreeMap::new(),
            from: dropped.from,
            to: dropped.to,
            time: dropped.time,
            cause,
        });
        let odd = dropped.ticks.saturating_sub(width(dropped.first, dropped.through));
        // Of a damaged stretch only the sum is known: as in `Lost::due_at`, too many stand at its
        // end, and where there are too few its beginning has none.
        match odd {
            0 => None,
            1.. => hole.odd.insert(dropped.through, odd),
            _ => hole.odd.insert(dropped.first, odd),
        };
        hole.through = dropped.through;
        hole.to = dropped.to.max(hole.from);
        hole.time = dropped.time;
        hole.cause = cause;
        hole.bound();
    }

    /// Drops a hole that stands right behind `hole`.
    pub(crate) fn join(hole: &mut Option<Self>, next: Self) {
        match hole {
            None => *hole = Some(next),
            Some(hole) => {
                hole.odd.extend(next.odd);
                hole.through = next.through;
                hole.to = next.to.max(hole.from);
                hole.time = next.time;
                hole.cause = next.cause;
                hole.bound();
            }
        }
    }

    fn bound(&mut self) {
        while self.odd.len() > REMEMBERED_ODD_TICKS
            && let Some((_, first)) = self.odd.pop_first()
            && let Some(mut second) = self.odd.first_entry()
        {
            let sum = second.get().saturating_add(first);
            second.insert(sum);
        }
    }

    /// Ticks due up to and with a number inside, or the one before the first.
    pub(crate) fn due_at(&self, number: u64) -> i64 {
        let number = number.min(self.through);
        // Where a stretch has too few for its width, what stands before it keeps its own, and its
        // beginning has none. No part has more than all: some may be summed up further on.
        let (mut odd, mut most) = (0_i64, 0);
        for (at, ticks) in self.odd.range(..=number) {
            most = most.max(width(self.first, *at).saturating_sub(1).saturating_add(odd));
            odd = odd.saturating_add(*ticks);
        }
        most = most.max(width(self.first, number).saturating_add(odd));
        self.due_before.saturating_add(most.min(self.sum().max(0)))
    }

    /// Ticks of all of it.
    fn sum(&self) -> i64 {
        let wide = width(self.first, self.through);
        self.odd.values().fold(wide, |sum, odd| sum.saturating_add(*odd))
    }

    /// All its ticks.
    pub(crate) fn ticks(&self) -> i64 {
        self.due_at(self.through).saturating_sub(self.due_before)
    }

    /// What is left of it behind a number. Where that begins in time is no longer known.
    pub(crate) fn after(mut self, number: u64) -> Option<Self> {
        if number >= self.through {
            return None;
        }
        if number >= self.first {
            let due = self.due_at(number);
            let left = self.due_at(self.through).saturating_sub(due);
            self.due_before = due;
            self.odd = self.odd.split_off(&(number + 1));
            self.first = number + 1;
            // A stretch that was cut through still has too few.
            let odd = left.saturating_sub(self.sum());
            if odd != 0 {
                let first = self.odd.entry(self.first).or_default();
                *first = first.saturating_add(odd);
                self.bound();
            }
        }
        Some(self)
    }

    pub(crate) fn encode(&self, put: &mut Put) {
        for number in [self.first, self.through] {
            put.u64(number);
        }
        for number in [self.due_before, self.from.0, self.to.0, self.time.0] {
            put.i64(number);
        }
        put.u8(match self.cause {
            GapCause::Age => 1,
            GapCause::Storage => 2,
            _ => 0,
        });
        put.u32(u32::try_from(self.odd.len()).unwrap_or(0));
        for (number, ticks) in &self.odd {
            put.u64(*number);
            put.i64(*ticks);
        }
    }

    pub(crate) fn decode(take: &mut Take<'_>) -> Option<Self> {
        let (first, through) = (take.u64()?, take.u64()?);
        let (due_before, from, to, time) = (take.i64()?, take.i64()?, take.i64()?, take.i64()?);
        let cause = match take.u8()? {
            1 => GapCause::Age,
            2 => GapCause::Storage,
            _ => GapCause::Size,
        };
        let mut odd = BTreeMap::new();
        for _ in 0..take.u32()? {
            odd.insert(take.u64()?, take.i64()?);
        }
        let micros = UnixMicros;
        let (from, to, time) = (micros(from), micros(to), micros(time));
        (first <= through).then_some(Self {
            first,
            through,
            due_before,
            odd,
            from,
            to,
            time,
            cause,
        })
    }
}

/// How many numbers from `first` through `last`.
pub(crate) fn width(first: u64, last: u64) -> i64 {
    i64::try_from(last.saturating_add(1).saturating_sub(first)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First, last and ticks of what goes, in order.
    fn hole(parts: &[(u64, u64, i64)]) -> Hole {
        let mut hole = None;
        let mut due_before = 2;
        for (first, through, ticks) in parts.iter().copied() {
            let time = UnixMicros(0);
            let (from, to) = (time, time);
            let dropped = Dropped { first, through, due_before, ticks, from, to, time };
            Hole::grow(&mut hole, &dropped, GapCause::Age);
            due_before += ticks;
        }
        hole.unwrap()
    }

    #[test]
    fn what_is_left_of_a_hole_has_the_ticks_that_it_had_in_it() {
        // A damaged stretch of eight with four ticks, one of three with nine, facts between them.
        let whole = hole(&[(3, 3, 1), (4, 11, 4), (12, 12, 0), (13, 15, 9), (16, 16, 1)]);
        let due: Vec<_> = (2..=16).map(|number| whole.due_at(number)).collect();
        assert_eq!(due, [2, 3, 3, 3, 3, 3, 4, 5, 6, 7, 7, 8, 9, 16, 17]);
        for first in 3..16 {
            let left = whole.clone().after(first).unwrap();
            for through in first..16 {
                let left = left.clone().after(through).unwrap();
                let after: Vec<_> = (through..=16).map(|number| left.due_at(number)).collect();
                assert_eq!(after, due[usize::try_from(through - 2).unwrap()..], "{left:?}");
            }
        }
    }

    #[test]
    fn parts_that_were_summed_up_have_no_more_ticks_than_all() {
        for ticks in [0, 7] {
            let mut parts: Vec<_> = (1..=500).map(|number| (number, number, 0)).collect();
            parts[499].2 = ticks;
            let mut left = hole(&parts);
            assert!(left.odd.len() <= REMEMBERED_ODD_TICKS);
            for number in 1..500 {
                let due = left.due_at(number);
                assert!((2..=2 + ticks).contains(&due), "{due}");
                left = left.after(number).unwrap();
                assert_eq!((left.due_before, left.due_at(500)), (due, 2 + ticks));
            }
        }
    }
}
