//! The link against a scripted peer over real TLS: what no real aggregator can be made to do.

mod breadth;
mod connecting;
mod lost;
mod renewing;
mod streaming;

use std::cell::RefCell;
use std::path::Path;

use prost::Message as _;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::Sequence;
use rowcall_core::proto::v1 as pb;
use rowcall_core::proto::v1::stream_request::Frame as Request;
use rowcall_core::proto::v1::stream_response::Frame as Response;
use rowcall_core::proto::v1::telemetry_service_server::{TelemetryService, TelemetryServiceServer};
use rowcall_core::record::{Body, Sample};
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_testkit::log::Log;
use rowcall_tls::accept::Acceptor;
use rowcall_tls::config::server_config;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::{Files, Material};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, async_trait};
use tracing::Level;

use super::*;
use crate::config::Endpoint;
use crate::sample::Reader;
use crate::testing::{at, queue};

/// Only reached when a test fails.
const LONG: Duration = Duration::from_secs(60);

/// Of a test's spool.
const MAX_BYTES: u64 = 8 << 20;

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
    /// How what the agent sends is compressed.
    encoding: Option<String>,
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
        let encoding = request.metadata().get("grpc-encoding");
        let encoding = encoding.map(|encoding| encoding.to_str().unwrap().to_owned());
        let call = Call { encoding, inbox: request.into_inner(), outbox };
        self.0.send(call).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(tonic::Response::new(ReceiverStream::new(frames)))
    }
}

fn files(paths: Paths) -> Files {
    Files { certificate: paths.certificate, key: paths.key, authorities: paths.authorities }
}

impl Peer {
    async fn start() -> Self {
        Self::of(&TestCa::root("test").unwrap()).await
    }

    /// With certificates of this authority, an agent's too.
    async fn of(ca: &TestCa) -> Self {
        let folder = tempfile::tempdir().unwrap();
        ca.write(folder.path(), "agent", &Leaf::client(AGENT)).unwrap();
        Self::with_authority(folder, ca).await
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
            .add_service(
                TelemetryServiceServer::new(Service(sender))
                    .accept_compressed(tonic::codec::CompressionEncoding::Gzip),
            )
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
        let mut config = Config::new(self.endpoint.clone(), files);
        config.spool.dir = path("spool");
        Config {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(20),
            stop_wait: Duration::from_millis(20),
            ..config
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
        self.send(Response::Ack(pb::Ack { spool_epoch, through_sequence, clock_unix_us: 0 })).await;
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

/// With a mark at this sequence, whose sample was the one of this time.
fn welcome(mark: Option<(u64, i64)>) -> pb::Welcome {
    pb::Welcome {
        protocol: 1,
        host_id: 1,
        interval_ms: 60_000,
        mark: mark.map(|(through_sequence, time)| pb::Mark {
            through_sequence,
            time_unix_us: at(time).0,
            due_ticks: through_sequence,
        }),
        max_in_flight_bytes: 1 << 20,
        ..Default::default()
    }
}

fn sequences(batch: &pb::Batch) -> Vec<u64> {
    batch.records.iter().map(|record| record.sequence).collect()
}

/// A link with a spool that the test fills.
struct Agent {
    queue: Arc<Queue>,
    interval: watch::Receiver<Duration>,
    health: Arc<Health>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn link(config: Config) -> (Link, tempfile::TempDir) {
    let clock = SystemClock::shared();
    let (queue, folder) = queue(Arc::clone(&clock), MAX_BYTES);
    let reader =
        Reader::start("/", &crate::collect::Collect::default(), Arc::clone(&clock)).unwrap();
    let facts = Facts::start(reader, Arc::clone(&queue), Arc::clone(&clock), false).await;
    let link = Link {
        turns: Turns::new(config.aggregators.len()),
        aggregators: config.aggregators.clone(),
        renewals: None,
        connected: watch::Sender::new(None),
        notes: Notes::in_folder(None),
        dialer: Dialer::load(&config, Arc::clone(&clock)).unwrap(),
        backoff: Backoff::new(config.backoff_min, config.backoff_max).unwrap(),
        config,
        queue,
        facts: Arc::new(facts),
        clock,
        interval: watch::Sender::new(Duration::from_secs(60)),
        machine: MachineIds::read(Path::new("/")),
        run: RunId::from_random(9 << 1),
        health: Arc::default(),
        course: Course::default(),
    };
    (link, folder)
}

impl Agent {
    async fn start(config: Config, samples: i64) -> Self {
        let (link, folder) = link(config).await;
        fill(&link.queue, 1..=samples);
        // Or the first batch might hold a part of them.
        let spool = link.queue.spool.clone();
        assert!(tokio::task::spawn_blocking(move || spool.flush(LONG)).await.unwrap());
        Self::running(link, folder)
    }

    fn running(link: Link, folder: tempfile::TempDir) -> Self {
        let stop = CancellationToken::new();
        let queue = Arc::clone(&link.queue);
        let interval = link.interval.subscribe();
        let health = Arc::clone(&link.health);
        let task = tokio::spawn(link.run(stop.clone()));
        Self { queue, interval, health, stop, task, _folder: folder }
    }

    /// On disk when it returns, so that the next stream begins with it.
    fn sample(&self, time: i64) {
        fill(&self.queue, time..=time);
        assert!(self.queue.spool.flush(LONG), "not written");
    }

    async fn unacknowledged(&self, records: u64) {
        let look = async || {
            let held = self.queue.spool.status().unacknowledged_records;
            (held == records).then_some(())
        };
        rowcall_testkit::poll::wait_for(format!("{records} records"), LONG, look).await;
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

/// A sample of each of these times.
fn fill(queue: &Queue, times: std::ops::RangeInclusive<i64>) {
    for time in times {
        let sample = Sample {
            elapsed_us: Some(60_000_000),
            uptime_us: Some(86_400_000_000),
            memory_free_kib: Some(16 << 20),
            cpu_idle_percent: Some(97.5),
            ..Sample::default()
        };
        let since_boot = SystemClock.since_boot();
        queue.spool.append(at(time), since_boot, Body::Sample(sample));
    }
}

/// What this thread logs.
struct Lines {
    log: Log,
    text: RefCell<String>,
}

impl Lines {
    fn of_this_thread() -> Self {
        Self { log: Log::start(Level::INFO), text: RefCell::default() }
    }

    /// All since the start, without the times.
    fn text(&self) -> String {
        let mut text = self.text.borrow_mut();
        for line in self.log.take() {
            let (_, rest) = line.split_once("Z ").unwrap();
            text.extend([rest, "\n"]);
        }
        text.clone()
    }
}
