//! The one task that writes what all streams receive.
//!
//! It groups records of all streams into one transaction: at most `flush_rows`, or what has come
//! within `flush_after` of the first. After COMMIT it tells each stream up to where. When the
//! database fails it tries the same records again, without an end; meanwhile the bounded queue
//! fills, streams stop reading, and HTTP/2 flow control stops the agents, which spool.
//!
//! A stream that ends takes nothing back: what is in the queue is written all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostId, UnixMicros};
use rowcall_core::record::{Body, Record};
use rowcall_store::{Committed, EpochId, Error, Incoming, Kind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::CommittedSample;
use crate::database::{Database, Finder};
use crate::registry::{End, Live};

/// Most records that wait to be written, over all streams.
pub const QUEUE_RECORDS: usize = 16_384;

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

/// A batch of one stream.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) live: Arc<Live>,
    pub(crate) host: HostId,
    pub(crate) epoch: EpochId,
    pub(crate) records: Vec<Record>,
    room: OwnedSemaphorePermit,
}

/// The streams' end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
}

impl Queue {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Work>) {
        let (sender, receiver) = mpsc::channel(QUEUE_RECORDS);
        (Self { sender, room: Arc::new(Semaphore::new(QUEUE_RECORDS)) }, receiver)
    }

    /// Waits for room for that many records. A batch larger than the whole queue gets all of it.
    pub(crate) async fn reserve(&self, records: usize) -> OwnedSemaphorePermit {
        let records = u32::try_from(records.clamp(1, QUEUE_RECORDS)).unwrap_or(u32::MAX);
        Arc::clone(&self.room)
            .acquire_many_owned(records)
            .await
            .expect("nobody closes the semaphore")
    }

    /// Queues a batch into reserved room. False: the writer is gone.
    pub(crate) fn put(
        &self,
        room: OwnedSemaphorePermit,
        live: &Arc<Live>,
        (host, epoch): (HostId, EpochId),
        records: Vec<Record>,
    ) -> bool {
        let work = Work { live: Arc::clone(live), host, epoch, records, room };
        // Each batch holds room for at least one record, so the channel is never full.
        self.sender.try_send(work).is_ok()
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

/// A record that waits, with what its stream must be told.
struct Pending {
    live: Arc<Live>,
    incoming: Incoming,
    /// With the last record of a batch.
    room: Option<OwnedSemaphorePermit>,
}

impl Writer {
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Work>) {
        let mut pending = VecDeque::new();
        loop {
            if pending.is_empty() {
                let first = tokio::select! {
                    biased;
                    work = queue.recv() => work,
                    () = self.finish.cancelled() => None,
                };
                let Some(work) = first else { return };
                unpack(work, &mut pending);
                let deadline = Instant::now() + self.flush_after;
                while pending.len() < self.flush_rows {
                    match timeout_at(deadline, queue.recv()).await {
                        Ok(Some(work)) => unpack(work, &mut pending),
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            // What came while the last transaction ran has waited long enough.
            while pending.len() < self.flush_rows
                && let Ok(work) = queue.try_recv()
            {
                unpack(work, &mut pending);
            }
            let rows = pending.len().min(self.flush_rows);
            self.flush(pending.drain(..rows).collect()).await;
        }
    }

    async fn flush(&self, pending: Vec<Pending>) {
        let (mut lives, mut rooms, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for Pending { live, incoming, room } in pending {
            // Its stream was told to end; whatever it sent comes again on another one.
            if live.progress().end == Some(End::Superseded) {
                continue;
            }
            lives.push(live);
            rooms.extend(room);
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

fn unpack(work: Work, pending: &mut VecDeque<Pending>) {
    let Work { live, host, epoch, records, room } = work;
    let mut room = Some(room);
    let last = records.len().saturating_sub(1);
    for (index, record) in records.into_iter().enumerate() {
        pending.push_back(Pending {
            live: Arc::clone(&live),
            incoming: Incoming { host_id: host, epoch_id: epoch, record },
            room: if index == last { room.take() } else { None },
        });
    }
}
