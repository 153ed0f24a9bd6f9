//! Readings of devices beside the samples: when one is due, and the one that is under way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use rowcall_core::devices::Devices;
use rowcall_core::id::HostName;
use rowcall_core::schedule::Schedule;
use tokio::time::timeout;

use crate::collect::Collect;
use crate::devices::DeviceReader;
use crate::sample::Reader;
use crate::ticks::{Instant, schedule};

/// A reading may come this part of the interval between samples early: a sample that is a little
/// early must not put its reading off to the next one.
const EARLY: u32 = 4;

/// When readings are due: with the first sample, then at the host's own offset within
/// [`Collect::devices_every`], and from there on every so often.
#[derive(Debug)]
pub(super) struct Due {
    every: Duration,
    schedule: Schedule,
    readings: u64,
    /// By the time since boot.
    next: Duration,
}

impl Due {
    pub(super) fn new(every: Duration, name: &HostName, align: bool) -> Self {
        let schedule = schedule(every, name, align);
        Self { every, schedule, readings: 0, next: Duration::ZERO }
    }

    /// Whether a reading is to begin with the sample of now, where samples are `interval` apart.
    pub(super) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        now.since_boot.saturating_add(interval / EARLY) >= self.next
    }

    /// It began.
    pub(super) fn began(&mut self, now: Instant) {
        let wait = match self.readings {
            0 if !self.every.is_zero() => self.schedule.wait(now.wall, Some(Duration::ZERO)),
            _ => self.every,
        };
        self.readings = self.readings.saturating_add(1);
        self.next = now.since_boot.saturating_add(wait);
    }
}

type Pending = Pin<Box<dyn Future<Output = (DeviceReader, Devices)> + Send>>;

/// One reader, at rest or at work.
pub(crate) struct Readings {
    due: Due,
    peaks: Reader,
    deadline: Duration,
    state: State,
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads = matches!(self.state, State::Reads(..));
        f.debug_struct("Readings").field("due", &self.due).field("reads", &reads).finish()
    }
}

enum State {
    Rests(Option<DeviceReader>),
    Reads(Instant, Pending),
}

impl Readings {
    /// None where devices are not read. `peaks` is asked for the busiest moments between readings.
    pub(crate) fn new(
        devices: DeviceReader,
        peaks: Reader,
        collect: &Collect,
        name: &HostName,
        align: bool,
    ) -> Option<Self> {
        let due = Due::new(collect.devices_every?, name, align);
        Some(Self { due, peaks, deadline: collect.deadline, state: State::Rests(Some(devices)) })
    }

    /// A sample was taken: begins a reading if one is due and none is under way.
    pub(super) fn sampled(&mut self, now: Instant, interval: Duration) {
        let State::Rests(devices) = &mut self.state else { return };
        if !self.due.is_due(now, interval) {
            return;
        }
        let Some(mut devices) = devices.take() else { return };
        self.due.began(now);
        let (reader, deadline) = (self.peaks.clone(), self.deadline);
        let reading = async move {
            // Where the thread that keeps them hangs, there are none.
            let peaks = timeout(deadline, reader.peaks()).await;
            let peaks = peaks.ok().and_then(Result::ok).unwrap_or_default();
            let read = devices.read(peaks).await;
            (devices, read)
        };
        self.state = State::Reads(now, Box::pin(reading));
    }

    /// Waits for the reading under way, for ever where there is none: what was read, and when that
    /// began. May be dropped at any point without losing it.
    pub(super) async fn finished(readings: &mut Option<Self>) -> (Instant, Devices) {
        let Some(Self { state, .. }) = readings else { return std::future::pending().await };
        let State::Reads(began, reading) = state else { return std::future::pending().await };
        let (devices, read) = reading.await;
        let began = *began;
        *state = State::Rests(Some(devices));
        (began, read)
    }
}
