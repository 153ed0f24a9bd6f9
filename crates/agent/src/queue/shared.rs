//! A queue that the sampler fills while the link empties it.

use std::sync::{Mutex, PoisonError};

use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::Body;
use tokio::sync::Notify;

use super::{MemoryQueue, Spool};

/// A queue shared by the tasks of one agent.
#[derive(Debug)]
pub struct Queue<S = MemoryQueue> {
    spool: Mutex<S>,
    appended: Notify,
}

impl<S: Spool> Queue<S> {
    /// Shares a queue.
    pub fn new(spool: S) -> Self {
        Self { spool: Mutex::new(spool), appended: Notify::new() }
    }

    /// Takes a record and wakes the link.
    pub fn append(&self, time: UnixMicros, body: Body) -> Sequence {
        let sequence = self.with(|spool| spool.append(time, body));
        self.appended.notify_one();
        sequence
    }

    /// Looks at the queue or changes it. Short: everybody else waits.
    pub fn with<T>(&self, f: impl FnOnce(&mut S) -> T) -> T {
        f(&mut self.spool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is appended, or returns at once if it was since the last wait. For
    /// one waiter.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }
}
