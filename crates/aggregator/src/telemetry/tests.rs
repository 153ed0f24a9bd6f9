//! A stream against a test that plays agent and writer, with time paused.

mod credentials;
mod log;

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::{SharedClock, SystemClock, TestClock};
use rowcall_core::id::{Epoch, HostId, HostName, RunId, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::session::aggregator::{HELLO_DEADLINE, Session, silence_limit};
use rowcall_store::EpochId;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use self::credentials::NoCredentials;
use super::lanes::Pending;
use super::queue::{Intake, Queue, SMALL_RECORDS};
use super::stream::{Ended, Opened, run};
use super::{OUTBOUND, Pace, Shared};
use crate::connections::Visit;
use crate::database::Database;
use crate::farewells::Farewells;
use crate::leases::Leases;
use crate::metrics::Meters;
use crate::refusals::Refusals;
use crate::registry::tests::{newcomer, visit};
use crate::registry::{End, Registry};
use crate::tasks::Tasks;

const INTERVAL: Duration = Duration::from_secs(60);

/// Records of a batch that needs room in the common queue.
const BACKLOG: u64 = 10 + SMALL_RECORDS as u64;

/// What the aggregator's clock says.
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn shared() -> (Arc<Shared>, Intake) {
    rowcall_testkit::log::install();
    let clock: SharedClock = Arc::new(TestClock::at(NOW));
    let (queue, work) = Queue::new();
    let database = Database::new();
    let registry = Registry::new(Arc::clone(&clock), INTERVAL, silence_limit(INTERVAL));
    let shared = Shared {
        farewells: Farewells::new(Arc::clone(&database), Arc::clone(&clock), Duration::ZERO),
        leases: Leases::new(Arc::clone(&database), Arc::clone(&registry), Arc::clone(&clock)),
        credentials: Arc::new(NoCredentials),
        name: "here".into(),
        run: RunId::new(1).unwrap(),
        database,
        registry,
        queue,
        refusals: Refusals::new(Arc::clone(&clock)),
        clock,
        interval: INTERVAL,
        openings: Semaphore::new(1),
        pace: Pace::new(SystemClock::shared()),
        draining: CancellationToken::new(),
        tasks: Tasks::new(CancellationToken::new()),
        meters: Meters::new(),
    };
    (Arc::new(shared), work)
}

type Responses = mpsc::Receiver<Result<pb::StreamResponse, Status>>;

/// A welcomed stream of host "n", all its ends in the test's hands.
struct Rig {
    shared: Arc<Shared>,
    work: Intake,
    agent: mpsc::Sender<Result<pb::StreamRequest, Status>>,
    responses: Responses,
    stream: JoinHandle<Result<Ended, Status>>,
    visit: Arc<Visit>,
}

fn rig() -> Rig {
    let (shared, work) = shared();
    let ticket = shared.registry.admit(newcomer("n", 1)).unwrap();
    let outlet = shared.queue.outlet(Arc::clone(&ticket.live), HostId(1), EpochId(2));
    let visit = visit("n");
    let mut opened = Opened {
        shared: Arc::clone(&shared),
        visit: Arc::clone(&visit),
        session: Session::new(Epoch::new(7).unwrap(), None),
        ticket,
        outlet,
        welcomed: None,
        ack_timer: crate::metrics::AckTimer::default(),
        stopped: false,
        has_backlog: false,
    };
    let (agent, inbound) = mpsc::channel(16);
    let (outbound, responses) = mpsc::channel(OUTBOUND);
    let stream = tokio::spawn(async move {
        let served = opened.serve(&mut ReceiverStream::new(inbound), &outbound).await;
        served.map_err(|broken| broken.status)
    });
    Rig { shared, work, agent, responses, stream, visit }
}

impl Rig {
    async fn send(&self, frame: pb::stream_request::Frame) {
        self.agent.send(Ok(pb::StreamRequest { frame: Some(frame) })).await.unwrap();
    }

    async fn batch(&self, sequences: std::ops::RangeInclusive<u64>) {
        let records = sequences
            .map(|sequence| pb::Record {
                due_ticks: 0,
                sequence,
                time_unix_us: 5,
                body: Some(pb::record::Body::Sample(pb::Sample::default())),
            })
            .collect();
        self.send(pb::stream_request::Frame::Batch(pb::Batch { records, spool: None })).await;
    }

    async fn response(&mut self) -> pb::stream_response::Frame {
        self.responses.recv().await.unwrap().unwrap().frame.unwrap()
    }

    async fn ack(&mut self) -> u64 {
        match self.response().await {
            pb::stream_response::Frame::Ack(ack) => {
                assert_eq!(ack.clock_unix_us, NOW.0, "each tells the time");
                ack.through_sequence
            }
            other => panic!("expected an Ack, got {other:?}"),
        }
    }

    async fn drain(&mut self) -> pb::DrainReason {
        match self.response().await {
            pb::stream_response::Frame::Drain(drain) => drain.reason(),
            other => panic!("expected a Drain, got {other:?}"),
        }
    }
}

/// What waits for the writer, once something does.
async fn received(work: &Intake) -> Vec<Pending> {
    work.filled(1).await;
    work.take(usize::MAX)
}

fn commit(work: &[Pending]) {
    let last = work.last().unwrap();
    last.live.committed(last.incoming.record.through(), last.incoming.record.due_ticks);
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_hello_is_dropped_after_10_seconds() {
    let (shared, _work) = shared();
    let visit = visit("n");
    let (_silent, inbound) = mpsc::channel::<Result<pb::StreamRequest, Status>>(1);
    let (outbound, mut responses) = mpsc::channel(OUTBOUND);
    let started = Instant::now();
    let name = HostName::parse("n").unwrap();
    run(shared, visit, name, ReceiverStream::new(inbound), outbound).await;
    assert_eq!(started.elapsed(), HELLO_DEADLINE);
    let status = responses.recv().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "no Hello within 10 s");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_after_two_intervals_and_30_seconds() {
    let rig = rig();
    let started = Instant::now();
    let status = rig.stream.await.unwrap().unwrap_err();
    assert_eq!(started.elapsed(), INTERVAL * 2 + Duration::from_secs(30));
    assert_eq!(status.message(), "nothing heard for 150 s");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_read_in_turns_and_a_live_sample_needs_none() {
    let mut rig = rig();
    let turns = rig.shared.queue.take_turns().await;
    rig.batch(1..=1).await;
    commit(&received(&rig.work).await);
    assert_eq!(rig.ack().await, 1);
    // The first batch of a backlog shows that there is one; the next waits for a turn.
    rig.batch(2..=BACKLOG).await;
    commit(&received(&rig.work).await);
    assert_eq!(rig.ack().await, BACKLOG);
    rig.batch(BACKLOG + 1..=2 * BACKLOG).await;
    tokio::time::sleep(INTERVAL * 60).await;
    assert_eq!(rig.work.waiting(), 0, "it was read out of turn");
    assert!(!rig.stream.is_finished(), "who waits for a turn is not silent");
    drop(turns);
    commit(&received(&rig.work).await);
    assert_eq!(rig.ack().await, 2 * BACKLOG);
    // It has a turn now, and sends nothing: others get it.
    let all = tokio::time::timeout(INTERVAL, rig.shared.queue.take_turns()).await;
    assert!(all.is_ok(), "one keeps its turn for ever");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_waits_for_its_acknowledgement_is_not_silent() {
    let mut rig = rig();
    rig.batch(1..=3).await;
    let work = received(&rig.work).await;
    tokio::time::sleep(INTERVAL * 60).await;
    assert!(!rig.stream.is_finished());
    commit(&work);
    assert_eq!(rig.ack().await, 3);
    let started = Instant::now();
    assert_eq!(rig.stream.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(started.elapsed(), silence_limit(INTERVAL));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_nobody_reads_are_merged() {
    let mut rig = rig();
    for n in 1..=10 {
        rig.batch(n..=n).await;
        let work = received(&rig.work).await;
        commit(&work);
        // Lets the stream see each commit by itself.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!([rig.ack().await, rig.ack().await, rig.ack().await], [1, 2, 10]);
    assert!(rig.responses.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn after_drain_what_was_received_is_acknowledged_and_nothing_more_is_taken() {
    let mut rig = rig();
    rig.batch(1..=2).await;
    let work = received(&rig.work).await;
    rig.shared.draining.cancel();
    assert_eq!(rig.drain().await, pb::DrainReason::Shutdown);
    rig.batch(3..=3).await;
    // Lets the stream read it while it still waits for the commit.
    tokio::time::sleep(Duration::from_millis(1)).await;
    commit(&work);
    assert_eq!(rig.ack().await, 2);
    let ended = tokio::time::timeout(INTERVAL * 60, rig.stream).await.expect("it never settled");
    assert_eq!(ended.unwrap().unwrap(), Ended::Drained(pb::DrainReason::Shutdown));
    assert_eq!(rig.work.waiting(), 0, "a batch sent after Drain was taken");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_is_drained_and_its_place_is_the_new_ones() {
    let mut rig = rig();
    let new = rig.shared.registry.admit(newcomer("n", 1)).unwrap();
    assert_eq!(rig.drain().await, pb::DrainReason::Replaced);
    assert_eq!(rig.stream.await.unwrap().unwrap(), Ended::Drained(pb::DrainReason::Replaced));
    assert!(rig.shared.registry.admit(newcomer("n", 2)).is_err());
    drop(new);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_gives_up_the_batch_that_waits_for_room() {
    let rig = rig();
    let full = rig.shared.queue.fill().await;
    rig.batch(1..=BACKLOG).await;
    tokio::time::sleep(INTERVAL).await;
    let _new = rig.shared.registry.admit(newcomer("n", 1)).unwrap();
    let ended = tokio::time::timeout(INTERVAL, rig.stream).await.expect("it must not wait on");
    let status = ended.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("newer stream"), "{status}");
    drop(full);
}

#[tokio::test(start_paused = true)]
async fn bye_ends_a_stream_after_its_last_acknowledgement() {
    let mut rig = rig();
    rig.batch(1..=2).await;
    rig.send(pb::stream_request::Frame::Bye(pb::Bye::default())).await;
    let work = received(&rig.work).await;
    assert!(!rig.stream.is_finished());
    commit(&work);
    assert_eq!(rig.ack().await, 2);
    assert_eq!(rig.stream.await.unwrap().unwrap(), Ended::ByAgent);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_peer_is_expelled_ends_at_once_with_the_reason() {
    let rig = rig();
    // A batch waits for its commit, and another one for room.
    rig.batch(1..=1).await;
    let _work = received(&rig.work).await;
    let full = rig.shared.queue.fill().await;
    rig.batch(2..=BACKLOG).await;
    rig.visit.expel("host n is revoked");
    let status = rig.stream.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "host n is revoked"));
    drop(full);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_spool_is_aborted() {
    let rig = rig();
    rig.batch(1..=1).await;
    received(&rig.work).await[0].live.end(End::Superseded);
    let status = rig.stream.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("spool epoch"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_rows_the_database_lost_ends_at_once_and_is_told_to_come_back() {
    let mut rig = rig();
    rig.batch(1..=1).await;
    // Another batch waits for room, and the first one's commit never comes.
    let work = received(&rig.work).await;
    let full = rig.shared.queue.fill().await;
    rig.batch(2..=BACKLOG).await;
    work[0].live.end(End::Refill);
    assert_eq!(rig.drain().await, pb::DrainReason::Refill);
    assert_eq!(rig.stream.await.unwrap().unwrap(), Ended::Drained(pb::DrainReason::Refill));
    drop(full);
}

#[tokio::test(start_paused = true)]
async fn what_a_vanished_client_sent_stays_in_the_queue() {
    let rig = rig();
    rig.batch(1..=2).await;
    let work = received(&rig.work).await;
    rig.batch(3..=4).await;
    let second = received(&rig.work).await;
    drop(rig.responses);
    assert_eq!(rig.stream.await.unwrap().unwrap(), Ended::Lost);
    assert_eq!((work.len(), second.len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_stops_reading_and_still_answers() {
    let mut rig = rig();
    rig.batch(1..=1).await;
    let first = received(&rig.work).await;
    let full = rig.shared.queue.fill().await;
    rig.batch(2..=BACKLOG).await;
    rig.batch(BACKLOG + 1..=BACKLOG + 1).await;
    tokio::time::sleep(INTERVAL * 10).await;
    assert_eq!(rig.work.waiting(), 0, "a batch found room where there is none");
    commit(&first);
    assert_eq!(rig.ack().await, 1);
    drop((first, full));
    let mut sequences = Vec::new();
    while sequences.len() < usize::try_from(BACKLOG).unwrap() {
        let work = received(&rig.work).await;
        sequences.extend(work.iter().map(|pending| pending.incoming.record.sequence.as_u64()));
    }
    assert!(sequences.into_iter().eq(2..=BACKLOG + 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_hello_and_a_hole_are_refused() {
    let rig_hello = rig();
    rig_hello.send(pb::stream_request::Frame::Hello(pb::Hello::default())).await;
    let status = rig_hello.stream.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("unexpected frame"), "{status}");
    let rig_hole = rig();
    rig_hole.batch(1..=1).await;
    rig_hole.batch(3..=3).await;
    let status = rig_hole.stream.await.unwrap().unwrap_err();
    assert!(status.message().contains("record 3 came where 2 was due"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn without_a_database_hello_is_answered_unavailable_with_the_reason() {
    let (shared, _work) = shared();
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: "n".into(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        ..Default::default()
    };
    let status = says(&shared, hello).await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not connected yet"));
}

/// One stream of host "n" that says this and ends; what it is answered.
async fn says(shared: &Arc<Shared>, hello: pb::Hello) -> Status {
    let visit = visit("n");
    let (agent, inbound) = mpsc::channel(1);
    let frame = Some(pb::stream_request::Frame::Hello(hello));
    agent.send(Ok(pb::StreamRequest { frame })).await.unwrap();
    let (outbound, mut responses) = mpsc::channel(OUTBOUND);
    let name = HostName::parse("n").unwrap();
    run(Arc::clone(shared), visit, name, ReceiverStream::new(inbound), outbound).await;
    responses.recv().await.unwrap().unwrap_err()
}
