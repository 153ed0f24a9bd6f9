//! How long to wait before the next try.

use std::time::Duration;

/// Exponential back-off with full jitter: each wait is a random share of a span that doubles from
/// `min` to `max`. Only progress (an acknowledgement) starts it over; a connection that comes up
/// and fails again does not.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    span: Duration,
}

/// The bounds make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("back-off from {min:?} to {max:?}: the minimum must be above 0 and at most the maximum")]
pub struct InvalidBackoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits between 0 and `min` at first, between 0 and `max` at last.
    ///
    /// # Errors
    /// [`InvalidBackoff`] when `min` is 0 or above `max`.
    pub fn new(min: Duration, max: Duration) -> Result<Self, InvalidBackoff> {
        if min.is_zero() || min > max {
            return Err(InvalidBackoff { min, max });
        }
        Ok(Self { min, max, span: min })
    }

    /// The next wait, by a random number from 0 up to and without 1; others count as the nearest.
    pub fn next(&mut self, random: f64) -> Duration {
        let wait = jitter(self.span, random);
        self.span = self.span.saturating_mul(2).min(self.max);
        wait
    }

    /// Progress was made: start over.
    pub fn reset(&mut self) {
        self.span = self.min;
    }
}

/// A random share of `span`, by a random number from 0 to 1; NaN counts as 0.
#[must_use]
pub fn jitter(span: Duration, random: f64) -> Duration {
    span.mul_f64(if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(120);

    #[test]
    fn spans_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(MIN, MAX).unwrap();
        let waits: Vec<_> = (0..9).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    }

    #[test]
    fn progress_starts_over() {
        let mut backoff = Backoff::new(MIN, MAX).unwrap();
        for _ in 0..5 {
            backoff.next(0.5);
        }
        backoff.reset();
        assert_eq!(backoff.next(1.0), MIN);
    }

    #[test]
    fn senseless_bounds_are_refused() {
        assert!(Backoff::new(Duration::ZERO, MAX).is_err());
        assert!(Backoff::new(MAX, MIN).is_err());
    }

    proptest! {
        #[test]
        fn no_wait_exceeds_the_maximum(randoms in proptest::collection::vec(any::<f64>(), 0..40)) {
            let mut backoff = Backoff::new(MIN, MAX).unwrap();
            for random in randoms {
                prop_assert!(backoff.next(random) <= MAX);
            }
        }
    }
}
