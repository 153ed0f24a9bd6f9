//! One log line for many of a kind.
//!
//! A peer that is refused a thousand times a second must not write a thousand lines a second. The
//! first is said at once; those that follow within [`EVERY`] are counted, and the number comes with
//! the next line, or by itself when nothing follows.

use std::time::Duration;

/// Shortest time between two lines of a kind.
pub const EVERY: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    said: Option<Duration>,
    held_back: u64,
}

impl Throttle {
    /// A kind of which nothing was said yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { said: None, held_back: 0 }
    }

    /// It happened at `now`, by a clock that nobody sets. `Some`: say it, and how many others were
    /// held back before it.
    #[must_use]
    pub fn happened(&mut self, now: Duration) -> Option<u64> {
        if self.is_early(now) {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }

    /// How many were held back and are due to be told at `now`, though nothing more happened. To be
    /// asked regularly.
    #[must_use]
    pub fn rest(&mut self, now: Duration) -> Option<u64> {
        if self.held_back == 0 || self.is_early(now) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }

    fn is_early(&self, now: Duration) -> bool {
        self.said.is_some_and(|said| now.saturating_sub(said) < EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thousand_a_second_are_one_line_and_one_number() {
        let mut throttle = Throttle::new();
        let lines: Vec<_> =
            (0..10_000).filter_map(|n| throttle.happened(MS * n).map(|held| (n, held))).collect();
        assert_eq!(lines, [(0, 0)]);
        assert_eq!(throttle.happened(EVERY), Some(9_999));
    }

    #[test]
    fn what_is_rare_is_always_said() {
        let mut throttle = Throttle::new();
        for n in 0..5 {
            assert_eq!(throttle.happened(EVERY * n), Some(0));
        }
    }

    #[test]
    fn a_burst_that_ends_is_told_all_the_same_and_once() {
        let mut throttle = Throttle::new();
        assert_eq!(throttle.rest(MS), None);
        assert_eq!(throttle.happened(MS), Some(0));
        assert_eq!(throttle.happened(MS * 2), None);
        assert_eq!(throttle.rest(EVERY), None, "not yet");
        assert_eq!(throttle.rest(EVERY + MS), Some(1));
        assert_eq!(throttle.rest(EVERY * 3), None);
    }
}
