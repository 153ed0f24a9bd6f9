//! The one task that writes what all streams receive.
//!
//! It groups records of all streams into one transaction: at most `flush_rows`, or what has come
//! within `flush_after` of the first, in the order that [`super::lanes`] decides. After COMMIT it
//! tells each stream up to where. When the database fails it tries the same records again, without
//! an end; meanwhile the bounded queue fills, streams stop reading, and HTTP/2 flow control stops
//! the agents, which spool.
//!
//! A stream that ends takes nothing back: what is in the queue is written all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Body;
use rowcall_store::{Committed, Error, Incoming, Kind};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::lanes::Pending;
use super::queue::Intake;
use crate::CommittedSample;
use crate::database::{Database, Finder};
use crate::registry::{End, Live};

/// Pauses between tries, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the writer did since the start.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) samples: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    /// Records given up at a shutdown, because the database did not take them.
    pub(crate) uncommitted: AtomicU64,
    /// Wall clock; `i64::MIN` for never.
    last_commit: AtomicI64,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            samples: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            uncommitted: AtomicU64::new(0),
            last_commit: AtomicI64::new(i64::MIN),
        })
    }

    pub(crate) fn last_commit(&self) -> Option<UnixMicros> {
        let at = self.last_commit.load(Ordering::Relaxed);
        (at != i64::MIN).then_some(UnixMicros(at))
    }
}

/// The task's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) database: Arc<Database>,
    pub(crate) clock: SharedClock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) observers: broadcast::Sender<CommittedSample>,
    pub(crate) flush_rows: usize,
    pub(crate) flush_after: Duration,
    /// A shutdown has begun: what cannot be written at once is given back.
    pub(crate) draining: CancellationToken,
    /// All streams have ended: write what is queued, then end.
    pub(crate) finish: CancellationToken,
}

impl Writer {
    pub(crate) async fn run(self, queue: Intake) {
        // What did not fit into a flush has waited long enough.
        let mut left_over = false;
        loop {
            if !left_over {
                tokio::select! {
                    biased;
                    () = queue.filled(1) => {}
                    () = self.finish.cancelled() => return,
                }
                // Late is fine: what is there is written.
                drop(timeout(self.flush_after, queue.filled(self.flush_rows)).await);
            }
            let pending = queue.take(self.flush_rows);
            left_over = queue.waiting() > 0;
            self.flush(pending).await;
        }
    }

    async fn flush(&self, pending: Vec<Pending>) {
        let (mut lives, mut records) = (Vec::new(), Vec::new());
        for Pending { live, incoming } in pending {
            // Its stream was told to end; whatever it sent comes again on another one.
            if live.progress().end == Some(End::Superseded) {
                continue;
            }
            lives.push(live);
            records.push(incoming);
        }
        if records.is_empty() {
            return;
        }
        let Some(committed) = self.commit(&records).await else {
            let given_up = u64::try_from(records.len()).unwrap_or(u64::MAX);
            self.counters.uncommitted.fetch_add(given_up, Ordering::Relaxed);
            lives.iter().for_each(|live| live.end(End::Uncommitted));
            return;
        };
        self.counters.samples.fetch_add(committed.samples, Ordering::Relaxed);
        self.counters.duplicates.fetch_add(committed.duplicates, Ordering::Relaxed);
        self.counters.quarantined.fetch_add(committed.quarantined, Ordering::Relaxed);
        self.counters.last_commit.store(self.clock.wall().0, Ordering::Relaxed);
        self.tell(lives, records, &committed);
    }

    /// Tries until the records are committed; none when a shutdown does not wait for that.
    async fn commit(&self, records: &[Incoming]) -> Option<Committed> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let started = self.clock.monotonic();
        let mut failures = 0_u64;
        loop {
            let result = match self.database.store() {
                Ok(store) => store.ingest(records).await,
                // Streams are welcomed by the store, so it is there.
                Err(_) => return None,
            };
            let error = match result {
                Ok(committed) => {
                    self.database.found(Finder::Writer, None);
                    if failures > 0 {
                        let after = self.clock.monotonic().saturating_sub(started);
                        info!(failures, ?after, rows = records.len(), "rows are committed at last");
                    }
                    return Some(committed);
                }
                Err(error) => error,
            };
            failures += 1;
            self.report(&error, failures, records.len());
            self.database.found(Finder::Writer, Some(error.to_string()));
            if self.draining.is_cancelled() {
                warn!(
                    rows = records.len(),
                    "shutting down with rows uncommitted; an agent that lives sends them again"
                );
                return None;
            }
            let pause = backoff.next(crate::random()).max(FIRST_PAUSE / 5);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.draining.cancelled() => {}
            }
        }
    }

    /// A database that is away comes back by itself; anything else needs somebody.
    fn report(&self, error: &Error, failures: u64, rows: usize) {
        let heals = error.is_transient() || error.kind() == Kind::MissingPartition;
        // Once per spell of failures, then every few minutes.
        if failures != 1 && !failures.is_multiple_of(64) {
            debug!(%error, failures, rows, "cannot commit, trying again");
        } else if heals {
            warn!(%error, failures, rows, "cannot commit, trying again");
        } else {
            error!(%error, failures, rows, "cannot commit until this is corrected, trying again");
        }
    }

    fn tell(&self, lives: Vec<Arc<Live>>, records: Vec<Incoming>, committed: &Committed) {
        let observed = self.observers.receiver_count() > 0;
        let mut lives = lives.into_iter().zip(records).peekable();
        while let Some((live, incoming)) = lives.next() {
            let gone = committed
                .superseded
                .iter()
                .any(|(host, epoch)| (*host, *epoch) == (incoming.host_id, incoming.epoch_id));
            if gone {
                live.end(End::Superseded);
                continue;
            }
            if matches!(incoming.record.body, Body::Sample(_)) {
                live.sampled(incoming.record.time);
            }
            // One word for a run of records of the same stream.
            if lives.peek().is_none_or(|(next, _)| !Arc::ptr_eq(next, &live)) {
                live.committed(incoming.record.through());
            }
            if observed {
                let host_name = live.newcomer.name.clone();
                // Nobody listens any more: fine.
                drop(self.observers.send(CommittedSample { host_name, record: incoming.record }));
            }
        }
    }
}
