//! The spool as the tasks of one agent share it: who waits for more to send, and what time it is
//! where this machine's own clock does not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::NOT_SET_BEFORE;
use rowcall_core::id::UnixMicros;
use rowcall_spool::Spool;
use tokio::sync::Notify;

/// A spool that sampling fills while the link empties it.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Everything else that it can do.
    pub(crate) spool: Spool,
    sendable: Arc<Notify>,
    written: Arc<Notify>,
    /// A wall clock that is set, at a time since boot.
    clock: Mutex<Option<(UnixMicros, Duration)>>,
    /// An aggregator's wall clock, at a time since boot.
    theirs: Mutex<Option<(UnixMicros, Duration)>>,
}

impl Queue {
    /// Shares a spool.
    pub(crate) fn new(spool: Spool) -> Self {
        let (sendable, written) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let wakers = [Arc::clone(&sendable), Arc::clone(&written)];
        spool.on_sendable(Box::new(move || wakers.iter().for_each(|waker| waker.notify_one())));
        Self { spool, sendable, written, clock: Mutex::new(None), theirs: Mutex::new(None) }
    }

    /// Waits until there is more to send, or returns at once if there was since the last wait. For
    /// one waiter.
    pub(crate) async fn sendable(&self) {
        self.sendable.notified().await;
    }

    /// Waits until something left memory for the disk, or returns at once if something did since the
    /// last wait. For one waiter. Not told while the machine's clock is not set.
    pub(crate) async fn written(&self) {
        self.written.notified().await;
    }

    /// A wall clock, ours or the aggregator's, at this time since boot. One that was never set
    /// says nothing.
    pub(crate) fn clock_is(&self, wall: UnixMicros, since_boot: Duration) {
        if wall >= NOT_SET_BEFORE {
            *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((wall, since_boot));
            self.spool.clock_is(wall, since_boot);
        }
    }

    /// An aggregator's wall clock, as it came with an acknowledgement at this time since boot. 0 says
    /// nothing.
    pub(crate) fn their_clock_is(&self, theirs: UnixMicros, since_boot: Duration) {
        if theirs.0 != 0 {
            *self.theirs.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((theirs, since_boot));
        }
    }

    /// The aggregator's clock less ours, which reads `ours` at a time since boot; none until an
    /// acknowledgement told it to this process. What its frame took to come here, as a rule a few
    /// milliseconds, makes it too low by as much; a clock of ours that is set shows at once, and
    /// theirs is taken to go as ours does since it was told.
    pub(crate) fn clock_offset_us(&self, ours: UnixMicros, since_boot: Duration) -> Option<i64> {
        let (theirs, then) = (*self.theirs.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(at(theirs, then, since_boot).since(ours))
    }

    /// What a clock that is set read, or would have read, at a time since boot.
    pub(crate) fn wall_at(&self, since_boot: Duration) -> Option<UnixMicros> {
        let (wall, then) = (*self.clock.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(at(wall, then, since_boot))
    }
}

/// What a clock that read `wall` at the time since boot `then` reads at another.
fn at(wall: UnixMicros, then: Duration, since_boot: Duration) -> UnixMicros {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    wall.plus_micros(micros(since_boot).saturating_sub(micros(then)))
}
