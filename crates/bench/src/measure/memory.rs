//! What a connected stream costs the aggregator in memory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rowcall_core::clock::{Clock as _, SystemClock};
use tokio::time::sleep;

use super::{Sizes, real};
use crate::fleet;
use crate::report::{Aim, Figure};
use crate::resources;
use crate::stage::Stage;

/// For what was allocated in passing to be given back.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    drop(stage.database("bench_memory").await?);
    let aggregator = stage.aggregator("bench_memory", "60s").await?;
    let pid = aggregator.process.pid();
    let before = resources::memory(pid)?;
    let streams = sizes.streams;
    let mut agents = fleet::connect(stage, aggregator.address, "idle", streams, 0).await?;
    for agent in &mut agents {
        let record = fleet::record(1, SystemClock.wall())?;
        agent.pour(vec![fleet::batch(&[record])]).await?;
    }
    sleep(SETTLE).await;
    let after = resources::memory(pid)?;
    let kib = |bytes: u64| real(bytes / 1024);
    let each = (kib(after.resident)? - kib(before.resident)?) / real(streams)?;
    Ok(vec![
        Figure::new(
            "memory.stream",
            format!("resident memory of the aggregator per stream, at {streams}"),
            each,
        )
        .unit("KiB")
        .aim(Aim::AtMost(64.0)),
        Figure::new(
            "memory.idle",
            "resident memory of the aggregator without streams",
            kib(before.resident)? / 1024.0,
        )
        .unit("MiB"),
    ])
}
