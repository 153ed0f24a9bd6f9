//! Both ends against each other, with lost connections, lost acknowledgements, lost databases.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::agent::{self, Holdings, Resume, Violation};
use super::aggregator::{self, MAX_IN_FLIGHT_BYTES, Refusal, greet, silence_limit};
use crate::convert::record_to_wire;
use crate::id::{Epoch, HostName, Sequence, UnixMicros};
use crate::proto::v1 as pb;
use crate::record::{Body, Gap, GapCause, GapState, Record, Sample};

fn sequence(n: u64) -> Sequence {
    Sequence::new(n).unwrap()
}

fn sample(n: u64) -> Record {
    Record {
        due_ticks: 0,
        sequence: sequence(n),
        time: UnixMicros(i64::try_from(n).unwrap() * 60),
        body: Body::Sample(Sample::default()),
    }
}

fn batch(records: &[Record]) -> pb::Batch {
    pb::Batch { records: records.iter().map(record_to_wire).collect(), spool: None }
}

fn welcome(mark: Option<(u64, i64)>) -> pb::Welcome {
    pb::Welcome {
        interval_ms: 60_000,
        max_in_flight_bytes: MAX_IN_FLIGHT_BYTES,
        mark: mark.map(|(through_sequence, time_unix_us)| pb::Mark {
            through_sequence,
            time_unix_us,
            due_ticks: 0,
        }),
        ..Default::default()
    }
}

/// A queue that holds a run of samples.
#[derive(Clone, Debug)]
struct Queue {
    records: BTreeMap<Sequence, Record>,
    next: u64,
    acknowledged: u64,
}

impl Queue {
    fn of(held: std::ops::Range<u64>) -> Self {
        Self {
            next: held.end,
            records: held.map(|n| (sequence(n), sample(n))).collect(),
            acknowledged: 0,
        }
    }
}

impl Holdings for Queue {
    fn epoch(&self) -> Epoch {
        Epoch::new(7).unwrap()
    }

    fn oldest(&self) -> Sequence {
        self.records.keys().next().copied().unwrap_or_else(|| sequence(self.next))
    }

    fn next(&self) -> Sequence {
        sequence(self.next)
    }

    fn time_at(&self, at: Sequence) -> Option<UnixMicros> {
        self.records.get(&at).map(|record| record.time)
    }
}

fn resume(mark: Option<(u64, i64)>, queue: &Queue) -> Resume {
    agent::Session::welcome(&welcome(mark), queue).unwrap().1
}

#[test]
fn without_a_mark_everything_is_sent() {
    assert_eq!(resume(None, &Queue::of(1..5)), Resume::From(sequence(1)));
    assert_eq!(resume(None, &Queue::of(1..1)), Resume::From(sequence(1)));
}

#[test]
fn what_is_no_longer_held_is_told_as_forgotten() {
    let forgotten = Resume::ForgottenThenFrom { first: sequence(3), last: sequence(4) };
    assert_eq!(resume(Some((2, 120)), &Queue::of(5..9)), forgotten);
    let from_start = Resume::ForgottenThenFrom { first: sequence(1), last: sequence(4) };
    assert_eq!(resume(None, &Queue::of(5..9)), from_start);
}

#[test]
fn a_mark_moves_the_agent_to_the_record_after_it() {
    assert_eq!(resume(Some((3, 180)), &Queue::of(1..5)), Resume::From(sequence(4)));
    assert_eq!(resume(Some((4, 240)), &Queue::of(5..9)), Resume::From(sequence(5)));
}

#[test]
fn a_mark_of_a_record_that_does_not_exist_yet_or_has_another_time_means_a_new_epoch() {
    assert_eq!(resume(Some((5, 300)), &Queue::of(1..5)), Resume::NewEpoch);
    assert_eq!(resume(Some((3, 181)), &Queue::of(1..5)), Resume::NewEpoch);
}

#[test]
fn an_ack_releases_only_what_was_sent_on_this_stream() {
    let (mut session, _) =
        agent::Session::welcome(&welcome(Some((3, 180))), &Queue::of(1..9)).unwrap();
    let ack = |through_sequence| pb::Ack { spool_epoch: 7, through_sequence, clock_unix_us: 0 };
    assert!(matches!(session.acknowledged(&ack(3)), Err(Violation::AckBeyondSent { .. })));
    session.sent(sequence(5), 100);
    assert_eq!(session.acknowledged(&ack(4)), Ok(Some(sequence(4))));
    assert!(!session.is_settled());
    assert_eq!(session.acknowledged(&ack(5)), Ok(Some(sequence(5))));
    assert!(session.is_settled());
    assert!(session.acknowledged(&ack(6)).is_err());
    assert!(session.acknowledged(&ack(0)).is_err());
}

#[test]
fn an_ack_for_another_epoch_releases_nothing() {
    let (mut session, _) = agent::Session::welcome(&welcome(None), &Queue::of(1..9)).unwrap();
    session.sent(sequence(8), 100);
    let ack = pb::Ack { spool_epoch: 8, through_sequence: 8, clock_unix_us: 0 };
    assert_eq!(session.acknowledged(&ack), Ok(None));
    assert!(!session.is_settled());
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let (mut session, _) = agent::Session::welcome(&welcome(None), &Queue::of(1..9)).unwrap();
    let window = usize::try_from(MAX_IN_FLIGHT_BYTES).unwrap();
    assert!(session.may_send(window + 1), "one batch may always go");
    session.sent(sequence(1), window - 10);
    assert!(session.may_send(10));
    assert!(!session.may_send(11));
}

#[test]
fn a_welcome_that_cannot_be_is_refused() {
    for wrong in [
        pb::Welcome { interval_ms: 0, ..welcome(None) },
        pb::Welcome { max_in_flight_bytes: 0, ..welcome(None) },
        welcome(Some((0, 0))),
    ] {
        assert!(matches!(
            agent::Session::welcome(&wrong, &Queue::of(1..2)),
            Err(Violation::Welcome(_))
        ));
    }
}

#[test]
fn a_batch_may_overlap_the_mark_but_leave_no_hole() {
    let epoch = Epoch::new(7).unwrap();
    let at = |mark| aggregator::Session::new(epoch, mark);
    assert!(at(None).batch(batch(&[sample(1)]), 9).is_ok());
    let hole = Refusal::Hole { got: sequence(2), expected: sequence(1) };
    assert_eq!(at(None).batch(batch(&[sample(2)]), 9), Err(hole));
    assert!(at(Some(sequence(5))).batch(batch(&[sample(3), sample(4)]), 9).is_ok());
    assert!(at(Some(sequence(5))).batch(batch(&[sample(7)]), 9).is_err());
    assert!(at(None).batch(batch(&[sample(1), sample(3)]), 9).is_err());
    assert!(at(None).batch(batch(&[sample(1), sample(1)]), 9).is_err());
}

#[test]
fn a_gap_covers_the_sequences_it_names() {
    let gap = Record {
        due_ticks: 0,
        sequence: sequence(1),
        time: UnixMicros(0),
        body: Body::Gap(Gap {
            through: sequence(4),
            ticks: 4,
            state: GapState::Dropped,
            cause: GapCause::Size,
            from: UnixMicros(0),
            to: UnixMicros(0),
        }),
    };
    let mut session = aggregator::Session::new(Epoch::new(7).unwrap(), None);
    assert!(session.batch(batch(&[gap, sample(5)]), 9).is_ok());
}

#[test]
fn a_peer_that_ignores_the_window_is_refused() {
    let mut session = aggregator::Session::new(Epoch::new(7).unwrap(), None);
    let window = usize::try_from(MAX_IN_FLIGHT_BYTES).unwrap();
    assert!(session.batch(batch(&[sample(1)]), window).is_ok());
    assert_eq!(session.batch(batch(&[sample(2)]), 1), Err(Refusal::Window));
}

#[test]
fn a_batch_of_crumbs_is_refused() {
    let mut session = aggregator::Session::new(Epoch::new(7).unwrap(), None);
    let most = u64::try_from(aggregator::MAX_BATCH_RECORDS).unwrap();
    let crumbs: Vec<_> = (1..=most + 1).map(sample).collect();
    assert_eq!(session.batch(batch(&crumbs), 9), Err(Refusal::Records(crumbs.len())));
    assert!(session.batch(batch(&crumbs[1..]), 9).is_err(), "nothing of it was taken");
    assert!(session.batch(batch(&crumbs[..crumbs.len() - 1]), 9).is_ok());
}

#[test]
fn after_the_last_sequence_of_all_nothing_comes() {
    let last = i64::MAX.unsigned_abs();
    let end = Record { sequence: sequence(last), ..sample(1) };
    let mut session = aggregator::Session::new(Epoch::new(7).unwrap(), Some(sequence(last - 1)));
    assert!(session.batch(batch(std::slice::from_ref(&end)), 9).is_ok());
    assert!(matches!(session.batch(batch(&[end]), 9), Err(Refusal::Hole { .. })));
}

#[test]
fn an_ack_is_sent_only_when_it_says_something_new() {
    let mut session = aggregator::Session::new(Epoch::new(7).unwrap(), None);
    assert!(session.committed(sequence(3)).is_some());
    assert!(session.committed(sequence(3)).is_none());
    assert!(session.committed(sequence(2)).is_none());
}

#[test]
fn a_hello_for_another_host_is_refused_with_both_names() {
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: "other".into(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        ..Default::default()
    };
    let certified = HostName::parse("mine").unwrap();
    let refused =
        greet(Some(pb::stream_request::Frame::Hello(hello.clone())), &certified).unwrap_err();
    assert!(refused.to_string().contains("host other, but the certificate names mine"));
    let other = HostName::parse("OTHER").unwrap();
    assert!(greet(Some(pb::stream_request::Frame::Hello(hello.clone())), &other).is_ok());
    let newer = pb::Hello { protocol_min: 9, protocol_max: 9, ..hello };
    let refused = greet(Some(pb::stream_request::Frame::Hello(newer)), &other).unwrap_err();
    assert!(refused.to_string().contains("no common protocol version"));
    assert_eq!(greet(None, &other), Err(Refusal::HelloExpected));
}

#[test]
fn silence_is_two_intervals_and_thirty_seconds() {
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(silence_limit(minute).as_secs(), 150);
}

/// What may happen between the two ends.
#[derive(Clone, Copy, Debug)]
enum Event {
    Sample,
    Connect,
    Send,
    Commit,
    Ack,
    Cut,
    Evict,
    /// The database loses what it committed after this many records (a restored backup).
    Restore(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(
        prop_oneof![
            4 => Just(Event::Sample),
            2 => Just(Event::Connect),
            4 => Just(Event::Send),
            3 => Just(Event::Commit),
            3 => Just(Event::Ack),
            1 => Just(Event::Cut),
            1 => Just(Event::Evict),
            1 => (0_u64..20).prop_map(Event::Restore),
        ],
        1..200,
    )
}

/// One agent, one aggregator, one database.
struct World {
    queue: Queue,
    rows: BTreeMap<u64, bool>,
    mark: u64,
    stream: Option<Stream>,
}

struct Stream {
    agent: agent::Session,
    aggregator: aggregator::Session,
    send_from: u64,
    forgotten: Option<(u64, u64)>,
    received: Vec<Record>,
    committed: u64,
}

impl World {
    fn new() -> Self {
        Self { queue: Queue::of(1..1), rows: BTreeMap::new(), mark: 0, stream: None }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Sample => {
                let n = self.queue.next;
                self.queue.records.insert(sequence(n), sample(n));
                self.queue.next += 1;
            }
            Event::Connect => self.connect(),
            Event::Send => self.send(),
            Event::Commit => self.commit(),
            Event::Ack => self.acknowledge(),
            Event::Cut => self.stream = None,
            Event::Evict => {
                let oldest = self.queue.oldest();
                if oldest.as_u64() <= self.queue.acknowledged {
                    self.queue.records.remove(&oldest);
                }
            }
            Event::Restore(keep) => {
                self.rows.retain(|n, _| *n <= keep);
                self.mark = self.mark.min(keep);
                self.stream = None;
            }
        }
    }

    fn connect(&mut self) {
        let mark = (self.mark > 0).then(|| (self.mark, i64::try_from(self.mark).unwrap() * 60));
        let (agent, resume) = agent::Session::welcome(&welcome(mark), &self.queue).unwrap();
        let (send_from, forgotten) = match resume {
            Resume::From(first) => (first.as_u64(), None),
            Resume::ForgottenThenFrom { first, last } => {
                (last.as_u64() + 1, Some((first.as_u64(), last.as_u64())))
            }
            Resume::NewEpoch => panic!("nothing was rolled back or copied"),
        };
        self.stream = Some(Stream {
            agent,
            aggregator: aggregator::Session::new(self.queue.epoch(), Sequence::new(self.mark).ok()),
            send_from,
            forgotten,
            received: Vec::new(),
            committed: 0,
        });
    }

    fn send(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let record = if let Some((first, last)) = stream.forgotten.take() {
            Record {
                due_ticks: 0,
                sequence: sequence(first),
                time: UnixMicros(0),
                body: Body::Gap(Gap {
                    through: sequence(last),
                    ticks: 1,
                    state: GapState::Forgotten,
                    cause: GapCause::Size,
                    from: UnixMicros(0),
                    to: UnixMicros(0),
                }),
            }
        } else {
            let Some(record) = self.queue.records.get(&sequence(stream.send_from)) else { return };
            stream.send_from += 1;
            record.clone()
        };
        stream.agent.sent(record.through(), 50);
        let taken =
            stream.aggregator.batch(batch(&[record]), 50).expect("the agent keeps the rules");
        stream.received.extend(taken);
    }

    fn commit(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        for record in stream.received.drain(..) {
            let gap = matches!(record.body, Body::Gap(_));
            for n in record.sequence.as_u64()..=record.through().as_u64() {
                self.rows.entry(n).or_insert(!gap);
            }
            self.mark = self.mark.max(record.through().as_u64());
            stream.committed = stream.committed.max(record.through().as_u64());
        }
        assert_eq!(
            self.rows.len(),
            usize::try_from(self.mark).unwrap(),
            "INV-2: the mark passed a hole"
        );
    }

    fn acknowledge(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let Ok(through) = Sequence::new(stream.committed) else { return };
        let Some(ack) = stream.aggregator.committed(through) else { return };
        let released = stream.agent.acknowledged(&ack).unwrap().unwrap().as_u64();
        for n in 1..=released {
            assert!(self.rows.contains_key(&n), "INV-1: {n} was released and is not committed");
        }
        self.queue.acknowledged = self.queue.acknowledged.max(released);
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_is_cut_or_restored(events in events()) {
        let mut world = World::new();
        for event in events {
            world.step(event);
        }
        world.connect();
        for _ in 0..500 {
            world.send();
        }
        world.commit();
        world.acknowledge();
        for n in world.queue.records.keys() {
            prop_assert_eq!(world.rows.get(&n.as_u64()), Some(&true), "held record {} is no row", n);
        }
        prop_assert_eq!(world.mark, world.queue.next - 1);
    }
}
