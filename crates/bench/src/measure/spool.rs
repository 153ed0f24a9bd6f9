//! The real agent with a full spool: how long it takes to start, and what it takes in memory while
//! it sends all of that.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::Epoch;
use rowcall_spool::{Settings, Spool};
use tokio::time::{Instant, sleep};

use super::{Sizes, millis, real};
use crate::fleet;
use crate::report::{Aim, Figure};
use crate::resources::{self, Memory};
use crate::stage::Stage;

const NAME: &str = "full.example";

/// The agent's defaults.
const MAX_BYTES: u64 = 64 << 20;
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// Samples that are made before the disk is waited for.
const PIECE: u32 = 1_000;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// For the disk, and for more rows to come; reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let client = stage.database("bench_spool").await?;
    let aggregator = stage.aggregator("bench_spool", "1s").await?;
    let samples = sizes.spool_samples;
    let settings = Settings {
        dir: stage.spool_dir(NAME),
        max_bytes: MAX_BYTES,
        max_age: MAX_AGE,
        owner: NAME.into(),
    };
    let bytes = tokio::task::spawn_blocking(move || fill(settings, samples)).await??;

    let empty = start(stage, "empty.example", &aggregator).await?;
    let begin = Instant::now();
    let agent = stage.agent(NAME, &aggregator)?;
    agent.line("agent starts").await;
    let full = begin.elapsed();
    let mut most = Memory { resident: 0, anonymous: 0 };
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let row = client
            .query_one(
                "SELECT coalesce(max(mark), 0) FROM host_latest AS l \
                 JOIN host_info AS h ON h.id = l.host_id WHERE h.hostname = $1",
                &[&NAME],
            )
            .await?;
        let mark: i64 = row.try_get(0)?;
        let now = resources::memory(agent.pid())?;
        most.resident = most.resident.max(now.resident);
        most.anonymous = most.anonymous.max(now.anonymous);
        if mark >= i64::from(samples) {
            break;
        }
        if mark > seen {
            (seen, since) = (mark, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "stuck at {mark} of {samples}: {}", agent.output());
        sleep(LOOK).await;
    }
    let took = begin.elapsed() - full;
    let mb = |bytes: u64| Ok::<_, anyhow::Error>(real(bytes / 1_000)? / 1_000.0);
    Ok(vec![
        Figure::new(
            "spool.bytes",
            format!("spool of {samples} samples, on disk, per sample"),
            real(bytes / 1_000)? * 1_000.0 / f64::from(samples),
        )
        .unit("B"),
        Figure::new("spool.start.empty", "start of an agent without a spool", millis(empty))
            .unit("ms"),
        Figure::new("spool.start.full", "start of an agent with that spool", millis(full))
            .unit("ms"),
        Figure::new("spool.replay", "it sends all of it", f64::from(samples) / took.as_secs_f64())
            .unit("rows/s"),
        Figure::new("spool.resident", "most resident memory meanwhile", mb(most.resident)?)
            .unit("MB")
            .aim(Aim::Below(12.0)),
        Figure::new("spool.anonymous", "of that its own", mb(most.anonymous)?).unit("MB"),
    ])
}

/// How long an agent takes to its first line.
async fn start(
    stage: &Arc<Stage>,
    name: &str,
    aggregator: &crate::stage::Aggregator,
) -> Result<Duration> {
    let begin = Instant::now();
    let agent = stage.agent(name, aggregator)?;
    agent.line("agent starts").await;
    Ok(begin.elapsed())
}

/// Puts samples into a spool, a second apart and the last one now; the bytes it takes then.
fn fill(settings: Settings, samples: u32) -> Result<u64> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("read the id of this boot")?;
    let clock = SystemClock::shared();
    let epoch = Epoch::from_random(14);
    let (spool, _) = Spool::open(settings, clock, boot_id.trim(), epoch)?;
    let now = SystemClock.wall();
    for sample in 1..=samples {
        let ago = i64::from(samples - sample) * 1_000_000;
        let record = fleet::record(sample.into(), now.plus_micros(-ago))?;
        spool.append(record.time, SystemClock.since_boot(), record.body);
        if sample.is_multiple_of(PIECE) {
            ensure!(spool.flush(PATIENCE), "the spool's disk does not take its records");
        }
    }
    ensure!(spool.close(PATIENCE), "the spool's disk does not take its records");
    Ok(spool.status().size_bytes)
}
