//! The database away, locked or busy.

use std::time::Duration;

use rowcall_postgres::Shutdown;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::{Database, test_options};
use rowcall_testkit::poll::wait_for;
use tonic::Code;

use crate::rig::{PATIENCE, Rig, count, status_until};

#[tokio::test]
async fn nothing_is_acknowledged_before_its_commit() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.samples(2..=4).await;
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                   AND relation = 'host_usage'::regclass";
    wait_for("the writer to stand before the lock", PATIENCE, || async {
        (count(&database, blocked).await > 0).then_some(())
    })
    .await;
    assert_eq!(rig.status().await.committed_samples, 1);
    let early = tokio::time::timeout(Duration::from_millis(50), agent.next()).await;
    assert!(early.is_err(), "acknowledged before COMMIT: {early:?}");
    lock.rollback().await.unwrap();
    agent.acknowledged(4).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 4);
}

#[tokio::test]
async fn what_a_vanished_agent_sent_is_committed_all_the_same() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.samples(2..=2).await;
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                   AND relation = 'host_usage'::regclass";
    wait_for("the writer to stand before the lock", PATIENCE, || async {
        (count(&database, blocked).await > 0).then_some(())
    })
    .await;
    drop(agent);
    status_until(&rig, "the agent to be gone", |status| status.connected.is_empty()).await;
    lock.rollback().await.unwrap();
    status_until(&rig, "the commit", |status| status.committed_samples == 2).await;
}

#[tokio::test]
async fn reports_that_take_every_connection_do_not_hold_up_ingest() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.report_connections = 2;
        config.pool_wait = Duration::from_millis(200);
    })
    .await;
    assert!(rig.handle.ready().await);
    // host_label is read by reports alone.
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_label IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let request = pb::SummaryRequest {
        hosts: Some(pb::HostSelector {
            labels: [("rack".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut stuck = Vec::new();
    for name in ["bob", "carol"] {
        let (mut client, request) = (rig.summary_as(name).await, request.clone());
        stuck.push(tokio::spawn(async move { client.summary(request).await }));
    }
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                   AND relation = 'host_label'::regclass";
    wait_for("both reports to stand before the lock", PATIENCE, || async {
        (count(&database, blocked).await == 2).then_some(())
    })
    .await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=5).await;
    agent.acknowledged(5).await;
    let status = rig.summary().await.summary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("are busy"), "{status}");
    assert!(stuck.iter().all(|report| !report.is_finished()));
    lock.rollback().await.unwrap();
    for report in stuck {
        report.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_database_that_comes_late_is_waited_for_and_status_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let url =
        format!("postgresql://nobody@{}/x", folder.path().to_str().unwrap().replace('/', "%2F"));
    let rig = Rig::start_with(&url, |_| {}).await;
    let says = |status: &pb::StatusResponse| status.database_error.contains("cannot reach");
    status_until(&rig, "the reason", says).await;
    let mut agent = rig.agent("node1").await;
    agent.hello(crate::rig::hello("node1", 1)).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("cannot reach"), "{status}");
    assert!(!rig.running.is_finished());
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn settings_that_waiting_does_not_cure_end_the_start_with_a_message() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start_with(&(database.url() + "_missing"), |_| {}).await;
    let error = rig.running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("has no database") && error.contains("CREATE DATABASE"), "{error}");
}

#[tokio::test]
async fn a_database_that_restarts_in_mid_stream_loses_nothing_and_status_answers_meanwhile() {
    let mut server = tokio::task::spawn_blocking(|| test_options().database("mine").start())
        .await
        .unwrap()
        .unwrap();
    let url = server.url("mine");
    let mut rig = Rig::start_with(&url, |_| {}).await;
    assert!(rig.handle.ready().await);
    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    server = tokio::task::spawn_blocking(move || {
        server.stop(Shutdown::Immediate).unwrap();
        server
    })
    .await
    .unwrap();
    agent.samples(2..=3).await;
    let failing = |status: &pb::StatusResponse| !status.database_error.is_empty();
    let status = status_until(&rig, "the database's error", failing).await;
    assert_eq!((status.committed_samples, status.connected.len()), (1, 1));
    let mut health =
        tonic_health::pb::health_client::HealthClient::new(rig.channel("viewer", "alice").await);
    wait_for("health to follow", PATIENCE, || {
        let mut health = health.clone();
        async move {
            let service = "rowcall.v1.TelemetryService".to_owned();
            let request = tonic_health::pb::HealthCheckRequest { service };
            let answer = health.check(request).await.unwrap().into_inner();
            let down = tonic_health::pb::health_check_response::ServingStatus::NotServing;
            (answer.status() == down).then_some(())
        }
    })
    .await;
    let process = tonic_health::pb::HealthCheckRequest::default();
    assert!(health.check(process).await.is_ok());
    let _server = tokio::task::spawn_blocking(move || {
        server.start().unwrap();
        server
    })
    .await
    .unwrap();
    agent.acknowledged(3).await;
    let well = |status: &pb::StatusResponse| status.database_error.is_empty();
    assert_eq!(status_until(&rig, "the database to be well", well).await.committed_samples, 3);
}
