//! The only place that spawns: every task has a name, is counted, and ends at the hard stop.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// A group of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    kill: CancellationToken,
}

impl Tasks {
    /// A group whose tasks are dropped, wherever they stand, when `kill` is cancelled.
    pub(crate) fn new(kill: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), kill }
    }

    /// Starts a task; the span carries its name. It yields `None` when it was killed.
    pub(crate) fn spawn<F>(&self, span: Span, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // In a box: what wraps a future keeps it twice, as it was given and as it is awaited, and
        // there is one for each stream.
        let future = self.kill.clone().run_until_cancelled_owned(Box::pin(future));
        tokio::spawn(self.tracker.track_future(future.instrument(span)))
    }

    /// Waits until all tasks of the group have ended. None may be started from here on.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tasks that run now.
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
