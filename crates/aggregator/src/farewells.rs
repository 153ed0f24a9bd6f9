//! Agents that said Bye: the database is told, so that their silence is excused for a while.
//!
//! A Bye waits here, in memory, until the database has taken it: an outage costs none as long as
//! this process lives. At most one of each host waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostId, HostName, RunId};
use rowcall_store::Kind;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::database::Database;
use crate::registry::Live;

/// Pauses between tries, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A Bye that the database does not know of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bye {
    host: HostId,
    run: RunId,
    /// The host's number means nothing in another era.
    era: u64,
    /// When it came, by the monotonic clock.
    at: Duration,
}

/// All Byes that wait. Shared.
#[derive(Debug)]
pub(crate) struct Farewells {
    database: Arc<Database>,
    clock: SharedClock,
    /// How long silence after a Bye is excused.
    excuse: Duration,
    waiting: Mutex<HashMap<HostName, Bye>>,
    came: Notify,
}

impl Farewells {
    pub(crate) fn new(database: Arc<Database>, clock: SharedClock, excuse: Duration) -> Arc<Self> {
        Arc::new(Self { database, clock, excuse, waiting: Mutex::default(), came: Notify::new() })
    }

    /// The agent of this session said that its process was stopped.
    pub(crate) fn came(&self, live: &Live) {
        let Some(numbers) = live.numbers() else { return };
        let newcomer = &live.newcomer;
        let (host, at) = (numbers.host, self.clock.monotonic());
        let bye = Bye { host, run: newcomer.run, era: newcomer.era, at };
        // An older one would be of a process that the database knows to be over.
        self.lock().insert(newcomer.name.clone(), bye);
        self.came.notify_one();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Tells the database, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let mut failures = 0_u64;
        loop {
            let Some((name, bye)) = self.any() else {
                self.came.notified().await;
                continue;
            };
            match self.tell(&name, bye).await {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "the database takes goodbyes again");
                    }
                    failures = 0;
                    backoff.reset();
                }
                Err(error) if !heals(&error) => {
                    warn!(host = %name, %error, "not recorded that an agent was stopped");
                    self.forget(&name, bye);
                }
                Err(error) => {
                    failures += 1;
                    let waiting = self.waiting();
                    if failures == 1 {
                        warn!(%error, waiting, "cannot record that agents were stopped, trying again");
                    } else {
                        debug!(%error, waiting, failures, "cannot record that agents were stopped");
                    }
                    sleep(backoff.next(crate::random()).max(FIRST_PAUSE)).await;
                }
            }
        }
    }

    /// At the end of the process: what waits is told within `limit`, or logged.
    pub(crate) async fn last(&self, limit: Duration) {
        let telling = async {
            while let Some((name, bye)) = self.any() {
                if let Err(error) = self.tell(&name, bye).await {
                    return Some(error);
                }
            }
            None
        };
        let error = timeout(limit, telling).await.unwrap_or(None);
        let left = self.lock();
        if !left.is_empty() {
            let mut names: Vec<_> = left.keys().map(HostName::as_str).take(10).collect();
            names.sort_unstable();
            warn!(
                hosts = left.len(),
                first = names.join(" "),
                error = error.map(|e| e.to_string()),
                "not recorded that these agents were stopped: their silence will not be excused"
            );
        }
    }

    fn any(&self) -> Option<(HostName, Bye)> {
        self.lock().iter().next().map(|(name, bye)| (name.clone(), *bye))
    }

    async fn tell(&self, name: &HostName, bye: Bye) -> Result<(), rowcall_store::Error> {
        if let Ok(store) = self.database.store()
            && let _turn = self.database.aside().await
            && let Some(_era) = self.database.hold_era(bye.era).await
        {
            // As of when it came, however long the database was away.
            let waited = self.clock.monotonic().saturating_sub(bye.at);
            store
                .end_run(bye.host, bye.run, self.excuse, waited)
                .await
                .inspect_err(|error| self.database.doubt(error, bye.era))?;
        } else {
            warn!(
                host = %name,
                "not recorded that an agent was stopped: the database is not what it was then"
            );
        }
        self.forget(name, bye);
        Ok(())
    }

    fn forget(&self, name: &HostName, bye: Bye) {
        let mut waiting = self.lock();
        // Another one may have come meanwhile.
        if waiting.get(name) == Some(&bye) {
            waiting.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostName, Bye>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the same thing may succeed later; with the others no Bye waits behind one that never
/// will.
fn heals(error: &rowcall_store::Error) -> bool {
    !matches!(error.kind(), Kind::Data | Kind::Internal)
}
