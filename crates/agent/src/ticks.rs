//! When samples are due, and which were missed, also between two processes: no timer, no I/O.

use std::time::Duration;

use rowcall_core::clock::{Clock, NOT_SET_BEFORE};
use rowcall_core::id::{HostName, Sequence, UnixMicros};
use rowcall_core::record::{Gap, GapCause, GapState};
use rowcall_core::schedule::Schedule;
use rowcall_spool::Last;

/// The first sample's differences span at least this.
const FIRST_SPAN: Duration = Duration::from_secs(1);

/// No host was off for longer.
const LONGEST_OFF: Duration = Duration::from_secs(366 * 86_400);

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

/// The due instants of one agent process, and what an earlier one left due.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    name: HostName,
    align: bool,
    schedule: Schedule,
    last: Instant,
    state: State,
    off: Option<Off>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No sample yet, nor by an earlier process: `last` is when the counters were read.
    Primed,
    /// No sample yet in this process, but by an earlier one; at this time since boot, if that was
    /// in this boot.
    Resumed(Option<Duration>),
    /// The interval was changed: `last` is when.
    Changed,
    /// `last` is the last sample.
    Running,
}

/// The time from an earlier process's last sample to our first one, until its ticks are told.
#[derive(Clone, Copy, Debug)]
struct Off {
    since: Last,
    interval: Duration,
    first: Option<Instant>,
}

impl Ticks {
    /// Counters were read at `primed`; `earlier` is the last sample of an earlier process.
    pub(crate) fn new(
        interval: Duration,
        name: HostName,
        align: bool,
        primed: Instant,
        earlier: Option<Last>,
    ) -> Self {
        let schedule = schedule(interval, &name, align);
        let state = earlier.map_or(State::Primed, |last| State::Resumed(last.since_boot));
        let off = earlier.map(|since| {
            let interval = since.interval.filter(|then| !then.is_zero()).unwrap_or(interval);
            Off { since, interval, first: None }
        });
        Self { name, align, schedule, last: primed, state, off }
    }

    /// From now on samples are due every `interval`. What was due before stays judged by the
    /// interval of then.
    pub(crate) fn set_interval(&mut self, interval: Duration, now: Instant) {
        if interval == self.schedule.interval() {
            return;
        }
        self.schedule = schedule(interval, &self.name, self.align);
        if matches!(self.state, State::Changed | State::Running) {
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
            State::Resumed(sampled) => {
                let since_sample = sampled.map(|at| now.since_boot.saturating_sub(at));
                let wait = self.schedule.wait(now.wall, since_sample);
                // A little late is better than a tick missed, or differences over no time at all.
                let least = FIRST_SPAN.min(self.schedule.interval() / 4);
                wait.max(least.saturating_sub(since_last))
            }
        }
    }

    /// A sample was read: the ticks that this process missed before it, if any.
    pub(crate) fn taken(&mut self, at: Instant) -> Option<Gap> {
        let before = std::mem::replace(&mut self.last, at);
        let state = std::mem::replace(&mut self.state, State::Running);
        if let Some(off) = &mut self.off {
            off.first.get_or_insert(at);
        }
        if matches!(state, State::Primed | State::Resumed(_)) {
            return None;
        }
        let elapsed = at.since_boot.saturating_sub(before.since_boot);
        let awake = at.monotonic.saturating_sub(before.monotonic);
        let slept = elapsed.saturating_sub(awake);
        let interval = self.schedule.interval();
        let cause = if slept.saturating_mul(2) > elapsed.saturating_sub(interval) {
            GapCause::Suspended
        } else {
            GapCause::Starved
        };
        missed(&self.schedule, elapsed, at.wall, cause)
    }

    /// The ticks that were due after an earlier process's last sample and before our first one:
    /// told once, with the first sample if it can be known by then. Within one boot the time since
    /// boot tells; across boots the wall clock does, so this waits for one that is set (`wall_at`
    /// says what such a clock reads at a time since boot) and tells nothing where the earlier
    /// process never had one, or where the clocks make it a negative time or more than a year:
    /// then one of them was wrong.
    pub(crate) fn off(&mut self, wall_at: impl Fn(Duration) -> Option<UnixMicros>) -> Option<Gap> {
        let Off { since, interval, first } = self.off?;
        let first = first?;
        let wall = wall_at(first.since_boot);
        let elapsed = match since.since_boot {
            Some(then) => first.since_boot.saturating_sub(then),
            None if since.time < NOT_SET_BEFORE => Duration::ZERO,
            None => {
                let micros = wall?.since(since.time);
                let elapsed = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
                if elapsed > LONGEST_OFF { Duration::ZERO } else { elapsed }
            }
        };
        self.off = None;
        let then = schedule(interval, &self.name, self.align);
        missed(&then, elapsed, wall.unwrap_or(first.wall), GapCause::Off)
    }
}

/// The gap of the ticks that passed unread in the time before a sample, if there were any.
fn missed(
    schedule: &Schedule,
    elapsed: Duration,
    sampled: UnixMicros,
    cause: GapCause,
) -> Option<Gap> {
    let ticks = schedule.missed(elapsed);
    if ticks == 0 {
        return None;
    }
    let interval = schedule.interval();
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let from = sampled.plus_micros(-micros(elapsed.saturating_sub(interval)));
    let to = sampled.plus_micros(-micros(interval)).max(from);
    // The spool sets the sequence that the gap covers.
    let through = Sequence::FIRST;
    Some(Gap { through, ticks, state: GapState::Missed, cause, from, to })
}

/// The grid of an interval.
pub(crate) fn schedule(interval: Duration, name: &HostName, align: bool) -> Schedule {
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
        Ticks::new(interval, name, true, Instant::now(clock), None)
    }

    /// After a process whose last sample was read at `last`.
    fn resumed(clock: &TestClock, last: Last) -> Ticks {
        let name = HostName::parse("node1").unwrap();
        Ticks::new(MINUTE, name, true, Instant::now(clock), Some(last))
    }

    fn last(time: UnixMicros, since_boot: Option<Duration>) -> Last {
        Last { time, since_boot, interval: Some(MINUTE) }
    }

    /// Waits for the first sample and takes it: the ticks that are told for the time before.
    fn off(ticks: &mut Ticks, clock: &TestClock) -> Option<Gap> {
        assert_eq!(next(ticks, clock), None, "nothing that this process missed");
        let (wall, boot) = (clock.wall(), clock.since_boot());
        let set = wall >= NOT_SET_BEFORE;
        ticks.off(|at| set.then(|| wall.plus_micros(micros(at) - micros(boot))))
    }

    fn micros(time: Duration) -> i64 {
        i64::try_from(time.as_micros()).unwrap()
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

    #[test]
    fn a_restart_within_the_interval_misses_nothing_and_keeps_the_grid() {
        for (restarted_s, sampled_s) in [(1, 60), (20, 60), (59, 60), (61, 120)] {
            let clock = TestClock::at(START);
            let before = last(clock.wall(), Some(clock.since_boot()));
            clock.advance(Duration::from_secs(restarted_s));
            let mut ticks = resumed(&clock, before);
            let gap = off(&mut ticks, &clock);
            assert_eq!(clock.wall(), START.plus_micros(sampled_s * 1_000_000), "{restarted_s}");
            assert_eq!(gap.map_or(0, |gap| gap.ticks), sampled_s / 60 - 1, "{restarted_s}");
        }
    }

    #[test]
    fn just_before_its_tick_a_restarted_agent_is_rather_late_than_missing() {
        let clock = TestClock::at(START);
        let before = last(clock.wall(), Some(clock.since_boot()));
        clock.advance(Duration::from_millis(59_900));
        let mut ticks = resumed(&clock, before);
        assert_eq!(off(&mut ticks, &clock), None);
        assert_eq!(clock.wall(), START.plus_micros(60_900_000));
        assert_eq!(next(&mut ticks, &clock), None);
        assert_eq!(clock.wall(), START.plus_micros(120_000_000));
    }

    #[test]
    fn ticks_due_while_no_agent_ran_are_one_gap_by_the_time_since_boot() {
        for step_s in [0_i64, -3600, 86_400] {
            let clock = TestClock::at(START);
            let before = last(clock.wall(), Some(clock.since_boot()));
            clock.advance(Duration::from_secs(600));
            clock.set_wall(clock.wall().plus_micros(step_s * 1_000_000));
            let mut ticks = resumed(&clock, before);
            clock.advance(Duration::from_secs(10));
            let gap = off(&mut ticks, &clock).unwrap();
            assert_eq!((gap.ticks, gap.state, gap.cause), (10, GapState::Missed, GapCause::Off));
            let first = clock.wall();
            assert_eq!(gap.to, first.plus_micros(-60_000_000), "by the clock of now");
            assert_eq!(gap.from, first.plus_micros(-600_000_000));
            assert_eq!(off(&mut ticks, &clock), None, "told once");
        }
    }

    #[test]
    fn across_boots_the_wall_clock_counts_and_never_backwards() {
        for (minutes, told) in [(1, None), (30, Some(29)), (-30, None), (600_000, None)] {
            let clock = TestClock::at(START);
            let mut ticks = resumed(&clock, last(START.plus_micros(minutes * -60_000_000), None));
            clock.set_wall(START.plus_micros(-2_000_000));
            assert_eq!(off(&mut ticks, &clock).map(|gap| gap.ticks), told, "{minutes}");
        }
    }

    #[test]
    fn a_clock_that_is_not_set_yet_is_waited_for_and_one_that_never_was_tells_nothing() {
        let clock = TestClock::at(UnixMicros(30_000_000));
        let mut ticks = resumed(&clock, last(START, None));
        for _ in 0..3 {
            assert_eq!(off(&mut ticks, &clock), None, "nobody knows yet");
        }
        let first = Duration::from_secs(3600 + 30);
        let now = clock.since_boot();
        clock.set_wall(START.plus_micros(1_800_000_000 + micros(now - first)));
        let gap = off(&mut ticks, &clock).unwrap();
        assert_eq!((gap.ticks, gap.cause), (29, GapCause::Off));
        assert_eq!(gap.from, START.plus_micros(60_000_000));
        assert_eq!(gap.to, START.plus_micros(1_740_000_000), "before the first sample");

        let clock = TestClock::at(START);
        let mut ticks = resumed(&clock, last(UnixMicros(60_000_000), None));
        assert_eq!(off(&mut ticks, &clock), None);
    }

    #[test]
    fn what_was_due_then_is_judged_by_the_interval_of_then() {
        let clock = TestClock::at(START);
        let second = Some(Duration::from_secs(1));
        let before = Last { interval: second, ..last(clock.wall(), Some(clock.since_boot())) };
        let mut ticks = resumed(&clock, before);
        assert_eq!(off(&mut ticks, &clock).unwrap().ticks, 59);
    }
}
