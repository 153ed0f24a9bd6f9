//! Agents that are killed, at any moment.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rowcall_testkit::database::Database;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::scene::{Outcome, Say, Scene, fresh};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// Hosts whose agents are killed at the same time.
    pub hosts: usize,
    /// Kills of each.
    pub each: u64,
    /// The longest life of a process, at least a second.
    pub longest: Duration,
    /// For the moments.
    pub seed: u64,
}

/// Kills agents with SIGKILL and starts them again at once, over and over: a few milliseconds
/// after their start, before they have connected, and in the middle of their stream.
///
/// # Errors
/// When an agent doesn't come back.
pub async fn killed(size: Kills, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "10ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    let address = aggregator.address;
    scene.start(&[address])?;
    let mut dice = Dice::new(size.seed);
    let mut loops = tokio::task::JoinSet::new();
    for mut host in std::mem::take(&mut scene.hosts) {
        let mut dice = dice.of();
        let (url, longest) = (url.clone(), u64::try_from(size.longest.as_millis())?);
        loops.spawn(async move {
            let mut recoveries = Vec::new();
            for _ in 0..size.each {
                let life = match dice.below(10) {
                    0..4 => dice.millis(1, 50),
                    4..7 => dice.millis(50, 400),
                    _ => dice.millis(400, longest),
                };
                sleep(life).await;
                host.kill().await;
                host.start(&[address])?;
                if dice.below(5) == 0 {
                    recoveries.push(fresh(&url, &[host.name.clone()]).await?);
                }
            }
            anyhow::Ok((host, recoveries))
        });
    }
    let mut kills = 0;
    while let Some(ended) = loops.join_next().await {
        let (host, recoveries) = ended??;
        scene.hosts.push(host);
        scene.outcome.recoveries.extend(recoveries);
        kills += size.each;
        say(&format!("{kills} kills of agents"));
    }
    scene.outcome.kills = kills;
    scene.hosts.first().context("no host")?;
    scene.settle(&url).await
}
