//! Agents that come back with days of samples.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_core::clock::SystemClock;
use rowcall_core::id::Epoch;
use rowcall_core::record::{Body, Sample};
use rowcall_spool::{Settings, Spool};
use rowcall_testkit::server::OwnServer;
use tokio::time::{Instant, sleep};

use crate::oracle::said;
use crate::scene::{Outcome, Say, Scene};

/// How much waits.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Agents that come with a full spool.
    pub hosts: usize,
    /// Samples in each.
    pub samples: u64,
    /// For how long PostgreSQL halts in the middle of it.
    pub halts: Duration,
}

/// Agents come with days of samples, and PostgreSQL halts in the middle of them.
///
/// # Errors
/// When samples don't come back, or a server took the replay for a flood.
pub async fn replayed(size: Backlog, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "1s", say)?;
    for host in &mut scene.hosts {
        let (spool, name) = (host.spool.clone(), host.name.clone());
        let filled = tokio::task::spawn_blocking(move || fill(&spool, size.samples));
        for (time, sample) in filled.await?.with_context(|| format!("fill the spool of {name}"))? {
            host.produced(time, sample);
        }
    }
    say(&format!("{} hosts have {} samples each", size.hosts, size.samples));
    let mut server = OwnServer::start(&[]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    for host in &scene.hosts {
        host.process()?.line("connected").await;
    }
    let paused = server.pause()?;
    sleep(size.halts).await;
    drop(paused);
    let begun = Instant::now();
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    scene.drained(&url).await?;
    let took = begun.elapsed();
    let total = u128::from(size.samples) * u128::try_from(size.hosts)?;
    let note = format!(
        "replay: {total} samples were there {} ms after PostgreSQL went on, a fresh one after {} ms",
        took.as_millis(),
        scene.outcome.recoveries.last().map(Duration::as_millis).unwrap_or_default()
    );
    scene.outcome.notes.push(note);
    for host in &scene.hosts {
        let log = fs::read_to_string(host.log())?;
        ensure!(!log.contains("CALM") && !log.contains("too_many"), "{}", host.tail());
    }
    let outcome = scene.settle(&url).await?;
    server.stop(rowcall_postgres::Shutdown::Immediate).await?;
    Ok(outcome)
}

/// Puts samples of the last days into a new spool, up to a minute ago, as an agent would have.
fn fill(folder: &Path, samples: u64) -> Result<Vec<(i64, said::Sample)>> {
    let clock = SystemClock::shared();
    let newest = clock.wall().plus_micros(-60_000_000);
    let step = 6 * 24 * 3_600_000_000 / i64::try_from(samples.max(1))?;
    let settings = Settings {
        dir: folder.to_owned(),
        max_bytes: 64 << 20,
        max_age: Duration::from_secs(7 * 24 * 3600),
        owner: String::new(),
    };
    let epoch = Epoch::from_random(u64::from(std::process::id()) << 20 | samples);
    let boot = "00000000-0000-4000-8000-000000000000";
    let (spool, _) = Spool::open(settings, clock, boot, epoch)?;
    let mut known = Vec::new();
    for number in 0..i64::try_from(samples)? {
        let time = newest.plus_micros(-step.min(60_000_000) * (i64::try_from(samples)? - number));
        let sample = Sample {
            elapsed_us: Some(60_000_000),
            memory_free_kib: Some(1024 * (1 + number % 1000)),
            disk_io: Some(number),
            ..Sample::default()
        };
        let sequence = spool.append(time, Duration::from_secs(60), Body::Sample(sample.clone()));
        // What is not written yet waits in memory, of which there is little.
        if number % 500 == 499 {
            ensure!(
                spool.flush(Duration::from_secs(60)),
                "500 samples were not written in a minute"
            );
        }
        known.push((
            time.0,
            said::Sample {
                epoch: epoch.as_i64(),
                sequence: sequence.as_i64(),
                memory_free_kib: sample.memory_free_kib,
                disk_io: sample.disk_io,
                acknowledged: false,
                has_vitals: false,
            },
        ));
    }
    ensure!(spool.flush(Duration::from_secs(60)), "the spool was not written in a minute");
    spool.close(Duration::from_secs(60));
    Ok(known)
}
