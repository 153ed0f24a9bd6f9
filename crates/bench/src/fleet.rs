//! Simulated agents: the real protocol over the real connector, with made-up samples.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use prost::Message as _;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::convert::record_to_wire;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::{Body, Record, Sample};
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::stage::Stage;

/// Connections that are made at a time: fewer than an aggregator takes from one address.
const DIALS: usize = 32;

/// Frames that wait to be sent, as of the agent's own link.
const OUTBOX: usize = 2;

/// Microseconds between two samples of a backlog.
pub(crate) const MINUTE: i64 = 60_000_000;

/// One welcomed stream.
#[derive(Debug)]
pub(crate) struct Agent {
    requests: mpsc::Sender<pb::StreamRequest>,
    responses: Streaming<pb::StreamResponse>,
    max_in_flight: usize,
    _channel: Channel,
}

/// Connects and welcomes agents with names made from `prefix`, each of which says that it keeps so
/// many records.
pub(crate) async fn connect(
    stage: &Arc<Stage>,
    aggregator: SocketAddr,
    prefix: &'static str,
    count: usize,
    kept: u64,
) -> Result<Vec<Agent>> {
    let turns = Arc::new(Semaphore::new(DIALS));
    let mut dials = JoinSet::new();
    for index in 0..count {
        let (stage, turns) = (Arc::clone(stage), Arc::clone(&turns));
        dials.spawn(async move {
            let _turn = turns.acquire().await?;
            let agent = Agent::connect(&stage, aggregator, &name(prefix, index), kept).await?;
            anyhow::Ok((index, agent))
        });
    }
    let mut agents = Vec::with_capacity(count);
    while let Some(dialed) = dials.join_next().await {
        agents.push(dialed??);
    }
    agents.sort_unstable_by_key(|(index, _)| *index);
    Ok(agents.into_iter().map(|(_, agent)| agent).collect())
}

/// The name of a simulated host.
pub(crate) fn name(prefix: &str, index: usize) -> String {
    format!("{prefix}-{index:05}.example")
}

/// What a simulated host says first.
pub(crate) fn hello(name: &str) -> pb::Hello {
    pb::Hello {
        protocol_min: rowcall_proto::PROTOCOL_MIN,
        protocol_max: rowcall_proto::PROTOCOL_MAX,
        host_name: name.to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        clock_unix_us: SystemClock.wall().0,
        host_info: Some(pb::HostInfo {
            cpu_number: Some(32),
            cpu_architecture: Some("x86_64".to_owned()),
            cpu_model: Some("Simulated CPU @ 2.60GHz".to_owned()),
            cpu_mhz: Some(2_600.0),
            l2_cache_kib: Some(1_024),
            total_mem_kib: Some(64 << 20),
            os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            kernel: Some("6.1.0-18-amd64".to_owned()),
            ..pb::HostInfo::default()
        }),
        ..pb::Hello::default()
    }
}

/// A sample such as a busy host would send.
pub(crate) fn record(sequence: u64, time: UnixMicros) -> Result<Record> {
    let wave = i64::try_from(sequence % 97).unwrap_or(0);
    let small = i32::try_from(wave).unwrap_or(0);
    Ok(Record {
        due_ticks: i64::try_from(sequence)?,
        sequence: Sequence::new(sequence)?,
        time,
        body: Body::Sample(Sample {
            elapsed_us: Some(MINUTE),
            uptime_us: Some(time.0 % 10_000_000_000_000),
            memory_free_kib: Some((20 << 20) + wave * 7_919),
            memory_available_kib: Some((40 << 20) + wave * 6_007),
            cpu_idle_percent: Some(f64::from(small).mul_add(-0.71, 93.5)),
            cpu_kernel_percent: Some(f64::from(small) / 31.0),
            disk_io: Some(900 + wave * 13),
            disk_available_kib: Some((300 << 20) - wave * 1_024),
            clock_shift_us: None,
            vitals: None,
        }),
    })
}

/// Records as one frame.
pub(crate) fn batch(records: &[Record]) -> pb::Batch {
    pb::Batch { records: records.iter().map(record_to_wire).collect(), spool: None }
}

impl Agent {
    async fn connect(stage: &Stage, aggregator: SocketAddr, name: &str, kept: u64) -> Result<Self> {
        Self::over(stage.dial(aggregator, "agent", name).await?, name, kept).await
    }

    /// A welcomed stream over a connection.
    pub(crate) async fn over(channel: Channel, name: &str, kept: u64) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(OUTBOX);
        let mut client = TelemetryServiceClient::new(channel.clone());
        let hello = pb::Hello { next_sequence: kept + 1, ..hello(name) };
        let hello = pb::stream_request::Frame::Hello(hello);
        requests.send(pb::StreamRequest { frame: Some(hello) }).await?;
        let mut responses = client.stream(ReceiverStream::new(outgoing)).await?.into_inner();
        let first = responses.message().await?.and_then(|response| response.frame);
        let Some(pb::stream_response::Frame::Welcome(welcome)) = first else {
            bail!("{name} got {first:?} where Welcome was due");
        };
        let max_in_flight = usize::try_from(welcome.max_in_flight_bytes)?;
        Ok(Self { requests, responses, max_in_flight, _channel: channel })
    }

    /// Sends one frame.
    pub(crate) async fn send(&self, batch: pb::Batch) -> Result<()> {
        let frame = Some(pb::stream_request::Frame::Batch(batch));
        self.requests.send(pb::StreamRequest { frame }).await.context("the stream has ended")
    }

    /// The sequence that the next acknowledgement names.
    pub(crate) async fn acknowledged(&mut self) -> Result<u64> {
        match self.responses.message().await?.and_then(|response| response.frame) {
            Some(pb::stream_response::Frame::Ack(ack)) => Ok(ack.through_sequence),
            other => bail!("expected an Ack, got {other:?}"),
        }
    }

    /// Waits until the aggregator ends the stream, and with which code.
    pub(crate) async fn ended(&mut self) -> tonic::Code {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return tonic::Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }

    /// Sends everything as fast as the protocol allows, and waits until all is acknowledged. A
    /// batch is made when it is its turn.
    pub(crate) async fn pour(
        &mut self,
        batches: impl IntoIterator<Item = pb::Batch>,
    ) -> Result<()> {
        let mut waiting = batches.into_iter().peekable();
        // Last sequence and size of each batch that is sent and not acknowledged.
        let mut in_flight = VecDeque::new();
        let mut bytes = 0;
        while waiting.peek().is_some() || !in_flight.is_empty() {
            while let Some(next) = waiting.peek() {
                let size = next.encoded_len();
                if bytes > 0 && bytes + size > self.max_in_flight {
                    break;
                }
                let through = next.records.last().map_or(0, |record| record.sequence);
                if let Some(batch) = waiting.next() {
                    self.send(batch).await?;
                }
                in_flight.push_back((through, size));
                bytes += size;
            }
            let through = self.acknowledged().await?;
            while let Some((_, size)) = in_flight.pop_front_if(|(last, _)| *last <= through) {
                bytes -= size;
            }
        }
        Ok(())
    }
}
