//! Rows per second: from stream to COMMIT, and by the same SQL directly.
//!
//! Both ways write the same rows of the same hosts, each to a database of its own on one server,
//! in turns; a checkpoint before each turn. Directly means: `Store::ingest` in this process, one
//! flush after the other, as many rows in each as the aggregator takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::convert;
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Record;
use rowcall_proto::v1 as pb;
use rowcall_store::access::Presented;
use rowcall_store::{Incoming, OpenedSession, SessionHolder, Store};
use tokio::task::JoinSet;

use super::{Sizes, real, spread};
use crate::fleet::{self, Agent, MINUTE};
use crate::report::{Aim, Figure};
use crate::resources;
use crate::stage::{Aggregator, Stage};

/// Rows per flush, the aggregator's default.
pub(crate) const FLUSH_ROWS: usize = 1_000;

/// The interval that hosts are given.
const INTERVAL: Duration = Duration::from_secs(60);

/// How far back the backlogs begin: within retention, with a day for each round.
const BACKLOG_DAYS: i64 = 25;

const STREAMED: &str = "bench_streamed";
const DIRECT: &str = "bench_direct";

/// What comes in a round.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    what: &'static str,
    hosts: usize,
    /// Records in a message.
    batch: u64,
    /// Messages of each host.
    batches: u64,
    /// Whether this is the shape that the aim is for.
    has_aim: bool,
}

/// Measures all shapes.
pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let shapes = [
        Shape {
            name: "day",
            what: "a day's backlog in one message per host",
            hosts: sizes.day_hosts,
            batch: 1_440,
            batches: 1,
            has_aim: true,
        },
        Shape {
            name: "hour",
            what: "an hour's backlog in one message per host",
            hosts: sizes.fleet_hosts,
            batch: 60,
            batches: 1,
            has_aim: true,
        },
        Shape {
            name: "single",
            what: "one row a message",
            hosts: sizes.fleet_hosts,
            batch: 1,
            batches: 40,
            has_aim: false,
        },
    ];
    drop(stage.database(STREAMED).await?);
    drop(stage.database(DIRECT).await?);
    let aggregator = stage.aggregator(STREAMED, "60s").await?;
    let store = stage.store(DIRECT).await?;
    let mut figures = Vec::new();
    for shape in shapes {
        figures.extend(Both::open(stage, &aggregator, &store, shape).await?.measure(sizes).await?);
    }
    Ok(figures)
}

/// One shape, both ways.
struct Both<'a> {
    stage: &'a Arc<Stage>,
    aggregator: &'a Aggregator,
    store: &'a Store,
    shape: Shape,
    agents: Vec<Agent>,
    sessions: Vec<OpenedSession>,
    begin: UnixMicros,
}

impl<'a> Both<'a> {
    async fn open(
        stage: &'a Arc<Stage>,
        aggregator: &'a Aggregator,
        store: &'a Store,
        shape: Shape,
    ) -> Result<Self> {
        let agents = fleet::connect(stage, aggregator.address, shape.name, shape.hosts, 0).await?;
        let sessions = sessions(store, shape.name, shape.hosts).await?;
        let begin = SystemClock.wall().plus_micros(-BACKLOG_DAYS * 1_440 * MINUTE);
        let both = Self { stage, aggregator, store, shape, agents, sessions, begin };
        // Once unmeasured: days are made, statements prepared, memory is warm.
        both.directly(0).await?;
        Ok(both)
    }

    async fn measure(mut self, sizes: &Sizes) -> Result<Vec<Figure>> {
        let shape = self.shape;
        self.streamed(0).await?;
        let rows = real(self.rows())?;
        let (mut ratios, mut streamed, mut directly, mut cpu) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 1..=sizes.ingest_rounds {
            let round = u64::try_from(round)?;
            self.stage.checkpoint().await?;
            let cpu_before = resources::cpu(self.aggregator.process.pid())?;
            let streamed_s = self.streamed(round).await?.as_secs_f64();
            let cpu_after = resources::cpu(self.aggregator.process.pid())?;
            self.stage.checkpoint().await?;
            let direct_s = self.directly(round).await?.as_secs_f64();
            streamed.push(rows / streamed_s);
            directly.push(rows / direct_s);
            ratios.push(direct_s / streamed_s);
            cpu.push((cpu_after - cpu_before).as_secs_f64() * 1e6 / rows);
            crate::progress(&format!(
                "  {}: {:.0} rows/s streamed, {:.0} directly",
                shape.name,
                rows / streamed_s,
                rows / direct_s
            ));
        }
        let Shape { name, what, hosts, .. } = shape;
        let id = |figure: &str| format!("ingest.{name}.{figure}");
        let ratio = Figure::of(id("ratio"), "the same, streamed over directly", spread(ratios)?);
        Ok(vec![
            Figure::of(
                id("streamed"),
                format!("{hosts} streams to COMMIT, {what}"),
                spread(streamed)?,
            )
            .unit("rows/s"),
            Figure::of(id("direct"), "the same rows by the same SQL directly", spread(directly)?)
                .unit("rows/s"),
            if shape.has_aim { ratio.aim(Aim::AtLeast(0.6)) } else { ratio },
            Figure::of(id("cpu"), "CPU time of the aggregator per such row", spread(cpu)?)
                .unit("us"),
        ])
    }

    fn rows(&self) -> u64 {
        self.shape.batch * self.shape.batches * u64::try_from(self.shape.hosts).unwrap_or(0)
    }

    /// Records of one message of a host.
    fn records(&self, round: u64, host: usize, batch: u64) -> Result<Vec<Record>> {
        let Shape { batch: size, batches, .. } = self.shape;
        let first = (round * batches + batch) * size + 1;
        // Within the minute each host has its own moment.
        let offset = i64::try_from(host)? * 57_119 % MINUTE;
        (first..first + size)
            .map(|sequence| {
                let time = i64::try_from(sequence)? * MINUTE + offset;
                fleet::record(sequence, self.begin.plus_micros(time))
            })
            .collect()
    }

    async fn streamed(&mut self, round: u64) -> Result<Duration> {
        let mut prepared: Vec<Vec<pb::Batch>> = Vec::new();
        for host in 0..self.agents.len() {
            let batches = 0..self.shape.batches;
            let made = batches.map(|batch| Ok(fleet::batch(&self.records(round, host, batch)?)));
            prepared.push(made.collect::<Result<_>>()?);
        }
        let mut pouring = JoinSet::new();
        let start = Instant::now();
        for (index, (mut agent, batches)) in self.agents.drain(..).zip(prepared).enumerate() {
            pouring.spawn(async move {
                agent.pour(batches).await?;
                anyhow::Ok((index, agent))
            });
        }
        let mut done = BTreeMap::new();
        while let Some(poured) = pouring.join_next().await {
            let (index, agent) = poured??;
            done.insert(index, agent);
        }
        let took = start.elapsed();
        self.agents = done.into_values().collect();
        Ok(took)
    }

    async fn directly(&self, round: u64) -> Result<Duration> {
        let mut records = Vec::new();
        for batch in 0..self.shape.batches {
            for (host, session) in self.sessions.iter().enumerate() {
                records.extend(self.records(round, host, batch)?.into_iter().map(|record| {
                    let OpenedSession { host_id, epoch_id, .. } = *session;
                    Incoming { host_id, epoch_id, record, told_due: None }
                }));
            }
        }
        let start = Instant::now();
        let mut stored = 0;
        for flush in records.chunks(FLUSH_ROWS) {
            stored += self.store.ingest(flush).await?.samples;
        }
        let took = start.elapsed();
        ensure!(stored == self.rows(), "{stored} of {} rows were stored", self.rows());
        Ok(took)
    }
}

/// What stands for a host's certificate where no connection shows one.
fn certificate(prefix: &str, index: usize) -> Presented {
    let mut fingerprint = [0; 32];
    let name = fleet::name(prefix, index);
    for (byte, letter) in fingerprint.iter_mut().zip(name.bytes().rev()) {
        *byte = letter;
    }
    let (not_before, not_after) = (UnixMicros(0), UnixMicros(i64::MAX));
    Presented { fingerprint, serial: name, not_before, not_after }
}

/// Opens sessions of hosts by the store itself.
pub(crate) async fn sessions(
    store: &Store,
    prefix: &str,
    hosts: usize,
) -> Result<Vec<OpenedSession>> {
    let mut sessions = Vec::with_capacity(hosts);
    for index in 0..hosts {
        let hello = convert::hello(fleet::hello(&fleet::name(prefix, index)))?;
        let holder = SessionHolder {
            aggregator: "bench",
            aggregator_run: hello.run,
            peer: "",
            still_lives: &|_, _| false,
        };
        let presented = certificate(prefix, index);
        sessions.push(store.open_session(&hello, INTERVAL, &presented, &holder).await??);
    }
    Ok(sessions)
}
