//! The real agent with each profile, and as broad as node_exporter, beside each other on one
//! aggregator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::database::Client;
use rowcall_testkit::process::Process;
use tokio::time::{Instant, sleep};

use super::relay::Relay;
use crate::measure::{millis, real};
use crate::resources::{self, FineCpu};
use crate::stage::{Aggregator, Stage};

/// The shortest interval that an agent keeps to unless told otherwise.
pub(super) const INTERVAL: &str = "1s";

/// A minute's mix at an interval of a second: six readings for peaks with each sample, and of the
/// default profile devices with every fifth.
const PEAKS: (&str, &str) = ("ROWCALL_PEAK_INTERVAL", "166ms");
const DEVICES: (&str, &str) = ("ROWCALL_DEVICE_INTERVAL", "5s");

/// What an agent is told to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Breadth {
    /// In figures.
    pub(super) id: &'static str,
    /// For people.
    pub(super) name: &'static str,
    profile: &'static str,
    off: Option<&'static str>,
}

impl Breadth {
    const fn profile(name: &'static str) -> Self {
        Self { id: name, name, profile: name, off: None }
    }
}

/// The profiles, in their order.
pub(super) const BREADTHS: [Breadth; 3] =
    [Breadth::profile("classic"), Breadth::profile("default"), Breadth::profile("full")];

/// node_exporter reads no processes unless it is told to.
pub(super) const WITHOUT_PROCESSES: Breadth = Breadth {
    id: "default-without-processes",
    name: "default without processes",
    profile: "default",
    off: Some("processes"),
};

/// Samples that are not measured: connecting is not sampling.
const WARM_UP: i64 = 5;

/// Between two looks. Short enough for no thread to come and go unseen.
const LOOK: Duration = Duration::from_millis(200);

/// For the next sample to be committed; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Values of one sample of a host ($1 its name): what is no key and no name, of the newest rows.
const VALUES: &str = "
    WITH host AS (SELECT id FROM host_info WHERE hostname = $1),
    last AS (SELECT max(\"timestamp\") - interval '500 milliseconds' AS time
               FROM rowcall.device_sample WHERE host_id = (SELECT id FROM host)),
    rows AS (
        (SELECT to_jsonb(u) AS row FROM host_usage u WHERE host_id = (SELECT id FROM host) ORDER BY \"timestamp\" DESC LIMIT 1)
        UNION ALL (SELECT to_jsonb(u) FROM host_vitals u WHERE host_id = (SELECT id FROM host) ORDER BY \"timestamp\" DESC LIMIT 1)
        UNION ALL SELECT to_jsonb(d) FROM host_filesystem d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_disk d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_interface d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_sensor d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_md_array d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_memory_controller d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_cgroup d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time
        UNION ALL SELECT to_jsonb(d) FROM host_process d, last WHERE host_id = (SELECT id FROM host) AND \"timestamp\" > time)
    SELECT count(*) FROM rows CROSS JOIN LATERAL jsonb_each(row)
     WHERE jsonb_typeof(value) IN ('number', 'boolean')
       AND key NOT IN ('host_id', 'epoch_id', 'sequence', 'elapsed_s', 'delay_s', 'counted_since', 'pid')";

/// An agent that runs.
#[derive(Debug)]
pub(super) struct Agent {
    host: String,
    process: Process,
    relay: Relay,
    cpu: FineCpu,
}

/// What a profile costs its host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) cpu_ms: f64,
    pub(super) resident_mb: f64,
    pub(super) anonymous_mb: f64,
    pub(super) wire_bytes: f64,
    pub(super) values: f64,
}

/// A moment of an agent's life.
#[derive(Clone, Copy, Debug)]
struct Mark {
    samples: i64,
    cpu: Duration,
    passed: u64,
}

impl Agent {
    /// Starts it, through a relay of its own.
    pub(super) async fn start(
        stage: &Stage,
        aggregator: &Aggregator,
        breadth: Breadth,
        crowd: usize,
    ) -> Result<Self> {
        let host = format!("{}-{crowd}.example", breadth.id);
        let (relay, port) = Relay::tcp(aggregator.address).await?;
        let mut settings = vec![("ROWCALL_PROFILE", breadth.profile), PEAKS];
        if breadth.profile == "default" {
            settings.push(DEVICES);
        }
        settings.extend(breadth.off.map(|off| ("ROWCALL_COLLECTORS_OFF", off)));
        let process = stage.agent_with(&host, port, &settings)?;
        let cpu = FineCpu::new(process.pid());
        Ok(Self { host, process, relay, cpu })
    }

    async fn samples(&self, client: &Client) -> Result<i64> {
        let query = "SELECT count(*) FROM host_usage WHERE host_id = (SELECT id FROM host_info WHERE hostname = $1)";
        Ok(client.query_one(query, &[&self.host]).await?.try_get(0)?)
    }

    async fn mark(&mut self, client: &Client) -> Result<Mark> {
        let samples = self.samples(client).await?;
        Ok(Mark { samples, cpu: self.cpu.look()?, passed: self.relay.passed() })
    }

    async fn cost(&mut self, client: &Client, before: Mark) -> Result<Cost> {
        let after = self.mark(client).await?;
        let samples = real(after.samples - before.samples)?;
        let memory = resources::memory(self.process.pid())?;
        let mb = |bytes: u64| anyhow::Ok(real(bytes / 1_000)? / 1_000.0);
        let values: i64 = client.query_one(VALUES, &[&self.host]).await?.try_get(0)?;
        Ok(Cost {
            cpu_ms: millis(after.cpu - before.cpu) / samples,
            resident_mb: mb(memory.resident)?,
            anonymous_mb: mb(memory.anonymous)?,
            wire_bytes: real(after.passed - before.passed)? / samples,
            values: real(values)?,
        })
    }
}

/// Lets them take so many samples; what each cost.
pub(super) async fn measure(
    agents: &mut [Agent],
    client: &Client,
    samples: u64,
) -> Result<Vec<Cost>> {
    reach(agents, client, WARM_UP).await?;
    let mut before = Vec::new();
    for agent in agents.iter_mut() {
        before.push(agent.mark(client).await?);
    }
    let most = before.iter().map(|mark| mark.samples).max().unwrap_or(0);
    reach(agents, client, most + i64::try_from(samples)?).await?;
    let mut costs = Vec::new();
    for (agent, before) in agents.iter_mut().zip(before) {
        costs.push(agent.cost(client, before).await?);
    }
    Ok(costs)
}

/// Waits until each has so many samples in the database, with an eye on their threads.
async fn reach(agents: &mut [Agent], client: &Client, least: i64) -> Result<()> {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let (mut all, mut slowest) = (0, i64::MAX);
        for agent in agents.iter_mut() {
            let samples = agent.samples(client).await?;
            (all, slowest) = (all + samples, slowest.min(samples));
            agent.cpu.look().with_context(|| agent.process.output())?;
        }
        if slowest >= least {
            return Ok(());
        }
        if all > seen {
            (seen, since) = (all, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "no sample came for {PATIENCE:?}");
        sleep(LOOK).await;
    }
}
