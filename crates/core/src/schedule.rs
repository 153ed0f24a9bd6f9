//! When the next sample is due.
//!
//! Ticks stand on a grid of the wall clock: every interval, at an offset that is the host's own
//! (a hash of its name), so that a fleet doesn't answer all in the same second. How many ticks
//! were missed is counted by a clock that nobody sets: a wall clock that steps back or forth moves
//! the grid under the agent, but makes neither a burst nor a false gap.

use std::time::Duration;

use crate::id::{HostName, UnixMicros};

/// The grid of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval_us: i64,
    offset_us: i64,
}

impl Schedule {
    /// Spread over the interval by the host's name.
    #[must_use]
    pub fn spread(interval: Duration, name: &HostName) -> Self {
        let interval_us = micros(interval);
        let hash = fnv1a(name.as_str().as_bytes());
        let offset = hash % interval_us.unsigned_abs();
        Self { interval_us, offset_us: i64::try_from(offset).unwrap_or(0) }
    }

    /// All hosts at the same instants.
    #[must_use]
    pub fn aligned(interval: Duration) -> Self {
        Self { interval_us: micros(interval), offset_us: 0 }
    }

    /// Time between ticks.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_micros(self.interval_us.unsigned_abs())
    }

    /// How long to wait from `now` for the next tick that is at least half an interval after the
    /// last sample: a timer that fires a little early must not read the same tick twice.
    #[must_use]
    pub fn wait(&self, now: UnixMicros, since_last: Option<Duration>) -> Duration {
        let past = now.0.wrapping_sub(self.offset_us).rem_euclid(self.interval_us);
        let mut wait_us = self.interval_us - past;
        if let Some(since_last) = since_last
            && micros(since_last).saturating_add(wait_us) < self.interval_us / 2
        {
            wait_us += self.interval_us;
        }
        Duration::from_micros(wait_us.unsigned_abs())
    }

    /// Ticks that passed unread between two samples `elapsed` apart.
    #[must_use]
    pub fn missed(&self, elapsed: Duration) -> i64 {
        let ticks = (micros(elapsed).saturating_add(self.interval_us / 2)) / self.interval_us;
        (ticks - 1).max(0)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4)
}

/// FNV-1a: short, and the same in every version, so that a host's offset never moves.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn a_host_keeps_its_place_in_the_minute() {
        let schedule = Schedule::spread(MINUTE, &name("node1"));
        let first = UnixMicros(0).0 + micros(schedule.wait(UnixMicros(0), None));
        for minute in 1..100 {
            let now = UnixMicros(minute * 60_000_000);
            assert_eq!(now.0 + micros(schedule.wait(now, None)), first + minute * 60_000_000);
        }
    }

    #[test]
    fn a_fleet_spreads_over_the_minute() {
        let mut seconds = [0; 60];
        for host in 0..6000 {
            let schedule = Schedule::spread(MINUTE, &name(&format!("node{host}.example.com")));
            seconds[usize::try_from(schedule.offset_us / 1_000_000).unwrap()] += 1;
        }
        assert!(seconds.iter().all(|n| (50..200).contains(n)), "{seconds:?}");
    }

    #[test]
    fn a_timer_that_fires_early_does_not_read_a_tick_twice() {
        let schedule = Schedule::aligned(MINUTE);
        let just_before = UnixMicros(120_000_000 - 5);
        assert_eq!(schedule.wait(just_before, None), Duration::from_micros(5));
        let wait = schedule.wait(just_before, Some(Duration::from_micros(3)));
        assert_eq!(wait, MINUTE + Duration::from_micros(5));
    }

    #[test]
    fn missed_ticks_are_those_between_two_samples() {
        let schedule = Schedule::aligned(MINUTE);
        for (elapsed_s, missed) in [(0, 0), (1, 0), (60, 0), (89, 0), (120, 1), (3600, 59)] {
            assert_eq!(schedule.missed(Duration::from_secs(elapsed_s)), missed, "{elapsed_s}");
        }
    }

    proptest! {
        #[test]
        fn the_next_tick_is_never_further_than_one_and_a_half_intervals(
            now in any::<i64>(), interval_ms in 1_u64..100_000_000, since in 0_u64..10_000_000_000,
        ) {
            let schedule = Schedule::spread(Duration::from_millis(interval_ms), &name("n"));
            let wait = schedule.wait(UnixMicros(now), Some(Duration::from_micros(since)));
            prop_assert!(wait > Duration::ZERO);
            prop_assert!(wait <= schedule.interval() * 3 / 2 + Duration::from_micros(1));
        }
    }
}
