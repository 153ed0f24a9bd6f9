//! The database as the services see it: there or not yet there, taking writes or not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_store::{Error as StoreError, Kind, Settings, Store};
use tokio::sync::{
    Notify, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit, watch,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tracing::{info, warn};

use crate::Error;

/// Pauses between tries to reach a database that is not there, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A transaction that takes longer keeps all others waiting, as behind a lock. The time-out of a
/// statement comes later.
const SLOW: Duration = Duration::from_secs(5);
/// How often it is said anew for how long.
const SLOW_AGAIN: Duration = Duration::from_secs(1);

/// Who found a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finder {
    /// The writer, whose work it holds up.
    Writer,
    /// The writer, of a try that isn't over.
    Try,
    /// The regular look.
    Look,
}

#[derive(Debug, Default)]
struct Faults {
    writer: Option<String>,
    /// The writer's present try takes long.
    slow: Option<String>,
    look: Option<String>,
}

impl Faults {
    fn first(&self) -> Option<&String> {
        self.writer.as_ref().or(self.slow.as_ref()).or(self.look.as_ref())
    }
}

/// A handle on the one database. Shared.
///
/// Hosts and epochs have numbers only within one life of its schema, an era. Whoever uses such
/// numbers holds the era meanwhile and checks that it is still the one that they are from.
#[derive(Debug)]
pub(crate) struct Database {
    store: OnceLock<Store>,
    faults: Mutex<Faults>,
    reachable: watch::Sender<bool>,
    era: AtomicU64,
    era_in_use: RwLock<()>,
    /// That the database went back in time: what was said of it, and in which era.
    went_back: Mutex<Option<(u64, String)>>,
    doubted: Notify,
    /// One at a time, on a connection that the pool has for it beyond those of the settings.
    aside: Semaphore,
}

/// Nobody uses numbers of hosts while this is held.
#[derive(Debug)]
pub(crate) struct ClosedEra<'a> {
    era: &'a AtomicU64,
    _alone: RwLockWriteGuard<'a, ()>,
}

impl ClosedEra<'_> {
    /// From here on the numbers of before mean nothing any more.
    pub(crate) fn end(&self) {
        self.era.fetch_add(1, Ordering::Relaxed);
    }
}

impl Database {
    pub(crate) fn new() -> Arc<Self> {
        let faults = Faults { look: Some("not connected yet".into()), ..Faults::default() };
        let (reachable, _) = watch::channel(false);
        Arc::new(Self {
            store: OnceLock::new(),
            faults: Mutex::new(faults),
            reachable,
            era: AtomicU64::new(0),
            era_in_use: RwLock::new(()),
            went_back: Mutex::default(),
            doubted: Notify::new(),
            aside: Semaphore::new(1),
        })
    }

    /// The era now. It stays while the guard of [`Self::hold_era`] is held.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    /// For work with numbers of hosts. None: they are of another era.
    pub(crate) async fn hold_era(&self, era: u64) -> Option<RwLockReadGuard<'_, ()>> {
        let held = self.era_in_use.read().await;
        (self.era() == era).then_some(held)
    }

    /// Waits until nobody uses numbers of hosts.
    pub(crate) async fn close_era(&self) -> ClosedEra<'_> {
        ClosedEra { _alone: self.era_in_use.write().await, era: &self.era }
    }

    /// What the database said of work in this era may mean that it is not what it was: it misses a
    /// table, or what it had committed.
    pub(crate) fn doubt(&self, error: &StoreError, era: u64) {
        match error.kind() {
            Kind::WentBack => {
                *self.went_back.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((era, error.to_string()));
            }
            Kind::Schema => {}
            _ => return,
        }
        self.doubted.notify_one();
    }

    /// Waits until somebody has such doubts.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// What was said of a database that went back in time, once and in this era only: who found it
    /// before the era ended found the same.
    pub(crate) fn take_went_back(&self) -> Option<String> {
        let found = self.went_back.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.filter(|(era, _)| *era == self.era()).map(|(_, said)| said)
    }

    /// A turn for small work beside what agents send: it neither waits for the connections of
    /// that, nor takes them.
    pub(crate) async fn aside(&self) -> SemaphorePermit<'_> {
        self.aside.acquire().await.expect("nobody closes the semaphore")
    }

    /// The store; UNAVAILABLE until the database was there once.
    pub(crate) fn store(&self) -> Result<&Store, Status> {
        self.store.get().ok_or_else(|| {
            Status::unavailable(self.error().unwrap_or_else(|| "not connected yet".to_owned()))
        })
    }

    /// Why it takes no writes now, if it doesn't.
    pub(crate) fn error(&self) -> Option<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.first().cloned()
    }

    /// Records what somebody found. Says so in the log when it makes a difference.
    pub(crate) fn found(&self, finder: Finder, fault: Option<String>) {
        let (was, is) = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let was = faults.first().is_none();
            match finder {
                Finder::Writer => faults.writer.clone_from(&fault),
                Finder::Try => faults.slow.clone_from(&fault),
                Finder::Look => faults.look.clone_from(&fault),
            }
            if finder == Finder::Writer {
                faults.slow = None;
            }
            // A commit is the best sign of life there is.
            if finder == Finder::Writer && fault.is_none() {
                faults.look = None;
            }
            (was, faults.first().is_none())
        };
        if was && let Some(error) = fault {
            warn!(error, "the database takes no writes; agents keep their samples");
        } else if is && !was {
            info!("the database takes writes");
        }
        self.reachable.send_if_modified(|reachable| std::mem::replace(reachable, is) != is);
    }

    /// Does the writer's work, and says so where it takes long. The fault ends with what the
    /// writer finds next.
    pub(crate) async fn trying<F: Future + Unpin>(&self, mut work: F) -> F::Output {
        let started = Instant::now();
        let mut patience = SLOW;
        loop {
            if let Ok(done) = timeout(patience, &mut work).await {
                return done;
            }
            patience = SLOW_AGAIN;
            let waited = started.elapsed().as_secs();
            let fault = format!(
                "a transaction has been waiting for {waited} s; does something hold a lock on the \
                 tables, or do commits hang?"
            );
            self.found(Finder::Try, Some(fault));
        }
    }

    /// Whether it takes writes, to wait for changes.
    pub(crate) fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    /// Connects, migrates and makes today's partitions; waits for a database that is not there
    /// yet, without an end.
    ///
    /// # Errors
    /// What waiting does not cure: settings, rights, a schema that doesn't fit.
    pub(crate) async fn open(&self, settings: &Settings, migrate: bool) -> Result<(), Error> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        loop {
            let error = match prepare(settings, migrate).await {
                Ok(store) => {
                    self.store.get_or_init(|| store);
                    self.found(Finder::Look, None);
                    return Ok(());
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(Error::Database(error)),
            };
            let pause = backoff.next(crate::random()).max(FIRST_PAUSE);
            warn!(%error, ?pause, "waiting for the database");
            self.found(Finder::Look, Some(error.to_string()));
            sleep(pause).await;
        }
    }
}

async fn prepare(settings: &Settings, migrate: bool) -> Result<Store, rowcall_store::Error> {
    let store = Store::connect(settings).await?;
    if migrate {
        let migration = store.migrate().await?;
        info!(from = migration.from, to = migration.to, "schema is up to date");
    } else {
        store.check_schema().await?;
    }
    store.ensure_partitions().await?;
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writers_fault_outlives_a_good_look_and_a_commit_ends_both() {
        let database = Database::new();
        let reachable = database.reachable();
        assert_eq!(database.error().as_deref(), Some("not connected yet"));
        database.found(Finder::Look, None);
        assert!(*reachable.borrow());
        database.found(Finder::Writer, Some("read-only".into()));
        database.found(Finder::Look, None);
        assert_eq!(database.error().as_deref(), Some("read-only"));
        assert!(!*reachable.borrow());
        database.found(Finder::Look, Some("gone".into()));
        database.found(Finder::Writer, None);
        assert_eq!(database.error(), None);
        assert!(*reachable.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_takes_long_is_a_fault_until_the_writer_finds_something() {
        let database = Database::new();
        database.found(Finder::Look, None);
        assert_eq!(database.trying(Box::pin(sleep(SLOW / 2))).await, ());
        assert_eq!(database.error(), None);
        let reachable = database.reachable();
        let (mut trying, over) = {
            let (database, (sender, over)) =
                (Arc::clone(&database), tokio::sync::oneshot::channel::<()>());
            (tokio::spawn(async move { database.trying(over).await }), sender)
        };
        assert!(timeout(SLOW * 2, &mut trying).await.is_err());
        let error = database.error().unwrap();
        assert!(error.starts_with("a transaction has been waiting for 9 s"), "{error}");
        // A look says that it answers, which is no commit.
        database.found(Finder::Look, None);
        assert!(!*reachable.borrow());
        over.send(()).unwrap();
        trying.await.unwrap().unwrap();
        database.found(Finder::Writer, None);
        assert!(*reachable.borrow());
        assert_eq!(database.error(), None);
    }

    #[test]
    fn without_a_connection_yet_services_are_unavailable_with_the_reason() {
        let database = Database::new();
        database.found(Finder::Look, Some("cannot reach it".into()));
        let status = database.store().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "cannot reach it");
    }
}
