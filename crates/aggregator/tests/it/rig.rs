//! An aggregator on a database of its own, and agents and readers that dial it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rowcall_aggregator::config::Database as Which;
use rowcall_aggregator::{Config, Error, Handle, Server, Stopped};
use rowcall_core::clock::SystemClock;
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_proto::v1::summary_service_client::SummaryServiceClient;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use rowcall_testkit::ca::{Leaf, Paths, TestCa};
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::{Connector, ServerStream};
use rowcall_tls::load::{Files, Material};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Only reached when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running aggregator.
pub(crate) struct Rig {
    pub(crate) ca: TestCa,
    folder: tempfile::TempDir,
    pub(crate) handle: Handle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<Stopped, Error>>,
}

pub(crate) fn files(paths: Paths) -> Files {
    Files { certificate: paths.certificate, key: paths.key, authorities: paths.authorities }
}

impl Rig {
    /// Starts one on this database and waits until agents are welcome.
    pub(crate) async fn start(database: &Database) -> Self {
        let mut rig = Self::start_with(&database.url(), |_| {}).await;
        assert!(rig.handle.ready().await, "the aggregator ended: {:?}", rig.running.await);
        rig
    }

    /// Starts one with other settings; doesn't wait for the database.
    pub(crate) async fn start_with(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        rowcall_testkit::log::install();
        let ca = TestCa::root("test").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let server = files(ca.write(folder.path(), "server", &Leaf::server()).unwrap());
        let mut config = Config::new(Which::Url(url.to_owned()), server);
        config.listen = ([127, 0, 0, 1], 0).into();
        config.http_listen = Some(([127, 0, 0, 1], 0).into());
        config.trust_domain = Some("d".parse().unwrap());
        config.flush_after = Duration::from_millis(5);
        change(&mut config);
        let server = Server::bind(config, SystemClock::shared()).await.unwrap();
        let handle = server.handle();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { ca, folder, handle, shutdown, running }
    }

    /// A connection with this certificate.
    pub(crate) async fn dial(&self, leaf: &Leaf) -> Result<Channel, tonic::transport::Error> {
        self.dial_with(files(self.ca.write(self.folder.path(), "client", leaf).unwrap())).await
    }

    pub(crate) async fn dial_with(&self, files: Files) -> Result<Channel, tonic::transport::Error> {
        dial_at(self.handle.local_addr(), files).await
    }

    pub(crate) async fn channel(&self, role: &str, name: &str) -> Channel {
        self.dial(&Leaf::client(&format!("spiffe://d/{role}/{name}"))).await.unwrap()
    }

    pub(crate) async fn summary(&self) -> SummaryServiceClient<Channel> {
        self.summary_as("alice").await
    }

    pub(crate) async fn summary_as(&self, name: &str) -> SummaryServiceClient<Channel> {
        SummaryServiceClient::new(self.channel("viewer", name).await)
    }

    /// A connection with a certificate of this role and name, finished but for HTTP/2.
    pub(crate) async fn tls(&self, role: &str, name: &str) -> ServerStream {
        let leaf = Leaf::client(&format!("spiffe://d/{role}/{name}"));
        let files = files(self.ca.write(self.folder.path(), "client", &leaf).unwrap());
        let config = client_config(&Material::load(&files).unwrap()).unwrap();
        let connector = Connector::new(Arc::new(arc_swap::ArcSwap::from_pointee(config)));
        let address = self.handle.local_addr();
        connector.connect(&address.ip().to_string(), address.port()).await.unwrap()
    }

    pub(crate) async fn admin(&self, role: &str) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel(role, "alice").await)
    }

    /// What its HTTP listener answers to a GET: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = request(self.handle.http_addr().unwrap(), &format!("GET {path}")).await;
        (answer.status, answer.body)
    }

    pub(crate) async fn status(&self) -> pb::StatusResponse {
        let mut admin = AdminServiceClient::new(self.channel("viewer", "alice").await);
        admin.status(pb::StatusRequest::default()).await.unwrap().into_inner()
    }

    /// A stream of the host `name`, before its Hello.
    pub(crate) async fn agent(&self, name: &str) -> Agent {
        Agent::open(self.channel("agent", name).await).await
    }

    /// A welcomed stream of the host `name`.
    pub(crate) async fn connected(&self, name: &str, run: u64) -> (Agent, pb::Welcome) {
        let mut agent = self.agent(name).await;
        agent.hello(hello(name, run)).await;
        let welcome = agent.welcome().await;
        (agent, welcome)
    }

    /// As [`Rig::connected`], once agents are welcome.
    pub(crate) async fn connected_when_ready(&self, name: &str, run: u64) -> (Agent, pb::Welcome) {
        assert!(self.handle.clone().ready().await, "the aggregator ended");
        self.connected(name, run).await
    }

    /// Waits until the metrics say so.
    pub(crate) async fn metrics_until(&self, what: &str, fits: impl Fn(&str) -> bool) {
        wait_for(what, PATIENCE, || async {
            let (_, text) = self.get("/metrics").await;
            fits(&text).then_some(())
        })
        .await;
    }

    /// Stops it, and says how it went.
    pub(crate) async fn stop(self) -> Result<Stopped, Error> {
        self.shutdown.cancel();
        self.running.await.unwrap()
    }
}

/// A connection to an aggregator.
pub(crate) async fn dial_at(
    address: SocketAddr,
    files: Files,
) -> Result<Channel, tonic::transport::Error> {
    let config = client_config(&Material::load(&files).unwrap()).unwrap();
    let connector = Connector::new(Arc::new(arc_swap::ArcSwap::from_pointee(config)));
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.connect_with_connector(connector).await
}

/// An agent's stream in the test's hands.
pub(crate) struct Agent {
    pub(crate) requests: mpsc::Sender<pb::StreamRequest>,
    pub(crate) responses: Streaming<pb::StreamResponse>,
    _channel: Channel,
}

pub(crate) fn hello(name: &str, run: u64) -> pb::Hello {
    pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: name.into(),
        agent_version: "0.1.0".into(),
        run_id: run,
        spool_epoch: 7,
        oldest_sequence: 1,
        next_sequence: 1,
        clock_unix_us: now(),
        host_info: Some(pb::HostInfo {
            cpu_number: Some(4),
            total_mem_kib: Some(8 << 20),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn now() -> i64 {
    use rowcall_core::clock::Clock as _;
    SystemClock.wall().0
}

impl Agent {
    pub(crate) async fn open(channel: Channel) -> Self {
        Self::try_open(channel).await.unwrap()
    }

    pub(crate) async fn try_open(channel: Channel) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(16);
        let mut client = TelemetryServiceClient::new(channel.clone());
        let responses = client.stream(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { requests, responses, _channel: channel })
    }

    pub(crate) async fn send(&self, frame: pb::stream_request::Frame) {
        self.requests.send(pb::StreamRequest { frame: Some(frame) }).await.unwrap();
    }

    pub(crate) async fn hello(&self, hello: pb::Hello) {
        self.send(pb::stream_request::Frame::Hello(hello)).await;
    }

    /// Samples with these sequences, a second apart, the last one now.
    pub(crate) async fn samples(&self, sequences: std::ops::RangeInclusive<u64>) {
        let last = *sequences.end();
        let now = now();
        let records = sequences
            .map(|sequence| pb::Record {
                due_ticks: 0,
                sequence,
                time_unix_us: now - i64::try_from(last - sequence).unwrap() * 1_000_000,
                body: Some(pb::record::Body::Sample(pb::Sample {
                    elapsed_us: Some(60_000_000),
                    memory_free_kib: Some(2 << 20),
                    cpu_idle_percent: Some(90.0),
                    ..Default::default()
                })),
            })
            .collect();
        self.batch(records).await;
    }

    pub(crate) async fn batch(&self, records: Vec<pb::Record>) {
        self.send(pb::stream_request::Frame::Batch(pb::Batch { records, spool: None })).await;
    }

    /// The agent's last words.
    pub(crate) async fn bye(&self, reason: pb::ByeReason) {
        let bye = pb::Bye { reason: reason.into(), unacknowledged_records: 0 };
        self.send(pb::stream_request::Frame::Bye(bye)).await;
    }

    pub(crate) async fn next(&mut self) -> Result<Option<pb::stream_response::Frame>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.responses.message());
        Ok(message.await.expect("no answer came")?.map(|response| response.frame.unwrap()))
    }

    pub(crate) async fn welcome(&mut self) -> pb::Welcome {
        match self.next().await.unwrap() {
            Some(pb::stream_response::Frame::Welcome(welcome)) => welcome,
            other => panic!("expected a Welcome, got {other:?}"),
        }
    }

    /// Reads until everything up to `through` is acknowledged: the aggregator's clock then.
    pub(crate) async fn acknowledged(&mut self, through: u64) -> i64 {
        loop {
            match self.next().await.unwrap() {
                Some(pb::stream_response::Frame::Ack(ack)) if ack.through_sequence < through => {}
                Some(pb::stream_response::Frame::Ack(ack)) => {
                    assert_eq!((ack.spool_epoch, ack.through_sequence), (7, through));
                    return ack.clock_unix_us;
                }
                other => panic!("expected an Ack of {through}, got {other:?}"),
            }
        }
    }

    pub(crate) async fn drained(&mut self) -> pb::DrainReason {
        match self.next().await.unwrap() {
            Some(pb::stream_response::Frame::Drain(drain)) => drain.reason(),
            other => panic!("expected a Drain, got {other:?}"),
        }
    }

    /// The reason that the server gives for ending the stream.
    pub(crate) async fn refused(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a reason"),
                Err(status) => return status,
            }
        }
    }
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends one request, such as `GET /livez`, on a connection of its own.
pub(crate) async fn request(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(PATIENCE, read).await.expect("no answer came").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Waits until the database says yes: `query` gives one boolean.
pub(crate) async fn until(database: &Database, query: &str) {
    wait_for(query, PATIENCE, || async {
        let client = database.connect().await.unwrap();
        client.query_one(query, &[]).await.unwrap().get::<_, bool>(0).then_some(())
    })
    .await;
}

/// A number from the database.
pub(crate) async fn count(database: &Database, query: &str) -> i64 {
    let client = database.connect().await.unwrap();
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Waits until status says so.
pub(crate) async fn status_until(
    rig: &Rig,
    what: &str,
    fits: impl Fn(&pb::StatusResponse) -> bool,
) -> pb::StatusResponse {
    wait_for(what, PATIENCE, || async {
        let status = rig.status().await;
        fits(&status).then_some(status)
    })
    .await
}
