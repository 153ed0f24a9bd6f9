//! The queue in memory against a model that remembers everything.

use proptest::prelude::*;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, Gap, GapCause, GapState, HostFacts, Record, Sample};
use rowcall_core::session::agent::Holdings;

use super::memory::memory_bytes;
use super::{Limits, MemoryQueue, Spool};

const LIMITS: Limits = Limits { records: 6, bytes: 1600 };

#[derive(Clone, Debug)]
enum Step {
    Sample(i64),
    Facts(usize),
    Missed(i64),
    /// Acknowledge this share of what is held, in percent.
    Release(u64),
    NewEpoch,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_i64..40).prop_map(Step::Sample),
        1 => (0_usize..600).prop_map(Step::Facts),
        1 => (1_i64..100).prop_map(Step::Missed),
        3 => (0_u64..=100).prop_map(Step::Release),
        1 => Just(Step::NewEpoch),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Every record of the present epoch, by sequence: its time and the ticks it stands for.
#[derive(Debug)]
struct Model {
    all: Vec<(UnixMicros, i64)>,
    acknowledged: usize,
}

struct World {
    queue: MemoryQueue,
    model: Model,
    epochs: u64,
}

impl World {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Sample(time) => self.append(time, Body::Sample(Sample::default()), 1),
            Step::Facts(length) => {
                let os = Some("x".repeat(length));
                self.append(7, Body::HostFacts(HostFacts { os, ..HostFacts::default() }), 0);
            }
            Step::Missed(ticks) => {
                let gap = Gap {
                    through: Sequence::FIRST,
                    ticks,
                    state: GapState::Missed,
                    cause: GapCause::Starved,
                    from: UnixMicros(1),
                    to: UnixMicros(2),
                };
                self.append(9, Body::Gap(gap), ticks);
            }
            Step::Release(percent) => {
                let held = self.queue.next().as_u64() - self.queue.oldest().as_u64();
                let through = self.queue.oldest().as_u64() + held * percent / 100;
                if let Ok(through) = Sequence::new(through - 1) {
                    self.queue.release(through);
                    let through = usize::try_from(through.as_u64()).unwrap();
                    self.model.acknowledged = self.model.acknowledged.max(through);
                }
            }
            Step::NewEpoch => {
                self.epochs += 1;
                self.queue.new_epoch(Epoch::new(self.epochs).unwrap());
                self.model.all.drain(..self.model.acknowledged);
                self.model.acknowledged = 0;
            }
        }
    }

    fn append(&mut self, time: i64, body: Body, ticks: i64) {
        let held = self.held();
        let sequence = self.queue.append(UnixMicros(time), body);
        let taken = self.queue.time_at(sequence).unwrap();
        assert!(taken.0 >= time, "a time moves only forward");
        assert!(held.iter().all(|record| record.time != taken), "{taken:?} was taken");
        self.model.all.push((taken, ticks));
        assert_eq!(usize::try_from(sequence.as_u64()).unwrap(), self.model.all.len());
    }

    fn held(&mut self) -> Vec<Record> {
        let oldest = self.queue.oldest();
        self.queue.read_from(oldest, usize::MAX)
    }

    fn ticks(&self, first: usize, through: usize) -> i64 {
        self.model.all[first - 1..through].iter().map(|(_, ticks)| ticks).sum()
    }

    fn check(&mut self) {
        let held = self.held();
        let mut expected = self.queue.oldest();
        for record in &held {
            assert_eq!(record.sequence, expected, "sequences are dense");
            expected = record.through().next();
            let through = usize::try_from(record.through().as_u64()).unwrap();
            assert_eq!(record.time, self.model.all[through - 1].0, "a record keeps its time");
            let Body::Gap(gap) = &record.body else { continue };
            for from in record.sequence.as_u64()..=gap.through.as_u64() {
                let part = &self.queue.read_from(Sequence::new(from).unwrap(), 1)[0];
                assert_eq!((part.sequence.as_u64(), part.through()), (from, gap.through));
                let Body::Gap(part) = &part.body else { panic!("part of a gap is a gap") };
                let from = usize::try_from(from).unwrap();
                assert_eq!(part.ticks, self.ticks(from, through), "every tick is counted once");
            }
        }
        assert_eq!(expected, self.queue.next(), "nothing is missing at the end");
        assert!(
            self.queue.oldest().as_u64() <= u64::try_from(self.model.acknowledged).unwrap() + 1,
            "nothing unacknowledged is gone"
        );
        let bytes: usize = held.iter().map(memory_bytes).sum();
        assert_eq!(self.queue.status().size_bytes, u64::try_from(bytes).unwrap());
        assert!(held.len() <= LIMITS.records);
        assert!(bytes <= LIMITS.bytes || held.len() <= 2, "{bytes} bytes in {}", held.len());
        let unacknowledged = held
            .iter()
            .filter(|r| usize::try_from(r.through().as_u64()).unwrap() > self.model.acknowledged);
        assert_eq!(
            self.queue.status().unacknowledged_records,
            u64::try_from(unacknowledged.count()).unwrap()
        );
    }
}

proptest! {
    #[test]
    fn nothing_unacknowledged_disappears_without_a_gap(steps in steps()) {
        let mut world = World {
            queue: MemoryQueue::new(Epoch::new(1).unwrap(), LIMITS),
            model: Model { all: Vec::new(), acknowledged: 0 },
            epochs: 1,
        };
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}
