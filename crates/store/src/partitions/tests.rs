use futures_util::future::join_all;
use tokio_postgres::NoTls;

use crate::Settings;
use crate::locks;
use crate::testing::{Bench, sample};

const COUNT: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'host_usage'::regclass";

#[tokio::test]
async fn days_are_made_from_yesterday_to_a_week_ahead_and_once() {
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 9);
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    let bounds = "SELECT count(*) FROM generate_series(-1, 7) AS n
        JOIN pg_class AS c ON c.relname = 'host_usage_'
            || to_char((now() AT TIME ZONE 'UTC')::date + n::int, 'YYYYMMDD')
        WHERE pg_get_expr(c.relpartbound, c.oid) = format(
            'FOR VALUES FROM (''%s 00:00:00+00'') TO (''%s 00:00:00+00'')',
            to_char((now() AT TIME ZONE 'UTC')::date + n::int, 'YYYY-MM-DD'),
            to_char((now() AT TIME ZONE 'UTC')::date + n::int + 1, 'YYYY-MM-DD'))";
    bench.sql.batch_execute("SET timezone = 'UTC'").await.unwrap();
    assert_eq!(bench.number(bounds).await, 9);
}

#[tokio::test]
async fn days_are_utc_whatever_the_session_thinks() {
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let day = "SELECT rowcall.create_days(ARRAY['2026-03-29'::date])";
    bench
        .sql
        .batch_execute("SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'German'")
        .await
        .unwrap();
    bench.sql.batch_execute(day).await.unwrap();
    bench.sql.batch_execute("SET timezone = 'UTC'; SET datestyle = 'ISO'").await.unwrap();
    let row = bench.sql.query_one(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'host_usage_20260329'",
        &[],
    );
    assert_eq!(
        row.await.unwrap().get::<_, &str>(0),
        "FOR VALUES FROM ('2026-03-29 00:00:00+00') TO ('2026-03-30 00:00:00+00')"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_make_days_at_once() {
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let made = join_all((0..12).map(|_| bench.store.ensure_partitions())).await;
    assert_eq!(made.into_iter().map(Result::unwrap).sum::<u32>(), 9);
    assert_eq!(bench.number(COUNT).await, 9);
}

#[tokio::test]
async fn making_a_day_waits_for_the_lock_and_says_so_when_it_does_not_come() {
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    bench.sql.execute("SELECT pg_advisory_lock($1)", &[&locks::PARTITIONS]).await.unwrap();
    let settings = Settings {
        lock_timeout: std::time::Duration::from_millis(50),
        ..Settings::new(bench.database.url())
    };
    let store = crate::Store::connect(&settings).await.unwrap();
    let error = store.ensure_partitions().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.sqlstate(), Some("55P03"));
}

#[tokio::test]
async fn a_long_report_does_not_keep_a_day_from_being_made() {
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let mut reader = bench.database.connect().await.unwrap();
    let report = reader.transaction().await.unwrap();
    report.query("SELECT count(*) FROM host_usage", &[]).await.unwrap();
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 9);
    report.commit().await.unwrap();
}

#[tokio::test]
async fn a_sample_of_a_missing_day_makes_the_day() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let records: Vec<_> = (1..=29_u64)
        .map(|n| sample(&session, n, now.plus_micros(-86_400_000_000 * (30 - n.cast_signed()))))
        .collect();
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!((committed.samples, committed.quarantined), (29, 0));
    assert!(bench.number(COUNT).await >= 36);
    // Without a partition to catch what has no day.
    let (client, connection) = tokio_postgres::connect(&bench.database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("SELECT partdefid::bigint FROM pg_partitioned_table WHERE partrelid = 'host_usage'::regclass", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_day_that_was_detached_and_kept_does_not_stand_in_the_way() {
    let bench = Bench::new().await;
    let session = bench.host("a").await;
    let now = bench.now().await;
    let detach =
        "DO $$ BEGIN EXECUTE format('ALTER TABLE host_usage DETACH PARTITION host_usage_%s',
        to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$";
    bench.sql.batch_execute(detach).await.unwrap();
    bench.store.ingest(&[sample(&session, 1, now)]).await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 1);
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0, "that day is there again");
}
