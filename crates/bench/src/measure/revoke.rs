//! How long a host that is revoked stays connected: it is told to one of two aggregators, the
//! host's stream is at the other.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use tokio::time::Instant;
use tonic::Code;

use super::Sizes;
use crate::fleet;
use crate::report::{Aim, Figure};
use crate::stage::Stage;
use crate::stats::percentile;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    drop(stage.database("bench_revoke").await?);
    let told = stage.aggregator_at(0, "bench_revoke", "60s", &["--name", "one"]).await?;
    let other = stage.aggregator_at(0, "bench_revoke", "60s", &["--name", "two"]).await?;
    let hosts = sizes.revoked_hosts;
    let agents = fleet::connect(stage, other.address, "revoked", hosts, 0).await?;
    let mut operator =
        AdminServiceClient::new(stage.dial(told.address, "operator", "bench").await?);
    let mut seconds = Vec::with_capacity(hosts);
    for (index, mut agent) in agents.into_iter().enumerate() {
        let start = Instant::now();
        let host_name = fleet::name("revoked", index);
        let request = pb::RevokeHostRequest { host_name, reason: "measured".to_owned() };
        operator.revoke_host(request).await.context("revoke a host")?;
        let code = agent.ended().await;
        ensure!(code == Code::PermissionDenied, "the stream of a revoked host ended with {code}");
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_unstable_by(f64::total_cmp);
    let at = |percent| percentile(&seconds, percent).context("nothing was measured");
    let what =
        |part: &str| format!("{part} from RevokeHost to the closed stream at another aggregator");
    Ok(vec![
        Figure::new("revoke.p50", what("p50"), at(50)? * 1e3).unit("ms"),
        Figure::new("revoke.p100", what("longest"), at(100)? * 1e3)
            .unit("ms")
            .aim(Aim::Below(5_000.0)),
    ])
}
