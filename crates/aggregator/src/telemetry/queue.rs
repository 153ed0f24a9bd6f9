//! Between the streams and the writer: bounded for each stream and in all, and fair.
//!
//! A stream has at most [`SHARE_RECORDS`] queued, all streams [`QUEUE_RECORDS`]; whoever finds no
//! room waits with one batch, in the order of asking, and is not read from. A small batch of a
//! stream that has next to nothing queued needs no room of the common queue: so a live sample never
//! waits behind other hosts' backlogs. That adds at most [`SMALL_RECORDS`] for each stream.
//!
//! A batch takes memory as soon as it is read. So of the streams that have a backlog only
//! [`BACKLOG_TURNS`] are read at a time, whatever number comes back after an outage.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rowcall_core::id::{HostId, UnixMicros};
use rowcall_core::record::Record;
use rowcall_store::EpochId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::lanes::{Batch, Lanes, Pending};
use crate::registry::Live;

/// Most records that wait to be written, over all streams, small batches of live samples aside.
pub const QUEUE_RECORDS: usize = 16_384;

/// Most records of one stream that wait to be written: two batches, so that one is there when the
/// other is taken.
pub(crate) const SHARE_RECORDS: usize = 8_192;

/// A batch of up to so many records is live, not backlog.
pub(crate) const SMALL_RECORDS: usize = 16;

/// Streams with a backlog that are read at a time; each holds one batch of at most 256 KiB, some
/// times as much once decoded.
pub(crate) const BACKLOG_TURNS: usize = 64;

/// Room in the queue, given back when the writer takes what it is for.
#[derive(Debug)]
pub(crate) struct Room {
    _share: OwnedSemaphorePermit,
    _queue: Option<OwnedSemaphorePermit>,
}

/// A stream's turn to read a batch of its backlog, given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held for its end")] OwnedSemaphorePermit);

#[derive(Debug)]
struct Inner {
    waiting: Mutex<Waiting>,
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lanes: Lanes<Room>,
    /// The writer is gone.
    closed: bool,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The streams' end.
#[derive(Clone, Debug)]
pub(crate) struct Queue(Arc<Inner>);

impl Queue {
    pub(crate) fn new() -> (Self, Intake) {
        let inner = Arc::new(Inner {
            waiting: Mutex::default(),
            room: Arc::new(Semaphore::new(QUEUE_RECORDS)),
            turns: Arc::new(Semaphore::new(BACKLOG_TURNS)),
            arrived: Notify::new(),
        });
        (Self(Arc::clone(&inner)), Intake(inner))
    }

    /// A stream's place at the queue.
    pub(crate) fn outlet(&self, live: Arc<Live>, host: HostId, epoch: EpochId) -> Outlet {
        let share = Arc::new(Semaphore::new(SHARE_RECORDS));
        Outlet { queue: self.clone(), share, live, host, epoch }
    }

    /// Waits for the turn to read a batch of a backlog. Keep the future, as with
    /// [`Outlet::reserve`].
    pub(crate) fn turn(&self) -> impl Future<Output = Turn> + Send + 'static {
        let turns = Arc::clone(&self.0.turns);
        async move { Turn(turns.acquire_owned().await.expect("nobody closes the semaphores")) }
    }

    /// Records that wait, for metrics.
    pub(crate) fn records(&self) -> usize {
        self.0.lock().lanes.records()
    }

    /// Takes all turns that there are, for tests of who waits for one.
    #[cfg(test)]
    pub(crate) async fn take_turns(&self) -> Vec<Turn> {
        let mut taken = Vec::new();
        for _ in 0..BACKLOG_TURNS {
            taken.push(self.turn().await);
        }
        taken
    }

    /// Takes all room that there is, for tests of what a full queue does.
    #[cfg(test)]
    pub(crate) async fn fill(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(QUEUE_RECORDS).unwrap();
        Arc::clone(&self.0.room).acquire_many_owned(all).await.unwrap()
    }
}

/// A batch as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) records: Vec<Record>,
    /// What the agent told with it of how many ticks were due.
    pub(crate) told_due: Option<i64>,
    /// By our clock.
    pub(crate) at: UnixMicros,
}

/// One stream's place at the queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: Queue,
    share: Arc<Semaphore>,
    live: Arc<Live>,
    host: HostId,
    epoch: EpochId,
}

impl Outlet {
    /// Waits for room for that many records. Keep the future: who asks anew goes to the end.
    pub(crate) fn reserve(&self, records: usize) -> impl Future<Output = Room> + Send + 'static {
        let open = "nobody closes the semaphores";
        let queued = SHARE_RECORDS - self.share.available_permits();
        let is_live = queued + records <= SMALL_RECORDS;
        let permits = |most: usize| u32::try_from(records.clamp(1, most)).unwrap_or(u32::MAX);
        let (of_share, of_queue) = (permits(SHARE_RECORDS), permits(QUEUE_RECORDS));
        let (share, room) = (Arc::clone(&self.share), Arc::clone(&self.queue.0.room));
        async move {
            let share = share.acquire_many_owned(of_share).await.expect(open);
            let queue = if is_live {
                None
            } else {
                Some(room.acquire_many_owned(of_queue).await.expect(open))
            };
            Room { _share: share, _queue: queue }
        }
    }

    /// Queues a batch into reserved room. False: the writer is gone.
    pub(crate) fn put(&self, room: Room, received: Received) -> bool {
        let mut waiting = self.queue.0.lock();
        if waiting.closed {
            return false;
        }
        waiting.lanes.push(Batch {
            live: Arc::clone(&self.live),
            host: self.host,
            epoch: self.epoch,
            records: received.records.into_iter(),
            told_due: received.told_due,
            received_at: received.at,
            _room: room,
        });
        drop(waiting);
        self.queue.0.arrived.notify_one();
        true
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Intake(Arc<Inner>);

impl Intake {
    /// Waits until that many records wait.
    pub(crate) async fn filled(&self, records: usize) {
        while self.waiting() < records {
            self.0.arrived.notified().await;
        }
    }

    /// Records that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().lanes.records()
    }

    /// What is to be written next: at most `most` records.
    pub(crate) fn take(&self, most: usize) -> Vec<Pending> {
        self.0.lock().lanes.take(most)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        let abandoned = std::mem::take(&mut waiting.lanes);
        drop(waiting);
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::registry::tests::live;
    use rowcall_core::id::Sequence;
    use rowcall_core::record::{Body, Sample};

    fn records(count: usize) -> Received {
        let record = |n: usize| Record {
            due_ticks: 0,
            sequence: Sequence::new(u64::try_from(n).unwrap()).unwrap(),
            time: UnixMicros(0),
            body: Body::Sample(Sample::default()),
        };
        let records = (1..=count).map(record).collect();
        Received { records, told_due: None, at: UnixMicros(0) }
    }

    fn outlet(queue: &Queue, host: i32) -> Outlet {
        queue.outlet(live("n"), HostId(host), EpochId(1))
    }

    /// The room, if there is any now.
    fn now(future: impl Future<Output = Room>) -> Option<Room> {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_stream_has_only_its_share_of_the_queue() {
        let (queue, intake) = Queue::new();
        let flooder = outlet(&queue, 1);
        for _ in 0..2 {
            let room = now(flooder.reserve(SHARE_RECORDS / 2)).unwrap();
            assert!(flooder.put(room, records(SHARE_RECORDS / 2)));
        }
        assert!(now(flooder.reserve(1)).is_none(), "more than its share");
        let other = outlet(&queue, 2);
        let room = now(other.reserve(3_400)).expect("the queue has room for others");
        assert!(other.put(room, records(3_400)));
        assert_eq!(queue.records(), SHARE_RECORDS + 3_400);
        drop(intake.take(usize::MAX));
        assert!(now(flooder.reserve(100_000)).is_some(), "a huge batch takes the whole share");
    }

    #[tokio::test]
    async fn a_live_sample_finds_room_in_a_full_queue_and_a_backlog_does_not() {
        let (queue, _intake) = Queue::new();
        let full = queue.fill().await;
        let agent = outlet(&queue, 1);
        assert!(now(agent.reserve(SMALL_RECORDS + 1)).is_none());
        // Also while the one before is still queued; but not many, or it would be a backlog in crumbs.
        for _ in 0..SMALL_RECORDS {
            let room = now(agent.reserve(1)).expect("live samples need no common room");
            assert!(agent.put(room, records(1)));
        }
        assert!(now(agent.reserve(1)).is_none());
        drop(full);
        assert!(now(agent.reserve(1)).is_some());
    }

    #[test]
    fn without_a_writer_nothing_is_taken() {
        let (queue, intake) = Queue::new();
        let agent = outlet(&queue, 1);
        let room = now(agent.reserve(1)).unwrap();
        assert!(agent.put(room, records(1)));
        drop(intake);
        let room = now(agent.reserve(1)).expect("what was queued gave its room back");
        assert!(!agent.put(room, records(1)));
    }
}
