//! When this process could receive and commit: `rowcall.aggregator_span`.
//!
//! A stretch without such a span is *unobserved* in the reports, and nobody's silence. So the span
//! grows only while the database takes writes as far as anybody here knows, and a sign of life that
//! fails harms nothing but itself: a stretch that no process covered for over a minute is a hole.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::id::RunId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::database::Database;
use crate::metrics::Meters;

/// Time between two signs of life while nothing is committed: three fit into the 60 s after which
/// a span counts as ended, so one may fail.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// A commit moves the span's end where that is older than this: so a crash hides at most so much,
/// and a busy fleet costs one small update in this time and not one for each commit.
const AFTER_COMMIT: Duration = Duration::from_secs(5);

/// After a failure the next try is no sooner than this.
const RETRY: Duration = Duration::from_secs(2);

/// Another aggregator gives a host's session to another process of its agent 60 s after our last sign
/// of life. From so long after it on, it may have done so.
const IN_DOUBT: Duration = Duration::from_secs(45);

/// Tries to say at the end that it is on purpose.
const CLOSING_TRIES: u32 = 3;

/// What keeps the span.
#[derive(Debug)]
pub(crate) struct Spans {
    pub(crate) database: Arc<Database>,
    pub(crate) meters: Arc<Meters>,
    /// This aggregator, for people.
    pub(crate) name: String,
    /// This process.
    pub(crate) run: RunId,
    /// Changes with every commit.
    pub(crate) commits: watch::Receiver<()>,
    /// When the last sign of life that succeeded was begun.
    pub(crate) extended: Mutex<Option<Instant>>,
}

impl Spans {
    /// Keeps it until it is dropped.
    pub(crate) async fn keep(&self) {
        let (mut commits, mut reachable) = (self.commits.clone(), self.database.reachable());
        let mut failures = 0_u64;
        loop {
            // Nobody drops these as long as we run.
            drop(reachable.wait_for(|reachable| *reachable).await);
            commits.mark_unchanged();
            let beat = self.beat(false).await;
            self.meters.heartbeat(beat.is_ok());
            let at = Instant::now();
            match beat {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "the aggregator's span is extended again");
                    }
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(
                            %error,
                            "cannot extend this aggregator's span: reports will call this time unobserved"
                        );
                    } else {
                        debug!(%error, failures, "cannot extend this aggregator's span");
                    }
                    sleep_until(at + RETRY).await;
                    continue;
                }
            }
            let committed = async {
                sleep_until(at + AFTER_COMMIT).await;
                drop(commits.changed().await);
            };
            tokio::select! {
                () = committed => {}
                () = sleep_until(at + HEARTBEAT) => {}
            }
        }
    }

    /// Says that the process ends on purpose, within `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        let mut error = "the deadline came first".to_owned();
        // The connection may be one on which work that was cut off still stands before a lock;
        // given back, another one is next.
        for _ in 0..CLOSING_TRIES {
            match timeout(limit / CLOSING_TRIES, self.beat(true)).await {
                Ok(Ok(())) => return,
                Ok(Err(said)) => error = said.to_string(),
                Err(_) => {}
            }
        }
        warn!(error, "not recorded that this aggregator stopped on purpose");
    }

    /// Whether another aggregator may have taken this one for gone.
    pub(crate) fn in_doubt(&self) -> bool {
        let extended = self.extended.lock().unwrap_or_else(PoisonError::into_inner);
        extended.is_none_or(|at| at.elapsed() > IN_DOUBT)
    }

    async fn beat(&self, stopping: bool) -> Result<(), rowcall_store::Error> {
        let Ok(store) = self.database.store() else { return Ok(()) };
        let (era, at) = (self.database.era(), Instant::now());
        let _turn = self.database.aside().await;
        let result = store.observed(&self.name, self.run, stopping).await;
        result.inspect_err(|error| self.database.doubt(error, era))?;
        *self.extended.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        Ok(())
    }
}
