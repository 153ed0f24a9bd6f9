//! The link against a scripted peer over real TLS: what no real aggregator can be made to do.

use std::path::Path;

use prost::Message as _;
use rowcall_core::clock::SystemClock;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::stream_request::Frame as Request;
use rowcall_core::proto::v1::stream_response::Frame as Response;
use rowcall_core::proto::v1::telemetry_service_server::{TelemetryService, TelemetryServiceServer};
use rowcall_core::record::{Body, Sample};
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_tls::accept::Acceptor;
use rowcall_tls::config::server_config;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::{Files, Material};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, async_trait};

use super::*;
use crate::config::Endpoint;
use crate::queue::{Limits, MemoryQueue};
use crate::sample::Reader;

/// Only reached when a test fails.
const LONG: Duration = Duration::from_secs(60);

const AGENT: &str = "spiffe://example.org/agent/node1";

/// An aggregator whose every frame the test writes.
struct Peer {
    folder: tempfile::TempDir,
    endpoint: Endpoint,
    calls: mpsc::Receiver<Call>,
    stop: CancellationToken,
}

/// One stream as the peer has it.
struct Call {
    inbox: Streaming<pb::StreamRequest>,
    outbox: mpsc::Sender<Result<pb::StreamResponse, Status>>,
}

struct Service(mpsc::Sender<Call>);

#[async_trait]
impl TelemetryService for Service {
    type StreamStream = ReceiverStream<Result<pb::StreamResponse, Status>>;

    async fn stream(
        &self,
        request: tonic::Request<Streaming<pb::StreamRequest>>,
    ) -> Result<tonic::Response<Self::StreamStream>, Status> {
        let (outbox, frames) = mpsc::channel(64);
        let call = Call { inbox: request.into_inner(), outbox };
        self.0.send(call).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(tonic::Response::new(ReceiverStream::new(frames)))
    }
}

fn files(paths: Paths) -> Files {
    Files { certificate: paths.certificate, key: paths.key, authorities: paths.authorities }
}

impl Peer {
    async fn start() -> Self {
        let ca = TestCa::root("test").unwrap();
        let folder = tempfile::tempdir().unwrap();
        ca.write(folder.path(), "agent", &Leaf::client(AGENT)).unwrap();
        Self::with_authority(folder, &ca).await
    }

    async fn with_authority(folder: tempfile::TempDir, ca: &TestCa) -> Self {
        let paths = ca.write(folder.path(), "server", &Leaf::server()).unwrap();
        let material = Material::load(&files(paths)).unwrap();
        let tls = Arc::new(arc_swap::ArcSwap::from_pointee(server_config(&material).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let domain = TrustDomain::parse("example.org").unwrap();
        let stop = CancellationToken::new();
        let incoming = Acceptor::new(listener, tls, domain).start(&stop);
        let (sender, calls) = mpsc::channel(8);
        let server = tonic::transport::Server::builder()
            .add_service(TelemetryServiceServer::new(Service(sender)))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        Self { folder, endpoint: Endpoint { host: "127.0.0.1".into(), port }, calls, stop }
    }

    fn config(&self) -> Config {
        let path = |name: &str| self.folder.path().join(name);
        let files = Files {
            certificate: path("agent.pem"),
            key: path("agent-key.pem"),
            authorities: path("agent-ca.pem"),
        };
        Config {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
            stop_wait: Duration::from_millis(20),
            ..Config::new(self.endpoint.clone(), files)
        }
    }

    async fn call(&mut self) -> (Call, pb::Hello) {
        let mut call = timeout(LONG, self.calls.recv()).await.unwrap().unwrap();
        match call.next().await {
            Some(Request::Hello(hello)) => (call, hello),
            other => panic!("no Hello but {other:?}"),
        }
    }

    /// The next call, welcomed.
    async fn welcomed(&mut self, mark: Option<(u64, i64)>) -> (Call, pb::Hello) {
        let (call, hello) = self.call().await;
        call.send(Response::Welcome(welcome(mark))).await;
        (call, hello)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Call {
    async fn send(&self, frame: Response) {
        self.outbox.send(Ok(pb::StreamResponse { frame: Some(frame) })).await.unwrap();
    }

    async fn ack(&self, hello: &pb::Hello, through_sequence: u64) {
        let spool_epoch = hello.spool_epoch;
        self.send(Response::Ack(pb::Ack { spool_epoch, through_sequence })).await;
    }

    /// The agent's next frame; `None` when it ended its half.
    async fn next(&mut self) -> Option<Request> {
        timeout(LONG, self.inbox.message()).await.unwrap().ok().flatten()?.frame
    }

    async fn batch(&mut self) -> pb::Batch {
        match self.next().await {
            Some(Request::Batch(batch)) => batch,
            other => panic!("no Batch but {other:?}"),
        }
    }

    async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }
}

fn welcome(mark: Option<(u64, i64)>) -> pb::Welcome {
    pb::Welcome {
        protocol: 1,
        host_id: 1,
        interval_ms: 60_000,
        mark: mark
            .map(|(through_sequence, time_unix_us)| pb::Mark { through_sequence, time_unix_us }),
        max_in_flight_bytes: 1 << 20,
        ..Default::default()
    }
}

fn sequences(batch: &pb::Batch) -> Vec<u64> {
    batch.records.iter().map(|record| record.sequence).collect()
}

/// A link with a queue that the test fills.
struct Agent {
    queue: Arc<Queue>,
    interval: watch::Receiver<Duration>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn link(config: Config, limit: usize) -> Link<MemoryQueue> {
    let clock = SystemClock::shared();
    let limits = Limits { records: limit, bytes: 1 << 22 };
    let queue = Arc::new(Queue::new(MemoryQueue::new(Epoch::from_random(77 << 1), limits)));
    let reader = Reader::start("/", Arc::clone(&clock)).unwrap();
    let facts = Facts::start(reader, Arc::clone(&queue), Arc::clone(&clock)).await;
    Link {
        dialer: Dialer::load(&config, Arc::clone(&clock)).unwrap(),
        backoff: Backoff::new(config.backoff_min, config.backoff_max).unwrap(),
        config,
        queue,
        facts: Arc::new(facts),
        clock,
        interval: watch::Sender::new(Duration::from_secs(60)),
        machine: MachineIds::read(Path::new("/")),
        run: RunId::from_random(9 << 1),
        renewed: false,
    }
}

impl Agent {
    async fn start(config: Config, limit: usize, samples: i64) -> Self {
        let link = link(config, limit).await;
        let stop = CancellationToken::new();
        let queue = Arc::clone(&link.queue);
        let interval = link.interval.subscribe();
        let agent =
            Self { queue, interval, stop: stop.clone(), task: tokio::spawn(link.run(stop)) };
        for time in 1..=samples {
            agent.sample(time);
        }
        agent
    }

    fn sample(&self, time: i64) {
        let sample = Sample {
            elapsed_us: Some(60_000_000),
            uptime_us: Some(86_400_000_000),
            memory_free_kib: Some(16 << 20),
            cpu_idle_percent: Some(97.5),
            ..Sample::default()
        };
        self.queue.append(UnixMicros(time), Body::Sample(sample));
    }

    async fn unacknowledged(&self, records: u64) {
        let look = async || {
            let held = self.queue.with(|spool| spool.status().unacknowledged_records);
            (held == records).then_some(())
        };
        rowcall_testkit::poll::wait_for(format!("{records} records"), LONG, look).await;
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_waits_goes_in_one_batch_and_live_samples_one_by_one() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 3).await;
    let (mut call, hello) = peer.welcomed(None).await;
    assert_eq!((hello.host_name.as_str(), hello.spool_epoch, hello.run_id), ("node1", 77, 9));
    assert_eq!((hello.oldest_sequence, hello.next_sequence), (1, 4));
    assert!(hello.host_info.as_ref().unwrap().total_mem_kib.is_some());
    let first = call.batch().await;
    assert_eq!(sequences(&first), [1, 2, 3]);
    assert_eq!(first.spool.unwrap().unacknowledged_records, 3);
    call.ack(&hello, 2).await;
    agent.unacknowledged(1).await;
    for time in 4..=6 {
        agent.sample(time);
        let live = call.batch().await;
        assert_eq!(sequences(&live), [u64::try_from(time).unwrap()]);
        assert_eq!(live.spool, None, "at most once a minute");
    }
    call.ack(&hello, 6).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn an_acknowledgement_beyond_what_was_sent_releases_nothing_and_ends_the_stream() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 2).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 3).await;
    call.ended().await;
    let (mut call, again) = peer.welcomed(None).await;
    assert_eq!(again.oldest_sequence, 1);
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    agent.unacknowledged(2).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_peer_that_does_not_welcome_is_left_and_tried_again() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 1).await;
    let wrong_protocol = pb::Welcome { protocol: 9, ..welcome(None) };
    let no_interval = pb::Welcome { interval_ms: 0, ..welcome(None) };
    for first in [
        Response::Ack(pb::Ack { spool_epoch: 77, through_sequence: 1 }),
        Response::Welcome(wrong_protocol),
        Response::Welcome(no_interval),
        Response::Drain(pb::Drain::default()),
    ] {
        let (mut call, _) = peer.call().await;
        call.send(first).await;
        call.ended().await;
    }
    let (call, _) = peer.call().await;
    drop(call);
    let (mut call, _) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1]);
    agent.unacknowledged(1).await;
    agent.stopped().await;
}

#[tokio::test]
async fn after_drain_nothing_more_is_sent_and_the_rest_comes_on_the_next_stream() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 2).await;
    let (mut call, hello) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    call.send(Response::Drain(pb::Drain { reconnect_within_ms: 1, reason: 1 })).await;
    call.ack(&hello, 1).await;
    // Frames come in order: whoever has read the Ack has read Drain.
    agent.unacknowledged(1).await;
    agent.sample(3);
    call.ack(&hello, 2).await;
    assert_eq!(call.next().await, None, "the stream ends and nothing more was sent");
    drop(call);
    let (mut call, hello) = peer.welcomed(Some((2, 2))).await;
    assert_eq!(sequences(&call.batch().await), [3]);
    call.ack(&hello, 3).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_lower_mark_makes_it_send_again_and_what_is_gone_is_told() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 4, 4).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 4).await;
    agent.unacknowledged(0).await;
    agent.sample(5);
    drop(call);
    // The database lost all but the first record, and the queue has dropped it since.
    let (mut call, hello) = peer.welcomed(None).await;
    assert_eq!((hello.oldest_sequence, hello.next_sequence), (2, 6));
    let batch = call.batch().await;
    assert_eq!(sequences(&batch), [1, 2, 3, 4, 5]);
    let Some(pb::record::Body::Gap(gap)) = &batch.records[0].body else { panic!("no gap") };
    assert_eq!((gap.through_sequence, gap.state()), (1, pb::GapState::Forgotten));
    agent.stopped().await;
}

#[tokio::test]
async fn a_mark_that_knows_more_than_the_queue_starts_a_new_epoch() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 2).await;
    let (_call, hello) = peer.welcomed(Some((2, 999))).await;
    let (mut call, renewed) = peer.welcomed(None).await;
    assert_ne!(renewed.spool_epoch, hello.spool_epoch);
    assert_eq!(sequences(&call.batch().await), [1, 2]);
    call.ack(&renewed, 2).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn the_window_holds_a_backlog_back() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 5000, 3000).await;
    let (mut call, hello) = peer.call().await;
    let window = 10_000;
    let narrow = pb::Welcome { max_in_flight_bytes: window, ..welcome(None) };
    call.send(Response::Welcome(narrow)).await;
    let (mut in_flight, mut through, mut batches) = (0, 0, 0);
    while through < 3000 {
        // Take what comes; acknowledge only when no more can come.
        let batch = call.batch().await;
        assert_eq!(batch.records[0].sequence, through + 1);
        assert!(batch.encoded_len() >= 256, "no crumbs while there is a backlog");
        through = batch.records.last().unwrap().sequence;
        in_flight += batch.encoded_len();
        batches += 1;
        assert!(in_flight <= usize::try_from(window).unwrap(), "{in_flight} bytes in flight");
        if usize::try_from(window).unwrap() - in_flight < 4096 {
            // The agent shares this thread: give it every chance to send too much.
            for _ in 0..2000 {
                tokio::task::yield_now().await;
            }
            let early = timeout(Duration::ZERO, call.inbox.message()).await;
            assert!(early.is_err(), "sent beyond the window");
            call.ack(&hello, through).await;
            in_flight = 0;
        }
    }
    assert!(batches > 3);
    call.ack(&hello, through).await;
    agent.unacknowledged(0).await;
    agent.stopped().await;
}

#[tokio::test]
async fn a_stream_without_acknowledgements_is_left() {
    let mut peer = Peer::start().await;
    let config = Config { ack_timeout: Duration::from_millis(50), ..peer.config() };
    let agent = Agent::start(config, 100, 1).await;
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    let (mut call, _) = peer.welcomed(None).await;
    assert_eq!(sequences(&call.batch().await), [1], "the same record again");
    agent.stopped().await;
}

#[tokio::test]
async fn a_stop_sends_what_is_left_then_bye_and_waits_for_the_acknowledgement() {
    let mut peer = Peer::start().await;
    let config = Config { stop_wait: LONG, ..peer.config() };
    let agent = Agent::start(config, 100, 1).await;
    let (mut call, hello) = peer.welcomed(None).await;
    call.batch().await;
    call.ack(&hello, 1).await;
    agent.unacknowledged(0).await;
    let queue = Arc::clone(&agent.queue);
    queue.append(UnixMicros(2), Body::Sample(Sample::default()));
    let stopped = tokio::spawn(agent.stopped());
    assert_eq!(sequences(&call.batch().await), [2]);
    let Some(Request::Bye(bye)) = call.next().await else { panic!("no Bye") };
    assert_eq!((bye.reason(), bye.unacknowledged_records), (pb::ByeReason::Stopped, 1));
    assert_eq!(call.next().await, None, "Bye is the last frame");
    assert!(!stopped.is_finished());
    call.ack(&hello, 2).await;
    let released = || queue.with(|spool| spool.status().unacknowledged_records) == 0;
    rowcall_testkit::poll::wait_for("the release", LONG, || async { released().then_some(()) })
        .await;
    assert!(!stopped.is_finished(), "Bye is on its way until the aggregator ends the stream");
    drop(call);
    stopped.await.unwrap();
    assert_eq!(queue.with(|spool| spool.status().unacknowledged_records), 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_forever_for_a_silent_peer() {
    let mut peer = Peer::start().await;
    let config = Config { stop_wait: Duration::from_millis(20), ..peer.config() };
    let agent = Agent::start(config, 100, 1).await;
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    agent.stopped().await;
}

#[tokio::test]
async fn an_interval_below_the_agents_minimum_is_raised() {
    let mut peer = Peer::start().await;
    let config = Config { min_interval: Duration::from_secs(5), ..peer.config() };
    let mut agent = Agent::start(config, 100, 0).await;
    let (call, _) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    timeout(LONG, agent.interval.changed()).await.unwrap().unwrap();
    assert_eq!(*agent.interval.borrow(), Duration::from_secs(5));
    agent.stopped().await;
}

#[tokio::test]
async fn an_agent_slower_than_asked_shows_that_it_is_there() {
    let mut peer = Peer::start().await;
    let config = Config { min_interval: LONG, ..peer.config() };
    let agent = Agent::start(config, 100, 0).await;
    let (mut call, _) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    for _ in 0..3 {
        let batch = call.batch().await;
        assert!(batch.records.is_empty() && batch.spool.is_some(), "{batch:?}");
    }
    drop(call);
    agent.stopped().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (TestCa::root("ours").unwrap(), TestCa::root("theirs").unwrap());
    let agent = ours.issue(&Leaf::client(AGENT)).unwrap();
    agent.write(folder.path(), "agent", theirs.root_pem()).unwrap();
    let peer = Peer::with_authority(folder, &theirs).await;
    let link = link(peer.config(), 10).await;
    let refused = link.dialer.connect().await.unwrap_err();
    assert!(refused.is_refusal, "{}", refused.reason);
    assert!(refused.reason.contains("unknown_ca"), "{}", refused.reason);
}

#[tokio::test]
async fn a_certificate_of_another_role_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::root("test").unwrap();
    let viewer = Leaf::client("spiffe://example.org/viewer/grafana");
    let files = files(ca.write(folder.path(), "viewer", &viewer).unwrap());
    let config = Config::new(Endpoint::default(), files);
    let error = Dialer::load(&config, SystemClock::shared()).unwrap_err();
    assert!(error.to_string().contains("role viewer; an agent needs one of role agent"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_at_the_next_connect_and_a_broken_one_is_not() {
    let mut peer = Peer::start().await;
    let agent = Agent::start(peer.config(), 100, 1).await;
    let (call, _) = peer.welcomed(None).await;
    std::fs::write(peer.folder.path().join("agent.pem"), "cut off").unwrap();
    drop(call);
    let (mut call, _) = peer.welcomed(None).await;
    call.batch().await;
    agent.stopped().await;
}

#[tokio::test]
async fn waits_fit_what_happened() {
    let peer = Peer::start().await;
    let config = Config { backoff_max: Duration::from_secs(9), ..peer.config() };
    let mut link = link(config, 10).await;
    for _ in 0..50 {
        let refused = link.wait_after(Status::already_exists("another runs").into());
        assert!((60..=300).contains(&refused.as_secs()), "{refused:?}");
        let drained = link.wait_after(End::Drained(Duration::from_secs(36_000)));
        assert!(drained <= LONGEST_DRAIN);
        assert!(link.wait_after(End::Failed("x".into())) <= Duration::from_secs(9));
    }
    assert_eq!(link.wait_after(End::NewEpoch), Duration::ZERO);
    let epoch = link.queue.with(|spool| rowcall_core::session::agent::Holdings::epoch(spool));
    assert_ne!(epoch.as_u64(), 77);
    let failed = |code| matches!(End::from(Status::new(code, "")), End::Failed(_));
    assert!(failed(Code::Unavailable) && failed(Code::InvalidArgument));
    assert!(!failed(Code::PermissionDenied) && !failed(Code::Unauthenticated));
    assert!(!failed(Code::FailedPrecondition), "no common version");
}

#[tokio::test]
async fn the_whole_agent_samples_and_streams() {
    let mut peer = Peer::start().await;
    let config = Config { min_interval: Duration::from_millis(10), ..peer.config() };
    let stop = CancellationToken::new();
    let agent = crate::spawn_thread(config, SystemClock::shared(), stop.clone()).unwrap();
    let (mut call, hello) = peer.call().await;
    call.send(Response::Welcome(pb::Welcome { interval_ms: 10, ..welcome(None) })).await;
    let first = call.batch().await;
    let Some(pb::record::Body::Sample(sample)) = &first.records[0].body else {
        panic!("no sample but {first:?}")
    };
    assert!(sample.elapsed_us.unwrap() >= 1_000_000, "the first spans a second");
    assert!(sample.cpu_idle_percent.is_some() && sample.memory_free_kib.is_some());
    let second = call.batch().await;
    assert_eq!(second.records[0].sequence, Sequence::FIRST.next().as_u64());
    call.ack(&hello, 1).await;
    stop.cancel();
    while let Some(frame) = call.next().await {
        if let Request::Batch(batch) = frame {
            call.ack(&hello, batch.records.last().unwrap().sequence).await;
        }
    }
    drop(call);
    tokio::task::spawn_blocking(move || agent.join().unwrap().unwrap()).await.unwrap();
}
