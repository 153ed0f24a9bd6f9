//! When an aggregator was observing, as the database knows it.

use rowcall_aggregator::Stopped;
use rowcall_testkit::database::Database;

use crate::rig::{Rig, count, until};

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
    // Cut off, it says nothing.
    rig.running.abort();
    assert!(rig.running.await.is_err());
    let open = "SELECT count(*) FROM rowcall.aggregator_span WHERE run <> 0 AND NOT stopped";
    assert_eq!(count(&database, open).await, 1);
}

#[tokio::test]
async fn a_sign_of_life_that_cannot_be_given_is_visible_and_harms_nothing() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    until(&database, &format!("SELECT ({OURS}) = 1")).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.aggregator_span RENAME TO span_away").await.unwrap();
    let (mut agent, _) = rig.connected("node1", 1).await;
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
