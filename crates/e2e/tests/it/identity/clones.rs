//! A machine that was copied with all that it has, identity and spool.

use anyhow::Result;
use rowcall_e2e::host::Host;
use rowcall_e2e::oracle::Verdict;
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rustix::process::Signal;

use super::{Cluster, Issuing, samples_of};

/// The clock is moved: the refusals have gone on for ten minutes.
const LONG_AGO: &str = "UPDATE rowcall.conflict SET first_at = first_at - interval '10 minutes'";

#[tokio::test]
async fn a_cloned_machine_is_refused_and_named_and_loses_nothing() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("20ms").await?;
    cloned(&cluster, &aggregator, &aggregator).await
}

#[tokio::test]
async fn a_clone_at_another_aggregator_is_refused_and_named_and_loses_nothing() -> Result<()> {
    let cluster = Cluster::new().await?;
    let one = cluster.aggregator("20ms").await?;
    let named = |command: &mut std::process::Command| {
        command.args(["--name", "two"]);
    };
    let two = cluster.aggregator_with("20ms", named).await?;
    cloned(&cluster, &one, &two).await
}

async fn cloned(cluster: &Cluster, one: &Issuing, two: &Issuing) -> Result<()> {
    let node = cluster.joined(one, "node1")?;
    let mut original = node.host();
    original.start(&[one.address])?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 20).await?;
    // An image is of one moment.
    original.process()?.signal(Signal::STOP);
    let image = node.cloned()?;
    original.process()?.signal(Signal::CONT);
    let mut clone = image.host();
    clone.start(&[two.address])?;
    clone.process()?.line("is connected from 127.0.0.1:").await;
    let refused = produced(&mut clone)?;
    wait_for("both to sample on", DEADLINE, || {
        let on = produced(&mut clone).is_ok_and(|now| now > refused + 20);
        async move { on.then_some(()) }
    })
    .await;

    let conflicts = "SELECT count(*) FROM rowcall.conflict";
    cluster.number(conflicts, "a conflict", |n| n == 1).await?;
    let sql = cluster.database.connect().await?;
    sql.batch_execute(LONG_AGO).await?;
    let runs = "SELECT (newcomer_run::text, holder_run::text) FROM rowcall.conflict";
    let named = format!("{runs} WHERE newcomer_run <> holder_run");
    assert_eq!(sql.query(&named, &[]).await?.len(), 1);
    let row =
        sql.query_one("SELECT newcomer_run::text, holder_run::text FROM rowcall.conflict", &[]);
    let row = row.await?;
    let report =
        cluster.rowcall(one, &["summary", "--report", "integrity", "--from", "1h", "--json"])?;
    for run in [row.get::<_, &str>(0), row.get::<_, &str>(1)] {
        assert!(report.contains(run), "{run} is not named in {report}");
    }

    original.stop().await?;
    let rows = cluster.number(&samples_of("node1"), "the original's rows", |_| true).await?;
    // It tries again within a minute; a new process tries at once.
    clone.stop().await?;
    clone.start(&[two.address])?;
    let waited = i64::try_from(produced(&mut clone)?.saturating_sub(refused))?;
    cluster.number(&samples_of("node1"), "what the clone kept", |n| n >= rows + waited).await?;
    clone.stop().await?;
    assert!(clone.tail().contains("\"unacknowledged_records\":0"), "{}", clone.tail());
    original.said()?;
    clone.said()?;
    for (time, sample) in clone.said_before().samples() {
        original.produced(*time, *sample);
    }
    Verdict::of(&mut [original], &cluster.database.url()).await?.check()
}

/// Samples that a host said to keep.
fn produced(host: &mut Host) -> Result<usize> {
    Ok(host.said()?.samples().len())
}
