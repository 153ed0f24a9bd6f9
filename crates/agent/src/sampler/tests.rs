//! Clocks that jump while samples are taken: nothing is lost, nothing piles up, no gap is false.

use rowcall_core::clock::{Clock as _, NOT_SET_BEFORE, TestClock};
use rowcall_core::id::UnixMicros;
use rowcall_core::record::{GapCause, Record, Sample};
use rowcall_core::session::agent::Holdings as _;

mod second;

use super::*;
use crate::testing::{START, at, queue, records};
use rowcall_core::devices::{Metric, Skipped};
use rowcall_core::vitals::Vitals;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR_US: i64 = 3_600_000_000;
const YEAR_US: i64 = 365 * 24 * HOUR_US;

/// An agent's sampling whose clock the test moves.
struct Host {
    clock: Arc<TestClock>,
    taker: Taker,
    _folder: tempfile::TempDir,
}

impl Host {
    fn at(wall: UnixMicros) -> Self {
        Self::with_spool(wall, 8 << 20)
    }

    fn with_spool(wall: UnixMicros, max_bytes: u64) -> Self {
        let clock = Arc::new(TestClock::at(wall));
        let shared: SharedClock = Arc::<TestClock>::clone(&clock);
        let (queue, folder) = queue(shared, max_bytes);
        let primed = Instant::now(clock.as_ref());
        let name = HostName::parse("node1").unwrap();
        let ticks = Ticks::new(MINUTE, name, true, primed, None);
        let health = Arc::<Health>::default();
        let watch = Watch::new(Arc::clone(&health));
        let second = Second::new(Arc::clone(&queue), Arc::clone(&health));
        let taker = Taker { ticks, queue, health, watch, second };
        Self { clock, taker, _folder: folder }
    }

    /// Samples as the task does, for so many ticks.
    fn samples(&mut self, count: usize) {
        for _ in 0..count {
            let wait = self.taker.ticks.wait(Instant::now(self.clock.as_ref()));
            self.clock.advance(wait);
            let Instant { wall: time, since_boot, monotonic } = Instant::now(self.clock.as_ref());
            let uptime_us = i64::try_from(since_boot.as_micros()).ok();
            let sample = Sample { uptime_us, ..Sample::default() };
            self.taker.took(Reading { time, since_boot, monotonic, sample });
        }
    }
}

fn samples(records: &[Record]) -> Vec<&Record> {
    records.iter().filter(|record| matches!(record.body, Body::Sample(_))).collect()
}

fn uptime(record: &Record) -> i64 {
    match &record.body {
        Body::Sample(sample) => sample.uptime_us.unwrap(),
        body => panic!("no sample but {body:?}"),
    }
}

/// What every record must keep, whatever the clocks did.
fn check(case: &str, records: &[Record]) {
    let mut times: Vec<_> = records.iter().map(|record| record.time).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), records.len(), "{case}: a time was given twice");
    let ticks: i64 = records.iter().map(|record| record.body.ticks()).sum();
    assert_eq!(records.last().unwrap().due_ticks, ticks, "{case}: it adds up");
    let samples = samples(records);
    for pair in samples.windows(2) {
        let apart = uptime(pair[1]) - uptime(pair[0]);
        assert!(apart >= 30_000_000, "{case}: a burst, {apart} us apart");
    }
    let (first, last) = (uptime(samples[0]), uptime(samples[samples.len() - 1]));
    let due = (last - first + 30_000_000) / 60_000_000 + 1;
    assert!((ticks - due).abs() <= 1, "{case}: {ticks} ticks where {due} were due");
}

#[test]
fn a_wall_clock_that_jumps_loses_nothing_and_makes_neither_a_burst_nor_a_gap() {
    for (case, jump) in [
        ("none", 0),
        ("an hour back", -HOUR_US),
        ("an hour forward", HOUR_US),
        ("half a minute forward", 30_000_000),
        ("half a minute back", -30_000_000),
        ("ten years forward", 10 * YEAR_US),
        ("to 1970", -START.0),
        ("before 1970", -START.0 - HOUR_US),
    ] {
        let mut host = Host::at(START);
        host.samples(90);
        host.clock.set_wall(host.clock.wall().plus_micros(jump));
        host.samples(90);
        let records = records(&host.taker.queue);
        check(case, &records);
        assert_eq!(records.len(), 180, "{case}: 180 samples and nothing else");
        let expected = host.clock.wall();
        let last = records[179].time;
        if expected >= NOT_SET_BEFORE {
            // Moved at most by what a repeated hour takes.
            assert!((0..100).contains(&last.since(expected)), "{case}: {last:?} {expected:?}");
        } else {
            let went_on = records[178].time.plus_micros(60_000_000);
            assert_eq!(last, went_on, "{case}: by the clock of before");
        }
    }
}

#[test]
fn an_hour_that_comes_twice_keeps_both_samples_of_each_minute() {
    let mut host = Host::at(START);
    host.samples(120);
    let before = host.clock.wall();
    host.clock.set_wall(before.plus_micros(-HOUR_US));
    host.samples(60);
    let records = records(&host.taker.queue);
    check("twice", &records);
    assert_eq!(host.clock.wall(), before);
    let last = records.last().unwrap();
    assert_eq!(last.time, before.plus_micros(1), "the same time is taken, the next is not");
}

#[test]
fn a_suspended_host_tells_its_ticks_as_one_gap() {
    for (case, jump) in [("asleep", 0), ("asleep, and the clock set back", -HOUR_US)] {
        let mut host = Host::at(START);
        host.samples(10);
        host.clock.suspend(Duration::from_secs(3 * 3600));
        host.clock.set_wall(host.clock.wall().plus_micros(jump));
        host.samples(10);
        let records = records(&host.taker.queue);
        check(case, &records);
        let gaps: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.body {
                Body::Gap(gap) => Some((gap.ticks, gap.cause)),
                _ => None,
            })
            .collect();
        assert_eq!(gaps, [(180, GapCause::Suspended)], "{case}");
    }
}

#[test]
fn samples_read_before_the_clock_was_set_wait_and_get_their_times() {
    let mut host = Host::at(UnixMicros(30_000_000));
    host.samples(10);
    assert!(host.taker.queue.spool.flush(MINUTE));
    assert_eq!(host.taker.queue.spool.next().as_u64(), 1, "held back");
    let now = host.clock.wall();
    host.clock.set_wall(now.plus_micros(START.0));
    host.samples(10);
    let records = records(&host.taker.queue);
    check("set", &records);
    assert_eq!(records.len(), 20);
    for (minute, record) in (1..).zip(&records) {
        let expected = START.plus_micros(minute * 60_000_000);
        assert_eq!(record.time, expected, "minute {minute}");
        let Body::Sample(sample) = &record.body else { panic!("no sample") };
        let shift = (minute <= 10).then_some(START.0);
        assert_eq!(sample.clock_shift_us, shift, "minute {minute}");
    }
}

#[test]
fn the_aggregators_clock_will_do() {
    let mut host = Host::at(UnixMicros(30_000_000));
    host.samples(5);
    let now = host.clock.wall();
    host.taker.queue.clock_is(START, host.clock.since_boot());
    let held = records(&host.taker.queue);
    assert_eq!(held.last().unwrap().time, START);
    host.samples(5);
    let records = records(&host.taker.queue);
    check("theirs", &records);
    let last = records.last().unwrap().time;
    assert_eq!(last, START.plus_micros(host.clock.wall().since(now)));
    // What never was set says nothing.
    host.taker.queue.clock_is(UnixMicros(5), host.clock.since_boot());
    assert_eq!(host.taker.queue.wall_at(host.clock.since_boot()), Some(last));
}

fn devices(metrics: usize) -> Devices {
    let metric = |n: usize| Metric { name: format!("m{n:0100}"), ..Metric::default() };
    Devices { metrics: (0..metrics).map(metric).collect(), ..Devices::default() }
}

#[test]
fn a_reading_of_devices_is_one_record_or_several_and_none_has_anothers_time() {
    let mut host = Host::at(START);
    host.samples(1);
    let began = Instant::now(host.clock.as_ref());
    host.taker.read_devices(began, devices(1000));
    // The next sample was taken while it was read.
    host.taker.took(Reading {
        time: began.wall.plus_micros(1),
        since_boot: began.since_boot,
        monotonic: began.monotonic,
        sample: Sample::default(),
    });
    host.taker.read_devices(began, devices(1));
    host.taker.read_devices(began, Devices::default());
    let records = records(&host.taker.queue);
    let mut times: Vec<_> = records.iter().map(|record| record.time).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), records.len(), "none is lost for having the time of another");
    let read: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.body {
            Body::Devices(devices) => Some((record.time, devices.metrics.len())),
            _ => None,
        })
        .collect();
    assert!(read.len() > 3, "too large for one record: {}", read.len());
    assert_eq!(read.iter().map(|(_, metrics)| metrics).sum::<usize>(), 1001, "all of it");
    let near = |time: UnixMicros| (0..1000).contains(&time.since(began.wall));
    assert!(read.iter().all(|(time, _)| near(*time)), "when it began: {read:?}");
    assert_eq!(samples(&records).len(), 2);
    assert_eq!(records.last().unwrap().due_ticks, 2, "they stand for no ticks");
}

#[test]
fn what_a_reading_skipped_is_in_its_record_and_in_the_metrics() {
    let mut host = Host::at(START);
    let skipped = Skipped {
        collector: "filesystems".into(),
        item: Some("/mnt".into()),
        reason: rowcall_core::devices::SkipReason::Hung,
        count: 1,
    };
    let began = Instant::now(host.clock.as_ref());
    let reading = Devices { skipped: vec![skipped.clone()], ..Devices::default() };
    host.taker.read_devices(began, reading);
    let records = records(&host.taker.queue);
    let Body::Devices(devices) = &records[0].body else { panic!("{records:?}") };
    assert_eq!(devices.skipped, [skipped]);
    assert_eq!(host.taker.health.skipped().values().sum::<i64>(), 1);
}

#[test]
fn vitals_tell_the_clocks_offset_once_an_acknowledgement_told_it() {
    let mut host = Host::at(START);
    let offsets = |host: &Host| -> Vec<_> {
        let records = records(&host.taker.queue);
        let samples = records.iter().filter_map(|record| match &record.body {
            Body::Sample(sample) => Some(sample.vitals.as_ref().map(|v| v.clock_offset_us)),
            _ => None,
        });
        samples.collect()
    };
    let take = |host: &mut Host, vitals: Option<Box<Vitals>>| {
        host.clock.advance(MINUTE);
        let Instant { wall: time, since_boot, monotonic } = Instant::now(host.clock.as_ref());
        let sample = Sample { vitals, ..Sample::default() };
        host.taker.took(Reading { time, since_boot, monotonic, sample });
    };
    take(&mut host, Some(Box::default()));
    // Of an old aggregator.
    host.taker.queue.their_clock_is(UnixMicros(0), host.clock.since_boot());
    take(&mut host, Some(Box::default()));
    let theirs = host.clock.wall().plus_micros(-250_000);
    host.taker.queue.their_clock_is(theirs, host.clock.since_boot());
    take(&mut host, Some(Box::default()));
    // Ours is set right.
    host.clock.set_wall(host.clock.wall().plus_micros(-250_000));
    take(&mut host, Some(Box::default()));
    take(&mut host, None);
    assert_eq!(offsets(&host), [Some(None), Some(None), Some(Some(-250_000)), Some(Some(0)), None]);
}

/// A task that samples this machine every 20 ms.
fn sampling(
    readings: impl FnOnce(&Reader, &HostName) -> Option<Readings>,
) -> (Sampling, Option<Readings>, Host) {
    sampling_with(8 << 20, readings)
}

fn sampling_with(
    max_bytes: u64,
    readings: impl FnOnce(&Reader, &HostName) -> Option<Readings>,
) -> (Sampling, Option<Readings>, Host) {
    let host = Host::with_spool(START, max_bytes);
    let clock = rowcall_core::clock::SystemClock::shared();
    let collect = crate::collect::Collect::default();
    let reader = Reader::start("/", &collect, Arc::clone(&clock)).unwrap();
    let name = HostName::parse("node1").unwrap();
    let (_, interval) = watch::channel(Duration::from_millis(20));
    let queue = Arc::clone(&host.taker.queue);
    let readings = readings(&reader, &name);
    let facts = Facts::unread(reader.clone(), Arc::clone(&queue), Arc::clone(&clock));
    let sampling = Sampling {
        reader,
        queue,
        facts: Arc::new(facts),
        clock,
        interval,
        name,
        align: true,
        earlier: None,
        health: Arc::default(),
    };
    (sampling, readings, host)
}

/// Samples until so many of them, and of readings of devices, are there.
async fn until(
    sampling: Sampling,
    readings: Option<Readings>,
    host: &Host,
    wanted: (usize, usize),
) {
    let queue = Arc::clone(&host.taker.queue);
    let counts = || async {
        let records = queue.spool.read_from(rowcall_core::id::Sequence::FIRST, usize::MAX);
        let count = |wanted: fn(&Body) -> bool| records.iter().filter(|r| wanted(&r.body)).count();
        let samples = count(|body| matches!(body, Body::Sample(_)));
        let devices = count(|body| matches!(body, Body::Devices(_)));
        (samples >= wanted.0 && devices >= wanted.1).then_some(())
    };
    let enough = rowcall_testkit::poll::wait_for("enough records", MINUTE, counts);
    tokio::select! {
        ended = sampling.run(readings) => panic!("it goes on for ever: {ended:?}"),
        () = enough => {}
    }
}

#[tokio::test]
async fn a_reading_of_devices_that_hangs_delays_no_sample_and_no_stop() {
    let now = Instant { wall: at(0), since_boot: MINUTE, monotonic: MINUTE };
    let hanging =
        |reader: &Reader, name: &HostName| Some(Readings::hanging(reader.clone(), name, now));
    let (sampling, hanging, host) = sampling(hanging);
    until(sampling, hanging, &host, (5, 0)).await;
}

#[tokio::test]
async fn devices_are_read_beside_the_samples() {
    let readings = |reader: &Reader, name: &HostName| {
        let collect = crate::collect::Collect::of(crate::collect::Profile::Full);
        let devices = crate::devices::DeviceReader::new("/", collect.clone());
        Readings::new(devices, reader.clone(), &collect, name, true)
    };
    let (sampling, readings, host) = sampling(readings);
    until(sampling, readings, &host, (5, 3)).await;
}
