//! What the database must know of who has hosts' sessions: those that ended, so that another
//! aggregator takes a host as soon as its old stream is seen to be dead; and agents that were
//! refused because another one has their host's session.
//!
//! All of it beside the streams, on the connection for small work. Sessions that ended wait until
//! the database takes them, and there are no more than were opened; conflicts are bounded, and are
//! lost with the database away: whoever was refused comes again within a minute.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostId, HostName};
use rowcall_core::throttle::Throttle;
use rowcall_store::{Error as StoreError, Kind, Lease, Party, Store};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::database::Database;
use crate::registry::{End, Live, Registry};

/// Pauses between tries, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Sessions in one statement.
const AT_A_TIME: usize = 1_000;

/// Conflicts of one host are recorded once in this time.
const CONFLICT_EVERY: Duration = Duration::from_secs(10);

/// Most conflicts that wait, and most hosts whose last one is remembered.
const MAX_CONFLICTS: usize = 1_024;

/// An agent that was refused for another one.
#[derive(Clone, Debug)]
struct Conflict {
    name: HostName,
    holder: Party,
    newcomer: Party,
}

#[derive(Debug, Default)]
struct Conflicts {
    waiting: VecDeque<Conflict>,
    /// When one of a host's was last taken, by the monotonic clock.
    taken_at: HashMap<HostName, Duration>,
}

/// Ends those of some sessions whose hosts another aggregator gave to others, while this one was cut
/// off from the database; how many. Only in the era that they were opened in.
pub(crate) async fn end_lost(
    store: &Store,
    sessions: impl Iterator<Item = &Arc<Live>>,
) -> Result<usize, StoreError> {
    // Of one host only one goes on.
    let leased: HashMap<HostId, (Lease, &Arc<Live>)> = sessions
        .filter(|live| live.progress().end.is_none())
        .filter_map(|live| live.lease().map(|lease| (lease.host_id(), (lease.clone(), live))))
        .collect();
    let leases: Vec<_> = leased.values().map(|(lease, _)| lease.clone()).collect();
    let lost = store.sessions_lost(&leases).await?;
    for (_, live) in lost.iter().filter_map(|host| leased.get(host)) {
        live.end(End::TakenOver);
    }
    Ok(lost.len())
}

/// What waits. Shared.
#[derive(Debug)]
pub(crate) struct Leases {
    database: Arc<Database>,
    registry: Arc<Registry>,
    clock: SharedClock,
    conflicts: Mutex<Conflicts>,
    came: Notify,
}

impl Leases {
    pub(crate) fn new(
        database: Arc<Database>,
        registry: Arc<Registry>,
        clock: SharedClock,
    ) -> Arc<Self> {
        let (conflicts, came) = (Mutex::default(), Notify::new());
        Arc::new(Self { database, registry, clock, conflicts, came })
    }

    /// An agent was refused because `holder` has its host's session.
    pub(crate) fn conflict(&self, name: &HostName, holder: Party, newcomer: Party) {
        let now = self.clock.monotonic();
        let mut conflicts = self.lock();
        let Conflicts { waiting, taken_at } = &mut *conflicts;
        let is_early = |at: &Duration| now.saturating_sub(*at) < CONFLICT_EVERY;
        if taken_at.get(name).is_some_and(is_early) {
            return;
        }
        if taken_at.len() >= MAX_CONFLICTS {
            taken_at.retain(|_, at| is_early(at));
        }
        if waiting.len() >= MAX_CONFLICTS || taken_at.len() >= MAX_CONFLICTS {
            return;
        }
        taken_at.insert(name.clone(), now);
        waiting.push_back(Conflict { name: name.clone(), holder, newcomer });
        drop(conflicts);
        self.came.notify_one();
    }

    /// Tells the database, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.close(), self.record());
    }

    async fn close(&self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let mut failures = 0_u64;
        loop {
            match self.close_some().await {
                Ok(0) => self.registry.ended().await,
                Ok(_) => {
                    if failures > 0 {
                        info!(failures, "the database knows again which sessions ended");
                    }
                    failures = 0;
                    backoff.reset();
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(%error, "cannot record that sessions ended, trying again");
                    } else {
                        debug!(%error, failures, "cannot record that sessions ended");
                    }
                    sleep(backoff.next(crate::random()).max(FIRST_PAUSE)).await;
                }
            }
        }
    }

    /// Closes the first ones; how many.
    async fn close_some(&self) -> Result<usize, StoreError> {
        let Ok(store) = self.database.store() else { return Ok(0) };
        // A host's number means nothing in another era, and its session is no more.
        let era = self.database.era();
        let some = self.registry.some_ended(era, AT_A_TIME);
        if some.is_empty() {
            return Ok(0);
        }
        let _turn = self.database.aside().await;
        if let Some(_era) = self.database.hold_era(era).await {
            match store.close_sessions(&some).await {
                // What never heals must not stand in the way of others.
                Err(error) if matches!(error.kind(), Kind::Data | Kind::Internal) => {
                    warn!(%error, sessions = some.len(), "not recorded that sessions ended");
                }
                other => {
                    other.inspect_err(|error| self.database.doubt(error, era))?;
                }
            }
            self.registry.forget_ended(&some);
        }
        Ok(some.len())
    }

    async fn record(&self) {
        let mut said = Throttle::new();
        loop {
            let next = self.lock().waiting.pop_front();
            let Some(conflict) = next else {
                self.came.notified().await;
                continue;
            };
            let Ok(store) = self.database.store() else { continue };
            if let Err(error) = self.told(store, &conflict).await
                && let Some(held_back) = said.happened(self.clock.monotonic())
            {
                let host = &conflict.name;
                warn!(%host, %error, held_back, "cannot record that two agents claim one host");
            }
        }
    }

    async fn told(&self, store: &Store, conflict: &Conflict) -> Result<(), StoreError> {
        let _turn = self.database.aside().await;
        store.conflict(&conflict.name, &conflict.holder, &conflict.newcomer).await
    }

    /// At the end of the process: what ended is told within `limit`. Where that fails, all sessions
    /// here are over as soon as the database knows that the process stopped, or a minute later.
    pub(crate) async fn last(&self, limit: Duration) {
        let closing = async {
            while self.close_some().await? > 0 {}
            Ok::<_, StoreError>(())
        };
        match timeout(limit, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "not recorded that sessions ended"),
            Err(_) => warn!("not recorded in time that sessions ended"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Conflicts> {
        self.conflicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rowcall_core::clock::TestClock;
    use rowcall_core::id::{RunId, UnixMicros};

    use super::*;

    fn party(run: u64) -> Party {
        let run = RunId::new(run).unwrap();
        Party { run, peer: "192.0.2.1:4".into(), machine_id: None }
    }

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn a_hosts_conflicts_wait_once_in_ten_seconds_and_all_hosts_are_bounded() {
        let test_clock = Arc::new(TestClock::at(UnixMicros(0)));
        let clock: SharedClock = Arc::<TestClock>::clone(&test_clock);
        let registry = Registry::new(Arc::clone(&clock), CONFLICT_EVERY, CONFLICT_EVERY);
        let leases = Leases::new(Database::new(), registry, clock);
        let waiting = || leases.lock().waiting.len();
        for _ in 0..100 {
            leases.conflict(&name("a"), party(1), party(2));
        }
        leases.conflict(&name("b"), party(1), party(2));
        assert_eq!(waiting(), 2);
        test_clock.advance(CONFLICT_EVERY);
        leases.conflict(&name("a"), party(1), party(2));
        assert_eq!(waiting(), 3);
        for n in 0..5_000 {
            leases.conflict(&name(&format!("n{n}")), party(1), party(2));
        }
        assert_eq!(waiting(), MAX_CONFLICTS);
        assert!(leases.lock().taken_at.len() <= MAX_CONFLICTS);
    }
}
