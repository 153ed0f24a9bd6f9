//! The database as the services see it: there or not yet there, taking writes or not.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_store::{Settings, Store};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Status;
use tracing::{info, warn};

use crate::Error;

/// Pauses between tries to reach a database that is not there, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who found a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finder {
    /// The writer, whose work it holds up.
    Writer,
    /// The regular look.
    Look,
}

#[derive(Debug, Default)]
struct Faults {
    writer: Option<String>,
    look: Option<String>,
}

/// A handle on the one database. Shared.
#[derive(Debug)]
pub(crate) struct Database {
    store: OnceLock<Store>,
    faults: Mutex<Faults>,
    reachable: watch::Sender<bool>,
}

impl Database {
    pub(crate) fn new() -> Arc<Self> {
        let faults = Faults { look: Some("not connected yet".into()), ..Faults::default() };
        let (reachable, _) = watch::channel(false);
        Arc::new(Self { store: OnceLock::new(), faults: Mutex::new(faults), reachable })
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
        faults.writer.clone().or_else(|| faults.look.clone())
    }

    /// Records what somebody found. Says so in the log when it makes a difference.
    pub(crate) fn found(&self, finder: Finder, fault: Option<String>) {
        let (was, is) = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let was = faults.writer.is_none() && faults.look.is_none();
            if finder == Finder::Writer {
                faults.writer.clone_from(&fault);
            } else {
                faults.look.clone_from(&fault);
            }
            // A commit is the best sign of life there is.
            if finder == Finder::Writer && fault.is_none() {
                faults.look = None;
            }
            (was, faults.writer.is_none() && faults.look.is_none())
        };
        if was && let Some(error) = fault {
            warn!(error, "the database takes no writes; agents keep their samples");
        } else if is && !was {
            info!("the database takes writes");
        }
        self.reachable.send_if_modified(|reachable| std::mem::replace(reachable, is) != is);
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

    #[test]
    fn without_a_connection_yet_services_are_unavailable_with_the_reason() {
        let database = Database::new();
        database.found(Finder::Look, Some("cannot reach it".into()));
        let status = database.store().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.message(), "cannot reach it");
    }
}
