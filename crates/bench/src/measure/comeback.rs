//! A fleet that comes back after its aggregator was killed and started anew, with the waits and
//! the jitter of the real agent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rowcall_core::backoff::Backoff;
use rowcall_core::clock::{Clock as _, SystemClock};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Sizes, real};
use crate::fleet::{self, Agent};
use crate::report::{Aim, Figure};
use crate::resources;
use crate::stage::{Route, Stage};
use crate::stats::percentile;

/// The agent's defaults.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

/// Of tries, no more than two may lie within this.
const CLOSE: Duration = Duration::from_secs(5);

/// Agents that connect at a time, before the kill.
const DIALS: usize = 128;

/// One address stands for a whole fleet here, as behind one NAT.
const ONE_SOURCE: [&str; 2] = ["--max-handshakes-per-source", "4096"];

/// How one agent came back.
#[derive(Clone, Copy, Debug)]
struct Back {
    /// From the kill to the first acknowledgement.
    after: Duration,
    tries: u32,
    /// Most tries within [`CLOSE`].
    close: usize,
}

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    drop(stage.database("bench_return").await?);
    let before = stage.aggregator_at(0, "bench_return", "60s", &ONE_SOURCE).await?;
    let (address, hosts) = (before.address, sizes.return_hosts);
    let mut routes = Vec::with_capacity(hosts);
    for index in 0..hosts {
        let name = fleet::name("return", index);
        routes.push((stage.route(address, "agent", &name)?, name));
    }
    let agents = settled(routes).await?;
    let overflows = resources::listen_overflows()?;
    let mut coming = JoinSet::new();
    let kill = Instant::now();
    for (agent, route, name) in agents {
        coming.spawn(come_back(agent, route, name, kill));
    }
    before.process.kill().await;
    let after = stage.aggregator_at(address.port(), "bench_return", "60s", &ONE_SOURCE).await?;
    let started = kill.elapsed();
    let mut all = Vec::with_capacity(hosts);
    while let Some(came) = coming.join_next().await {
        all.push(came??);
        if all.len().is_multiple_of(1_000) {
            crate::progress(&format!("  {} of {hosts} are back", all.len()));
        }
    }
    let overflows = resources::listen_overflows()? - overflows;
    let cpu = resources::cpu(after.process.pid())?;
    let mut seconds: Vec<f64> = all.iter().map(|back| back.after.as_secs_f64()).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    let at = |percent| percentile(&seconds, percent).context("nobody came back");
    let tries = all.iter().map(|back| real(back.tries)).sum::<Result<f64>>()?;
    let most = all.iter().map(|back| back.tries).max().unwrap_or(0);
    let close = all.iter().map(|back| back.close).max().unwrap_or(0);
    let p50 =
        format!("{hosts} agents after kill -9 of the aggregator: p50 until acknowledged again");
    Ok(vec![
        Figure::new("return.p50", p50, at(50)?).unit("s"),
        Figure::new("return.p100", "until the last one is", at(100)?)
            .unit("s")
            .aim(Aim::AtMost(60.0)),
        Figure::new("return.start", "of that until agents are welcome", started.as_secs_f64())
            .unit("s"),
        Figure::new("return.tries", "tries of an agent", tries / real(hosts)?),
        Figure::new("return.tries.most", "most tries of one", real(most)?),
        Figure::new("return.tries.close", "most tries of one within 5 s", real(close)?),
        Figure::new("return.overflows", "connections that overflowed the listener", overflows)
            .aim(Aim::AtMost(0.0)),
        Figure::new(
            "return.cpu",
            "CPU time of the aggregator per agent that came back",
            cpu.as_secs_f64() * 1e3 / real(hosts)?,
        )
        .unit("ms"),
    ])
}

/// Agents that are connected and have a sample acknowledged. Many at a time: each waits for a flush.
async fn settled(routes: Vec<(Route, String)>) -> Result<Vec<(Agent, Route, String)>> {
    let hosts = routes.len();
    let turns = Arc::new(Semaphore::new(DIALS));
    let mut settling = JoinSet::new();
    for (route, name) in routes {
        let turns = Arc::clone(&turns);
        settling.spawn(async move {
            let _turn = turns.acquire().await?;
            let mut agent = Agent::over(route.dial().await?, &name, 0).await?;
            agent.pour(vec![fleet::batch(&[fleet::record(1, SystemClock.wall())?])]).await?;
            anyhow::Ok((agent, route, name))
        });
    }
    let mut agents = Vec::with_capacity(hosts);
    while let Some(settled) = settling.join_next().await {
        agents.push(settled??);
        if agents.len().is_multiple_of(1_000) {
            crate::progress(&format!("  {} of {hosts} are connected", agents.len()));
        }
    }
    Ok(agents)
}

/// Notices the end of its stream, then tries until a sample is acknowledged.
async fn come_back(mut agent: Agent, route: Route, name: String, kill: Instant) -> Result<Back> {
    agent.ended().await;
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1)?;
    let (mut tries, mut close, mut recent) = (0, 0, VecDeque::new());
    loop {
        // As the agent's link where it knows one aggregator: a wait before each try.
        sleep(backoff.next(random_share()?)).await;
        tries += 1;
        let now = Instant::now();
        recent.push_back(now);
        while recent.front().is_some_and(|at| now.duration_since(*at) > CLOSE) {
            recent.pop_front();
        }
        close = close.max(recent.len());
        if again(&route, &name).await.is_ok() {
            return Ok(Back { after: kill.elapsed(), tries, close });
        }
    }
}

/// One try, as far as an acknowledgement.
async fn again(route: &Route, name: &str) -> Result<()> {
    let mut agent = Agent::over(route.dial().await?, name, 1).await?;
    let record = fleet::record(2, SystemClock.wall())?;
    agent.pour(vec![fleet::batch(&[record])]).await
}

/// A random number from 0 up to and without 1.
fn random_share() -> Result<f64> {
    let bits = getrandom::u32().context("the system gives no random number")?;
    Ok(f64::from(bits) / 2_f64.powi(32))
}
