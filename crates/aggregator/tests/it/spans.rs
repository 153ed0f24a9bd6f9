//! When an aggregator was observing, and whose clocks were off, as the database knows it.

use rowcall_aggregator::Stopped;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;

use crate::rig::{Rig, count, hello, now, status_until, until};

const OURS: &str = "SELECT count(*) FROM rowcall.aggregator_span WHERE run <> 0";

#[tokio::test]
async fn a_span_opens_at_the_start_and_says_at_the_end_that_it_was_on_purpose() {
    let database = Database::create().await.unwrap();
    let start = async || {
        let named = |config: &mut rowcall_aggregator::Config| config.name = "agg1".parse().unwrap();
        let rig = Rig::start_with(&database.url(), named).await;
        assert!(rig.handle.clone().ready().await);
        rig
    };
    let rig = start().await;
    until(
        &database,
        "SELECT count(*) = 1 FROM rowcall.aggregator_span \
         WHERE aggregator = 'agg1' AND run <> 0 AND NOT stopped",
    )
    .await;
    assert_eq!(rig.stop().await.unwrap(), Stopped::InOrder);
    let closed = "SELECT count(*) FROM rowcall.aggregator_span \
                  WHERE aggregator = 'agg1' AND stopped AND through_ts >= from_ts";
    assert_eq!(count(&database, closed).await, 1);
    // Another process of the same name has a span of its own.
    let rig = start().await;
    until(&database, "SELECT count(*) = 2 FROM rowcall.aggregator_span WHERE run <> 0").await;
    // Cut off, it says nothing, and nothing of it goes on.
    rig.running.abort();
    assert!(rig.running.await.is_err());
    until(
        &database,
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()",
    )
    .await;
    let open = "SELECT count(*) FROM rowcall.aggregator_span WHERE run <> 0 AND NOT stopped";
    assert_eq!(count(&database, open).await, 1);
}

#[tokio::test]
async fn a_sign_of_life_that_cannot_be_given_is_visible_and_harms_nothing() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    until(&database, &format!("SELECT ({OURS}) = 1")).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.aggregator_span RENAME TO span_away").await.unwrap();
    let mut sequence = 0;
    // As agents would: each commit gives it the occasion, five seconds after the last one.
    loop {
        sequence += 1;
        agent.samples(sequence..=sequence).await;
        agent.acknowledged(sequence).await;
        let text = rig.get("/metrics").await.1;
        if !text.contains("rowcall_span_heartbeats_total{result=\"failed\"} 0\n") {
            break;
        }
    }
    agent.samples(sequence + 1..=sequence + 1).await;
    agent.acknowledged(sequence + 1).await;
    assert_eq!(rig.get("/readyz").await.0, 200);
    sql.batch_execute("ALTER TABLE rowcall.span_away RENAME TO aggregator_span").await.unwrap();
    drop(agent);
    assert_eq!(rig.stop().await.unwrap(), Stopped::InOrder);
    let stopped = "SELECT count(*) FROM rowcall.aggregator_span WHERE stopped AND run <> 0";
    assert_eq!(count(&database, stopped).await, 1);
}

#[tokio::test]
async fn a_clock_that_is_off_is_on_record_while_its_host_tells_so() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let connect = async |name: &str, offset_s: i64| {
        let mut agent = rig.agent(name).await;
        let clock_unix_us = now() + offset_s * 1_000_000;
        agent.hello(pb::Hello { clock_unix_us, ..hello(name, 1) }).await;
        agent.welcome().await;
        agent
    };
    let right = connect("right", 0).await;
    let wrong = connect("wrong", -3_600).await;
    until(
        &database,
        "SELECT count(*) = 1 AND bool_and(hostname = 'wrong' AND offset_s BETWEEN -3610 AND -3590) \
         FROM rowcall.clock_span JOIN host_info ON id = host_id",
    )
    .await;
    let shown = |status: &pb::StatusResponse| -> Vec<_> {
        status
            .connected
            .iter()
            .map(|host| (host.clock_offset_ms + 30_000).div_euclid(60_000))
            .collect()
    };
    assert_eq!(shown(&rig.status().await), [0, -60]);
    // Set right; what it tells with a batch is what counts.
    let spool = pb::SpoolStatus { clock_unix_us: now() + 600_000_000, ..Default::default() };
    let batch = pb::Batch { records: Vec::new(), spool: Some(spool) };
    wrong.send(pb::stream_request::Frame::Batch(batch)).await;
    status_until(&rig, "the newest offset", |status| shown(status) == [0, 10]).await;
    drop((right, wrong));
}
