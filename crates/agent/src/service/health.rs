//! What the tasks tell about themselves, for the service manager and for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowcall_core::devices::SkipReason;
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
    /// A stream to this aggregator is welcomed.
    Connected(String),
    /// To this aggregator, and in words why not.
    NotConnected(String, String),
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples read.
    pub(crate) samples: u64,
    /// Due ticks at which nothing was read, those before the start included.
    pub(crate) missed_ticks: u64,
    /// Streams opened.
    pub(crate) streams: u64,
    /// Streams on which an aggregator's mark was lower than what it had acknowledged.
    pub(crate) refills: u64,
    /// Certificates that replaced the one before.
    pub(crate) renewals: u64,
    /// Tries to get the next one that failed.
    pub(crate) renewal_failures: u64,
    /// Readings of devices left out for want of room in the spool.
    pub(crate) left_out_readings: u64,
}

/// Things that the last reading of devices skipped, by collector and reason.
pub(crate) type Skips = BTreeMap<(String, SkipReason), i64>;

/// Shared by the tasks of one agent.
#[derive(Debug)]
pub(crate) struct Health {
    /// Of the task that samples.
    pub(crate) sampling: Pulse,
    /// Of the task that streams.
    pub(crate) link: Pulse,
    started: watch::Sender<bool>,
    state: watch::Sender<LinkState>,
    skipped: Mutex<Skips>,
    acknowledged: AtomicBool,
    samples: AtomicU64,
    missed_ticks: AtomicU64,
    streams: AtomicU64,
    refills: AtomicU64,
    renewals: AtomicU64,
    renewal_failures: AtomicU64,
    left_out_readings: AtomicU64,
    leaves_out: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            sampling: Pulse::default(),
            link: Pulse::default(),
            started: watch::Sender::new(false),
            state: watch::Sender::new(LinkState::Connecting),
            skipped: Mutex::default(),
            acknowledged: AtomicBool::new(false),
            samples: AtomicU64::new(0),
            missed_ticks: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            renewal_failures: AtomicU64::new(0),
            left_out_readings: AtomicU64::new(0),
            leaves_out: AtomicBool::new(false),
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

    /// Something was acknowledged.
    pub(crate) fn acknowledged(&self) {
        // The first time is news.
        if !self.acknowledged.swap(true, Ordering::Relaxed) {
            self.state.send_modify(|_| ());
        }
    }

    /// A sample was read.
    pub(crate) fn sampled(&self) {
        self.samples.fetch_add(1, Ordering::Relaxed);
    }

    /// So many ticks were missed.
    pub(crate) fn missed(&self, ticks: i64) {
        self.missed_ticks.fetch_add(u64::try_from(ticks).unwrap_or(0), Ordering::Relaxed);
    }

    /// A stream was opened.
    pub(crate) fn streaming(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// The last reading of devices skipped these.
    pub(crate) fn skips(&self, skips: Skips) {
        *lock(&self.skipped) = skips;
    }

    /// What it skipped.
    pub(crate) fn skipped(&self) -> Skips {
        lock(&self.skipped).clone()
    }

    /// A reading of devices was left out for want of room in the spool.
    pub(crate) fn leaves_out_devices(&self) {
        self.left_out_readings.fetch_add(1, Ordering::Relaxed);
        self.leaves_out.store(true, Ordering::Relaxed);
    }

    /// One is not.
    pub(crate) fn reads_devices(&self) {
        self.leaves_out.store(false, Ordering::Relaxed);
    }

    /// Whether the last reading that was due was left out.
    pub(crate) fn leaves_out(&self) -> bool {
        self.leaves_out.load(Ordering::Relaxed)
    }

    /// An aggregator lost what it had acknowledged.
    pub(crate) fn refilling(&self) {
        self.refills.fetch_add(1, Ordering::Relaxed);
    }

    /// The certificate was renewed, or that failed.
    pub(crate) fn renewed(&self, worked: bool) {
        let counter = if worked { &self.renewals } else { &self.renewal_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            samples: read(&self.samples),
            missed_ticks: read(&self.missed_ticks),
            streams: read(&self.streams),
            refills: read(&self.refills),
            renewals: read(&self.renewals),
            renewal_failures: read(&self.renewal_failures),
            left_out_readings: read(&self.left_out_readings),
        }
    }

    pub(super) fn started(&self) -> watch::Receiver<bool> {
        self.started.subscribe()
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
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
