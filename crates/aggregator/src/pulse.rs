//! Whether the writer's loop still turns.
//!
//! It beats while it waits for work and while the database takes its time: an outage is no reason
//! to be killed, since whoever starts anew finds the same outage. What stops the beat is a runtime
//! that polls nobody any more, a loop that hangs in a step of its own, or one try that lasts
//! longer than any time-out of ours allows.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(1);

/// Without a beat for this long the loop hangs. Above the longest `flush_after`, which is 10 s.
const STUCK: Duration = Duration::from_secs(30);

/// The last beat. Shared.
#[derive(Debug)]
pub(crate) struct Pulse {
    clock: SharedClock,
    /// By the monotonic clock, in milliseconds.
    last_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        let pulse = Self { clock, last_ms: AtomicU64::new(0) };
        pulse.beat();
        Arc::new(pulse)
    }

    fn beat(&self) {
        self.last_ms.store(millis(self.clock.monotonic()), Ordering::Relaxed);
    }

    /// Whether the last beat is recent.
    pub(crate) fn is_alive(&self) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        millis(self.clock.monotonic()).saturating_sub(last) < millis(STUCK)
    }

    /// Waits, beating; once `limit` is over, without beating.
    pub(crate) async fn during<F: Future>(&self, limit: Duration, work: F) -> F::Output {
        self.beat();
        let mut work = pin!(work);
        let started = Instant::now();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                output = &mut work => {
                    self.beat();
                    return output;
                }
                _ = beats.tick(), if started.elapsed() < limit => self.beat(),
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rowcall_core::clock::TestClock;
    use rowcall_core::id::UnixMicros;
    use tokio::time::timeout;

    use super::*;

    fn pulse() -> (Arc<TestClock>, Arc<Pulse>) {
        let clock = Arc::new(TestClock::at(UnixMicros(0)));
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        (clock, Pulse::new(shared))
    }

    #[test]
    fn without_a_beat_it_is_stuck_after_a_while() {
        let (clock, pulse) = pulse();
        clock.advance(STUCK - Duration::from_millis(1));
        assert!(pulse.is_alive());
        clock.advance(Duration::from_millis(1));
        assert!(!pulse.is_alive());
        pulse.beat();
        assert!(pulse.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_beats_until_its_limit() {
        let (clock, pulse) = pulse();
        clock.advance(STUCK);
        drop(timeout(BEAT * 3, pulse.during(Duration::MAX, pending::<()>())).await);
        assert!(pulse.is_alive(), "waiting is no standstill");
        clock.advance(STUCK);
        let limit = BEAT * 5;
        let waiting = pulse.during(limit, pending::<()>());
        tokio::pin!(waiting);
        drop(timeout(limit + BEAT, &mut waiting).await);
        clock.advance(STUCK);
        drop(timeout(BEAT * 10, &mut waiting).await);
        assert!(!pulse.is_alive(), "beyond its limit a try is a standstill");
    }
}
