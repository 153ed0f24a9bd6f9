//! One host that does all it can, and another that is served all the same.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tonic::Code;

use crate::rig::{Agent, PATIENCE, Rig, count, hello};

#[tokio::test]
async fn a_live_sample_is_in_the_next_transaction_whatever_another_host_has_waiting() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.http_listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    assert!(rig.handle.ready().await);
    let (mut flooder, _) = rig.connected("flooder", 1).await;
    flooder.samples(1..=1).await;
    flooder.acknowledged(1).await;
    let (mut live, _) = rig.connected("live", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    flooder.samples(2..=3_401).await;
    flooder.samples(3_402..=6_801).await;
    // The writer stands before the lock with 1,000 of them.
    let waiting = |records: &'static str| {
        let rig = &rig;
        wait_for(format!("{records} to wait"), PATIENCE, move || async move {
            let (_, metrics) = rig.get("/metrics").await;
            let line = format!("rowcall_queue_records {records}");
            metrics.lines().any(|said| said == line).then_some(())
        })
    };
    waiting("5800").await;
    live.samples(1..=1).await;
    waiting("5801").await;
    lock.rollback().await.unwrap();
    live.acknowledged(1).await;
    flooder.acknowledged(6_801).await;
    // Rows of one transaction have one xmin.
    let before = "SELECT count(*) FROM host_usage u JOIN host_info i ON i.id = u.host_id \
                  WHERE i.hostname = 'flooder' AND u.xmin::text::int8 < ( \
                      SELECT u.xmin::text::int8 FROM host_usage u \
                      JOIN host_info i ON i.id = u.host_id WHERE i.hostname = 'live')";
    assert_eq!(count(&database, before).await, 1_001);
}

#[tokio::test]
async fn a_host_that_says_hello_with_new_epochs_in_a_loop_is_sent_away_and_others_are_not() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let channel = rig.channel("agent", "looper").await;
    let mut welcomed = 0;
    let refused = loop {
        let mut agent = Agent::open(channel.clone()).await;
        let epoch = 1_000 + welcomed;
        agent.hello(pb::Hello { spool_epoch: epoch, ..hello("looper", 1) }).await;
        match agent.next().await {
            Ok(_) => welcomed += 1,
            Err(status) => break status,
        }
        assert!(welcomed < 500, "no end to it");
    };
    assert!(welcomed >= 30, "an honest agent may lose its connection that often: {welcomed}");
    assert_eq!(refused.code(), Code::Unavailable);
    let said = refused.message();
    assert!(said.starts_with("host looper opens sessions too often: "), "{said}");
    let (_, metrics) = rig.get("/metrics").await;
    let counted = "reason=\"too_many_sessions\"} ";
    let refusals = metrics.lines().find_map(|line| line.split_once(counted));
    assert!(refusals.is_some_and(|(_, count)| count != "0"), "{metrics}");
    drop(rig.connected("other", 1).await);
}
