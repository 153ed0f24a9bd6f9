//! Agents that say Bye, and what the database knows of it.

use std::time::Duration;

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;

use crate::rig::{Rig, count, hello, until};

#[tokio::test]
async fn an_agent_that_is_stopped_is_excused_for_as_long_as_the_setting_says() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.excuse = Duration::from_secs(7_200);
    })
    .await;
    assert!(rig.handle.ready().await);
    let (mut agent, _) = rig.connected("node1", 11).await;
    agent.samples(1..=2).await;
    agent.bye(pb::ByeReason::Stopped).await;
    agent.acknowledged(2).await;
    until(
        &database,
        "SELECT count(*) = 1 FROM rowcall.run WHERE run = 11 \
         AND ended_at BETWEEN now() - interval '1 h' AND now() \
         AND excused_until BETWEEN now() + interval '1 h' AND now() + interval '2 h' \
         AND (SELECT count(*) FROM host_usage) = 2",
    )
    .await;
    // A stream that ends for another one is no stop, and one without a word neither.
    let (agent, _) = rig.connected("node2", 12).await;
    agent.bye(pb::ByeReason::Reconnect).await;
    drop(agent);
    drop(rig.connected("node3", 13).await);
    let (agent, _) = rig.connected("node4", 14).await;
    agent.bye(pb::ByeReason::Stopped).await;
    until(&database, "SELECT ended_at IS NOT NULL FROM rowcall.run WHERE run = 14").await;
    let ended = "SELECT count(*) FROM rowcall.run WHERE ended_at IS NOT NULL";
    assert_eq!(count(&database, ended).await, 2);
}

#[tokio::test]
async fn a_goodbye_that_the_database_cannot_take_is_kept_until_it_can() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (agent, _) = rig.connected("node1", 11).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.run RENAME TO run_away").await.unwrap();
    agent.bye(pb::ByeReason::Stopped).await;
    let waits = |text: &str, value: u32| text.contains(&format!("farewells_waiting {value}\n"));
    rig.metrics_until("the goodbye to wait", |text| waits(text, 1)).await;
    // It ended when it said so, and not when the table was back, which is a while later.
    sql.batch_execute("CREATE TABLE came AS SELECT now() AS at").await.unwrap();
    until(&database, "SELECT now() > at + interval '2 s' FROM came").await;
    sql.batch_execute("UPDATE came SET at = now()").await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.run_away RENAME TO run").await.unwrap();
    until(&database, "SELECT ended_at IS NOT NULL FROM rowcall.run WHERE run = 11").await;
    rig.metrics_until("none to wait", |text| waits(text, 0)).await;
    let when_it_came = "SELECT count(*) FROM rowcall.run, came WHERE run = 11 AND ended_at < at";
    assert_eq!(count(&database, when_it_came).await, 1);
}

#[tokio::test]
async fn a_restart_and_an_upgrade_are_told_apart() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let connect = async |run: u64, version: &str, boot: &str| {
        let agent = rig.agent("node1").await;
        let mut hello = hello("node1", run);
        (hello.agent_version, hello.boot_id) = (version.into(), boot.into());
        agent.hello(hello).await;
        let mut agent = agent;
        agent.welcome().await;
        agent.bye(pb::ByeReason::Stopped).await;
        let gone = format!("SELECT ended_at IS NOT NULL FROM rowcall.run WHERE run = {run}");
        until(&database, &gone).await;
    };
    let boot = "4ad73a2e-5ae1-4d2c-a353-3e5f4ab3f3d5";
    connect(1, "0.1.0", boot).await;
    connect(2, "0.1.0", boot).await;
    connect(3, "0.2.0", boot).await;
    connect(4, "0.2.0", "0c1ce3f4-8f2a-4be9-94bf-7e6a3ed3c1d1").await;
    let sql = database.connect().await.unwrap();
    let rows = sql.query("SELECT how FROM rowcall.run ORDER BY run", &[]).await.unwrap();
    let how: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(how, ["first", "restart", "upgrade", "reboot"]);
}

#[tokio::test]
async fn a_goodbye_that_still_waits_is_told_when_the_aggregator_stops_itself() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (agent, _) = rig.connected("node1", 11).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE rowcall.run IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.bye(pb::ByeReason::Stopped).await;
    until(
        &database,
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted \
         AND relation = 'rowcall.run'::regclass",
    )
    .await;
    let stopping = tokio::spawn(rig.stop());
    // The try that stood before the lock is given up, and the last one is made.
    lock.rollback().await.unwrap();
    assert_eq!(stopping.await.unwrap().unwrap(), rowcall_aggregator::Stopped::InOrder);
    let ended = "SELECT count(*) FROM rowcall.run WHERE run = 11 AND ended_at IS NOT NULL";
    assert_eq!(count(&database, ended).await, 1);
    drop(agent);
}

#[tokio::test]
async fn a_goodbye_that_cannot_be_told_at_the_end_holds_no_stop_up() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (agent, _) = rig.connected("node1", 11).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE rowcall.run IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.bye(pb::ByeReason::Stopped).await;
    rig.metrics_until("the goodbye to wait", |text| text.contains("farewells_waiting 1\n")).await;
    assert_eq!(rig.stop().await.unwrap(), rowcall_aggregator::Stopped::InOrder);
    lock.rollback().await.unwrap();
    let stopped = "SELECT count(*) FROM rowcall.aggregator_span WHERE stopped AND run <> 0";
    assert_eq!(count(&database, stopped).await, 1, "that is told all the same");
}
