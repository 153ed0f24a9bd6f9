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

    /// A sample was taken: begins a reading if one is due, none is under way and it `may`; one that
    /// may not is due again when the next one is.
    pub(super) fn sampled(&mut self, now: Instant, interval: Duration, may: impl FnOnce() -> bool) {
        let State::Rests(devices) = &mut self.state else { return };
        if !self.due.is_due(now, interval) {
            return;
        }
        self.due.began(now);
        if !may() {
            return;
        }
        let Some(mut devices) = devices.take() else { return };
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

#[cfg(test)]
impl Readings {
    /// One under way that never ends.
    pub(super) fn hanging(peaks: Reader, name: &HostName, now: Instant) -> Self {
        let due = Due::new(Duration::ZERO, name, true);
        let state = State::Reads(now, Box::pin(std::future::pending()));
        Self { due, peaks, deadline: Duration::ZERO, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::START;
    use rowcall_core::clock::TestClock;
    use rowcall_core::id::UnixMicros;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(seconds: i64) -> i64 {
        seconds * 1_000_000
    }

    /// Takes samples `interval` apart, each late by up to so many milliseconds: at which times, in
    /// seconds after the first one, readings began.
    fn began(due: &mut Due, clock: &TestClock, interval: Duration, late_ms: u64) -> Vec<i64> {
        let start = Instant::now(clock);
        let mut times = Vec::new();
        for sample in 0..60_u32 {
            let late = Duration::from_millis(u64::from(sample) * 7919 % (late_ms + 1));
            let since = interval * sample + late;
            let mut now = start;
            now.since_boot += since;
            now.monotonic += since;
            now.wall = now.wall.plus_micros(i64::try_from(since.as_micros()).unwrap());
            if due.is_due(now, interval) {
                due.began(now);
                times.push(i64::try_from((interval * sample).as_secs()).unwrap());
            }
        }
        times
    }

    fn due(every: Duration, host: &str) -> Due {
        Due::new(every, &HostName::parse(host).unwrap(), false)
    }

    #[test]
    fn the_first_reading_is_with_the_first_sample_and_later_ones_at_the_hosts_own_offset() {
        let mut offsets = std::collections::BTreeSet::new();
        for host in ["node1", "node2", "node3", "node4", "node5", "node6", "node7", "node8"] {
            for late_ms in [0, 900] {
                let clock = TestClock::at(START);
                let times = began(&mut due(5 * MINUTE, host), &clock, MINUTE, late_ms);
                assert_eq!(times[0], 0, "a new node shows its devices at once");
                assert!((120..=480).contains(&times[1]), "{times:?}");
                let apart: Vec<_> = times[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
                assert!(apart.iter().all(|apart| *apart == 300), "{late_ms} {times:?}");
                offsets.insert(times[1]);
            }
        }
        assert!(offsets.len() > 2, "spread: {offsets:?}");
    }

    #[test]
    fn readings_are_no_closer_than_asked_and_with_each_sample_where_samples_are_rarer() {
        let clock = TestClock::at(START);
        let every_sample = began(&mut due(Duration::ZERO, "node1"), &clock, MINUTE, 900);
        assert_eq!(every_sample.len(), 60);
        let rare = began(&mut due(MINUTE, "node1"), &clock, 5 * MINUTE, 900);
        assert_eq!(rare.len(), 60);
        let times = began(&mut due(Duration::from_secs(90), "node1"), &clock, MINUTE, 0);
        assert!(times[1..].windows(2).all(|pair| pair[1] - pair[0] >= 90), "{times:?}");
        let times = began(&mut due(MINUTE, "node1"), &clock, Duration::from_secs(1), 0);
        assert!(times.len() <= 3 && times.len() >= 2, "{times:?}");
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_neither_a_burst_nor_a_pause() {
        let clock = TestClock::at(START);
        let mut due = due(5 * MINUTE, "node1");
        let mut count = 0;
        for minute in 0..60 {
            if minute == 20 {
                clock.set_wall(UnixMicros(START.0 - seconds(86_400 * 365)));
            }
            let now = Instant::now(&clock);
            if due.is_due(now, MINUTE) {
                due.began(now);
                count += 1;
            }
            clock.advance(MINUTE);
        }
        assert!((12..=13).contains(&count), "{count}");
    }
}
