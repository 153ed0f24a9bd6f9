//! Two aggregators over one database serve the same agent in turn.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tonic::Code;

use crate::rig::{Agent, PATIENCE, Rig, count, hello, now};

fn record(sequence: u64, time_unix_us: i64) -> pb::Record {
    let body = Some(pb::record::Body::Sample(pb::Sample::default()));
    pb::Record { due_ticks: sequence, sequence, time_unix_us, body }
}

async fn both(database: &Database) -> (Rig, Rig) {
    (Rig::start(database).await, Rig::start(database).await)
}

#[tokio::test]
async fn an_agent_that_moves_to_and_fro_is_stored_once() {
    let database = Database::create().await.unwrap();
    let (one, two) = both(&database).await;
    let start = now();
    let records = |range: std::ops::RangeInclusive<u64>| -> Vec<_> {
        range
            .map(|n| record(n, start - 100_000_000 + i64::try_from(n).unwrap() * 1_000_000))
            .collect()
    };
    let mut through = 0;
    for turn in 0..6 {
        let rig = if turn % 2 == 0 { &one } else { &two };
        let (mut agent, welcome) = rig.connected("node1", 1).await;
        assert_eq!(welcome.mark.map_or(0, |mark| mark.through_sequence), through);
        assert_eq!(welcome.mark.map_or(0, |mark| mark.due_ticks), through);
        // What was acknowledged before comes again, as after a lost acknowledgement.
        let from = through.saturating_sub(3).max(1);
        through += 5;
        agent.batch(records(from..=through)).await;
        agent.acknowledged(through).await;
    }
    let rows = "SELECT count(*) FROM host_usage";
    let distinct = "SELECT count(DISTINCT (host_id, \"timestamp\")) FROM host_usage";
    assert_eq!((count(&database, rows).await, count(&database, distinct).await), (30, 30));
    assert_eq!(count(&database, "SELECT samples FROM host_latest").await, 30);
    for rig in [one, two] {
        rig.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_half_open_stream_left_behind_is_not_doubled_when_it_is_committed_at_last() {
    let database = Database::create().await.unwrap();
    let (one, two) = both(&database).await;
    let start = now();
    let records = |range: std::ops::RangeInclusive<u64>| -> Vec<_> {
        range
            .map(|n| record(n, start - 100_000_000 + i64::try_from(n).unwrap() * 1_000_000))
            .collect()
    };
    let (mut old, _) = one.connected("node1", 1).await;
    old.batch(records(1..=1)).await;
    old.acknowledged(1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    old.batch(records(2..=4)).await;
    let blocked = |writers: i64| {
        format!(
            "SELECT count(*) = {writers} FROM pg_locks WHERE NOT granted \
             AND relation = 'host_usage'::regclass"
        )
    };
    crate::rig::until(&database, &blocked(1)).await;
    // Its link is dead without a word; the agent goes elsewhere and sends all that again, and more.
    let (mut new, _) = two.connected("node1", 1).await;
    new.batch(records(2..=6)).await;
    crate::rig::until(&database, &blocked(2)).await;
    lock.rollback().await.unwrap();
    new.acknowledged(6).await;
    old.acknowledged(4).await;
    new.batch(records(7..=8)).await;
    new.acknowledged(8).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 8);
    assert_eq!(count(&database, "SELECT mark FROM host_latest").await, 8);
    assert_eq!(count(&database, "SELECT samples FROM host_latest").await, 8);
    drop((old, new));
    for rig in [one, two] {
        rig.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_of_a_spool_that_another_aggregator_saw_replaced_is_ended() {
    let database = Database::create().await.unwrap();
    let (one, two) = both(&database).await;
    let (mut old, _) = one.connected("node1", 1).await;
    old.samples(1..=2).await;
    old.acknowledged(2).await;
    let mut new = two.agent("node1").await;
    new.hello(pb::Hello { spool_epoch: 8, ..hello("node1", 1) }).await;
    assert_eq!(new.welcome().await.mark, None);
    old.samples(3..=3).await;
    assert_eq!(old.refused().await.code(), Code::Aborted);
    new.samples(1..=1).await;
    assert!(matches!(new.next().await.unwrap(), Some(pb::stream_response::Frame::Ack(_))));
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 3);
    // That is no database that went back: the host is only somewhere else.
    let sql = database.connect().await.unwrap();
    sql.batch_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await
    .unwrap();
    wait_for("new connections", PATIENCE, || async {
        let (_, text) = one.get("/metrics").await;
        assert!(text.contains("rowcall_database_went_back_total 0\n"), "{text}");
        one.connected_now("node2").await
    })
    .await;
}

impl Rig {
    /// A welcome stream, if it is welcome now.
    async fn connected_now(&self, name: &str) -> Option<Agent> {
        let mut agent = self.agent(name).await;
        agent.hello(hello(name, 1)).await;
        matches!(agent.next().await, Ok(Some(pb::stream_response::Frame::Welcome(_))))
            .then_some(agent)
    }
}

#[tokio::test]
async fn each_aggregator_has_a_span_of_its_own() {
    let database = Database::create().await.unwrap();
    let (one, two) = both(&database).await;
    crate::rig::until(
        &database,
        "SELECT count(DISTINCT run) = 2 FROM rowcall.aggregator_span WHERE run <> 0",
    )
    .await;
    for rig in [one, two] {
        rig.stop().await.unwrap();
    }
}
