//! Changes that were refused before they reached the database: `rowcall.audit` gets them too.
//!
//! What reaches the database is recorded there, in the transaction of the change. What is refused
//! here waits in memory until the database has taken it. Bounded: [`MAX_WAITING`] wait, and of one
//! name's refusals a burst is recorded and then one now and then; the rest is counted and logged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::convert::clean_text;
use rowcall_core::throttle::Throttle;
use rowcall_store::Kind;
use rowcall_store::access::Actor;
use rowcall_tls::accept::PeerInfo;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::database::Database;
use crate::telemetry::Pace;

/// Most refusals that wait for the database.
const MAX_WAITING: usize = 1_024;

/// Pauses between tries, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A change that was refused.
#[derive(Clone, Debug)]
struct Refused {
    actor: Actor,
    action: &'static str,
    target: String,
    why: String,
}

/// All that wait. Shared.
#[derive(Debug)]
pub(crate) struct Audit {
    database: Arc<Database>,
    clock: SharedClock,
    /// This aggregator, for people.
    name: String,
    pace: Pace,
    waiting: Mutex<VecDeque<Refused>>,
    left_out: Mutex<Throttle>,
    came: Notify,
}

impl Audit {
    pub(crate) fn new(database: Arc<Database>, clock: SharedClock, name: String) -> Arc<Self> {
        Arc::new(Self {
            database,
            pace: Pace::new(Arc::clone(&clock)),
            clock,
            name,
            waiting: Mutex::default(),
            left_out: Mutex::default(),
            came: Notify::new(),
        })
    }

    /// Who does what this peer asks for. None: its certificate names nobody.
    pub(crate) fn actor(&self, peer: &PeerInfo) -> Option<Actor> {
        let identity = peer.identity.as_ref().ok()?;
        Some(Actor {
            identity: identity.to_string(),
            peer: peer.address.to_string(),
            aggregator: self.name.clone(),
        })
    }

    /// A peer was refused a change. Whose certificate names nobody is only counted and logged, where
    /// it is refused.
    pub(crate) fn refused(&self, peer: &PeerInfo, action: &'static str, target: &str, why: &str) {
        let (Ok(identity), Some(actor)) = (&peer.identity, self.actor(peer)) else { return };
        let mut waiting = lock(&self.waiting);
        if waiting.len() < MAX_WAITING && self.pace.open(&identity.name).is_ok() {
            let clean = |text| clean_text(text).unwrap_or_default();
            let (target, why) = (clean(target), clean(why));
            waiting.push_back(Refused { actor, action, target, why });
            drop(waiting);
            self.came.notify_one();
        } else if let Some(held_back) = lock(&self.left_out).happened(self.clock.monotonic()) {
            warn!(%identity, action, held_back, "too many refused changes: not in rowcall.audit");
        }
    }

    /// Tells the database, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let mut failures = 0_u64;
        loop {
            let came = self.came.notified();
            match self.tell_all().await {
                Ok(()) => {
                    failures = 0;
                    backoff.reset();
                    came.await;
                }
                Err(error) => {
                    failures += 1;
                    let waiting = lock(&self.waiting).len();
                    if failures == 1 {
                        warn!(%error, waiting, "cannot record refused changes, trying again");
                    } else {
                        debug!(%error, waiting, failures, "cannot record refused changes");
                    }
                    sleep(backoff.next(crate::random()).max(FIRST_PAUSE)).await;
                }
            }
        }
    }

    /// At the end of the process: what waits is told within `limit`, or logged.
    pub(crate) async fn last(&self, limit: Duration) {
        let told = timeout(limit, self.tell_all()).await;
        let left = lock(&self.waiting).len();
        if left > 0 {
            let error = told.ok().and_then(Result::err).map(|error| error.to_string());
            warn!(left, error, "these refused changes are not in rowcall.audit");
        }
    }

    /// Tells what waits. An error that does not heal costs what it is about, and no other.
    async fn tell_all(&self) -> Result<(), rowcall_store::Error> {
        // One at a time, so that the one that is told stays the first.
        loop {
            let Some(refused) = lock(&self.waiting).front().cloned() else { return Ok(()) };
            let Ok(store) = self.database.store() else { return Ok(()) };
            let result = {
                let _turn = self.database.aside().await;
                let why = format!("refused: {}", refused.why);
                store.audit(&refused.actor, refused.action, &refused.target, &why, "").await
            };
            match result {
                Err(error) if matches!(error.kind(), Kind::Data | Kind::Internal) => {
                    warn!(%error, action = refused.action, "a refused change is not recorded");
                }
                other => other?,
            }
            lock(&self.waiting).pop_front();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
