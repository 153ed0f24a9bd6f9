//! Hosts and certificates that are refused while they are connected: their streams end within
//! seconds, on every aggregator. On the same occasions hosts take their new names.
//!
//! The database tells of each change of access at once (`LISTEN rowcall_access`), and all live
//! identities are asked after every [`CHECK`]: so a connection that is lost loses no revocation.
//! While the database cannot be asked nobody is cut, and it is told since when.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostId, HostName, UnixMicros};
use rowcall_store::access::Presented;
use rowcall_store::{Error as StoreError, Store};
use rowcall_tls::accept::PeerInfo;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::database::Database;
use crate::leases::end_lost;
use crate::registry::{Live, Registry};

/// How often all live identities are checked.
const CHECK: Duration = Duration::from_secs(5);

/// After so long without a look at all live identities, as after a stop of this process or of the
/// way to the database, whoever writes asks for those of which it writes.
const LATE: Duration = Duration::from_secs(7);

/// Identities in one statement.
const AT_A_TIME: usize = 10_000;

/// Pauses between tries to listen, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// With more hosts told of at a time, all are checked.
const MAX_TOLD: usize = 1_000;

/// Stands for "never".
const NEVER: i64 = i64::MIN;

/// The certificate of a connection, as the database knows it.
pub(crate) fn presented(peer: &PeerInfo) -> Option<Presented> {
    let certificate = peer.certificate.as_ref()?;
    Some(Presented {
        fingerprint: certificate.fingerprint,
        serial: certificate.serial.clone(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
    })
}

/// Whose access changed, as the database told.
#[derive(Debug, Default)]
struct Told {
    hosts: HashSet<HostId>,
    /// Or anybody's.
    all: bool,
}

/// The check. Shared.
#[derive(Debug)]
pub(crate) struct Revocation {
    database: Arc<Database>,
    registry: Arc<Registry>,
    clock: SharedClock,
    told: Mutex<Told>,
    came: Notify,
    checked_at: AtomicI64,
    /// When that look began, by the monotonic clock.
    checked_from: Mutex<Option<Duration>>,
    /// Why the last check failed, if it did.
    failing: Mutex<Option<String>>,
}

impl Revocation {
    pub(crate) fn new(
        database: Arc<Database>,
        registry: Arc<Registry>,
        clock: SharedClock,
    ) -> Arc<Self> {
        Arc::new(Self {
            database,
            registry,
            clock,
            told: Mutex::default(),
            came: Notify::new(),
            checked_at: AtomicI64::new(NEVER),
            checked_from: Mutex::default(),
            failing: Mutex::default(),
        })
    }

    /// When all live identities were last checked. None: not since the start.
    pub(crate) fn checked_at(&self) -> Option<UnixMicros> {
        Some(self.checked_at.load(Ordering::Relaxed)).filter(|at| *at != NEVER).map(UnixMicros)
    }

    /// Why revocations cannot be checked now, if they can't.
    pub(crate) fn error(&self) -> Option<String> {
        let failing = lock(&self.failing);
        let error = failing.as_ref()?;
        let since = match self.checked_at() {
            Some(at) => format!("for {} s", self.clock.wall().since(at) / 1_000_000),
            None => "since the start".to_owned(),
        };
        Some(format!("revocations were not checked {since}, nobody is cut for one: {error}"))
    }

    /// Listens and checks, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(self.listen(), self.check());
    }

    async fn listen(&self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let mut reachable = self.database.reachable();
        let mut failures = 0_u64;
        loop {
            // Nobody drops these as long as we run.
            drop(reachable.wait_for(|reachable| *reachable).await);
            let Ok(store) = self.database.store() else { continue };
            let error = match store.listen_access().await {
                Ok(mut events) => {
                    if failures > 0 {
                        info!(failures, "changes of access are told at once again");
                    }
                    failures = 0;
                    backoff.reset();
                    // What changed before it was listened.
                    self.tell(None);
                    loop {
                        match events.next().await {
                            Ok(host) => self.tell(Some(host)),
                            Err(error) => break error,
                        }
                    }
                }
                Err(error) => error,
            };
            failures += 1;
            if failures == 1 {
                warn!(%error, "cannot be told of revocations at once; they take up to {CHECK:?}");
            } else {
                debug!(%error, failures, "cannot be told of revocations at once");
            }
            sleep(backoff.next(crate::random()).max(FIRST_PAUSE)).await;
        }
    }

    /// A host's access changed, or perhaps anybody's.
    fn tell(&self, host: Option<HostId>) {
        let mut told = lock(&self.told);
        told.hosts.extend(host);
        told.all |= host.is_none() || told.hosts.len() > MAX_TOLD;
        drop(told);
        self.came.notify_one();
    }

    async fn check(&self) {
        let mut checks = interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                _ = checks.tick() => Told { all: true, ..Told::default() },
                () = self.came.notified() => std::mem::take(&mut *lock(&self.told)),
            };
            let Ok(store) = self.database.store() else { continue };
            let of = Some(&told.hosts).filter(|_| !told.all);
            let (at, from) = (self.clock.wall(), self.clock.monotonic());
            let result = self.look(store, &self.registry.sessions(of)).await;
            if told.all && result.is_ok() {
                *lock(&self.checked_from) = Some(from);
            }
            // Of a failure, the next check of all comes soon.
            if told.all || result.is_err() {
                self.found(at, result);
            }
        }
    }

    /// Before something of these is written: ends those that are refused, unless all were looked at
    /// a moment ago.
    ///
    /// # Errors
    /// Where the database does not answer. If only this cannot be asked, nobody is cut.
    pub(crate) async fn ask_where_late(
        &self,
        store: &Store,
        lives: &[Arc<Live>],
    ) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        if lock(&self.checked_from).is_some_and(|from| now.saturating_sub(from) <= LATE) {
            return Ok(());
        }
        let mut lives = lives.to_vec();
        lives.dedup_by(|a, b| Arc::ptr_eq(a, b));
        match expel(store, &lives).await {
            Err(error) if error.is_transient() => Err(error),
            // The regular look tells.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends the sessions that may not go on.
    async fn look(&self, store: &Store, sessions: &[Arc<Live>]) -> Result<(), StoreError> {
        for sessions in sessions.chunks(AT_A_TIME) {
            expel(store, sessions).await?;
            rename(store, sessions).await?;
            let era = self.database.era();
            if let Some(_era) = self.database.hold_era(era).await {
                end_lost(store, sessions.iter().filter(|live| live.newcomer.era == era)).await?;
            }
        }
        Ok(())
    }

    /// Says in the log when it makes a difference.
    fn found(&self, at: UnixMicros, result: Result<(), StoreError>) {
        let error = result.err().map(|error| error.to_string());
        let before = std::mem::replace(&mut *lock(&self.failing), error.clone());
        match error {
            None => self.checked_at.store(at.0, Ordering::Relaxed),
            Some(error) if before.is_none() => {
                warn!(error, "cannot check revocations: nobody is cut for one until that works");
                return;
            }
            Some(_) => return,
        }
        if before.is_some() {
            info!("revocations are checked again");
        }
    }
}

/// Ends the sessions of those that are refused.
async fn expel(store: &Store, sessions: &[Arc<Live>]) -> Result<(), StoreError> {
    let (asked, lives): (Vec<(HostName, Presented)>, Vec<_>) = sessions
        .iter()
        .filter_map(|live| {
            let newcomer = &live.newcomer;
            Some(((newcomer.name.clone(), presented(&newcomer.visit.peer)?), live))
        })
        .unzip();
    for (place, refusal) in store.refused_among(&asked).await? {
        if let Some(live) = lives.get(place) {
            live.newcomer.visit.expel(&refusal.to_string());
        }
    }
    Ok(())
}

/// Calls hosts by their present names.
async fn rename(store: &Store, lives: &[Arc<Live>]) -> Result<(), StoreError> {
    let certified: Vec<_> = lives.iter().map(|live| live.newcomer.name.clone()).collect();
    let renamed: HashMap<_, _> = store.renamed_among(&certified).await?.into_iter().collect();
    for (place, (live, certified)) in lives.iter().zip(&certified).enumerate() {
        // Who has its former name again has no other one.
        let name = renamed.get(&place).unwrap_or(certified);
        if let Some(before) = live.called(name) {
            info!(host = %name, %before, "a connected host has another name");
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
