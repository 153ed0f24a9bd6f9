//! The spool on a simulated disk.

mod bodies;
mod damage;
mod faults;
mod lost;
mod model;
mod room;
mod second;
mod week;

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, Gap, GapState, Record, Sample};
use rowcall_core::session::agent::Holdings as _;

use crate::disk::sim::SimDisk;
use crate::writer::Limits;
use crate::{Opened, Settings, Spool};

const OWNER: &str = "here.example";
const START: UnixMicros = UnixMicros(1_800_000_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// A spool on a simulated disk, and its clock.
struct Rig {
    disk: Arc<SimDisk>,
    clock: Arc<TestClock>,
    limits: Limits,
    boot: u32,
    spool: Spool,
    opened: Opened,
}

impl Rig {
    /// With segments of so many bytes, and room for so many of them.
    fn new(segment_bytes: u64, segments: u64) -> Self {
        let limits = Limits::in_segments(segment_bytes * segments, WEEK, segment_bytes);
        Self::on(SimDisk::new(), limits)
    }

    fn on(disk: SimDisk, limits: Limits) -> Self {
        let clock = Arc::new(TestClock::at(START));
        let disk = Arc::new(disk);
        let (spool, opened) = open(&disk, &clock, limits, 1, 1);
        Self { disk, clock, limits, boot: 1, spool, opened }
    }

    /// Opens it again; `disk` is what is left of it.
    fn reopen(&mut self, disk: SimDisk) {
        self.disk = Arc::new(disk);
        let epoch = self.spool.epoch().as_u64() + 1000;
        (self.spool, self.opened) = open(&self.disk, &self.clock, self.limits, self.boot, epoch);
    }

    /// A minute later, a sample.
    fn sample(&self, free: i64) -> Sequence {
        self.clock.advance(MINUTE);
        self.append(sample(free))
    }

    fn append(&self, body: Body) -> Sequence {
        self.spool.append(self.clock.wall(), self.clock.since_boot(), body)
    }

    fn samples(&self, frees: std::ops::RangeInclusive<i64>) {
        for free in frees {
            self.sample(free);
        }
        assert!(self.spool.flush(PATIENCE), "the disk takes them");
    }

    fn held(&self) -> Vec<Record> {
        self.spool.read_from(self.spool.oldest(), usize::MAX)
    }
}

fn open(
    disk: &Arc<SimDisk>,
    clock: &Arc<TestClock>,
    limits: Limits,
    boot: u32,
    epoch: u64,
) -> (Spool, Opened) {
    let settings =
        Settings { dir: "sim".into(), max_bytes: limits.bytes, max_age: WEEK, owner: OWNER.into() };
    let disk: Arc<SimDisk> = Arc::clone(disk);
    let clock: Arc<TestClock> = Arc::clone(clock);
    let epoch = Epoch::new(epoch).unwrap();
    Spool::open_on(disk, &settings, limits, clock, &format!("boot {boot}"), epoch).unwrap()
}

fn sample(free: i64) -> Body {
    Body::Sample(Sample { memory_free_kib: Some(free), ..Sample::default() })
}

fn free(record: &Record) -> Option<i64> {
    match &record.body {
        Body::Sample(sample) => sample.memory_free_kib,
        _ => None,
    }
}

fn gap(record: &Record) -> Option<&Gap> {
    match &record.body {
        Body::Gap(gap) => Some(gap),
        _ => None,
    }
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

/// Sequences are dense and every tick is counted once; the ticks of all records.
fn check_dense(first: Sequence, due_before: i64, records: &[Record]) -> i64 {
    let mut expected = first;
    let mut due = due_before;
    for record in records {
        assert_eq!(record.sequence, expected, "sequences are dense");
        due += record.body.ticks();
        assert_eq!(record.due_ticks, due, "every tick is counted once: {record:?}");
        expected = record.through().next();
    }
    due
}

fn is_corrupt(record: &Record) -> bool {
    gap(record).is_some_and(|gap| gap.state == GapState::Corrupt)
}
