//! Which aggregator is next: the settings' order, one after the other as each fails.
//!
//! When one fails the next is tried at once; only when all of them failed one after the other is
//! there a wait. Where it works the agent stays. One that refuses this agent is left alone for its
//! minutes, and the others are tried meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// Whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Vec<Place>,
    now: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Failed since the last wait.
    failed: bool,
    /// Left alone until then.
    rests_until: Option<Instant>,
}

/// When to dial [`Turns::place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It was not tried since the last wait.
    AtOnce,
    /// A whole round has failed.
    AfterBackoff,
    /// All are left alone for this long.
    After(Duration),
}

impl Turns {
    /// Of so many aggregators, beginning with the first.
    pub(crate) fn new(aggregators: usize) -> Self {
        Self { places: vec![Place::default(); aggregators.max(1)], now: 0 }
    }

    /// The place in the settings of the aggregator to dial.
    pub(super) fn place(&self) -> usize {
        self.now
    }

    /// It acknowledges: what failed before is over.
    pub(super) fn works(&mut self) {
        self.places.iter_mut().for_each(|place| place.failed = false);
    }

    /// It is about to stop: another one, if there is any, is better.
    pub(super) fn leaves(&mut self, now: Instant) {
        if let Some(next) = self.next(now, |_| true) {
            self.now = next;
        }
    }

    /// It failed, and is to be left alone for `rest`, if that is given.
    pub(super) fn failed(&mut self, now: Instant, rest: Option<Duration>) -> When {
        if let Some(place) = self.places.get_mut(self.now) {
            *place = Place { failed: true, rests_until: rest.map(|rest| now + rest) };
        }
        if let Some(untried) = self.next(now, |place| !place.failed) {
            self.now = untried;
            return When::AtOnce;
        }
        self.works();
        if let Some(next) = self.next(now, |_| true) {
            self.now = next;
            return When::AfterBackoff;
        }
        let ends = self.places.iter().map(|place| place.rests_until).enumerate();
        let (first, end) = ends.min_by_key(|(_, end)| *end).unwrap_or_default();
        self.now = first;
        When::After(end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now)))
    }

    /// The next one in turn that isn't left alone now, the present one last.
    fn next(&self, now: Instant, wanted: impl Fn(&Place) -> bool) -> Option<usize> {
        let count = self.places.len();
        (1..=count).map(|step| (self.now + step) % count).find(|place| {
            self.places.get(*place).is_some_and(|place| {
                place.rests_until.is_none_or(|until| until <= now) && wanted(place)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(200);

    #[test]
    fn the_next_is_tried_at_once_and_a_wait_comes_after_a_whole_round() {
        let (mut turns, now) = (Turns::new(3), Instant::now());
        let mut tried = Vec::new();
        for _ in 0..6 {
            let place = turns.place();
            tried.push((place, turns.failed(now, None)));
        }
        let (at_once, waits) = (When::AtOnce, When::AfterBackoff);
        let round = [(0, at_once), (1, at_once), (2, waits)];
        assert_eq!(tried, [round, round].concat());
    }

    #[test]
    fn a_single_one_is_waited_for() {
        let (mut turns, now) = (Turns::new(1), Instant::now());
        assert_eq!(turns.failed(now, None), When::AfterBackoff);
        assert_eq!(turns.failed(now, Some(REST)), When::After(REST));
        assert_eq!(turns.place(), 0);
        turns.leaves(now + REST);
        assert_eq!(turns.place(), 0, "there is no other");
    }

    #[test]
    fn where_it_works_it_stays_until_that_one_fails_or_stops() {
        let (mut turns, now) = (Turns::new(2), Instant::now());
        assert_eq!((turns.failed(now, None), turns.place()), (When::AtOnce, 1));
        turns.works();
        assert_eq!((turns.failed(now, None), turns.place()), (When::AtOnce, 0));
        turns.works();
        turns.leaves(now);
        assert_eq!(turns.place(), 1);
    }

    #[test]
    fn one_that_refuses_is_left_alone_and_the_other_goes_on_being_tried() {
        let (mut turns, now) = (Turns::new(2), Instant::now());
        assert_eq!((turns.failed(now, Some(REST)), turns.place()), (When::AtOnce, 1));
        for _ in 0..3 {
            assert_eq!((turns.failed(now, None), turns.place()), (When::AfterBackoff, 1));
        }
        assert_eq!((turns.failed(now + REST, None), turns.place()), (When::AtOnce, 0));
        let mut turns = Turns::new(3);
        for (rest, place) in [(Some(REST), 1), (None, 2)] {
            assert_eq!((turns.failed(now, rest), turns.place()), (When::AtOnce, place));
        }
        let mut turns = Turns::new(2);
        assert_eq!(turns.failed(now, Some(REST)), When::AtOnce);
        let later = now + Duration::from_secs(50);
        assert_eq!(turns.failed(later, Some(REST)), When::After(REST - (later - now)));
        assert_eq!(turns.place(), 0, "the one that may be asked first");
    }
}
