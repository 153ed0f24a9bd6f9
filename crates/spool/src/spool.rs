//! The handle that an agent holds.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, EpochOrigin, Record};
use rowcall_core::session::agent::Holdings;

use crate::disk::{Disk, File, RealDisk};
use crate::open::begin;
use crate::read::Reader;
use crate::slots::SlotFile;
use crate::state::{FIXED_BYTES, State};
use crate::writer::{Limits, Shared, Writer};
use crate::{OpenError, Opened, Settings, Status};

/// A segment has one part in this many of the limit of bytes, within these bounds.
const SEGMENT_PARTS: u64 = 16;
const LEAST_SEGMENT_BYTES: u64 = 64 * 1024;
const MOST_SEGMENT_BYTES: u64 = 1024 * 1024;

/// The least number of segments that a limit of bytes makes room for: one that goes, one that is
/// written, one that comes next.
const LEAST_SEGMENTS: u64 = 4;

/// The thread's stack; its buffers are on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// Opening and a new epoch wait this long for a disk that does not answer, then go on without it.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// The last handle waits this long for the thread.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// A durable queue. A handle: clones share it, the last one stops its thread.
#[derive(Clone)]
pub struct Spool(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    reader: Reader,
    clock: SharedClock,
    max_bytes: u64,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("status", &self.0.shared.lock().status(None)).finish()
    }
}

impl Limits {
    pub(crate) fn of(settings: &Settings) -> Self {
        let part = settings.max_bytes / SEGMENT_PARTS;
        Self::in_segments(
            settings.max_bytes,
            settings.max_age,
            part.clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES) & !4095,
        )
    }

    /// In segments of a certain size.
    pub(crate) fn in_segments(bytes: u64, age: Duration, segment_bytes: u64) -> Self {
        Self {
            bytes: bytes.max(LEAST_SEGMENTS * segment_bytes + FIXED_BYTES),
            age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
            segment_bytes,
        }
    }
}

impl Spool {
    /// Opens the spool in a folder, or begins one. What is damaged in it is skipped and counted.
    /// A limit of bytes below 276 KiB counts as that.
    ///
    /// `boot_id` is the kernel's id of this boot; `epoch` a random number, for a spool that has
    /// none or does not know its own any more.
    ///
    /// # Errors
    /// [`OpenError`]: the folder cannot be used, another process has it, it is another host's, or
    /// a newer version wrote it. Never for damage or a full disk.
    pub fn open(
        settings: Settings,
        clock: SharedClock,
        boot_id: &str,
        epoch: Epoch,
    ) -> Result<(Self, Opened), OpenError> {
        let disk = Arc::new(RealDisk::lock(&settings.dir)?);
        Self::open_on(disk, &settings, Limits::of(&settings), clock, boot_id, epoch)
    }

    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        settings: &Settings,
        limits: Limits,
        clock: SharedClock,
        boot_id: &str,
        epoch: Epoch,
    ) -> Result<(Self, Opened), OpenError> {
        let mut begin = begin(disk.as_ref(), clock.as_ref(), boot_id, epoch)
            .map_err(|newer| OpenError::newer(newer, &settings.dir))?;
        let owner = &mut begin.state.positions.owner;
        OpenError::unless_owner(owner, &settings.owner, &settings.dir)?;
        if !settings.owner.is_empty() {
            owner.clone_from(&settings.owner);
        }
        let last = begin.state.segments.back().filter(|segment| segment.salt.is_some());
        let active = last.and_then(|segment| disk.open(&segment.name()).ok());
        // What a process that was killed wrote and did not sync is read like all else, and must
        // be as safe before it is sent. Where that fails it goes on in another file.
        let synced = |file: &Arc<dyn File>| file.sync().and_then(|()| disk.sync_dir()).is_ok();
        let active = active.filter(synced);
        let shared = Arc::new(Shared {
            state: Mutex::new(begin.state),
            wake: Condvar::new(),
            round: Condvar::new(),
            callbacks: Mutex::new(Vec::new()),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            disk: Arc::clone(&disk),
            clock: Arc::clone(&clock),
            limits,
            active,
            wipe: begin.wipe,
            spare: None,
            slots: SlotFile::new(begin.slots),
            acknowledged: Reader::new(Arc::clone(&disk)),
            taken: None,
            failed_at: None,
        };
        std::thread::Builder::new()
            .name("spool".into())
            .stack_size(STACK_BYTES)
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let handle = Handle { shared, reader: Reader::new(disk), clock, max_bytes: limits.bytes };
        handle.round(DISK_PATIENCE);
        Ok((Self(Arc::new(handle)), begin.opened))
    }

    /// Takes a record and gives it the next sequence; never waits for the disk. A time that a
    /// record still held has is moved on by 1 us until it is free: host and time name a row.
    /// Missed ticks cover their own sequence only, whatever `through` says.
    pub fn append(&self, time: UnixMicros, since_boot: Duration, body: Body) -> Sequence {
        let mut state = self.0.shared.lock();
        let sequence = state.append(time, since_boot, body);
        state.orders.work = true;
        drop(state);
        self.0.shared.wake.notify_one();
        sequence
    }

    /// Records that may be sent, in order from the one at `from`, at most `max_bytes` of them as
    /// [`crate::wire_bytes`] counts, but at least one if there is any. Where `from` lies inside a
    /// gap, the rest of the gap comes first; where it lies below [`Holdings::oldest`], the oldest.
    #[must_use]
    pub fn read_from(&self, from: Sequence, max_bytes: usize) -> Vec<Record> {
        self.0.reader.read(&self.0.shared.state, from, max_bytes)
    }

    /// `Record::due_ticks` of what lies just below [`Holdings::oldest`].
    #[must_use]
    pub fn due_before_oldest(&self) -> i64 {
        let state = self.0.shared.lock();
        state.due_before_oldest().saturating_sub(state.positions.base_due)
    }

    /// Everything up to `through` is committed.
    pub fn release(&self, through: Sequence) {
        let wall = self.0.clock.wall();
        let mut state = self.0.shared.lock();
        if state.release(through, wall) {
            state.orders.work = true;
            drop(state);
            self.0.shared.wake.notify_one();
        }
    }

    /// Starts a new epoch: what is unacknowledged is numbered anew from 1, what is acknowledged is
    /// forgotten. It is on disk when this returns, if the disk takes it within 10 s.
    pub fn new_epoch(&self, epoch: Epoch, origin: EpochOrigin) {
        self.0.shared.lock().orders.epoch = Some((epoch, origin));
        self.0.round(DISK_PATIENCE);
    }

    /// Samples are due this often: kept for [`crate::Last::interval`].
    pub fn set_interval(&self, interval: Duration) {
        let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.0.shared.lock();
        if std::mem::replace(&mut state.positions.interval_us, micros) != micros {
            state.positions_changed = true;
            state.orders.work = true;
            drop(state);
            self.0.shared.wake.notify_one();
        }
    }

    /// A wall clock that is set reads `wall` at this time since boot. Records of this boot that
    /// were read before it was set get their times by it, and are no longer held back. The first
    /// one told holds for the rest of the boot.
    pub fn clock_is(&self, wall: UnixMicros, since_boot: Duration) {
        let mut state = self.0.shared.lock();
        if state.clock_is(wall, since_boot) {
            state.orders.work = true;
            state.orders.force = true;
            drop(state);
            self.0.shared.wake.notify_one();
        }
    }

    /// From now on calls `callback` after there is more to send, from the spool's thread.
    pub fn on_sendable(&self, callback: Box<dyn Fn() + Send + Sync>) {
        let callbacks = &self.0.shared.callbacks;
        callbacks.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.shared.lock()
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    #[cfg(test)]
    pub(crate) fn tail_bytes(&self) -> usize {
        self.0.shared.lock().tail_bytes
    }

    /// What it holds.
    #[must_use]
    pub fn status(&self) -> Status {
        let age = self.0.reader.oldest_age(&self.0.shared.state, self.0.clock.as_ref());
        self.0.shared.lock().status(age)
    }

    /// Waits until all that was appended is safe on disk. `false`: the disk failed, or did not
    /// answer within `wait`.
    #[must_use]
    pub fn flush(&self, wait: Duration) -> bool {
        let target = self.0.shared.lock().next;
        self.0.round(wait);
        let state = self.0.shared.lock();
        state.tail_start().0 >= target && !state.positions_urgent
    }

    /// Flushes, stores the positions and stops the thread, within `wait`. What is appended
    /// afterwards is kept in memory only. `false`: not all is safe.
    pub fn close(&self, wait: Duration) -> bool {
        self.0.stop(wait);
        let state = self.0.shared.lock();
        state.orders.gone && state.tail_start().0 == state.next
    }
}

impl Holdings for Spool {
    fn epoch(&self) -> Epoch {
        self.0.shared.lock().positions.epoch
    }

    fn oldest(&self) -> Sequence {
        let state = self.0.shared.lock();
        crate::record::sequence(&state.positions, state.oldest().min(state.end()))
    }

    /// The end of what may be sent now.
    fn next(&self) -> Sequence {
        let state = self.0.shared.lock();
        crate::record::sequence(&state.positions, state.end())
    }

    fn time_at(&self, sequence: Sequence) -> Option<UnixMicros> {
        self.0.reader.time_at(&self.0.shared.state, sequence)
    }
}

impl Handle {
    /// Waits for a whole round of the thread that begins now or later.
    fn round(&self, wait: Duration) {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.lock();
        state.orders.work = true;
        state.orders.force = true;
        let target = state.orders.begun + 1;
        self.shared.wake.notify_one();
        while state.orders.ended < target && !state.orders.gone {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.round.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn stop(&self, wait: Duration) {
        self.shared.lock().orders.stop = true;
        self.round(wait);
        let deadline = Instant::now() + wait;
        let mut state = self.shared.lock();
        while !state.orders.gone {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.round.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop(DROP_PATIENCE);
    }
}
