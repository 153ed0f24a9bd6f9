//! The task that takes a sample at each tick and puts it into the spool.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::record::{Body, HostFacts};
use rowcall_spool::Last;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::queue::Queue;
use crate::sample::{Reader, Reading, Unread};
use crate::service::Health;
use crate::ticks::{Instant, Ticks};

/// Facts of the host are read again on every connect, and this often.
const FACTS_EVERY: Duration = Duration::from_secs(3600);

/// A Hello waits no longer than this for fresh facts; then it tells the last ones known.
const FACTS_DEADLINE: Duration = Duration::from_secs(5);

/// What the host is, as last read.
#[derive(Debug)]
pub(crate) struct Facts {
    reader: Reader,
    queue: Arc<Queue>,
    clock: SharedClock,
    last: Mutex<HostFacts>,
}

impl Facts {
    /// Reads them for the first time.
    pub(crate) async fn start(reader: Reader, queue: Arc<Queue>, clock: SharedClock) -> Self {
        let first = read(&reader).await.unwrap_or_default();
        Self { reader, queue, clock, last: Mutex::new(first) }
    }

    /// Reads them again. A change becomes a record, which keeps its place in time.
    pub(crate) async fn refresh(&self) -> HostFacts {
        let now = read(&self.reader).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = now {
            if now.differ_from(&last) {
                tracing::info!("the host's hardware or system changed");
                let (wall, since_boot) = (self.clock.wall(), self.clock.since_boot());
                self.queue.spool.append(wall, since_boot, Body::HostFacts(Box::new(now.clone())));
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
pub(crate) struct Sampling {
    pub(crate) reader: Reader,
    pub(crate) queue: Arc<Queue>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) clock: SharedClock,
    pub(crate) interval: watch::Receiver<Duration>,
    pub(crate) name: HostName,
    pub(crate) align: bool,
    /// The last sample of an earlier process.
    pub(crate) earlier: Option<Last>,
    pub(crate) health: Arc<Health>,
}

impl Sampling {
    /// Never ends by itself; may be dropped at any point without losing what was read.
    ///
    /// # Errors
    /// [`Unread::Gone`] when there is nobody to read.
    pub(crate) async fn run(mut self) -> Result<std::convert::Infallible, Unread> {
        self.prime().await?;
        let primed = Instant::now(self.clock.as_ref());
        let interval = *self.interval.borrow_and_update();
        let mut taker = Taker {
            ticks: Ticks::new(interval, self.name.clone(), self.align, primed, self.earlier),
            queue: Arc::clone(&self.queue),
            health: Arc::clone(&self.health),
        };
        self.queue.spool.set_interval(interval);
        let start = tokio::time::Instant::now() + FACTS_EVERY;
        let mut facts_due = interval_at(start, FACTS_EVERY);
        facts_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = taker.ticks.wait(Instant::now(self.clock.as_ref()));
            self.health.sampling.back_within(wait.max(FACTS_DEADLINE));
            tokio::select! {
                biased;
                () = sleep(wait) => self.take(&mut taker).await?,
                Ok(()) = self.interval.changed() => {
                    let interval = *self.interval.borrow_and_update();
                    taker.ticks.set_interval(interval, Instant::now(self.clock.as_ref()));
                    self.queue.spool.set_interval(interval);
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

    async fn take(&self, taker: &mut Taker) -> Result<(), Unread> {
        self.health.sampling.waits_for_others();
        match self.reader.sample().await {
            Ok(reading) => {
                taker.took(reading);
                Ok(())
            }
            // The next sample tells this tick as missed.
            Err(error @ Unread::Busy) => {
                tracing::warn!(%error, "no sample");
                Ok(())
            }
            Err(Unread::Gone) => Err(Unread::Gone),
        }
    }
}

/// Puts what is read into the spool, after what was missed before it.
#[derive(Debug)]
struct Taker {
    ticks: Ticks,
    queue: Arc<Queue>,
    health: Arc<Health>,
}

impl Taker {
    fn took(&mut self, reading: Reading) {
        let Reading { time, since_boot, monotonic, sample } = reading;
        self.queue.clock_is(time, since_boot);
        let missed = self.ticks.taken(Instant { wall: time, since_boot, monotonic });
        let off = self.ticks.off(|since_boot| self.queue.wall_at(since_boot));
        for gap in off.into_iter().chain(missed) {
            let (ticks, cause) = (gap.ticks, gap.cause.as_str());
            tracing::warn!(ticks, cause, "samples were missed");
            self.health.missed(ticks);
            // Just before the sample, whose time it must not take.
            let before = since_boot.saturating_sub(Duration::from_micros(1));
            self.queue.spool.append(time.plus_micros(-1), before, Body::Gap(gap));
        }
        self.queue.spool.append(time, since_boot, Body::Sample(sample));
        self.health.sampled();
    }
}

#[cfg(test)]
mod tests;
