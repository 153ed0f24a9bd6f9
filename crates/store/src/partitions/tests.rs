use futures_util::future::join_all;
use rowcall_testkit::log::Log;
use rowcall_testkit::poll::{DEADLINE, wait_for};
use tokio_postgres::NoTls;
use tracing::Level;

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

/// Partitions of UTC days that each table has, in the order of names.
async fn days_of_each(bench: &Bench) -> Vec<(String, i64)> {
    let sql = "SELECT t.name::text, count(d.id) FROM rowcall.day_tables() AS t
        LEFT JOIN rowcall.made_days() AS d ON d.parent = t.id GROUP BY t.name ORDER BY t.name";
    let rows = bench.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn days(of: [(&str, i64); 4]) -> Vec<(String, i64)> {
    of.map(|(table, days)| (table.to_owned(), days)).into()
}

#[tokio::test]
async fn a_default_partition_with_rows_of_a_day_keeps_no_other_table_from_having_it() {
    let log = Log::start(Level::WARN);
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let theirs = "CREATE TABLE public.\"Rest\" PARTITION OF host_metric DEFAULT;
        INSERT INTO host_metric SELECT now() + n * interval '1 day', 1, 1, 'n', '{}' FROM generate_series(0, 1) AS n;
        CREATE TABLE public.spare PARTITION OF host_vitals DEFAULT";
    bench.sql.batch_execute(theirs).await.unwrap();
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 9);
    let but_two = [("device_sample", 9), ("host_metric", 7), ("host_usage", 9), ("host_vitals", 9)];
    assert_eq!(days_of_each(&bench).await, days(but_two));
    let today: String = bench
        .sql
        .query_one("SELECT (now() AT TIME ZONE 'UTC')::date::text", &[])
        .await
        .unwrap()
        .get(0);
    let said = log.take();
    assert_eq!(said.len(), 1, "{said:?}");
    for word in ["ERROR", "public.host_metric", "public.\"Rest\"", &today, "DETACH PARTITION"] {
        assert!(said[0].contains(word), "{word}: {said:?}");
    }
    // It goes on being said, and whoever reads that partition is not waited for.
    let mut reader = bench.database.connect().await.unwrap();
    let report = reader.transaction().await.unwrap();
    report.query("SELECT count(*) FROM host_metric", &[]).await.unwrap();
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    report.commit().await.unwrap();
    assert_eq!(log.take().len(), 1);
    // A sample of a day before that makes its day.
    let session = bench.host("node1").await;
    let before = bench.now().await.plus_micros(-20 * 86_400_000_000);
    let old = "INSERT INTO host_metric VALUES (now() - interval '20 days', 1, 1, 'n', '{}')";
    bench.sql.batch_execute(old).await.unwrap();
    let committed = bench.store.ingest(&[sample(&session, 1, before)]).await.unwrap();
    assert_eq!((committed.samples, committed.quarantined), (1, 0));
    assert!(log.take().iter().any(|line| line.contains("public.host_metric")));
    let may = "SELECT has_function_privilege('rowcall_reader', 'rowcall.make_days(date[])', 'EXECUTE')::int::bigint";
    assert_eq!(bench.number(may).await, 0);
}

#[tokio::test]
async fn what_the_log_says_of_a_default_partition_brings_its_days() {
    let log = Log::start(Level::ERROR);
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let theirs = "CREATE TABLE rest PARTITION OF host_usage DEFAULT;
        INSERT INTO host_info (id, hostname) VALUES (1, 'a');
        INSERT INTO host_usage (\"timestamp\", host_id, delay_s, epoch_id, sequence) VALUES (now(), 1, 0, 1, 1)";
    bench.sql.batch_execute(theirs).await.unwrap();
    bench.store.ensure_partitions().await.unwrap();
    let said = log.take().join("");
    let (_, said) = said.split_once("ALTER TABLE").unwrap();
    let (table, _) = said.split_once(';').unwrap();
    bench.sql.batch_execute(&format!("ALTER TABLE {table}")).await.unwrap();
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 1);
    let again = "INSERT INTO host_usage SELECT * FROM rest";
    bench.sql.batch_execute(again).await.unwrap();
    let all = [("device_sample", 9), ("host_metric", 9), ("host_usage", 9), ("host_vitals", 9)];
    assert_eq!(days_of_each(&bench).await, days(all));
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 1);
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    assert_eq!(log.take(), Vec::<String>::new());
}

#[tokio::test]
async fn a_row_that_comes_into_a_default_partition_meanwhile_keeps_that_day_alone() {
    let log = Log::start(Level::ERROR);
    let bench = Bench::empty().await;
    bench.store.migrate().await.unwrap();
    let theirs = "CREATE TABLE rest PARTITION OF host_metric DEFAULT";
    bench.sql.batch_execute(theirs).await.unwrap();
    let mut writer = bench.database.connect().await.unwrap();
    let flush = writer.transaction().await.unwrap();
    // Of the day that is made first: of later ones it would be seen before.
    let row = "INSERT INTO host_metric VALUES (now() - interval '1 day', 1, 1, 'n', '{}')";
    flush.execute(row, &[]).await.unwrap();
    let comes = async {
        wait_for("the day's table to be attached", DEADLINE, async || {
            let waits =
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rest'::regclass";
            (bench.number(waits).await > 0).then_some(())
        })
        .await;
        flush.commit().await.unwrap();
    };
    let (made, ()) = tokio::join!(bench.store.ensure_partitions(), comes);
    // Said in the same call, and no fault of the other days.
    assert_eq!(made.unwrap(), 9);
    let but_one = [("device_sample", 9), ("host_metric", 8), ("host_usage", 9), ("host_vitals", 9)];
    assert_eq!(days_of_each(&bench).await, days(but_one));
    assert_eq!(log.take().len(), 1);
}
