//! Readings of devices leave the samples their room, with the limits that an agent has by default.

use rowcall_core::devices::{Devices, Metric};
use rowcall_core::vitals::Vitals;

use super::*;
use crate::disk::sim::Faults;
use crate::state::TAIL_BYTES;
use crate::{Fault, Status};

/// The agent's `spool_max_bytes`.
const DEFAULT_BYTES: u64 = 64 << 20;

const DAYS: i64 = 7;
const WEEK_MINUTES: i64 = DAYS * 1440;

/// Minutes between two readings.
const READ_EVERY: i64 = 5;

/// The largest sample there is: every field, of its largest number.
fn largest(free: i64) -> Body {
    macro_rules! number {
        (share) => {
            99.9
        };
        (real) => {
            99.9
        };
        ($other:ident) => {
            i64::MAX
        };
    }
    let mut vitals = Vitals::default();
    macro_rules! fill {
        ($($kind:ident $name:ident,)*) => {
            $(vitals.$name = Some(number!($kind));)*
        };
    }
    rowcall_core::for_each_vital!(fill);
    let most = Some(i64::MAX);
    Body::Sample(Sample {
        elapsed_us: most,
        uptime_us: most,
        memory_free_kib: Some(free),
        memory_available_kib: most,
        cpu_idle_percent: Some(99.9),
        cpu_kernel_percent: Some(99.9),
        disk_io: most,
        disk_available_kib: most,
        clock_shift_us: most,
        vitals: Some(Box::new(vitals)),
    })
}

/// So many of the longest metrics, in parts that are as large as an agent makes them.
fn long_metrics(count: usize) -> Vec<Body> {
    let metric = |n: usize| Metric {
        name: format!("m{n:0255}"),
        labels: ["a", "b", "c"].map(|name| (name.to_owned(), "x".repeat(255))).into(),
        value: 1.5,
    };
    let metrics: Vec<_> = (0..count).map(metric).collect();
    let part = |metrics: &[Metric]| {
        Body::Devices(Box::new(Devices { metrics: metrics.to_vec(), ..Devices::default() }))
    };
    metrics.chunks(11).map(part).collect()
}

/// What a server's devices take: 3 KB.
fn server() -> Vec<Body> {
    long_metrics(3)
}

fn default_limits() -> Limits {
    let (dir, owner) = ("sim".into(), OWNER.into());
    Limits::of(&Settings { dir, max_bytes: DEFAULT_BYTES, max_age: WEEK, owner })
}

/// As an agent does it: readings where there is room, in as much memory as there is.
fn read(rig: &Rig, reading: &[Body]) -> bool {
    let has_room = rig.spool.has_room();
    for part in reading.iter().filter(|_| has_room) {
        while !rig.spool.has_room_in_memory() {
            assert!(rig.spool.flush(PATIENCE));
        }
        rig.append(part.clone());
    }
    has_room
}

/// A week without an aggregator: how many readings there were, and what is held then.
fn week(reading: &[Body]) -> (i64, Vec<Record>, Status) {
    let rig = Rig::on(SimDisk::new(), default_limits());
    let mut readings = 0;
    for minute in 1..=WEEK_MINUTES {
        rig.clock.advance(MINUTE);
        rig.append(largest(minute));
        if minute % READ_EVERY == 0 {
            readings += i64::from(read(&rig, reading));
            assert!(rig.spool.flush(PATIENCE));
        }
    }
    assert!(rig.disk.most_used() <= DEFAULT_BYTES);
    (readings, rig.held(), rig.spool.status())
}

fn samples(held: &[Record]) -> Vec<i64> {
    held.iter().filter_map(free).collect()
}

#[test]
fn a_week_of_samples_is_kept_beside_500_of_the_longest_metrics() {
    let reading = long_metrics(500);
    let (readings, held, status) = week(&reading);
    assert_eq!(samples(&held), (1..=WEEK_MINUTES).collect::<Vec<_>>(), "every sample");
    let devices = held.iter().filter(|record| matches!(record.body, Body::Devices(_))).count();
    assert_eq!(devices, usize::try_from(readings).unwrap() * reading.len(), "and what was read");
    assert!(readings >= 60, "{readings}: the first hours");
    assert_eq!((status.dropped_records, status.due_ticks), (0, WEEK_MINUTES));
    assert!(!status.has_room(DEFAULT_BYTES), "{}", status.waiting_bytes);
    let spare = DEFAULT_BYTES - status.size_bytes;
    println!("{readings} readings, {spare} bytes to spare");
}

#[test]
fn a_week_of_samples_and_of_a_servers_devices_is_kept() {
    let (readings, held, status) = week(&server());
    assert_eq!(samples(&held).len(), usize::try_from(WEEK_MINUTES).unwrap());
    assert_eq!(readings, WEEK_MINUTES / READ_EVERY, "none is left out");
    assert_eq!(status.dropped_records, 0);
    println!("{} bytes", status.waiting_bytes);
}

#[test]
fn what_is_acknowledged_takes_no_room_and_what_waits_does_until_then() {
    let rig = Rig::new(64 * 1024, 16);
    let reading = long_metrics(100);
    for minute in 0..100 {
        assert!(read(&rig, &reading), "the aggregator is there");
        let last = rig.sample(minute);
        assert!(rig.spool.flush(PATIENCE));
        rig.spool.release(last);
    }
    assert!(rig.spool.flush(PATIENCE));
    assert!(rig.spool.status().size_bytes > rig.limits.bytes / 2, "full of what is acknowledged");
    let more = (0..100).take_while(|_| read(&rig, &reading) && rig.spool.flush(PATIENCE)).count();
    assert!((1..100).contains(&more), "{more}");
    let status = rig.spool.status();
    assert!(!status.has_room(rig.limits.bytes) && status.dropped_records == 0);
    assert!((1..5).contains(&(status.waiting_bytes * 4 / rig.limits.bytes)));
    rig.samples(1..=1000);
    assert_eq!(rig.spool.status().dropped_records, 0);
    rig.spool.release(rig.held().last().unwrap().sequence);
    assert!(rig.spool.has_room(), "at once");
}

#[test]
fn on_a_full_disk_the_samples_have_half_of_what_there_is() {
    let rig = Rig::new(64 * 1024, 64);
    rig.samples(1..=10);
    rig.disk.set_faults(Faults { full: true, ..Faults::default() });
    let reading = long_metrics(20);
    let mut read_some = 0;
    for minute in 11..=400 {
        read_some += i32::from(read(&rig, &reading));
        rig.sample(minute);
        assert!(rig.spool.flush(PATIENCE));
    }
    let status = rig.spool.status();
    assert_eq!((status.fault, status.dropped_records), (Some(Fault::NoSpace), 0));
    assert!(status.has_room(rig.limits.bytes) && !rig.spool.has_room());
    assert!(read_some > 0);
    assert_eq!(samples(&rig.held()), (1..=400).collect::<Vec<_>>());
}

#[test]
fn while_nothing_can_be_written_half_of_the_memory_is_for_samples() {
    let rig = Rig::new(64 * 1024, 64);
    rig.samples(1..=10);
    rig.disk.set_faults(Faults { write: true, ..Faults::default() });
    let mut parts = 0;
    for part in long_metrics(500) {
        if rig.spool.has_room_in_memory() {
            rig.append(part);
            parts += 1;
        }
    }
    assert!((5..20).contains(&parts), "{parts}");
    for minute in 11..=200 {
        rig.sample(minute);
    }
    assert!(!rig.spool.flush(PATIENCE));
    assert!(rig.spool.tail_bytes() <= TAIL_BYTES);
    assert_eq!(rig.spool.status().dropped_records, 0);
    rig.disk.set_faults(Faults::default());
    assert!(rig.spool.flush(PATIENCE));
    assert!(rig.spool.has_room_in_memory());
    assert_eq!(samples(&rig.held()), (1..=200).collect::<Vec<_>>());
}

#[test]
fn one_reading_takes_a_quarter_at_most() {
    let most = |bytes| {
        Rig::on(SimDisk::new(), Limits::in_segments(bytes, WEEK, 65_536)).spool.most_records()
    };
    assert_eq!((most(1 << 20), most(64 << 20)), (16, 1024));
    assert!(most(0) >= 1);
}
