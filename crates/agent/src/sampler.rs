//! The task that takes a sample at each tick and puts it into the queue.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::record::{Body, HostFacts};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::queue::{Queue, Spool};
use crate::sample::host_facts::differ;
use crate::sample::{Reader, Unread};
use crate::service::Health;
use crate::ticks::{Instant, Ticks};

/// Facts of the host are read again on every connect, and this often.
const FACTS_EVERY: Duration = Duration::from_secs(3600);

/// A Hello waits no longer than this for fresh facts; then it tells the last ones known.
const FACTS_DEADLINE: Duration = Duration::from_secs(5);

/// What the host is, as last read.
#[derive(Debug)]
pub(crate) struct Facts<S> {
    reader: Reader,
    queue: Arc<Queue<S>>,
    clock: SharedClock,
    last: Mutex<HostFacts>,
}

impl<S: Spool> Facts<S> {
    /// Reads them for the first time.
    pub(crate) async fn start(reader: Reader, queue: Arc<Queue<S>>, clock: SharedClock) -> Self {
        let first = read(&reader).await.unwrap_or_default();
        Self { reader, queue, clock, last: Mutex::new(first) }
    }

    /// Reads them again. A change becomes a record, which keeps its place in time.
    pub(crate) async fn refresh(&self) -> HostFacts {
        let now = read(&self.reader).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = now {
            if differ(&last, &now) {
                tracing::info!("the host's hardware or system changed");
                self.queue.append(self.clock.wall(), Body::HostFacts(now.clone()));
            }
            *last = now;
        }
        last.clone()
    }
}

async fn read(reader: &Reader) -> Option<HostFacts> {
    match timeout(FACTS_DEADLINE, reader.facts()).await {
        Ok(Ok(facts)) => Some(facts),
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("the host's facts could not be read in time");
            None
        }
    }
}

/// Takes samples until it is dropped.
#[derive(Debug)]
pub(crate) struct Sampling<S> {
    pub(crate) reader: Reader,
    pub(crate) queue: Arc<Queue<S>>,
    pub(crate) facts: Arc<Facts<S>>,
    pub(crate) clock: SharedClock,
    pub(crate) interval: watch::Receiver<Duration>,
    pub(crate) name: HostName,
    pub(crate) align: bool,
    pub(crate) health: Arc<Health>,
}

impl<S: Spool> Sampling<S> {
    /// Never ends by itself; may be dropped at any point without losing what was read.
    ///
    /// # Errors
    /// [`Unread::Gone`] when there is nobody to read.
    pub(crate) async fn run(mut self) -> Result<std::convert::Infallible, Unread> {
        self.prime().await?;
        let primed = Instant::now(self.clock.as_ref());
        let interval = *self.interval.borrow_and_update();
        let mut ticks = Ticks::new(interval, self.name.clone(), self.align, primed);
        let start = tokio::time::Instant::now() + FACTS_EVERY;
        let mut facts_due = interval_at(start, FACTS_EVERY);
        facts_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = ticks.wait(Instant::now(self.clock.as_ref()));
            self.health.sampling.back_within(wait.max(FACTS_DEADLINE));
            tokio::select! {
                biased;
                () = sleep(wait) => self.take(&mut ticks).await?,
                Ok(()) = self.interval.changed() => {
                    let interval = *self.interval.borrow_and_update();
                    ticks.set_interval(interval, Instant::now(self.clock.as_ref()));
                }
                _ = facts_due.tick() => {
                    self.facts.refresh().await;
                }
            }
        }
    }

    /// A first read that hangs makes no agent that has not started: what it reads is unknown, and
    /// the rest goes on.
    async fn prime(&self) -> Result<(), Unread> {
        let mut primed = pin!(self.reader.prime());
        let in_time = timeout(FACTS_DEADLINE, &mut primed).await;
        self.health.has_started();
        match in_time {
            Ok(primed) => primed,
            Err(_) => {
                tracing::warn!("the first reading of the kernel's counters hangs");
                primed.await
            }
        }
    }

    async fn take(&self, ticks: &mut Ticks) -> Result<(), Unread> {
        self.health.sampling.waits_for_others();
        let reading = match self.reader.sample().await {
            Ok(reading) => reading,
            // The next sample tells this tick as missed.
            Err(error @ Unread::Busy) => {
                tracing::warn!(%error, "no sample");
                return Ok(());
            }
            Err(Unread::Gone) => return Err(Unread::Gone),
        };
        let at = Instant {
            wall: reading.time,
            since_boot: reading.since_boot,
            monotonic: reading.monotonic,
        };
        if let Some(gap) = ticks.taken(at) {
            tracing::warn!(ticks = gap.ticks, cause = gap.cause.as_str(), "samples were missed");
            self.queue.append(self.clock.wall(), Body::Gap(gap));
        }
        self.queue.append(reading.time, Body::Sample(reading.sample));
        Ok(())
    }
}
