//! One host that sends all it can, and another that sends one sample.

use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;

use crate::rig::{PATIENCE, Rig, count};

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
