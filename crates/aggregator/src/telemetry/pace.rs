//! How often one host may open a session: each may cost a row, an epoch, and some log lines.
//!
//! By name, so that neither more connections nor more processes help. In memory only; a host is
//! forgotten once it may open a whole burst again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;

/// Sessions that a host may open at once, as after a network that fails again and again.
const BURST: u32 = 30;
/// Beyond that, one in this time.
const EACH: Duration = Duration::from_secs(2);
/// Hosts that are remembered before it is looked who can be forgotten.
const FIRST_LOOK: usize = 256;

/// A host opens sessions too often.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "host {name} opens sessions too often: {BURST} at once and one each {each} s are allowed; come \
     back in {wait_s} s",
    each = EACH.as_secs()
)]
pub(crate) struct TooOften {
    name: HostName,
    wait_s: u64,
}

/// What each host may still open.
#[derive(Debug)]
pub(crate) struct Pace {
    clock: SharedClock,
    hosts: Mutex<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    /// When a host may open a whole burst again, by the monotonic clock.
    rested_at: HashMap<HostName, Duration>,
    look_at: usize,
}

impl Pace {
    pub(crate) fn new(clock: SharedClock) -> Self {
        let hosts = Hosts { rested_at: HashMap::new(), look_at: FIRST_LOOK };
        Self { clock, hosts: Mutex::new(hosts) }
    }

    /// Counts a session. One that is refused does not count.
    pub(crate) fn open(&self, name: &HostName) -> Result<(), TooOften> {
        let now = self.clock.monotonic();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let rested_at = hosts.rested_at.get(name).map_or(now, |at| *at.max(&now)) + EACH;
        let wait = (rested_at - now).saturating_sub(EACH * BURST);
        if !wait.is_zero() {
            let wait_s = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
            return Err(TooOften { name: name.clone(), wait_s });
        }
        hosts.rested_at.insert(name.clone(), rested_at);
        if hosts.rested_at.len() >= hosts.look_at {
            hosts.rested_at.retain(|_, at| *at > now);
            hosts.look_at = hosts.rested_at.len().saturating_mul(2).max(FIRST_LOOK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rowcall_core::clock::TestClock;
    use rowcall_core::id::UnixMicros;

    use super::*;

    fn pace() -> (Arc<TestClock>, Pace) {
        let clock = Arc::new(TestClock::at(UnixMicros(0)));
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        (clock, Pace::new(shared))
    }

    fn name(name: &str) -> HostName {
        HostName::parse(name).unwrap()
    }

    fn opened(pace: &Pace, host: &str, tries: u32) -> usize {
        (0..tries).filter(|_| pace.open(&name(host)).is_ok()).count()
    }

    #[test]
    fn a_burst_is_taken_then_one_now_and_then_and_after_a_rest_a_burst_again() {
        let (clock, pace) = pace();
        assert_eq!(opened(&pace, "n", 1_000), 30);
        let refused = pace.open(&name("n")).unwrap_err().to_string();
        assert_eq!(
            refused,
            "host n opens sessions too often: 30 at once and one each 2 s are allowed; come back \
             in 2 s"
        );
        clock.advance(EACH - Duration::from_millis(1));
        assert_eq!(opened(&pace, "n", 1), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(opened(&pace, "n", 10), 1);
        clock.advance(EACH * BURST * 9);
        assert_eq!(opened(&pace, "n", 1_000), 30);
    }

    #[test]
    fn hosts_do_not_share_and_a_wall_clock_that_jumps_changes_nothing() {
        let (clock, pace) = pace();
        assert_eq!(opened(&pace, "a", 31), 30);
        clock.set_wall(UnixMicros(i64::MAX));
        assert_eq!(opened(&pace, "a", 1), 0);
        assert_eq!(opened(&pace, "b", 31), 30);
    }

    #[test]
    fn hosts_that_have_rested_are_forgotten_and_others_are_not() {
        let (clock, pace) = pace();
        for n in 0..FIRST_LOOK * 2 {
            pace.open(&name(&format!("n{n}"))).unwrap();
        }
        clock.advance(EACH);
        assert_eq!(opened(&pace, "busy", 30), 30);
        for n in 0..FIRST_LOOK * 4 {
            pace.open(&name(&format!("m{n}"))).unwrap();
            clock.advance(Duration::from_millis(10));
        }
        let held = pace.hosts.lock().unwrap().rested_at.len();
        assert!(held <= FIRST_LOOK * 2, "{held}");
        assert!(pace.hosts.lock().unwrap().rested_at.contains_key(&name("busy")));
    }
}
