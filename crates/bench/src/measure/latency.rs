//! From sample to acknowledgement, at one sample a second of each host.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rowcall_core::clock::{Clock as _, SystemClock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Sizes, millis, real};
use crate::fleet::{self, Agent};
use crate::report::Figure;
use crate::resources;
use crate::stage::Stage;
use crate::stats::percentile;

const SECOND: Duration = Duration::from_secs(1);

/// Samples of each host that are sent first and not measured.
const WARM_UP: u32 = 2;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    drop(stage.database("bench_latency").await?);
    let aggregator = stage.aggregator("bench_latency", "1s").await?;
    let hosts = sizes.latency_hosts;
    let agents = fleet::connect(stage, aggregator.address, "live", hosts, 0).await?;
    let apart = SECOND / u32::try_from(hosts.max(1))?;
    let start = Instant::now() + SECOND;
    let cpu_before = resources::cpu(aggregator.process.pid())?;
    let mut living = JoinSet::new();
    for (index, agent) in agents.into_iter().enumerate() {
        let first = start + apart * u32::try_from(index)?;
        let count = WARM_UP + sizes.latency_seconds;
        living.spawn(async move {
            let (mut taken, stop) = (Vec::new(), CancellationToken::new());
            live(agent, first, SECOND, count, stop, |time| taken.push(time)).await?;
            anyhow::Ok(taken)
        });
    }
    let mut times = Vec::new();
    while let Some(lived) = living.join_next().await {
        let lived = lived??;
        times.extend(lived.into_iter().skip(usize::try_from(WARM_UP)?).map(millis));
    }
    let cpu = resources::cpu(aggregator.process.pid())? - cpu_before;
    times.sort_unstable_by(f64::total_cmp);
    let at = |percent| percentile(&times, percent).context("nothing was measured");
    let what =
        |part: &str| format!("{part} from sample to acknowledgement, {hosts} hosts, 1 s each");
    let samples = real(times.len())? + real(hosts)? * f64::from(WARM_UP);
    Ok(vec![
        Figure::new("latency.p50", what("p50"), at(50)?).unit("ms"),
        Figure::new("latency.p99", what("p99"), at(99)?).unit("ms"),
        Figure::new("latency.max", what("longest"), at(100)?).unit("ms"),
        Figure::new(
            "latency.cpu",
            "CPU time of the aggregator per such sample",
            cpu.as_secs_f64() * 1e6 / samples,
        )
        .unit("us"),
    ])
}

/// Sends a sample each `every`, so many or until it is told to stop; how long each took to be
/// acknowledged goes to `taken`.
pub(crate) async fn live(
    mut agent: Agent,
    first: Instant,
    every: Duration,
    mut count: u32,
    stop: CancellationToken,
    mut taken: impl FnMut(Duration),
) -> Result<()> {
    let mut waiting: VecDeque<(u64, Instant)> = VecDeque::new();
    let (mut sent, mut due) = (0, first);
    while sent < count || !waiting.is_empty() {
        tokio::select! {
            () = stop.cancelled(), if sent < count => count = sent,
            () = sleep_until(due), if sent < count => {
                let sequence = u64::from(sent) + 1;
                let record = fleet::record(sequence, SystemClock.wall())?;
                waiting.push_back((sequence, Instant::now()));
                agent.send(fleet::batch(&[record])).await?;
                sent += 1;
                due += every;
            }
            through = agent.acknowledged() => {
                let through = through?;
                while let Some((_, at)) = waiting.pop_front_if(|(sequence, _)| *sequence <= through) {
                    taken(at.elapsed());
                }
            }
        }
    }
    Ok(())
}
