//! The task that takes a sample at each tick and puts it into the spool.

mod devices;
mod second;
mod skipped;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::devices::Devices;
use rowcall_core::id::HostName;
use rowcall_core::record::Body;
use rowcall_spool::Last;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use crate::facts::{FACTS_DEADLINE, FACTS_EVERY, Facts};
use crate::queue::Queue;
use crate::sample::{Reader, Reading, Unread};
use crate::service::Health;
use crate::ticks::{Instant, Ticks};
pub(crate) use devices::Readings;
use second::Second;
use skipped::Watch;
pub(crate) use skipped::{in_words, one_in_words};

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
    /// Reads devices beside the samples, where there are `readings`. Never ends by itself; may be
    /// dropped at any point without losing a sample that was read.
    ///
    /// # Errors
    /// [`Unread::Gone`] when there is nobody to read.
    pub(crate) async fn run(
        mut self,
        mut readings: Option<Readings>,
    ) -> Result<std::convert::Infallible, Unread> {
        self.prime().await?;
        let primed = Instant::now(self.clock.as_ref());
        let interval = *self.interval.borrow_and_update();
        let mut taker = Taker {
            ticks: Ticks::new(interval, self.name.clone(), self.align, primed, self.earlier),
            queue: Arc::clone(&self.queue),
            health: Arc::clone(&self.health),
            watch: Watch::new(Arc::clone(&self.health)),
            second: Second::new(Arc::clone(&self.queue), Arc::clone(&self.health)),
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
                () = sleep(wait) => {
                    let is_taken = self.take(&mut taker).await?;
                    taker.second.append();
                    if let Some(readings) = readings.as_mut().filter(|_| is_taken) {
                        let now = Instant::now(self.clock.as_ref());
                        let interval = *self.interval.borrow();
                        readings.sampled(now, interval, || taker.second.may_begin());
                    }
                }
                Ok(()) = self.interval.changed() => {
                    let interval = *self.interval.borrow_and_update();
                    taker.ticks.set_interval(interval, Instant::now(self.clock.as_ref()));
                    self.queue.spool.set_interval(interval);
                }
                _ = facts_due.tick() => {
                    self.facts.refresh().await;
                }
                (began, devices) = Readings::finished(&mut readings) => {
                    taker.read_devices(began, devices);
                }
                () = self.queue.written(), if taker.second.has_parts() => taker.second.append(),
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

    /// Whether there is a sample.
    async fn take(&self, taker: &mut Taker) -> Result<bool, Unread> {
        self.health.sampling.waits_for_others();
        match self.reader.sample().await {
            Ok(reading) => {
                taker.took(reading);
                Ok(true)
            }
            // The next sample tells this tick as missed.
            Err(error @ Unread::Busy) => {
                tracing::warn!(%error, "no sample");
                Ok(false)
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
    watch: Watch,
    second: Second,
}

impl Taker {
    fn took(&mut self, reading: Reading) {
        let Reading { time, since_boot, monotonic, mut sample } = reading;
        if let Some(vitals) = &mut sample.vitals {
            vitals.clock_offset_us = self.queue.clock_offset_us(time, since_boot);
        }
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

    fn read_devices(&mut self, began: Instant, devices: Devices) {
        self.watch.skipped(devices.skipped.clone());
        self.second.take(began, devices);
    }
}

#[cfg(test)]
mod tests;
