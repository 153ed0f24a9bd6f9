//! One session, shared by its stream, the writer and the registry.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, HostId, HostName, Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_store::{EpochId, Lease, LiveMark};
use tokio::sync::Notify;

use super::{NEVER, Newcomer, lock, millis};

/// Why a session must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The same agent process opened a newer stream.
    Replaced,
    /// Its epoch is not the host's current one any more; nothing of it was stored.
    Superseded,
    /// The database went back in time: the agent must see the lower mark and send from there again.
    Refill,
    /// The aggregator stops and could not commit what it has.
    Uncommitted,
    /// The database was made anew and knows no host; nothing of it is stored any more.
    Forgotten,
    /// While this aggregator could not reach the database, another one gave the host's session to
    /// another process.
    TakenOver,
}

/// What the writer tells a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Up to here everything is committed.
    pub(crate) through: Option<Sequence>,
    /// The stream must end.
    pub(crate) end: Option<End>,
}

/// What the database calls a session's host and epoch, and what the agent calls the epoch: a
/// restored database may give the same numbers to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) host: HostId,
    pub(crate) epoch_id: EpochId,
    pub(crate) epoch: Epoch,
}

/// What an agent's clock showed when it told.
#[derive(Clone, Copy, Debug)]
struct ToldClock {
    clock: UnixMicros,
    /// The agent's clock minus ours.
    offset_us: i64,
    /// By our monotonic clock.
    at: Duration,
    /// Nobody has taken it for the database yet.
    fresh: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) newcomer: Newcomer,
    /// What people call the host; its certificate may have a former name.
    name: Mutex<HostName>,
    pub(super) connected_at: UnixMicros,
    /// By the monotonic clock, in milliseconds.
    heard_ms: AtomicU64,
    heard_at: AtomicI64,
    last_sample_at: AtomicI64,
    numbers: OnceLock<Numbers>,
    lease: OnceLock<Lease>,
    /// The highest sequence that is known to be committed of its epoch; 0: none.
    mark: AtomicI64,
    /// Ticks that were due up to what is committed, as the agent counts; 0: it does not tell.
    committed_due: AtomicI64,
    clock: Mutex<ToldClock>,
    spool: Mutex<Option<pb::SpoolStatus>>,
    progress: Mutex<Progress>,
    changed: Notify,
}

impl Live {
    pub(super) fn new(newcomer: Newcomer, clock: &SharedClock) -> Self {
        let (wall, at) = (clock.wall(), clock.monotonic());
        let told = ToldClock {
            clock: newcomer.clock,
            offset_us: newcomer.clock.since(wall),
            at,
            fresh: true,
        };
        Self {
            name: Mutex::new(newcomer.name.clone()),
            connected_at: wall,
            heard_ms: AtomicU64::new(millis(at)),
            heard_at: AtomicI64::new(wall.0),
            last_sample_at: AtomicI64::new(NEVER),
            numbers: OnceLock::new(),
            lease: OnceLock::new(),
            mark: AtomicI64::new(0),
            committed_due: AtomicI64::new(0),
            clock: Mutex::new(told),
            spool: Mutex::default(),
            progress: Mutex::default(),
            changed: Notify::new(),
            newcomer,
        }
    }

    /// The database knows it: under which numbers, and up to where its epoch is committed. To be
    /// called once, in the era of these numbers.
    pub(super) fn opened(&self, numbers: Numbers, mark: Option<Sequence>) {
        self.mark.fetch_max(mark.map_or(0, Sequence::as_i64), Ordering::Relaxed);
        // A second time would be a bug that costs nothing: the first numbers stay.
        self.numbers.set(numbers).ok();
    }

    /// The database has it as the host's session. To be called once.
    pub(crate) fn leased(&self, lease: Lease) {
        // As above.
        self.lease.set(lease).ok();
    }

    /// What the database has it as. None: it does not have it.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.get()
    }

    /// What people call the host now.
    pub(crate) fn name(&self) -> HostName {
        lock(&self.name).clone()
    }

    /// People call the host so from now on. What it was called before, if that is another name.
    pub(crate) fn called(&self, name: &HostName) -> Option<HostName> {
        let mut called = lock(&self.name);
        (*called != *name).then(|| std::mem::replace(&mut *called, name.clone()))
    }

    /// What the database calls it. None: it is not opened yet.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        self.numbers.get().copied()
    }

    /// A frame came.
    pub(crate) fn heard(&self, clock: &SharedClock) {
        self.heard_ms.store(millis(clock.monotonic()), Ordering::Relaxed);
        self.heard_at.store(clock.wall().0, Ordering::Relaxed);
    }

    /// The agent told what its spool holds, and what its clock shows.
    pub(crate) fn set_spool(&self, spool: pb::SpoolStatus, clock: &SharedClock) {
        if spool.clock_unix_us != 0 {
            let theirs = UnixMicros(spool.clock_unix_us);
            *lock(&self.clock) = ToldClock {
                clock: theirs,
                offset_us: theirs.since(clock.wall()),
                at: clock.monotonic(),
                fresh: true,
            };
        }
        *lock(&self.spool) = Some(spool);
    }

    /// A sample was committed.
    pub(crate) fn sampled(&self, time: UnixMicros) {
        self.last_sample_at.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Everything up to `through` is committed, and `due_ticks` were due up to there, as the agent
    /// counts.
    pub(crate) fn committed(&self, through: Sequence, due_ticks: i64) {
        self.committed_due.fetch_max(due_ticks, Ordering::Relaxed);
        self.mark.fetch_max(through.as_i64(), Ordering::Relaxed);
        let mut progress = lock(&self.progress);
        progress.through = progress.through.max(Some(through));
        drop(progress);
        self.changed.notify_one();
    }

    /// The session must end. The first reason stays.
    pub(crate) fn end(&self, why: End) {
        lock(&self.progress).end.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Nothing of it is written any more: its stream was told to end, and whatever it sent comes
    /// again on another one, if that is let in.
    pub(crate) fn is_void(&self) -> bool {
        let end = self.progress().end;
        matches!(end, Some(End::Superseded | End::Refill | End::TakenOver))
            || self.newcomer.visit.is_expelled()
    }

    /// Waits until there is news; for the session's own stream only.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    /// What the database must still hold of its epoch; 0: it must know it. None: it doesn't know it
    /// yet, or the session ends anyway.
    pub(super) fn mark(&self) -> Option<LiveMark> {
        let Numbers { host: host_id, epoch_id, epoch } =
            self.numbers().filter(|_| self.progress().end.is_none())?;
        Some(LiveMark { host_id, epoch_id, epoch, mark: self.mark.load(Ordering::Relaxed) })
    }

    /// Takes what the agent's clock showed, where it is new and off by more than `tolerated`; and
    /// how long ago that was.
    pub(super) fn take_clock(
        &self,
        tolerated: Duration,
        now: Duration,
    ) -> Option<(HostId, UnixMicros, Duration)> {
        let numbers = self.numbers()?;
        let mut told = lock(&self.clock);
        let off = Duration::from_micros(told.offset_us.unsigned_abs());
        if !std::mem::take(&mut told.fresh) || off <= tolerated || self.progress().end.is_some() {
            return None;
        }
        Some((numbers.host, told.clock, now.saturating_sub(told.at)))
    }

    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms.load(Ordering::Relaxed))
    }

    pub(super) fn heard_at(&self) -> UnixMicros {
        UnixMicros(self.heard_at.load(Ordering::Relaxed))
    }

    pub(super) fn spool(&self) -> Option<pb::SpoolStatus> {
        *lock(&self.spool)
    }

    /// What an agent told of its spool, without what was committed since: while it drains, it may
    /// not tell again for long.
    fn still_waiting(&self, mut spool: pb::SpoolStatus) -> pb::SpoolStatus {
        let committed = self.committed_due.load(Ordering::Relaxed).unsigned_abs();
        if spool.due_ticks > 0 && committed > 0 {
            let waiting = spool.due_ticks.saturating_sub(committed);
            spool.unacknowledged_records = spool.unacknowledged_records.min(waiting);
            if spool.unacknowledged_records == 0 {
                spool.oldest_unacknowledged_age_s = 0;
            }
        }
        spool
    }

    pub(super) fn shown(&self, interval: Duration) -> pb::ConnectedHost {
        let sampled = self.last_sample_at.load(Ordering::Relaxed);
        pb::ConnectedHost {
            host_name: self.name().to_string(),
            connected_at: Some(crate::timestamp(self.connected_at)),
            last_heard_at: Some(crate::timestamp(self.heard_at())),
            last_sample_at: (sampled != NEVER).then(|| crate::timestamp(UnixMicros(sampled))),
            agent_version: self.newcomer.agent_version.clone().unwrap_or_default(),
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
            spool: self.spool().map(|told| self.still_waiting(told)),
            clock_offset_ms: lock(&self.clock).offset_us / 1_000,
            peer_address: self.newcomer.peer.to_string(),
        }
    }
}
