//! What time it is: the only place that asks.
//!
//! Code that decides by time takes a [`Clock`], so that tests move the clock and never sleep.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::id::UnixMicros;

/// No clock that was ever set reads earlier: a machine without a battery starts in 1970, or when
/// its system was made. 2026-01-01 00:00:00 UTC.
pub const NOT_SET_BEFORE: UnixMicros = UnixMicros(1_767_225_600_000_000);

/// Three clocks of one machine.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. People and NTP set it; it can jump either way.
    fn wall(&self) -> UnixMicros;
    /// Time since some fixed moment, never set, stopped while the machine sleeps.
    fn monotonic(&self) -> Duration;
    /// Time since boot, never set, sleep included. Its distance to [`Clock::monotonic`] grows by
    /// the time slept.
    fn since_boot(&self) -> Duration;
}

/// A clock to share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clocks, ready to share.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

fn read(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    fn wall(&self) -> UnixMicros {
        unix_micros(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        read(ClockId::Monotonic)
    }

    fn since_boot(&self) -> Duration {
        read(ClockId::Boottime)
    }
}

/// A system time as microseconds; before 1970 it is negative.
#[must_use]
pub fn unix_micros(time: SystemTime) -> UnixMicros {
    UnixMicros(match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_micros()).map_or(i64::MIN, i64::wrapping_neg)
        }
    })
}

/// A clock that stands until a test moves it.
#[derive(Debug)]
pub struct TestClock(Mutex<Readings>);

#[derive(Clone, Copy, Debug)]
struct Readings {
    wall: UnixMicros,
    monotonic: Duration,
    since_boot: Duration,
}

impl TestClock {
    /// Stands at `wall`, one hour after boot.
    #[must_use]
    pub fn at(wall: UnixMicros) -> Self {
        let up = Duration::from_secs(3600);
        Self(Mutex::new(Readings { wall, monotonic: up, since_boot: up }))
    }

    fn change(&self, f: impl FnOnce(&mut Readings)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn now(&self) -> Readings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        self.change(|r| {
            r.wall = r.wall.plus_micros(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
            r.monotonic += by;
            r.since_boot += by;
        });
    }

    /// The machine sleeps.
    pub fn suspend(&self, by: Duration) {
        self.change(|r| {
            r.wall = r.wall.plus_micros(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
            r.since_boot += by;
        });
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, wall: UnixMicros) {
        self.change(|r| r.wall = wall);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> UnixMicros {
        self.now().wall
    }

    fn monotonic(&self) -> Duration {
        self.now().monotonic
    }

    fn since_boot(&self) -> Duration {
        self.now().since_boot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_moves_no_other() {
        let clock = TestClock::at(UnixMicros(1_000_000));
        let (monotonic, since_boot) = (clock.monotonic(), clock.since_boot());
        clock.set_wall(UnixMicros(-5));
        assert_eq!(clock.wall(), UnixMicros(-5));
        assert_eq!((clock.monotonic(), clock.since_boot()), (monotonic, since_boot));
    }

    #[test]
    fn sleep_moves_time_since_boot_but_not_the_monotonic_clock() {
        let clock = TestClock::at(UnixMicros(0));
        clock.suspend(Duration::from_secs(9));
        assert_eq!(clock.since_boot() - clock.monotonic(), Duration::from_secs(9));
        assert_eq!(clock.wall(), UnixMicros(9_000_000));
    }

    #[test]
    fn times_before_1970_are_negative() {
        assert_eq!(
            unix_micros(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            UnixMicros(-1_000_000)
        );
    }
}
