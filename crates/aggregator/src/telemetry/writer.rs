//! The one task that writes what all streams receive.
//!
//! It groups records of all streams into one transaction: at most `flush_rows`, or what has come
//! within `flush_after` of the first, in the order that [`super::lanes`] decides. After COMMIT it
//! tells each stream up to where. When the database fails it tries the same records again, without
//! an end; meanwhile the bounded queue fills, streams stop reading, and HTTP/2 flow control stops
//! the agents, which spool.
//!
//! A stream that ends takes nothing back: what is in the queue is written all the same. But nothing
//! of a host that is refused by now, as far as this process knows or could know.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Body;
use rowcall_core::throttle::Throttle;
use rowcall_store::{Committed, Error, Fallen, Incoming, Kind};
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::lanes::Pending;
use super::queue::Intake;
use crate::CommittedSample;
use crate::database::{Database, Finder};
use crate::leases::end_lost;
use crate::metrics::Meters;
use crate::pulse::Pulse;
use crate::registry::{End, Live};
use crate::revocation::Revocation;
use crate::spans::Spans;

/// Pauses between tries, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The time-outs of the store end a try far earlier, also one that looks for a bad row.
const LONGEST_TRY: Duration = Duration::from_secs(3_600);

/// What the writer did since the start.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) samples: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    /// Records of gaps.
    pub(crate) gaps: AtomicU64,
    /// Readings of devices, or parts of one.
    pub(crate) devices: AtomicU64,
    /// Values of drop-in files, which came with them.
    pub(crate) metrics: AtomicU64,
    /// Readings of devices that were too old to store.
    pub(crate) expired: AtomicU64,
    /// Records given up at a shutdown, because the database did not take them.
    pub(crate) uncommitted: AtomicU64,
    /// Wall clock; `i64::MIN` for never.
    last_commit: AtomicI64,
    /// Changes with every commit.
    commits: watch::Sender<()>,
}

impl Counters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            samples: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            devices: AtomicU64::new(0),
            metrics: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            uncommitted: AtomicU64::new(0),
            last_commit: AtomicI64::new(i64::MIN),
            commits: watch::Sender::new(()),
        })
    }

    /// To wait for commits.
    pub(crate) fn commits(&self) -> watch::Receiver<()> {
        self.commits.subscribe()
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
    pub(crate) meters: Arc<Meters>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) spans: Arc<Spans>,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) observers: broadcast::Sender<CommittedSample>,
    pub(crate) flush_rows: usize,
    pub(crate) flush_after: Duration,
    /// For one line of many where the marks of many hosts fell.
    pub(crate) refills_said: Mutex<Throttle>,
    /// A shutdown has begun: what cannot be written at once is given back.
    pub(crate) draining: CancellationToken,
    /// All streams have ended: write what is queued, then end.
    pub(crate) finish: CancellationToken,
}

/// Why records are not committed, and never will be by this process.
enum NotCommitted {
    /// A shutdown does not wait for the database.
    GivenUp,
    /// The database was made anew and does not know their hosts.
    Forgotten,
    /// Sessions of some of them are void: the hosts are refused, or were given to others while this
    /// aggregator was cut off. The rest is to be tried without them.
    Void,
}

impl Writer {
    pub(crate) async fn run(self, queue: Intake) {
        // What did not fit into a flush has waited long enough.
        let mut left_over = false;
        loop {
            if !left_over {
                let work = async {
                    tokio::select! {
                        biased;
                        () = queue.filled(1) => true,
                        () = self.finish.cancelled() => false,
                    }
                };
                if !self.pulse.during(Duration::MAX, work).await {
                    return;
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
        let era = self.database.era();
        let (mut lives, mut records, mut replayed) = (Vec::new(), Vec::new(), 0);
        for Pending { live, incoming, is_late } in pending {
            if live.is_void() || live.newcomer.era != era {
                continue;
            }
            replayed += u64::from(is_late);
            lives.push(live);
            records.push(incoming);
        }
        if records.is_empty() {
            return;
        }
        let committed = loop {
            match self.commit(&lives, &records, era).await {
                Ok(committed) => break committed,
                // Their streams were told to end; agents send all that again.
                Err(NotCommitted::Forgotten) => return,
                Err(NotCommitted::Void) => {
                    let both = lives.into_iter().zip(records);
                    (lives, records) = both.filter(|(live, _)| !live.is_void()).unzip();
                    if records.is_empty() {
                        return;
                    }
                }
                Err(NotCommitted::GivenUp) => {
                    let given_up = u64::try_from(records.len()).unwrap_or(u64::MAX);
                    self.counters.uncommitted.fetch_add(given_up, Ordering::Relaxed);
                    lives.iter().for_each(|live| live.end(End::Uncommitted));
                    return;
                }
            }
        };
        self.counters.samples.fetch_add(committed.samples, Ordering::Relaxed);
        self.counters.duplicates.fetch_add(committed.duplicates, Ordering::Relaxed);
        self.counters.quarantined.fetch_add(committed.quarantined, Ordering::Relaxed);
        self.counters.gaps.fetch_add(committed.gaps, Ordering::Relaxed);
        self.counters.devices.fetch_add(committed.device_rows, Ordering::Relaxed);
        self.counters.metrics.fetch_add(committed.metric_rows, Ordering::Relaxed);
        self.counters.expired.fetch_add(committed.expired, Ordering::Relaxed);
        self.meters.replayed(replayed);
        self.counters.last_commit.store(self.clock.wall().0, Ordering::Relaxed);
        self.counters.commits.send_replace(());
        self.tell(lives, records, &committed);
    }

    /// Tries until the records are committed, or cannot be.
    async fn commit(
        &self,
        lives: &[Arc<Live>],
        records: &[Incoming],
        era: u64,
    ) -> Result<Committed, NotCommitted> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE)
            .expect("the first pause is shorter than the longest");
        let started = self.clock.monotonic();
        let mut failures = 0_u64;
        loop {
            // Streams are welcomed by the store, so it is there.
            let Ok(store) = self.database.store() else { return Err(NotCommitted::GivenUp) };
            let Some(held) = self.database.hold_era(era).await else {
                self.database.found(Finder::Writer, None);
                return Err(NotCommitted::Forgotten);
            };
            let tried_at = self.clock.monotonic();
            let work = async {
                if self.spans.in_doubt() {
                    end_lost(store, lives.iter()).await?;
                }
                self.revocation.ask_where_late(store, lives).await?;
                if lives.iter().any(|live| live.is_void()) {
                    return Ok(None);
                }
                store.ingest(records).await.map(Some)
            };
            let try_once = self.database.trying(Box::pin(work));
            let result = self.pulse.during(LONGEST_TRY, try_once).await;
            drop(held);
            let error = match result {
                Ok(None) => return Err(NotCommitted::Void),
                Ok(Some(committed)) => {
                    self.database.found(Finder::Writer, None);
                    self.meters.committed(self.clock.monotonic().saturating_sub(tried_at));
                    if failures > 0 {
                        let after = self.clock.monotonic().saturating_sub(started);
                        info!(failures, ?after, rows = records.len(), "rows are committed at last");
                    }
                    return Ok(committed);
                }
                Err(error) => error,
            };
            failures += 1;
            self.meters.commit_failed();
            self.database.doubt(&error, era);
            // Of that the upkeep task speaks: the era ends, and with it these records.
            if error.kind() != Kind::WentBack {
                self.report(&error, failures, records.len());
                self.database.found(Finder::Writer, Some(error.to_string()));
            }
            if self.draining.is_cancelled() {
                warn!(
                    rows = records.len(),
                    "shutting down with rows uncommitted; an agent that lives sends them again"
                );
                return Err(NotCommitted::GivenUp);
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
            let key = (incoming.host_id, incoming.epoch_id);
            if committed.superseded.contains(&key) {
                live.end(End::Superseded);
                continue;
            }
            let fallen = |fallen: &&Fallen| (fallen.host_id, fallen.epoch_id) == key;
            if let Some(fallen) = committed.fallen.iter().find(fallen) {
                self.refill(&live, *fallen);
                continue;
            }
            if matches!(incoming.record.body, Body::Sample(_)) {
                live.sampled(incoming.record.time);
            }
            // One word for a run of records of the same stream.
            if lives.peek().is_none_or(|(next, _)| !Arc::ptr_eq(next, &live)) {
                live.committed(incoming.record.through(), incoming.record.due_ticks);
            }
            if observed {
                let host_name = live.name();
                // Nobody listens any more: fine.
                drop(self.observers.send(CommittedSample { host_name, record: incoming.record }));
            }
        }
    }

    /// Has an agent send again what the database lost.
    fn refill(&self, live: &Live, fallen: Fallen) {
        let first = live.progress().end.is_none();
        live.end(End::Refill);
        if !first {
            return;
        }
        let mut said = self.refills_said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held_back) = said.happened(self.clock.monotonic()) {
            let (host, from, to) = (live.name(), fallen.from, fallen.to);
            warn!(
                held_back,
                "host {host}: the database's mark fell from {from} to {to} (a restore or \
                 failover?); its agent sends again"
            );
        }
    }
}
