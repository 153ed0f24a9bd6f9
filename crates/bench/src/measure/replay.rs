//! A fleet that comes back after a week with all that it kept, beside one that samples on.
//!
//! Everybody connects first; then all that was kept is sent at once, while the others go on with a
//! sample a second. What is simulated shares the machine's cores with what is measured.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::UnixMicros;
use rowcall_proto::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Sizes, latency, millis, real};
use crate::fleet::{self, MINUTE};
use crate::report::{Aim, Figure};
use crate::resources;
use crate::stage::Stage;
use crate::stats::percentile;

/// Samples in a message, as the agent's own link sends them.
const BATCH: u64 = 3_000;

/// Hosts that sample on.
const LIVE: usize = 100;

const SECOND: Duration = Duration::from_secs(1);

/// More samples than any replay lasts seconds: it tells them to stop.
pub(crate) const ENDLESS: u32 = 1_000_000;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let client = stage.database("bench_replay").await?;
    let aggregator = stage.aggregator("bench_replay", "1s").await?;
    let hosts = sizes.replay_hosts;
    let kept =
        fleet::connect(stage, aggregator.address, "back", hosts, sizes.replay_samples).await?;
    let alive = fleet::connect(stage, aggregator.address, "live", LIVE.min(hosts), 0).await?;
    let stop = CancellationToken::new();
    let start = Instant::now();
    let apart = SECOND / u32::try_from(alive.len().max(1))?;
    let mut living = JoinSet::new();
    for (index, agent) in alive.into_iter().enumerate() {
        let first = start + apart * u32::try_from(index)?;
        let stop = stop.clone();
        living.spawn(async move {
            let mut taken = Vec::new();
            latency::live(agent, first, SECOND, ENDLESS, stop, |time| taken.push(time)).await?;
            anyhow::Ok(taken)
        });
    }
    stage.checkpoint().await?;
    let pid = aggregator.process.pid();
    let cpu_before = resources::cpu(pid)?;
    let samples = sizes.replay_samples;
    let begin = SystemClock.wall().plus_micros(-i64::try_from(samples)? * MINUTE);
    let mut pouring = JoinSet::new();
    let start = Instant::now();
    for (index, mut agent) in kept.into_iter().enumerate() {
        let offset = i64::try_from(index)? * 57_119 % MINUTE;
        pouring.spawn(async move {
            agent.pour(batches(begin.plus_micros(offset), samples)).await?;
            anyhow::Ok(agent)
        });
    }
    let mut done = Vec::with_capacity(hosts);
    while let Some(poured) = pouring.join_next().await {
        done.push(poured??);
        if done.len().is_multiple_of(100) {
            let seconds = start.elapsed().as_secs();
            crate::progress(&format!("  {} of {hosts} hosts after {seconds} s", done.len()));
        }
    }
    let took = start.elapsed();
    let cpu = resources::cpu(pid)? - cpu_before;
    let memory = resources::memory(pid)?;
    stop.cancel();
    let mut acknowledged = Vec::new();
    while let Some(lived) = living.join_next().await {
        acknowledged.extend(lived??.into_iter().map(millis));
    }
    let rows = samples * u64::try_from(hosts)?;
    let row = client
        .query_one(
            "SELECT count(*) FROM host_usage AS u JOIN host_info AS h ON h.id = u.host_id \
             WHERE h.hostname LIKE 'back-%'",
            &[],
        )
        .await?;
    let stored: i64 = row.try_get(0)?;
    ensure!(u64::try_from(stored)? == rows, "{stored} of {rows} rows are there");
    acknowledged.sort_unstable_by(f64::total_cmp);
    let at = |percent| percentile(&acknowledged, percent).context("nothing was measured");
    let rows = real(rows)?;
    let live = |part: &str| format!("{part} from sample to acknowledgement of others meanwhile");
    Ok(vec![
        Figure::new(
            "replay.rows",
            format!("{hosts} hosts send {samples} samples each that they kept"),
            rows / took.as_secs_f64(),
        )
        .unit("rows/s")
        .aim(Aim::AtLeast(50_000.0)),
        Figure::new("replay.time", "until all of it is committed", took.as_secs_f64()).unit("s"),
        Figure::new(
            "replay.cpu",
            "CPU time of the aggregator per such row",
            cpu.as_secs_f64() * 1e6 / rows,
        )
        .unit("us"),
        Figure::new(
            "replay.resident",
            "resident memory of the aggregator then",
            real(memory.resident / 1_024)? / 1_024.0,
        )
        .unit("MiB"),
        Figure::new("replay.live.p50", live("p50"), at(50)?).unit("ms"),
        Figure::new("replay.live.p99", live("p99"), at(99)?).unit("ms"),
    ])
}

/// What a host has kept since `begin`, oldest first.
fn batches(begin: UnixMicros, samples: u64) -> impl Iterator<Item = pb::Batch> {
    (0..samples.div_ceil(BATCH)).map(move |batch| {
        let first = batch * BATCH + 1;
        let last = (first + BATCH - 1).min(samples);
        let record = |sequence: u64| {
            let minutes = i64::try_from(sequence).unwrap_or(i64::MAX / MINUTE);
            fleet::record(sequence, begin.plus_micros(minutes * MINUTE))
        };
        // Sequences from 1 on are sequences.
        let records: Vec<_> = (first..=last).filter_map(|n| record(n).ok()).collect();
        fleet::batch(&records)
    })
}
