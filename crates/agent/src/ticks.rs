//! When samples are due, and which were missed: no timer, no I/O.

use std::time::Duration;

use rowcall_core::clock::Clock;
use rowcall_core::id::{HostName, Sequence, UnixMicros};
use rowcall_core::record::{Gap, GapCause, GapState};
use rowcall_core::schedule::Schedule;

/// The first sample's differences span at least this.
const FIRST_SPAN: Duration = Duration::from_secs(1);

/// Three clocks at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) wall: UnixMicros,
    pub(crate) since_boot: Duration,
    pub(crate) monotonic: Duration,
}

impl Instant {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.wall(), since_boot: clock.since_boot(), monotonic: clock.monotonic() }
    }
}

/// The due instants of one agent process.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    name: HostName,
    align: bool,
    schedule: Schedule,
    last: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No sample yet: `last` is when the counters were read.
    Primed,
    /// The interval was changed: `last` is when.
    Changed,
    /// `last` is the last sample.
    Running,
}

impl Ticks {
    /// Counters were read at `primed`.
    pub(crate) fn new(interval: Duration, name: HostName, align: bool, primed: Instant) -> Self {
        let schedule = schedule(interval, &name, align);
        Self { name, align, schedule, last: primed, state: State::Primed }
    }

    /// From now on samples are due every `interval`. What was due before stays judged by the
    /// interval of then.
    pub(crate) fn set_interval(&mut self, interval: Duration, now: Instant) {
        if interval == self.schedule.interval() {
            return;
        }
        self.schedule = schedule(interval, &self.name, self.align);
        if self.state != State::Primed {
            self.last = now;
            self.state = State::Changed;
        }
    }

    /// How long to wait for the next sample.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let since_last = now.since_boot.saturating_sub(self.last.since_boot);
        match self.state {
            State::Running => self.schedule.wait(now.wall, Some(since_last)),
            State::Changed => self.schedule.wait(now.wall, None),
            State::Primed => {
                let lead = FIRST_SPAN.saturating_sub(since_last);
                let lead_us = i64::try_from(lead.as_micros()).unwrap_or(0);
                lead + self.schedule.wait(now.wall.plus_micros(lead_us), None)
            }
        }
    }

    /// A sample was read: the ticks that were missed before it, if any.
    pub(crate) fn taken(&mut self, at: Instant) -> Option<Gap> {
        let before = std::mem::replace(&mut self.last, at);
        let first = std::mem::replace(&mut self.state, State::Running) == State::Primed;
        let elapsed = at.since_boot.saturating_sub(before.since_boot);
        let missed = self.schedule.missed(elapsed);
        if first || missed == 0 {
            return None;
        }
        let interval = self.schedule.interval();
        let awake = at.monotonic.saturating_sub(before.monotonic);
        let slept = elapsed.saturating_sub(awake);
        let cause = if slept.saturating_mul(2) > elapsed.saturating_sub(interval) {
            GapCause::Suspended
        } else {
            GapCause::Starved
        };
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let from = at.wall.plus_micros(-micros(elapsed.saturating_sub(interval)));
        let to = at.wall.plus_micros(-micros(interval)).max(from);
        // The queue sets the sequence that the gap covers.
        let through = Sequence::FIRST;
        Some(Gap { through, ticks: missed, state: GapState::Missed, cause, from, to })
    }
}

fn schedule(interval: Duration, name: &HostName, align: bool) -> Schedule {
    if align { Schedule::aligned(interval) } else { Schedule::spread(interval, name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rowcall_core::clock::TestClock;

    const MINUTE: Duration = Duration::from_secs(60);
    /// A whole minute.
    const START: UnixMicros = UnixMicros(1_800_000_000_000_000);

    fn aligned(clock: &TestClock, interval: Duration) -> Ticks {
        let name = HostName::parse("node1").unwrap();
        Ticks::new(interval, name, true, Instant::now(clock))
    }

    /// Waits as the sampler does and takes the sample.
    fn next(ticks: &mut Ticks, clock: &TestClock) -> Option<Gap> {
        clock.advance(ticks.wait(Instant::now(clock)));
        ticks.taken(Instant::now(clock))
    }

    #[test]
    fn the_first_sample_spans_a_second_and_stands_on_the_grid() {
        let clock = TestClock::at(START.plus_micros(59_500_000));
        let ticks = aligned(&clock, MINUTE);
        assert_eq!(ticks.wait(Instant::now(&clock)), Duration::from_millis(60_500));
        let clock = TestClock::at(START.plus_micros(58_000_000));
        let ticks = aligned(&clock, MINUTE);
        assert_eq!(ticks.wait(Instant::now(&clock)), Duration::from_secs(2));
        let ticks = aligned(&clock, Duration::from_millis(10));
        assert_eq!(ticks.wait(Instant::now(&clock)), Duration::from_millis(1010));
    }

    #[test]
    fn samples_in_time_miss_nothing() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        for _ in 0..5 {
            assert_eq!(next(&mut ticks, &clock), None);
        }
        assert_eq!(clock.wall(), START.plus_micros(300_000_000));
    }

    #[test]
    fn ticks_missed_by_a_stall_are_told_as_starved() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        next(&mut ticks, &clock);
        clock.advance(Duration::from_secs(240));
        let gap = next(&mut ticks, &clock).unwrap();
        assert_eq!((gap.ticks, gap.state, gap.cause), (4, GapState::Missed, GapCause::Starved));
        assert_eq!(gap.from, START.plus_micros(120_000_000));
        assert_eq!(gap.to, START.plus_micros(300_000_000));
    }

    #[test]
    fn ticks_missed_by_sleep_are_told_as_suspended() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        next(&mut ticks, &clock);
        clock.suspend(Duration::from_secs(3600));
        let gap = next(&mut ticks, &clock).unwrap();
        assert_eq!((gap.ticks, gap.cause), (60, GapCause::Suspended));
    }

    #[test]
    fn a_shorter_interval_holds_at_once_and_makes_no_gap() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        next(&mut ticks, &clock);
        clock.advance(Duration::from_millis(50_700));
        ticks.set_interval(Duration::from_secs(1), Instant::now(&clock));
        assert_eq!(ticks.wait(Instant::now(&clock)), Duration::from_millis(300));
        assert_eq!(next(&mut ticks, &clock), None);
        assert_eq!(next(&mut ticks, &clock), None);
    }

    #[test]
    fn the_same_interval_again_changes_nothing() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        next(&mut ticks, &clock);
        clock.advance(Duration::from_secs(120));
        ticks.set_interval(MINUTE, Instant::now(&clock));
        assert_eq!(next(&mut ticks, &clock).unwrap().ticks, 2);
    }

    #[test]
    fn a_wall_clock_that_is_set_makes_neither_a_burst_nor_a_gap() {
        let clock = TestClock::at(START);
        let mut ticks = aligned(&clock, MINUTE);
        next(&mut ticks, &clock);
        clock.set_wall(START.plus_micros(-3_600_000_000));
        assert_eq!(next(&mut ticks, &clock), None);
        clock.set_wall(START.plus_micros(86_400_000_000));
        assert_eq!(next(&mut ticks, &clock), None);
    }
}
