//! The spool against a model that remembers everything, over crashes, damage and a failing disk.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rowcall_core::record::{EpochOrigin, GapCause, HostFacts};

use super::*;
use crate::disk::Disk as _;
use crate::disk::sim::{Dice, Faults};
use crate::segment::first_of;
use crate::state::FIXED_BYTES;

const SEGMENT: u64 = 8192;
const SEGMENTS: u64 = 4;
const HOUR: i64 = 3_600_000_000;

#[derive(Clone, Debug)]
enum Step {
    Sample,
    Facts(usize),
    Missed(i64),
    /// Until all is on disk, or the disk has failed; then everything is checked.
    Flush,
    /// Acknowledge this share of what may be, in percent.
    Release(u64),
    Reopen,
    Kill,
    Reboot,
    /// Unsynced bytes are lost in part.
    Crash(u64),
    /// And one bit of a segment has turned.
    CrashAndFlip(u64),
    Full(bool),
    WriteFails(bool),
    SyncFailsOnce,
    /// Hours that somebody sets the clock by.
    ClockJump(i64),
    /// The clock loses itself.
    ClockUnset,
    ClockIs,
    /// Hours in which nothing happens.
    Sleep(u64),
    NewEpoch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => Just(Step::Sample),
        2 => (0_usize..600).prop_map(Step::Facts),
        2 => (1_i64..100).prop_map(Step::Missed),
        10 => Just(Step::Flush),
        5 => (0_u64..=100).prop_map(Step::Release),
        2 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        1 => Just(Step::Reboot),
        2 => (1_u64..u64::MAX).prop_map(Step::Crash),
        2 => (1_u64..u64::MAX).prop_map(Step::CrashAndFlip),
        2 => any::<bool>().prop_map(Step::Full),
        2 => any::<bool>().prop_map(Step::WriteFails),
        2 => Just(Step::SyncFailsOnce),
        2 => (-30_i64..30).prop_map(Step::ClockJump),
        1 => Just(Step::ClockUnset),
        1 => Just(Step::ClockIs),
        1 => (1_u64..200).prop_map(Step::Sleep),
        1 => Just(Step::NewEpoch),
    ];
    proptest::collection::vec(step, 1..400)
}

/// A record that was appended.
#[derive(Debug)]
struct Entry {
    ticks: i64,
    free: Option<i64>,
    /// Its time, once it was seen.
    time: Option<UnixMicros>,
    /// It may be damaged: it was not safe at a crash, or a bit was turned.
    doubtful: bool,
}

struct World {
    rig: Rig,
    /// Everything ever appended and not lost in a crash before it was safe.
    all: Vec<Entry>,
    /// So many of them are safe.
    kept: usize,
    /// So many of them were before the present epoch.
    base: usize,
    acknowledged: usize,
    epoch: Epoch,
    free: i64,
    /// Microseconds that no other clock reads.
    told: i64,
    clock_in_memory: bool,
    /// A sync failed, and what it was for was not written anew since.
    sync_failed: bool,
}

fn usize_of(sequence: Sequence) -> usize {
    usize::try_from(sequence.as_u64()).unwrap()
}

impl World {
    fn new() -> Self {
        let bytes = SEGMENTS * SEGMENT + FIXED_BYTES;
        let rig = Rig::on(SimDisk::new(), Limits::in_segments(bytes, WEEK, SEGMENT));
        let epoch = rig.spool.epoch();
        Self {
            rig,
            all: Vec::new(),
            kept: 0,
            base: 0,
            acknowledged: 0,
            epoch,
            free: 0,
            told: 0,
            clock_in_memory: false,
            sync_failed: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Sample => {
                self.rig.clock.advance(MINUTE);
                self.free += 1;
                self.append(sample(self.free), 1, Some(self.free));
            }
            Step::Facts(length) => {
                let os = Some("x".repeat(length));
                self.append(
                    Body::HostFacts(Box::new(HostFacts { os, ..HostFacts::default() })),
                    0,
                    None,
                );
            }
            Step::Missed(ticks) => {
                let (from, to) = (self.rig.clock.wall(), self.rig.clock.wall());
                let (state, cause) = (GapState::Missed, GapCause::Starved);
                let through = Sequence::FIRST;
                self.append(Body::Gap(Gap { through, ticks, state, cause, from, to }), ticks, None);
            }
            Step::Flush => {
                self.clock_in_memory = !self.rig.spool.flush(PATIENCE);
                if !self.clock_in_memory {
                    self.kept = self.all.len();
                    self.sync_failed = self.rig.disk.faults().sync_once;
                }
                self.check();
            }
            Step::Release(percent) => {
                // What is only in memory is not released here: a crash would roll the spool back.
                let most = self.kept.min(self.base + usize_of(self.rig.spool.next()) - 1);
                let through = self.acknowledged
                    + (most.saturating_sub(self.acknowledged)) * usize::try_from(percent).unwrap()
                        / 100;
                if through > self.acknowledged {
                    self.rig.spool.release(sequence(u64::try_from(through - self.base).unwrap()));
                    self.acknowledged = through;
                }
            }
            Step::Reopen => {
                if self.rig.spool.close(PATIENCE) {
                    self.kept = self.all.len();
                }
                self.reopen(self.rig.disk.kill());
            }
            Step::Kill => self.reopen(self.rig.disk.kill()),
            Step::Reboot => {
                self.rig.boot += 1;
                self.reopen(self.rig.disk.crash(&mut Dice(7)));
            }
            Step::Crash(seed) => self.reopen(self.rig.disk.crash(&mut Dice(seed))),
            Step::CrashAndFlip(seed) => self.flip(seed),
            Step::Full(full) => self.fault(|faults| faults.full = full),
            Step::WriteFails(write) => self.fault(|faults| faults.write = write),
            Step::SyncFailsOnce => {
                self.fault(|faults| faults.sync_once = true);
                self.sync_failed = true;
            }
            Step::ClockJump(hours) => {
                let clock = &self.rig.clock;
                clock.set_wall(clock.wall().plus_micros(hours * HOUR));
            }
            Step::ClockUnset => self.rig.clock.set_wall(UnixMicros(5_000_000)),
            Step::ClockIs => {
                // Times that are given afterwards are told apart from all others only by chance.
                self.told += 7;
                let wall = START.plus_micros(400 * 24 * HOUR + self.told);
                self.rig.spool.clock_is(wall, self.rig.clock.since_boot());
                self.rig.clock.set_wall(wall.plus_micros(HOUR));
                self.clock_in_memory = true;
            }
            Step::Sleep(hours) => self.rig.clock.suspend(Duration::from_secs(3600 * hours)),
            Step::NewEpoch => self.new_epoch(),
        }
    }

    fn fault(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.rig.disk.faults();
        change(&mut faults);
        self.rig.disk.set_faults(faults);
    }

    fn append(&mut self, body: Body, ticks: i64, free: Option<i64>) {
        let sequence = self.rig.append(body);
        self.all.push(Entry { ticks, free, time: None, doubtful: false });
        assert_eq!(self.base + usize_of(sequence), self.all.len(), "numbers are dense");
    }

    fn new_epoch(&mut self) {
        self.fault(|faults| *faults = Faults::default());
        self.epoch = Epoch::new(self.epoch.as_u64() + 1).unwrap();
        self.rig.spool.new_epoch(self.epoch, EpochOrigin::RolledBack);
        self.base = self.acknowledged;
        assert_eq!(self.rig.spool.epoch(), self.epoch);
        let status = self.rig.spool.status();
        assert_eq!(self.base + usize_of(status.next), self.all.len() + 1);
        // Where it begins inside a damaged stretch, which part had how many ticks is not known.
        let due: i64 = self.all[self.base..].iter().map(|entry| entry.ticks).sum();
        if due != status.due_ticks {
            let (last, first) = (self.all[self.base - 1].doubtful, &mut self.all[self.base]);
            assert!(last && first.doubtful, "{} ticks instead of {due}", status.due_ticks);
            first.ticks += status.due_ticks - due;
        }
    }

    fn flip(&mut self, seed: u64) {
        let mut dice = Dice(seed);
        let disk = self.rig.disk.crash(&mut dice);
        let names: Vec<String> =
            disk.list().unwrap().into_iter().filter(|name| first_of(name).is_some()).collect();
        if names.is_empty() {
            return self.reopen(disk);
        }
        let at = usize::try_from(dice.roll(u64::try_from(names.len()).unwrap())).unwrap();
        let bit = dice.roll(SEGMENT * 8);
        disk.damage(&names[at], |bytes| {
            let place = usize::try_from(bit / 8).unwrap() % bytes.len().max(1);
            bytes[place] ^= 1 << (bit % 8);
        });
        // Any record of that segment may be hit, or its header.
        let first = usize::try_from(first_of(&names[at]).unwrap()).unwrap();
        let end = names
            .get(at + 1)
            .and_then(|name| first_of(name))
            .map_or(usize::MAX, |next| usize::try_from(next).unwrap() - 1);
        for (number, entry) in (1..).zip(&mut self.all) {
            entry.doubtful |= number >= first && number <= end;
        }
        self.reopen(disk);
    }

    /// The process begins anew with what is left of the disk.
    fn reopen(&mut self, disk: SimDisk) {
        for entry in &mut self.all[self.kept..] {
            entry.doubtful = true;
        }
        if std::mem::take(&mut self.clock_in_memory) {
            // No disk took what was found out about the clock, and records were sent by it.
            self.all.iter_mut().for_each(|entry| entry.time = None);
        }
        let is_well = disk.faults() == Faults::default() && !std::mem::take(&mut self.sync_failed);
        self.rig.reopen(disk);
        assert_eq!(self.rig.spool.epoch(), self.epoch, "an epoch survives");
        let status = self.rig.spool.status();
        let there = self.base + usize_of(status.next) - 1;
        assert!(there <= self.all.len(), "nothing comes from nowhere");
        assert!(
            self.all[there..].iter().all(|entry| entry.doubtful),
            "what was safe is there: {there} of {}, {} safe",
            self.all.len(),
            self.kept
        );
        self.all.truncate(there);
        // A disk that cannot be synced at the start makes nothing safe that was not before.
        self.kept = if is_well { there } else { self.kept };
        // The last acknowledgements may be forgotten: what they were for is only sent again.
        let through = status.acknowledged.map_or(0, |(through, _)| usize_of(through));
        assert!(self.base + through <= self.acknowledged, "nobody acknowledged that");
        self.acknowledged = self.base + through;
        assert!(self.acknowledged <= there, "what was acknowledged is known");
        // How many ticks a damaged record at the very end stood for is lost with it.
        let due: i64 = self.all[self.base..].iter().map(|entry| entry.ticks).sum();
        if due != status.due_ticks {
            let last = self.all.last_mut().expect("without records no ticks");
            assert!(last.doubtful, "{} ticks instead of {due}", status.due_ticks);
            last.ticks += status.due_ticks - due;
        }
        self.check();
    }

    fn check(&mut self) {
        let spool = &self.rig.spool;
        let (oldest, next) = (spool.oldest(), spool.next());
        assert!(self.base + usize_of(oldest) <= self.acknowledged + 1, "nothing is gone");
        let held = spool.read_from(oldest, usize::MAX);
        check_dense(oldest, spool.due_before_oldest(), &held);
        let end = held.last().map_or(oldest, |record| record.through().next());
        assert_eq!(end, next, "all that may be sent can be read");
        let mut times = BTreeSet::new();
        let mut drops = BTreeMap::new();
        let mut record_ticks = BTreeMap::new();
        for record in &held {
            let first = self.base + usize_of(record.sequence);
            let through = self.base + usize_of(record.through());
            if let Some(gap) = gap(record).filter(|gap| gap.state != GapState::Missed) {
                let covered = &self.all[first - 1..through];
                let ticks: i64 = covered.iter().map(|entry| entry.ticks).sum();
                let doubtful = covered.iter().all(|entry| entry.doubtful);
                // Where it begins inside a damaged stretch, its part of those ticks is not known.
                let inside = first > 1 && self.all[first - 2].doubtful && covered[0].doubtful;
                assert!(gap.ticks == ticks || inside, "{} ticks for {ticks}", gap.ticks);
                assert!(gap.state == GapState::Dropped || doubtful, "only what is hit is damaged");
                drops.insert(first, (through, gap.state));
                record_ticks.insert(first, gap.ticks);
                continue;
            }
            assert_eq!(first, through);
            let entry = &mut self.all[first - 1];
            assert_eq!((record.body.ticks(), free(record)), (entry.ticks, entry.free), "no other");
            assert!(times.insert(record.time), "{:?} is there twice", record.time);
            assert_eq!(*entry.time.get_or_insert(record.time), record.time, "it keeps its time");
            assert_eq!(spool.time_at(record.sequence), Some(record.time));
        }
        for (first, (through, state)) in drops {
            if state != GapState::Dropped {
                continue;
            }
            for from in first..=through {
                let wanted = sequence(u64::try_from(from - self.base).unwrap());
                let part = spool.read_from(wanted, 1).remove(0);
                let ticks: i64 = self.all[from - 1..through].iter().map(|e| e.ticks).sum();
                assert_eq!(part.sequence, wanted);
                // Which damaged record stood for how many ticks is not known.
                if self.all[first - 1..through].iter().any(|entry| entry.doubtful) {
                    assert!((0..=record_ticks[&first]).contains(&part.body.ticks()));
                } else {
                    assert_eq!(part.body.ticks(), ticks, "part of a gap");
                }
                assert_eq!(self.base + usize_of(part.through()), through);
            }
        }
        let most = self.rig.disk.most_used();
        assert!(most <= self.rig.limits.bytes, "{most} bytes at one moment");
    }
}

/// PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(60), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn nothing_disappears_without_a_gap_and_nothing_wrong_appears(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.fault(|faults| *faults = Faults::default());
        assert!(world.rig.spool.flush(PATIENCE), "it heals");
        world.check();
    }
}
