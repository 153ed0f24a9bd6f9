//! What a new connection costs the aggregator: TCP, the whole handshake with certificates on both
//! sides (nothing is ever resumed), and the server's first HTTP/2 frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::{Sizes, real};
use crate::report::Figure;
use crate::resources::FineCpu;
use crate::stage::Stage;

/// Clients that dial one after the other each.
const CLIENTS: usize = 8;

/// Before anything is measured.
const WARM_UP: usize = 5;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    drop(stage.database("bench_handshakes").await?);
    let aggregator = stage.aggregator("bench_handshakes", "60s").await?;
    let mut routes = Vec::new();
    for index in 0..CLIENTS {
        let route = stage.route(aggregator.address, "agent", &crate::fleet::name("dial", index))?;
        for _ in 0..WARM_UP {
            route.handshake().await?;
        }
        routes.push(route);
    }
    let mut cpu = FineCpu::new(aggregator.process.pid());
    let (before, start) = (cpu.look()?, Instant::now());
    let left = Arc::new(AtomicUsize::new(sizes.handshakes));
    let mut dialling = JoinSet::new();
    for route in routes {
        let left = Arc::clone(&left);
        dialling.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                route.handshake().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(dialled) = dialling.join_next().await {
        dialled??;
    }
    let took = start.elapsed();
    let used = cpu.look()?.checked_sub(before).context("CPU time went back")?;
    let handshakes = real(sizes.handshakes)?;
    Ok(vec![
        Figure::new(
            "handshakes.cpu",
            "CPU time of the aggregator per connection: TCP, full mutual TLS, first frame",
            used.as_secs_f64() * 1e6 / handshakes,
        )
        .unit("us"),
        Figure::new(
            "handshakes.per_core",
            "so many of them a core of the aggregator takes",
            handshakes / used.as_secs_f64(),
        )
        .unit("/s"),
        Figure::new(
            "handshakes.rate",
            format!("of {CLIENTS} clients on the same machine it took"),
            handshakes / took.as_secs_f64(),
        )
        .unit("/s"),
    ])
}
