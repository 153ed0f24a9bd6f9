//! Readers who ask and don't read.

use std::time::Duration;

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::codec::CompressionEncoding;

use crate::rig::{Rig, count};

/// Enough that a part doesn't fit into the windows of a connection.
async fn many_hosts(database: &Database) {
    let client = database.connect().await.unwrap();
    client
        .batch_execute(
            "INSERT INTO host_info (hostname, cpu_model, \"timestamp\") \
             SELECT repeat('x', 200) || i, repeat('m', 250), now() FROM generate_series(1, 20000) i",
        )
        .await
        .unwrap();
}

fn hardware() -> pb::SummaryRequest {
    pb::SummaryRequest { reports: vec![pb::Report::Hardware.into()], ..Default::default() }
}

#[tokio::test]
async fn a_viewer_that_does_not_read_leaves_connections_for_others() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.report_connections = 2;
        config.pool_wait = Duration::from_millis(200);
    })
    .await;
    assert!(rig.handle.ready().await);
    many_hosts(&database).await;
    let mut client = rig.summary_as("stalled").await;
    let request = pb::StreamSummaryRequest { request: Some(hardware()) };
    let _stalled = client.stream_summary(request.clone()).await.unwrap();
    let status = rig.summary_as("stalled").await.stream_summary(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().starts_with("1 reports of this certificate"), "{status}");
    let small = pb::SummaryRequest { reports: vec![pb::Report::Balance.into()], ..hardware() };
    assert!(rig.summary_as("bob").await.summary(small).await.is_ok());
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 20_000);
}

#[tokio::test]
async fn an_answer_is_compressed_for_a_client_that_asks_for_it() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let plain = rig.summary().await.summary(hardware()).await.unwrap();
    assert!(plain.metadata().get("grpc-encoding").is_none());
    let mut client = rig.summary().await.accept_compressed(CompressionEncoding::Gzip);
    let answer = client.summary(hardware()).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert!(answer.into_inner().hardware.is_some());
}
