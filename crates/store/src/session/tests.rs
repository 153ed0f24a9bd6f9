use futures_util::future::join_all;
use rowcall_core::id::{Sequence, UnixMicros};
use rowcall_core::record::HostFacts;

use super::*;
use crate::testing::{Bench, MINUTE, facts, hello, minutes_before, sample};

mod clock;
mod history;
mod lease;
mod runs;

/// After some records that will come.
fn telling(name: &str, epoch: u64) -> Hello {
    Hello {
        next: Sequence::new(1_000).unwrap(),
        machine_id: Some("m-1".into()),
        boot_id: Some("b-1".into()),
        agent_version: Some("0.1.0".into()),
        facts: facts(),
        ..hello(name, epoch)
    }
}

/// `"timestamp"` of the only host, in microseconds.
async fn changed_at(bench: &Bench) -> i64 {
    bench.number("SELECT (extract(epoch FROM \"timestamp\") * 1e6)::bigint FROM host_info").await
}

#[tokio::test]
async fn a_new_host_is_written_with_its_facts_epoch_and_interval() {
    let bench = Bench::new().await;
    let session = bench.open(&telling("node1", 7)).await;
    assert!(session.host_is_new && session.epoch_is_new && session.facts_changed);
    assert_eq!(session.mark, None);
    let row = bench.sql.query_one("SELECT * FROM host_info", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>("id"), session.host_id.0);
    assert_eq!(row.get::<_, &str>("hostname"), "node1");
    assert_eq!(row.get::<_, i32>("cpu_number"), 8);
    assert_eq!(row.get::<_, &str>("cpu_architecture"), "x86_64");
    assert_eq!(row.get::<_, &str>("cpu_model"), "Model 1");
    assert_eq!(row.get::<_, f64>("cpu_mhz").to_bits(), 3_400.5_f64.to_bits());
    assert_eq!(row.get::<_, i64>("l2_cache"), 1_024);
    assert_eq!(row.get::<_, i64>("total_mem"), 16 << 20);
    assert_eq!(row.get::<_, &str>("os"), "Debian 12");
    assert_eq!(row.get::<_, &str>("kernel"), "6.1");
    assert_eq!(row.get::<_, &str>("kernel_host_name"), "node");
    assert_eq!(row.get::<_, &str>("machine_id"), "m-1");
    assert_eq!(row.get::<_, &str>("boot_id"), "b-1");
    assert_eq!(Some(row.get::<_, Time>("booted_at").0), facts().booted);
    assert_eq!(row.get::<_, &str>("agent_version"), "0.1.0");
    let others =
        "SELECT count(*) FROM host_latest AS l JOIN rowcall.epoch AS e ON e.id = l.epoch_id
        JOIN rowcall.host_interval AS i ON i.host_id = l.host_id
        WHERE e.epoch = 7 AND e.closed_at IS NULL AND i.interval_ms = 60000 AND l.mark = 0";
    assert_eq!(bench.number(others).await, 1);
}

#[tokio::test]
async fn the_same_hello_again_writes_nothing_at_all() {
    let bench = Bench::new().await;
    let first = bench.open(&telling("node1", 7)).await;
    let before = bench.everything().await;
    // Also where the boot's time, computed from clocks, wavers.
    let mut again = telling("node1", 7);
    again.facts.booted = again.facts.booted.map(|time| time.plus_micros(1_000_000));
    let second = bench.open(&again).await;
    assert_eq!(bench.everything().await, before);
    assert_eq!((second.host_id, second.epoch_id), (first.host_id, first.epoch_id));
    assert!(!second.host_is_new && !second.epoch_is_new && !second.facts_changed);
}

#[tokio::test]
async fn a_changed_fact_moves_the_timestamp_and_a_boot_or_an_upgrade_does_not() {
    let bench = Bench::new().await;
    bench.open(&telling("node1", 1)).await;
    let at_first = changed_at(&bench).await;

    let mut rebooted = telling("node1", 1);
    rebooted.boot_id = Some("b-2".into());
    rebooted.agent_version = Some("0.2.0".into());
    rebooted.facts.booted = Some(UnixMicros(1_750_000_000_000_000));
    assert!(!bench.open(&rebooted).await.facts_changed);
    assert_eq!(changed_at(&bench).await, at_first);
    let row = bench.sql.query_one("SELECT boot_id, agent_version, booted_at FROM host_info", &[]);
    let row = row.await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("b-2", "0.2.0"));
    assert_eq!(row.get::<_, Time>(2).0, UnixMicros(1_750_000_000_000_000));

    let mut grown = rebooted;
    grown.facts.total_mem_kib = Some(32 << 20);
    assert!(bench.open(&grown).await.facts_changed);
    assert!(changed_at(&bench).await > at_first);
    assert_eq!(bench.number("SELECT total_mem FROM host_info").await, 32 << 20);
}

#[tokio::test]
async fn what_is_not_told_stays_known() {
    let bench = Bench::new().await;
    bench.open(&telling("node1", 1)).await;
    let before = bench.everything().await;
    let silent = Hello { facts: HostFacts::default(), ..hello("node1", 1) };
    assert!(!bench.open(&silent).await.facts_changed);
    assert_eq!(bench.everything().await, before);
}

#[tokio::test]
async fn another_epoch_closes_the_old_one_with_its_mark_and_coming_back_goes_on_from_there() {
    let bench = Bench::new().await;
    let now = minutes_before(bench.now().await, 10);
    let first = bench.host("node1").await;
    let time = |minute: i64| minutes_before(now, -minute);
    let old: Vec<_> = (1..=3).map(|n| sample(&first, n, time(n.cast_signed()))).collect();
    bench.store.ingest(&old).await.unwrap();

    let second = bench.open(&hello("node1", 2)).await;
    assert!(second.epoch_is_new && !second.host_is_new);
    assert_ne!(second.epoch_id, first.epoch_id);
    assert_eq!(second.mark, None);
    let closed = "SELECT mark FROM rowcall.epoch WHERE epoch = 1 AND closed_at IS NOT NULL";
    assert_eq!(bench.number(closed).await, 3);
    bench.store.ingest(&[sample(&second, 1, time(4))]).await.unwrap();

    let back = bench.host("node1").await;
    assert_eq!(back.epoch_id, first.epoch_id);
    assert!(!back.epoch_is_new);
    let mark = Mark { through: Sequence::new(3).unwrap(), time: time(3), due_ticks: 0 };
    assert_eq!(back.mark, Some(mark));
    let state = "SELECT count(*) FROM rowcall.epoch WHERE (epoch = 1 AND closed_at IS NULL)
        OR (epoch = 2 AND closed_at IS NOT NULL AND mark = 1)";
    assert_eq!(bench.number(state).await, 2);
    // The newest sample is the host's, whatever the epoch.
    let newest = bench.sql.query_one("SELECT \"timestamp\" FROM host_latest", &[]).await.unwrap();
    assert_eq!(newest.get::<_, Time>(0).0, time(4));
}

#[tokio::test]
async fn the_interval_is_written_when_it_changes_and_only_then() {
    let bench = Bench::new().await;
    for seconds in [60, 60, 10, 10, 60] {
        let interval = Duration::from_secs(seconds);
        bench.store.opened(&hello("node1", 1), interval).await.unwrap();
    }
    let sql = "SELECT array_agg(interval_ms ORDER BY valid_from) FROM rowcall.host_interval";
    let row = bench.sql.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, Vec<i32>>(0), [60_000, 10_000, 60_000]);
}

#[tokio::test]
async fn a_retired_host_that_comes_back_is_in_the_roll_from_then_on() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    let retire = "UPDATE host_info SET retired_at = now() - interval '1 day';
        UPDATE host_latest SET joined_at = now() - interval '9 days'";
    bench.sql.batch_execute(retire).await.unwrap();
    let before = bench.now().await;
    assert!(!bench.host("node1").await.host_is_new);
    assert_eq!(bench.number("SELECT count(*) FROM host_info WHERE retired_at IS NULL").await, 1);
    let row = bench.sql.query_one("SELECT joined_at FROM host_latest", &[]).await.unwrap();
    assert!(row.get::<_, Time>(0).0 >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_of_the_same_and_of_different_hosts_open_at_once() {
    let bench = Bench::new().await;
    let hellos: Vec<_> =
        (0..200_u64).map(|n| telling(&format!("node{}", n % 20), 1 + n / 20 % 3)).collect();
    let sessions = join_all(hellos.iter().map(|hello| bench.store.opened(hello, MINUTE))).await;
    let sessions: Vec<_> = sessions.into_iter().map(Result::unwrap).collect();
    assert_eq!(sessions.iter().filter(|session| session.host_is_new).count(), 20);
    assert_eq!(sessions.iter().filter(|session| session.epoch_is_new).count(), 60);
    assert_eq!(bench.number("SELECT count(*) FROM host_info").await, 20);
    let open = "SELECT count(*) FROM rowcall.epoch AS e JOIN host_latest AS l ON l.epoch_id = e.id
        WHERE e.closed_at IS NULL";
    assert_eq!(bench.number(open).await, 20, "each host has one epoch open, its current one");
    assert_eq!(
        bench.number("SELECT count(*) FROM rowcall.epoch WHERE closed_at IS NULL").await,
        20
    );
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.host_interval").await, 20);
}

#[tokio::test]
async fn host_ids_are_not_used_up_by_hosts_that_come_back() {
    let bench = Bench::new().await;
    for epoch in 1..=5 {
        bench.open(&hello("node1", epoch)).await;
    }
    assert_eq!(bench.host("node2").await.host_id, HostId(2));
}
