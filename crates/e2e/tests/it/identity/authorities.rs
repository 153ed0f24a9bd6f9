//! Authorities and server certificates that change under open streams.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use rowcall_e2e::cluster::printed;
use rowcall_testkit::poll::{DEADLINE, wait_for};

use super::{Cluster, Issuing, samples_of};

#[tokio::test]
async fn a_new_server_certificate_is_shown_and_no_stream_ends() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let _agent = node.start()?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    let before = shown(&aggregator)?;
    cluster.pki(&["renew", "--server-name", "localhost", "--server-name", "other.example"])?;
    wait_for("another certificate", DEADLINE, || async {
        shown(&aggregator).ok().filter(|now| *now != before)
    })
    .await;
    nothing_ended(&cluster, &aggregator).await
}

#[tokio::test]
async fn a_new_server_authority_needs_nothing_on_a_node() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let agent = node.start()?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    let before = shown(&aggregator)?;
    cluster.pki(&["rotate", "server"])?;
    wait_for("another certificate", DEADLINE, || async {
        shown(&aggregator).ok().filter(|now| *now != before)
    })
    .await;
    nothing_ended(&cluster, &aggregator).await?;
    agent.stop().await;
    let rows = cluster.number(&samples_of("node1"), "its rows", |_| true).await?;
    let _agent = node.start()?;
    cluster.number(&samples_of("node1"), "rows of a new stream", |n| n >= rows + 2).await?;
    // The same pin: others join.
    cluster.joined(&aggregator, "node2")?;
    Ok(())
}

#[tokio::test]
async fn a_bad_file_leaves_the_old_one_in_force_and_status_tells() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let _agent = node.start()?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    let before = shown(&aggregator)?;
    let path = cluster.pki_dir().join("server.pem");
    let good = fs::read(&path)?;
    fs::write(&path, "-----BEGIN CERTIFICATE-----\nnonsense\n")?;
    wait_for("status to tell", DEADLINE, || async {
        let told = cluster.rowcall(&aggregator, &["status"]).ok()?;
        told.contains("server.pem").then_some(())
    })
    .await;
    aggregator.process.line("server.pem").await;
    assert_eq!(shown(&aggregator)?, before);
    nothing_ended(&cluster, &aggregator).await?;
    fs::write(&path, good)?;
    wait_for("status to be content", DEADLINE, || async {
        let told = cluster.rowcall(&aggregator, &["status"]).ok()?;
        (!told.contains("server.pem")).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_new_client_authority_is_trusted_beside_the_old_one_until_that_is_finished() -> Result<()>
{
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let old = cluster.joined(&aggregator, "old")?;
    let agent = old.start()?;
    cluster.number(&samples_of("old"), "rows", |n| n >= 2).await?;
    let reloads = aggregator.process.lines_with("certificates are reloaded", 0).await.len();
    cluster.pki(&["rotate", "client"])?;
    aggregator.process.lines_with("certificates are reloaded", reloads + 1).await;
    nothing_ended(&cluster, &aggregator).await?;
    let new = cluster.joined(&aggregator, "new")?;
    let _new_agent = new.start()?;
    cluster.number(&samples_of("new"), "rows under the new one", |n| n >= 2).await?;
    agent.stop().await;
    let agent = old.start()?;
    let rows = cluster.number(&samples_of("old"), "its rows", |_| true).await?;
    cluster.number(&samples_of("old"), "rows under the old one", |n| n >= rows + 2).await?;

    cluster.pki(&["rotate", "client", "--finish", "--yes"])?;
    agent.line("refuse").await;
    let rows = cluster.number(&samples_of("new"), "its rows", |_| true).await?;
    cluster.number(&samples_of("new"), "the new one's go on", |n| n >= rows + 5).await?;
    Ok(())
}

#[tokio::test]
async fn a_persons_certificate_that_is_revoked_is_refused_without_a_restart() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("50ms").await?;
    let hers = cluster.folder().join("ann");
    fs::create_dir(&hers)?;
    let out = hers.to_str().context("a path in words")?;
    cluster.pki(&["issue", "viewer", "ann", "--out", out])?;
    let asked = || -> Result<std::process::Output> {
        let mut command = rowcall_e2e::stack::command("rowcall")?;
        command.args(["status", "--server", &format!("localhost:{}", aggregator.address.port())]);
        command.arg("--ca").arg(cluster.pki_dir().join("root.pem"));
        command.arg("--cert").arg(hers.join("viewer-ann.pem"));
        command.arg("--key").arg(hers.join("viewer-ann.key"));
        Ok(command.output()?)
    };
    printed(&asked()?)?;
    cluster.pki(&["revoke", "viewer", "ann"])?;
    let said = wait_for("her to be refused", DEADLINE, || async {
        let output = asked().ok()?;
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    })
    .await;
    assert!(said.contains("revoked"), "{said}");
    // Others are not.
    cluster.rowcall(&aggregator, &["status"])?;
    Ok(())
}

/// The serial number of the certificate that a stranger is shown.
fn shown(aggregator: &Issuing) -> Result<String> {
    let connected = Command::new("openssl")
        .args(["s_client", "-servername", "localhost", "-connect"])
        .arg(aggregator.enrollment.to_string())
        .stdin(std::process::Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&connected.stdout).into_owned();
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----").context("no certificate")?;
    let (body, _) = rest.split_once("-----END").context("no certificate")?;
    Ok(body.trim().to_owned())
}

/// Samples go on, on the same stream.
async fn nothing_ended(cluster: &Cluster, aggregator: &Issuing) -> Result<()> {
    let rows = cluster.number("SELECT count(*) FROM host_usage", "rows", |_| true).await?;
    let more = "SELECT count(*) FROM host_usage";
    cluster.number(more, "more rows", |n| n >= rows + 5).await?;
    for end in ["agent", "drained", "lost", "error"] {
        let name = format!("rowcall_streams_ended_total{{end=\"{end}\"}}");
        assert_eq!(aggregator.metric(&name)?.unwrap_or_default(), 0.0, "{name}");
    }
    Ok(())
}
