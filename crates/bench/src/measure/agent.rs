//! What the real agent costs its host: CPU time per sample, and memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rowcall_testkit::database::Client;
use tokio::time::{Instant, sleep};

use super::{Sizes, millis, real};
use crate::report::{Aim, Figure};
use crate::resources::{self, FineCpu};
use crate::stage::Stage;

/// The shortest interval that an agent keeps to unless told otherwise.
const INTERVAL: &str = "1s";

/// Samples that are not measured: connecting is not sampling.
const WARM_UP: u64 = 3;

/// Between two looks. Short enough for no thread to come and go unseen.
const LOOK: Duration = Duration::from_millis(500);

/// For one sample to be committed; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let client = stage.database("bench_agent").await?;
    let aggregator = stage.aggregator("bench_agent", INTERVAL).await?;
    let agent = stage.agent("real.example", &aggregator)?;
    let mut cpu = FineCpu::new(agent.pid());
    let first = committed(&client, WARM_UP, &mut cpu).await.with_context(|| agent.output())?;
    let before = cpu.look()?;
    let last = committed(&client, first + sizes.agent_samples, &mut cpu)
        .await
        .with_context(|| agent.output())?;
    let used = cpu.look()? - before;
    let memory = resources::memory(agent.pid())?;
    let mb = |bytes: u64| Ok::<_, anyhow::Error>(real(bytes / 1_000)? / 1_000.0);
    let samples = last - first;
    Ok(vec![
        Figure::new(
            "agent.cpu",
            format!("CPU time of the agent per sample, {samples} samples at {INTERVAL}"),
            millis(used) / real(samples)?,
        )
        .unit("ms")
        .aim(Aim::Below(1.0)),
        Figure::new("agent.resident", "resident memory of the agent", mb(memory.resident)?)
            .unit("MB")
            .aim(Aim::Below(8.0)),
        Figure::new(
            "agent.anonymous",
            "of that its own, not shared with files",
            mb(memory.anonymous)?,
        )
        .unit("MB"),
    ])
}

/// Waits until so many samples are committed, with an eye on the agent's threads; how many are.
async fn committed(client: &Client, least: u64, cpu: &mut FineCpu) -> Result<u64> {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let row = client.query_one("SELECT count(*) FROM host_usage", &[]).await?;
        let count: i64 = row.try_get(0)?;
        let count = u64::try_from(count)?;
        if count >= least {
            return Ok(count);
        }
        if count > seen {
            (seen, since) = (count, Instant::now());
        }
        anyhow::ensure!(since.elapsed() < PATIENCE, "no sample came for {PATIENCE:?}");
        cpu.look()?;
        sleep(LOOK).await;
    }
}
