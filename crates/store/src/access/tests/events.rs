use rowcall_core::id::HostId;

use super::*;
use crate::testing::Bench;

/// Waits, but not for ever.
async fn next(events: &mut AccessEvents) -> Result<HostId, Error> {
    tokio::time::timeout(Duration::from_secs(30), events.next()).await.expect("nothing was told")
}

#[tokio::test]
async fn whoever_listens_hears_of_each_change_of_access_or_name_and_of_nothing_else() {
    let bench = Bench::with_token(&NewToken { may_replace: true, uses: 9, ..token(1) }).await;
    let (a, b) = (bench.host("a").await.host_id, bench.host("b").await.host_id);
    let mut events = bench.store.listen_access().await.unwrap();
    let (store, anna) = (&bench.store, &actor());
    store.revoke_host(anna, &host("a"), "").await.unwrap().unwrap();
    assert_eq!(next(&mut events).await.unwrap(), a);
    store.retire_host(anna, &host("b")).await.unwrap().unwrap();
    assert_eq!(next(&mut events).await.unwrap(), b);
    store.restore_host(anna, &host("a")).await.unwrap().unwrap();
    assert_eq!(next(&mut events).await.unwrap(), a);
    // A new host and a label change nobody's access.
    bench.enroll(&enrolment(1, 1, "new")).await.unwrap();
    store.label_host(anna, &host("a"), &BTreeMap::new(), &["x".to_owned()]).await.unwrap();
    store.rename_host(anna, &host("a"), &host("c")).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap(), a);
    store.rename_host(anna, &host("c"), &host("c")).await.unwrap();
    bench.enroll(&enrolment(1, 2, "b")).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap(), b, "its certificates before are refused");
}

#[tokio::test]
async fn waiting_that_is_given_up_loses_nothing() {
    let bench = Bench::new().await;
    let a = bench.host("a").await.host_id;
    let mut events = bench.store.listen_access().await.unwrap();
    for _ in 0..50 {
        drop(futures_util::poll!(std::pin::pin!(events.next())));
    }
    bench.sql.batch_execute("NOTIFY rowcall_access, 'nonsense'").await.unwrap();
    bench.store.revoke_host(&actor(), &host("a"), "").await.unwrap().unwrap();
    assert_eq!(next(&mut events).await.unwrap(), a);
}

#[tokio::test]
async fn a_connection_that_is_cut_says_so() {
    let bench = Bench::new().await;
    let mut events = bench.store.listen_access().await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    bench.sql.batch_execute(cut).await.unwrap();
    let error = next(&mut events).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
