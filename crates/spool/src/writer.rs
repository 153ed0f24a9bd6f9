//! The spool's thread: the only one that writes, syncs, makes and removes files.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rowcall_core::clock::SharedClock;

use crate::Fault;
use crate::disk::{Disk, File};
use crate::positions::{End, Moment};
use crate::read::Reader;
use crate::scan::Scanner;
use crate::segment::Segment;
use crate::slots::SlotFile;
use crate::state::{Pending, State};
use crate::times::Taken;

/// After a failure the disk is tried again this often, or when somebody insists.
const RETRY: Duration = Duration::from_secs(5);

/// Called when there is more to send.
pub(crate) type Callback = Box<dyn Fn() + Send + Sync>;

/// What handles and thread share.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// There is something to do.
    pub(crate) wake: Condvar,
    /// A round ended.
    pub(crate) round: Condvar,
    pub(crate) callbacks: Mutex<Vec<Callback>>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn ended(&self, gone: bool) {
        let mut state = self.lock();
        state.orders.ended = state.orders.begun;
        state.orders.gone = gone;
        drop(state);
        self.round.notify_all();
    }
}

/// How much it may hold, and in which pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) age_us: u64,
    pub(crate) segment_bytes: u64,
}

/// See the module's page.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: SharedClock,
    pub(crate) limits: Limits,
    /// The last segment, while nothing failed in it.
    pub(crate) active: Option<Arc<dyn File>>,
    /// Something stands behind its last record.
    pub(crate) wipe: bool,
    /// The file of the next segment.
    pub(crate) spare: Option<Arc<dyn File>>,
    pub(crate) slots: SlotFile,
    /// Reads what was acknowledged.
    pub(crate) acknowledged: Reader,
    pub(crate) taken: Option<Taken>,
    pub(crate) failed_at: Option<Instant>,
}

impl Writer {
    /// Until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let (force, stop) = self.wait();
            let before = self.shared.lock().end();
            self.round(force || stop);
            if stop {
                self.last_round();
            }
            let more = self.shared.lock().end() > before;
            if more {
                let callbacks =
                    self.shared.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
                callbacks.iter().for_each(|callback| callback());
            }
            if stop {
                // The lock is free before anybody hears of it.
                let shared = Arc::clone(&self.shared);
                drop(self);
                shared.ended(true);
                return;
            }
            self.shared.ended(false);
        }
    }

    fn wait(&self) -> (bool, bool) {
        let mut state = self.shared.lock();
        while !state.orders.work && !state.orders.stop {
            let wake = &self.shared.wake;
            let retries = self.failed_at.is_some() || self.spare.is_none();
            state = if retries {
                let (state, waited) =
                    wake.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() {
                    drop(state);
                    return (true, false);
                }
                state
            } else {
                wake.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
        let orders = &mut state.orders;
        orders.work = false;
        orders.begun += 1;
        (std::mem::take(&mut orders.force), orders.stop)
    }

    fn round(&mut self, force: bool) {
        self.settle_times();
        self.begin_epoch();
        let is_early = self.failed_at.is_some_and(|at| at.elapsed() < RETRY);
        if is_early && !force {
            self.offer_unwritten();
            self.store_what_changed();
            return;
        }
        match self.work() {
            Ok(()) => {
                self.failed_at = None;
                self.shared.lock().fault = self.spare.is_none().then_some(Fault::NoSpace);
            }
            Err(error) => {
                let is_new = self.failed_at.replace(Instant::now()).is_none();
                let fault = if is_full(&error) { Fault::NoSpace } else { Fault::Io };
                self.shared.lock().fault = Some(fault);
                if is_new {
                    tracing::warn!(
                        %error,
                        "the spool cannot be written; what comes is kept in memory as far as it fits"
                    );
                }
                self.offer_unwritten();
                self.store_what_changed();
            }
        }
    }

    /// Where records cannot be written, positions often can: their file has its room already. What
    /// was acknowledged, and how far was offered, must not be forgotten when the process is killed.
    fn store_what_changed(&mut self) {
        if self.shared.lock().positions_changed
            && let Err(error) = self.store_positions(false)
        {
            tracing::debug!(%error, "the spool's positions could not be stored");
        }
    }

    fn work(&mut self) -> io::Result<()> {
        let urgent = self.shared.lock().positions_urgent;
        // Without them what follows is still better done than not. A file that failed is made anew.
        let positions = if urgent {
            self.store_positions(true).or_else(|_| self.store_positions(true))
        } else {
            Ok(())
        };
        self.let_go();
        self.write_tail()?;
        self.keep_limits()?;
        self.make_next()?;
        if self.shared.lock().positions_changed {
            self.store_positions(false)?;
        }
        positions
    }

    /// Everything that is to be found at the next start.
    fn last_round(&mut self) {
        if let Err(error) = self.store_positions(true) {
            tracing::warn!(%error, "the spool's positions could not be stored at its end");
        }
    }

    /// What was held back for want of a clock is so no longer, once the clock is on disk.
    fn let_go(&self) {
        let mut state = self.shared.lock();
        if state.positions.shift(state.positions.boot).is_some() {
            state.held_back = None;
        }
    }

    /// No disk takes it: what is in memory may be sent from there.
    fn offer_unwritten(&self) {
        let mut state = self.shared.lock();
        let settled = state.tail.iter().take_while(|pending| pending.settled).last();
        let hole = state.tail_hole.as_ref().map(|hole| (hole.through, hole.due_at(hole.through)));
        let end = settled.map(|pending| (pending.head.number, pending.head.due)).or(hole);
        if let Some((number, due)) = end
            && number >= state.offered
        {
            state.offered = number.saturating_add(1);
            state.offered_due = due;
            // These numbers are taken, whatever becomes of the records.
            state.positions_changed = true;
        }
        drop(state);
        self.let_go();
    }

    /// Stores the positions; without `sync` a crash of the host may undo it.
    pub(crate) fn store_positions(&mut self, sync: bool) -> io::Result<()> {
        self.know_acknowledged();
        let positions = {
            let mut state = self.shared.lock();
            state.positions_changed = false;
            state.positions_urgent &= !sync;
            let since_boot = u64::try_from(self.clock.since_boot().as_micros()).unwrap_or(u64::MAX);
            state.positions.moment =
                Moment { stamp: state.stamp(since_boot), since_boot, wall: self.clock.wall().0 };
            state.positions.end = End { next: state.offered, due: state.offered_due };
            state.positions.clone()
        };
        let stored = self.slots.store(self.disk.as_ref(), &positions, sync);
        if stored.is_err() {
            let mut state = self.shared.lock();
            state.positions_changed = true;
            state.positions_urgent |= sync;
            state.write_failures += 1;
        }
        stored
    }

    /// What was due where the acknowledged part ends: told apart from what follows even when the
    /// records themselves are lost.
    fn know_acknowledged(&self) {
        let number = {
            let state = self.shared.lock();
            let positions = &state.positions;
            let is_known = positions.known.is_some_and(|k| k.number >= positions.acknowledged);
            if is_known || positions.acknowledged_at.is_none() {
                return;
            }
            positions.acknowledged
        };
        let known = self.acknowledged.known(&self.shared.state, number);
        self.shared.lock().positions.known = Some(known);
    }

    fn begin_epoch(&self) {
        let Some((epoch, origin)) = self.shared.lock().orders.epoch.take() else { return };
        let acknowledged = self.shared.lock().positions.acknowledged;
        let due = Reader::new(Arc::clone(&self.disk)).due_at(&self.shared.state, acknowledged);
        let mut state = self.shared.lock();
        let positions = &mut state.positions;
        positions.epoch = epoch;
        positions.origin = origin;
        positions.base = acknowledged;
        positions.base_due = due;
        positions.acknowledged_at = None;
        positions.dropped = positions.hole.as_ref().map_or(0, |hole| hole.through + 1 - hole.first);
        positions.damaged_gone = 0;
        state.positions_changed = true;
        state.positions_urgent = true;
        drop(state);
        self.recount_damaged(acknowledged);
        tracing::info!(%epoch, origin = origin.as_str(), "a new epoch begins");
    }

    /// Only what is damaged above the epoch's base is the epoch's.
    fn recount_damaged(&self, base: u64) {
        let at = self.shared.lock().segment_of(base.saturating_add(1));
        let segment = at.and_then(|at| self.shared.lock().segments.get(at).cloned());
        let count =
            segment.as_ref().map(|segment| damaged_above(self.disk.as_ref(), segment, base));
        let mut state = self.shared.lock();
        let at = at.unwrap_or(0);
        state.segments.iter_mut().take(at).for_each(|segment| segment.damaged = 0);
        if let (Some(count), Some(segment)) = (count, state.segments.get_mut(at)) {
            segment.damaged = count;
        }
    }

    /// Gives each new record a time that no other has.
    fn settle_times(&mut self) {
        loop {
            let (segments, positions, time) = {
                let mut state = self.shared.lock();
                let Some(time) = settle(&mut state, &mut self.taken) else { return };
                let segments: Vec<Segment> = state.segments.iter().cloned().collect();
                (segments, state.positions.clone(), time)
            };
            let mut taken = Taken::read(self.disk.as_ref(), &segments, &positions, time);
            for pending in self.shared.lock().tail.iter().filter(|pending| pending.settled) {
                taken.insert(time_of(&positions, pending));
            }
            self.taken = Some(taken);
        }
    }
}

/// Numbers above `base` that are lost from a segment, among those up to its last.
fn damaged_above(disk: &dyn Disk, segment: &Segment, base: u64) -> u64 {
    if segment.damaged == 0 {
        return 0;
    }
    let Some((file, salt)) = disk.open(&segment.name()).ok().zip(segment.salt) else { return 0 };
    let mut scanner = Scanner::whole(file.as_ref(), salt, segment.data_end);
    let (mut expected, mut damaged) = (segment.first, 0);
    while let Some(found) = scanner.next(expected) {
        damaged += found.head.number.saturating_sub(expected.max(base.saturating_add(1)));
        expected = found.head.through().saturating_add(1);
    }
    damaged
}

fn time_of(positions: &crate::positions::Positions, pending: &Pending) -> i64 {
    let head = &pending.head;
    positions.time(head.time, head.boot, head.since_boot).0.0
}

/// Settles what can be settled without the disk; else says from which time on the times that are
/// held must be known.
fn settle(state: &mut State, taken: &mut Option<Taken>) -> Option<i64> {
    let State { tail, positions, latest_time, .. } = state;
    for pending in tail.iter_mut().filter(|pending| !pending.settled) {
        let own = time_of(positions, pending);
        let mut time = own;
        if latest_time.is_none_or(|latest| time > latest) {
            *taken = None;
            *latest_time = Some(time);
        } else {
            let Some(taken) = taken else { return Some(time) };
            while taken.knows(time) && taken.contains(time) {
                time = time.saturating_add(1);
            }
            if !taken.knows(time) {
                return Some(time);
            }
            taken.insert(time);
            *latest_time = (*latest_time).max(Some(time));
        }
        let moved = time.saturating_sub(own);
        let head = &mut pending.head;
        if own == head.time {
            head.time = head.time.saturating_add(moved);
        } else {
            // Its time is made of the time since boot.
            head.since_boot = head.since_boot.saturating_add_signed(moved);
        }
        pending.settled = true;
    }
    None
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
