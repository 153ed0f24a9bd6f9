//! How often somebody may ask: so many at once, and then one as each share of a minute passes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Who is remembered at most; a stranger with many addresses must not fill the memory.
const MAX_KNOWN: usize = 65_536;

/// Counts askers of one kind. Shared.
#[derive(Debug)]
pub(super) struct Rate<K> {
    /// What one asking costs of the minute.
    share: Duration,
    /// When each asker will have its whole minute again, by the monotonic clock.
    known: Mutex<HashMap<K, Duration>>,
}

impl<K: Eq + Hash> Rate<K> {
    pub(super) fn per_minute(number: u32) -> Self {
        Self { share: MINUTE / number.max(1), known: Mutex::default() }
    }

    /// Counts one, at this time of the monotonic clock.
    ///
    /// # Errors
    /// How long it takes until it may ask again; then it is not counted.
    pub(super) fn ask(&self, who: K, now: Duration) -> Result<(), Duration> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, whole_at| *whole_at > now);
        }
        if known.len() >= MAX_KNOWN && !known.contains_key(&who) {
            return Err(MINUTE);
        }
        let whole_at = known.get(&who).copied().unwrap_or(now).max(now) + self.share;
        match (whole_at - now).checked_sub(MINUTE) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                known.insert(who, whole_at);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn one_source_has_its_number_at_once_and_its_share_afterwards() {
        let rate = Rate::per_minute(6);
        let asked = |who, at| (0..20).take_while(|_| rate.ask(who, at).is_ok()).count();
        assert_eq!(asked("a", second(100)), 6);
        assert_eq!(rate.ask("a", second(100)), Err(second(10)));
        assert_eq!(asked("b", second(100)), 6, "others are not concerned");
        assert_eq!(asked("a", second(109)), 0);
        assert_eq!(asked("a", second(110)), 1);
        assert_eq!(asked("a", second(1_000)), 6, "what is not used is not saved up");
    }

    #[test]
    fn sources_beyond_the_bound_wait_until_others_are_forgotten() {
        let rate = Rate::per_minute(1);
        for who in 0..MAX_KNOWN {
            assert!(rate.ask(who, second(0)).is_ok());
        }
        assert_eq!(rate.ask(MAX_KNOWN, second(1)), Err(MINUTE));
        assert_eq!(rate.ask(MAX_KNOWN, second(61)), Ok(()));
        assert_eq!(rate.known.lock().unwrap().len(), 1);
    }
}
