//! What the tasks tell about themselves, for the service manager.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::id::UnixMicros;
use tokio::sync::watch;
use tokio::time::Instant;

/// A machine that swaps or is short of CPU may be late by this much.
const SLACK: Duration = Duration::from_secs(30);

/// When a task will be back from what it waits for. A task that isn't hangs in our own code: every
/// wait of ours has an end. Waits for others (a read of a file system that hangs) have none, and
/// are no fault of the task.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// The task is back by then.
    pub(crate) fn back_by(&self, at: Instant) {
        *lock(&self.0) = Some(at);
    }

    /// The task is back within this time.
    pub(crate) fn back_within(&self, wait: Duration) {
        self.back_by(Instant::now() + wait);
    }

    /// The task waits for others, however long that takes.
    pub(crate) fn waits_for_others(&self) {
        *lock(&self.0) = None;
    }

    fn is_late(&self, now: Instant) -> bool {
        lock(&self.0).is_some_and(|at| now > at + SLACK)
    }
}

/// How the link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// On its way for the first time.
    Connecting,
    /// A stream is welcomed.
    Connected,
    /// In words, and what is not there.
    NotConnected(String),
}

/// Shared by the tasks of one agent.
#[derive(Debug)]
pub(crate) struct Health {
    /// Of the task that samples.
    pub(crate) sampling: Pulse,
    /// Of the task that streams.
    pub(crate) link: Pulse,
    started: watch::Sender<bool>,
    state: watch::Sender<LinkState>,
    acknowledged: Mutex<Option<UnixMicros>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            sampling: Pulse::default(),
            link: Pulse::default(),
            started: watch::Sender::new(false),
            state: watch::Sender::new(LinkState::Connecting),
            acknowledged: Mutex::new(None),
        }
    }
}

impl Health {
    /// Sampling has started.
    pub(crate) fn has_started(&self) {
        self.started.send_replace(true);
    }

    /// The link stands otherwise than before.
    pub(crate) fn link_is(&self, state: LinkState) {
        self.state.send_if_modified(|held| {
            let differs = *held != state;
            *held = state;
            differs
        });
    }

    /// Something was acknowledged at this time.
    pub(crate) fn acknowledged(&self, at: UnixMicros) {
        // The first one is news.
        if lock(&self.acknowledged).replace(at).is_none() {
            self.state.send_modify(|_| ());
        }
    }

    pub(super) fn started(&self) -> watch::Receiver<bool> {
        self.started.subscribe()
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(crate) fn last_acknowledged(&self) -> Option<UnixMicros> {
        *lock(&self.acknowledged)
    }

    /// The task that hangs, if one does.
    pub(super) fn hangs(&self, now: Instant) -> Option<&'static str> {
        if self.sampling.is_late(now) {
            Some("sampling")
        } else {
            self.link.is_late(now).then_some("link")
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_not_back_hangs_and_one_that_waits_for_others_does_not() {
        let health = Health::default();
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(health.hangs(after(3600)), None, "nothing was promised");
        health.link.back_within(Duration::from_secs(60));
        health.sampling.back_within(Duration::from_secs(3600));
        assert_eq!(health.hangs(after(90)), None, "late, but within the slack");
        assert_eq!(health.hangs(after(91)), Some("link"));
        health.link.waits_for_others();
        assert_eq!(health.hangs(after(91)), None);
        assert_eq!(health.hangs(after(3631)), Some("sampling"));
    }
}
