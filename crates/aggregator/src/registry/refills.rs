//! How soon an agent may come back to send again what the database lost.
//!
//! Once is a restore or a failover, and the agent is wanted at once. A host whose mark falls again
//! and again would send its whole spool again each time, so each further refill within
//! [`MEMORY`] doubles the time that it stays away.

use std::time::Duration;

/// Within this time a fleet comes back after the first refill.
const FIRST: Duration = Duration::from_secs(2);
/// The longest that a host is kept away. Its spool keeps a week.
const LONGEST: Duration = Duration::from_secs(300);
/// After this long without a refill, the next one is a first one.
const MEMORY: Duration = Duration::from_secs(3_600);

/// Refills of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refills {
    within_memory: u32,
    last: Option<Duration>,
}

impl Refills {
    /// Counts one at `now`, by a clock that nobody sets: within which time the agent may come back.
    pub(super) fn another(&mut self, now: Duration) -> Duration {
        if self.last.is_some_and(|last| now.saturating_sub(last) > MEMORY) {
            self.within_memory = 0;
        }
        let factor = 2_u32.saturating_pow(self.within_memory);
        self.within_memory = self.within_memory.saturating_add(1);
        self.last = Some(now);
        FIRST.saturating_mul(factor).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_refilled_again_and_again_comes_back_less_and_less_often() {
        let mut refills = Refills::default();
        let mut now = Duration::from_secs(7);
        let mut within = |pause: Duration| {
            now += pause;
            refills.another(now).as_secs()
        };
        let minute = Duration::from_secs(60);
        let first: Vec<_> = (0..10).map(|_| within(minute)).collect();
        assert_eq!(first, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(within(MEMORY), 300);
        assert_eq!(within(MEMORY + minute), 2, "it was long ago");
        (0..100).for_each(|_| assert!(within(minute) <= 300));
    }
}
