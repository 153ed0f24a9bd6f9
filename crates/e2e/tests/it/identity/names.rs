//! Hosts and their names.

use std::sync::Arc;

use anyhow::Result;
use arc_swap::ArcSwap;
use rowcall_e2e::cluster::printed;
use rowcall_proto::v1 as pb;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::Connector;
use rowcall_tls::load::{Files, Material};
use tonic::Code;
use tonic::transport::Endpoint;

use super::{Cluster, refused, samples_of};

#[tokio::test]
async fn of_three_machines_that_claim_one_name_the_first_gets_it() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("100ms").await?;
    let token = cluster.token(&aggregator, &["--uses", "3"])?;
    let first = cluster.node("node1")?;
    printed(&first.enroll(aggregator.enrollment, &token)?)?;
    let _agent = first.start()?;
    cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    for _ in 0..2 {
        let said = refused(&cluster.node("node1")?.enroll(aggregator.enrollment, &token)?, 6);
        assert!(said.contains("node1") && said.contains("--replace"), "{said}");
    }
    cluster.number("SELECT count(*) FROM rowcall.epoch", "one spool", |n| n == 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_renamed_host_stays_the_same_host_and_goes_on() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("100ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let agent = node.start()?;
    let before = cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    cluster.rowcall(&aggregator, &["host", "rename", "node1", "db1"])?;
    let after = cluster.number(&samples_of("db1"), "more rows", |n| n >= before + 3).await?;
    // A new stream, by the certificate of the old name.
    agent.stop().await;
    let _agent = node.start()?;
    cluster.number(&samples_of("db1"), "rows of a new stream", |n| n >= after + 3).await?;
    cluster.number("SELECT count(*) FROM host_info", "one host", |n| n == 1).await?;
    // The old name stays taken.
    let token = cluster.token(&aggregator, &[])?;
    refused(&cluster.node("node1")?.enroll(aggregator.enrollment, &token)?, 6);
    Ok(())
}

#[tokio::test]
async fn a_machine_installed_anew_is_the_same_host_and_its_old_certificate_is_refused() -> Result<()>
{
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("100ms").await?;
    let node = cluster.joined(&aggregator, "node1")?;
    let agent = node.start()?;
    let before = cluster.number(&samples_of("node1"), "rows", |n| n >= 2).await?;
    agent.stop().await;
    let stolen = node.cloned()?;
    node.wipe()?;
    let token = cluster.token(&aggregator, &["--host", "node1", "--replace"])?;
    printed(&node.enroll(aggregator.enrollment, &token)?)?;
    let _agent = node.start()?;
    let after = cluster.number(&samples_of("node1"), "more rows", |n| n >= before + 3).await?;
    cluster.number("SELECT count(*) FROM host_info", "one host", |n| n == 1).await?;
    // While the machine is connected: it is no clone of it that comes.
    let thief = stolen.start()?;
    thief.line("replaced").await;
    assert!(!thief.output().contains("is connected from"), "{}", thief.output());
    cluster.number("SELECT count(*) FROM rowcall.conflict", "no clone", |n| n == 0).await?;
    cluster.number(&samples_of("node1"), "it goes on", |n| n >= after + 3).await?;
    let spools = "SELECT count(*) FROM rowcall.epoch";
    cluster.number(spools, "the spools of the two installations", |n| n == 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_hello_for_another_host_is_denied_counted_and_writes_nothing() -> Result<()> {
    let cluster = Cluster::new().await?;
    let aggregator = cluster.aggregator("1s").await?;
    let node = cluster.joined(&aggregator, "a")?;
    cluster.joined(&aggregator, "b")?;
    let files = Files {
        certificate: node.file("agent.pem"),
        key: node.file("agent.key"),
        authorities: node.file("ca.pem"),
    };
    let config = ArcSwap::from_pointee(client_config(&Material::load(&files)?)?);
    let channel =
        Endpoint::from_shared(format!("https://localhost:{}", aggregator.address.port()))?
            .connect_with_connector(Connector::new(Arc::new(config)))
            .await?;
    let hello = pb::Hello {
        protocol_min: 1,
        protocol_max: 1,
        host_name: "b".to_owned(),
        agent_version: "0.1.0".to_owned(),
        run_id: 1,
        spool_epoch: 1,
        oldest_sequence: 1,
        next_sequence: 1,
        ..Default::default()
    };
    let request = pb::StreamRequest { frame: Some(pb::stream_request::Frame::Hello(hello)) };
    let mut client = TelemetryServiceClient::new(channel);
    let answer = match client.stream(tokio_stream::once(request)).await {
        Ok(answer) => answer.into_inner().message().await,
        Err(refusal) => Err(refusal),
    };
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("host b") && refusal.message().contains("names a"));
    aggregator.metric_is("rowcall_refused_total{reason=\"other_host\"}", |n| n >= 1.0).await;
    let rows = "SELECT (SELECT count(*) FROM host_usage) + (SELECT count(*) FROM rowcall.epoch)";
    cluster.number(rows, "nothing", |n| n == 0).await?;
    Ok(())
}
