use futures_util::future::join_all;
use rowcall_core::id::UnixMicros;

use super::*;
use crate::testing::{Bench, minutes_before, sample};
use crate::{Committed, Settings};

mod devices;

const DAY: i64 = 86_400_000_000;

/// Days of `host_usage` as they are called, oldest first, that lie before yesterday.
async fn old_days(bench: &Bench) -> Vec<String> {
    let sql = "SELECT name::text FROM rowcall.partitions_of_usage()
        WHERE from_ts < date_trunc('day', now(), 'UTC') - interval '1 day' ORDER BY from_ts";
    bench.sql.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Makes the days from some to some other days ago.
async fn make_days(bench: &Bench, from: i32, to: i32) {
    let sql = "SELECT rowcall.create_days(ARRAY(
        SELECT (now() AT TIME ZONE 'UTC')::date - n FROM generate_series($2::int, $1::int) AS n))";
    bench.sql.execute(sql, &[&from, &to]).await.unwrap();
}

/// The name of the day some days ago, as of a partition or as of a day.
async fn day(bench: &Bench, ago: i32, format: &str) -> String {
    let sql = "SELECT to_char((now() AT TIME ZONE 'UTC')::date - $1::int, $2::text)";
    bench.sql.query_one(sql, &[&ago, &format]).await.unwrap().get(0)
}

async fn names(bench: &Bench, days: impl IntoIterator<Item = i32>) -> Vec<String> {
    let mut names = Vec::new();
    for ago in days {
        names.push(day(bench, ago, "\"host_usage_\"YYYYMMDD").await);
    }
    names
}

/// The same database with other settings.
async fn store(bench: &Bench, retention_days: u64, max_database_bytes: Option<u64>) -> Store {
    let settings = Settings {
        retention: Duration::from_secs(retention_days * 86_400),
        max_database_bytes,
        ..Settings::new(bench.database.url())
    };
    Store::connect(&settings).await.unwrap()
}

/// Samples of a host, one for each of some days ago, at about this time of the day.
async fn samples_of_days(bench: &Bench, days: &[i64]) -> Committed {
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let records: Vec<_> =
        (1..).zip(days).map(|(n, ago)| sample(&session, n, now.plus_micros(-ago * DAY))).collect();
    bench.store.ingest(&records).await.unwrap()
}

#[tokio::test]
async fn days_of_which_all_is_older_than_the_retention_are_dropped_and_recorded() {
    let bench = Bench::new().await;
    make_days(&bench, 40, 29).await;
    assert_eq!(samples_of_days(&bench, &[29, 5]).await.samples, 2);
    let row = "INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
        SELECT now() - interval '35 days' - n * interval '1 second', 1, n, 1, 0
        FROM generate_series(1, 500) AS n";
    bench.sql.batch_execute(row).await.unwrap();
    bench.sql.batch_execute("ANALYZE host_usage").await.unwrap();

    let retained = bench.store.retain().await.unwrap();
    let days: Vec<_> = retained.days.iter().map(|dropped| dropped.day.clone()).collect();
    let mut expected = Vec::new();
    for ago in (31..=40).rev() {
        expected.push(day(&bench, ago, "YYYY-MM-DD").await);
    }
    assert_eq!(days, expected);
    assert!(retained.days.iter().all(|day| day.reason == DropReason::Age && day.bytes > 0));
    assert_eq!(names(&bench, [30, 29, 5]).await, old_days(&bench).await);
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 2);

    let recorded = "SELECT count(*) FROM rowcall.dropped_day
        WHERE reason = 'age' AND bytes > 0 AND dropped_at > now() - interval '1 hour'";
    assert_eq!(bench.number(recorded).await, 10);
    let estimate = "SELECT sum(rows_estimate)::bigint FROM rowcall.dropped_day";
    assert_eq!(bench.number(estimate).await, 500);
    assert_eq!(bench.store.retain().await.unwrap(), Retained::default());
    // Days are made as before, and none that was dropped.
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    make_days(&bench, 40, 28).await;
    assert_eq!(names(&bench, [30, 29, 28, 5]).await, old_days(&bench).await);
}

#[tokio::test]
async fn above_the_size_the_oldest_day_goes_first_and_no_more_than_needed() {
    let bench = Bench::new().await;
    make_days(&bench, 6, 2).await;
    bench.host("node1").await;
    let rows = "INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
        SELECT now() - interval '6 days' + n * interval '1 microsecond', 1, n, 1, 0
        FROM generate_series(1, 20000) AS n";
    bench.sql.batch_execute(rows).await.unwrap();
    let size = bench.number("SELECT pg_database_size(current_database())").await.unsigned_abs();
    assert_eq!(store(&bench, 30, Some(size * 2)).await.retain().await.unwrap().days, []);

    // The oldest day holds more than a megabyte: without it there is room.
    let retained = store(&bench, 30, Some(size - (1 << 20))).await.retain().await.unwrap();
    assert_eq!(retained.days.len(), 1, "{retained:?}");
    assert_eq!(retained.days[0].day, day(&bench, 6, "YYYY-MM-DD").await);
    assert_eq!(retained.days[0].reason, DropReason::Size);
    assert!(retained.days[0].bytes > 1 << 20);

    // However small it must be, today and yesterday stay, and what is to come.
    let retained = store(&bench, 30, Some(1)).await.retain().await.unwrap();
    assert_eq!(retained.days.len(), 4);
    assert!(retained.days.iter().all(|day| day.reason == DropReason::Size));
    assert_eq!(old_days(&bench).await, Vec::<String>::new());
    let left = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'host_usage'::regclass";
    assert_eq!(bench.number(left).await, 9);
    assert_eq!(samples_of_days(&bench, &[1, 0]).await.samples, 2);
}

#[tokio::test]
async fn samples_of_a_dropped_day_are_refused_and_do_not_bring_it_back() {
    let bench = Bench::new().await;
    make_days(&bench, 12, 9).await;
    store(&bench, 10, None).await.retain().await.unwrap();
    assert_eq!(names(&bench, [10, 9]).await, old_days(&bench).await);
    // The retention of this one is 30 days: by that alone it would take them all.
    let committed = samples_of_days(&bench, &[20, 12, 11, 10, 9, 8, 0]).await;
    assert_eq!(committed, Committed { samples: 4, quarantined: 3, ..Committed::default() });
    assert_eq!(names(&bench, [10, 9, 8]).await, old_days(&bench).await);
    let reason = "SELECT count(*) FROM rowcall.quarantine
        WHERE reason = 'timestamp is not after the last day that was dropped'";
    assert_eq!(bench.number(reason).await, 3);
    assert_eq!(bench.number("SELECT mark FROM host_latest").await, 7);

    // Who wants them after all says so.
    bench.sql.batch_execute("DELETE FROM rowcall.dropped_day").await.unwrap();
    let session = bench.host("node1").await;
    let late = bench.now().await.plus_micros(-12 * DAY);
    assert_eq!(bench.store.ingest(&[sample(&session, 8, late)]).await.unwrap().samples, 1);
}

#[tokio::test]
async fn a_clock_that_was_wrong_for_a_while_does_not_shut_out_the_present() {
    let bench = Bench::new().await;
    let future = "INSERT INTO rowcall.dropped_day (day, reason, bytes)
        SELECT (now() AT TIME ZONE 'UTC')::date + n, 'age', 1 FROM generate_series(-9, 5) AS n";
    bench.sql.batch_execute(future).await.unwrap();
    // What is missing of the present is made.
    let gone = "DO $$ DECLARE name text; BEGIN FOR name IN SELECT p.name FROM rowcall.partitions_of_usage() AS p
        LOOP EXECUTE format('DROP TABLE %I', name); END LOOP; END $$";
    bench.sql.batch_execute(gone).await.unwrap();
    let committed = samples_of_days(&bench, &[2, 1, 0]).await;
    assert_eq!(committed, Committed { samples: 2, quarantined: 1, ..Committed::default() });
}

#[tokio::test]
async fn what_a_person_made_of_a_partition_is_left_alone() {
    let bench = Bench::new().await;
    make_days(&bench, 40, 33).await;
    let day = |ago: i32| {
        format!("to_char((now() AT TIME ZONE 'UTC')::date - {ago}, '\"host_usage_\"YYYYMMDD')")
    };
    let script = format!(
        "DO $$ BEGIN
            EXECUTE format('ALTER TABLE host_usage DETACH PARTITION %I', {});
            EXECUTE format('ALTER TABLE %I RENAME TO keep_this', {});
            CREATE SCHEMA archive;
            EXECUTE format('ALTER TABLE %I SET SCHEMA archive', {});
            EXECUTE format('CREATE TABLE host_usage_20200101 PARTITION OF host_usage
                FOR VALUES FROM (%L) TO (%L)', '2020-01-01 00:00:00+00', '2020-01-08 00:00:00+00');
            CREATE TABLE ancient PARTITION OF host_usage FOR VALUES FROM (MINVALUE) TO ('2001-01-01');
        END $$",
        day(40),
        day(39),
        day(38)
    );
    bench.sql.batch_execute(&script).await.unwrap();
    // The detached day is made again beside the kept table, under another name.
    make_days(&bench, 40, 40).await;
    let again = format!("{}_2", names(&bench, [40]).await[0]);
    assert!(old_days(&bench).await.contains(&again));

    let retained = bench.store.retain().await.unwrap();
    assert_eq!(retained.days.len(), 6, "{retained:?}");
    let archived = names(&bench, [38]).await.remove(0);
    let left = ["ancient", "host_usage_20200101", "keep_this", &archived];
    assert_eq!(old_days(&bench).await, left);
    let detached = format!("SELECT count(*) FROM {}", names(&bench, [40]).await[0]);
    assert_eq!(bench.number(&detached).await, 0, "the table is there");
}

#[tokio::test]
async fn a_report_is_not_waited_for_and_ingest_goes_on() {
    let bench = Bench::new().await;
    make_days(&bench, 33, 33).await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let mut reader = bench.database.connect().await.unwrap();
    let report = reader.transaction().await.unwrap();
    report.query("SELECT count(*) FROM host_usage", &[]).await.unwrap();
    // Whoever waits behind the attempt to drop gives up long before the report ends.
    let settings =
        Settings { lock_timeout: Duration::from_secs(5), ..Settings::new(bench.database.url()) };
    let impatient = Store::connect(&settings).await.unwrap();
    let flushes = async {
        for n in 1..=20_u64 {
            let records = [sample(&session, n, minutes_before(now, n.cast_signed()))];
            assert_eq!(impatient.ingest(&records).await.unwrap().samples, 1);
        }
    };
    let (retained, ()) = tokio::join!(bench.store.retain(), flushes);
    // Nobody reads devices, and theirs are older than they are kept.
    let expected = Retained { device_days: 2, ..Retained::default() };
    assert_eq!(retained.unwrap(), expected, "tried again next time");
    report.commit().await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap().days.len(), 1);
}

#[tokio::test]
async fn dropping_a_day_locks_no_table_but_those_that_have_days() {
    let mut bench = Bench::new().await;
    make_days(&bench, 33, 33).await;
    let transaction = bench.sql.transaction().await.unwrap();
    transaction.execute("SELECT rowcall.drop_day(2592000, NULL)", &[]).await.unwrap();
    let locked = "SELECT DISTINCT relname::text FROM pg_locks AS l
        JOIN pg_class AS c ON c.oid = l.relation WHERE pid = pg_backend_pid() AND mode IN ('AccessExclusiveLock', 'ExclusiveLock',
              'ShareRowExclusiveLock', 'ShareLock')
          AND relation IN (SELECT oid FROM pg_class
              WHERE relnamespace IN ('public'::regnamespace, 'rowcall'::regnamespace))";
    let locked: Vec<String> =
        transaction.query(locked, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(locked, ["device_sample", "host_metric", "host_usage", "host_vitals"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_once_drop_each_day_once_while_samples_come() {
    let bench = Bench::new().await;
    make_days(&bench, 40, 31).await;
    let stores = join_all((0..4).map(|_| store(&bench, 30, None))).await;
    let sessions = join_all((0..60).map(|n| bench.host_named(n))).await;
    let now = bench.now().await;
    let retains = stores.iter().map(|store| async move {
        let mut days = Vec::new();
        for _ in 0..20 {
            days.extend(store.retain().await.unwrap().days);
        }
        days
    });
    let flushes = (1_i64..).zip(&sessions).map(|(n, session)| {
        // Each needs a day of its own, which has to be made.
        let records = [sample(session, 1, now.plus_micros(-DAY * (n % 29)))];
        let store = bench.store.clone();
        async move { store.ingest(&records).await.unwrap() }
    });
    let (days, stored) = tokio::join!(join_all(retains), join_all(flushes));
    let mut days: Vec<_> = days.into_iter().flatten().map(|dropped| dropped.day).collect();
    days.extend(bench.store.retain().await.unwrap().days.into_iter().map(|dropped| dropped.day));
    days.sort();
    assert_eq!(days.len(), 10);
    days.dedup();
    assert_eq!(days.len(), 10);
    assert_eq!(stored.iter().map(|committed| committed.quarantined).sum::<u64>(), 0);
}

#[tokio::test]
async fn refused_records_are_kept_for_30_days() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let records: Vec<_> = (1..=5).map(|n| sample(&session, n, UnixMicros(0))).collect();
    bench.store.ingest(&records).await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap(), Retained::default());
    let age = "UPDATE rowcall.quarantine SET received_at = now() - interval '30 days 1 minute'
            WHERE sequence <= 3;
        INSERT INTO rowcall.quarantine_day (day, host_id, kept)
            VALUES ((now() AT TIME ZONE 'UTC')::date - 31, 1, 3)";
    bench.sql.batch_execute(age).await.unwrap();
    let retained = bench.store.retain().await.unwrap();
    assert_eq!(retained, Retained { quarantine_rows: 3, ..Retained::default() });
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.quarantine").await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.quarantine_day").await, 1);
}

#[tokio::test]
async fn what_explained_samples_that_are_gone_is_kept_for_30_days_more() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    bench.host("node2").await;
    // Gaps by their number: too old, of a wrong clock, too young. Epochs: too old, too young. The
    // intervals of the first host: long over, in force when it began, later; of the second: one.
    let rows = "
        INSERT INTO rowcall.gap (host_id, epoch_id, sequence, through_sequence, ticks, state, cause,
                                 from_ts, to_ts, received_at)
        SELECT 1, 1, v.n, v.n, 1, 'missed', 'off', v.at, v.at, v.received FROM (VALUES
            (1, now() - interval '60 days 1 minute', now() - interval '60 days 1 minute'),
            (2, '1970-01-01'::timestamptz, now()),
            (3, now() - interval '59 days', now() - interval '59 days')) AS v (n, at, received);
        INSERT INTO rowcall.epoch (host_id, epoch, opened_at, closed_at) VALUES
            (1, 11, now() - interval '90 days', now() - interval '60 days 1 minute'),
            (1, 12, now() - interval '90 days', now() - interval '59 days');
        DELETE FROM rowcall.host_interval;
        INSERT INTO rowcall.host_interval VALUES
            (1, now() - interval '90 days', 1000), (1, now() - interval '80 days', 2000),
            (1, now() - interval '59 days', 3000), (2, now() - interval '90 days', 4000);
        INSERT INTO rowcall.run (host_id, run, how, started_at) VALUES
            (1, 101, 'restart', now() - interval '90 days'), (1, 102, 'restart', now() - interval '80 days'),
            (2, 103, 'restart', now() - interval '90 days');
        INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts) VALUES
            ('a', 5, now() - interval '90 days', now() - interval '60 days 1 minute'),
            ('a', 6, now() - interval '90 days', now() - interval '59 days');
        INSERT INTO rowcall.clock_span VALUES
            (1, now() - interval '90 days', now() - interval '60 days 1 minute', 90),
            (1, now() - interval '80 days', now() - interval '59 days', 91)";
    bench.sql.batch_execute(rows).await.unwrap();
    let retained = bench.store.retain().await.unwrap();
    assert_eq!(retained, Retained { old_rows: 6, ..Retained::default() });
    for (sql, left) in [
        ("SELECT run FROM rowcall.run WHERE run > 100 ORDER BY 1", vec![102, 103]),
        ("SELECT run FROM rowcall.aggregator_span ORDER BY 1", vec![0, 6]),
        ("SELECT offset_s::bigint FROM rowcall.clock_span", vec![91]),
        ("SELECT sequence FROM rowcall.gap ORDER BY 1", vec![2, 3]),
        ("SELECT epoch FROM rowcall.epoch WHERE closed_at IS NOT NULL", vec![12]),
        ("SELECT count(*) FROM rowcall.epoch WHERE closed_at IS NULL", vec![2]),
        (
            "SELECT interval_ms::bigint FROM rowcall.host_interval ORDER BY 1",
            vec![2000, 3000, 4000],
        ),
    ] {
        let rows = bench.sql.query(sql, &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), left, "{sql}");
    }
    assert_eq!(bench.store.retain().await.unwrap(), Retained::default());
}

#[tokio::test]
async fn more_old_rows_than_one_deletion_takes_go_in_one_call() {
    let bench = Bench::new().await;
    bench.host("node1").await;
    let rows = "INSERT INTO rowcall.gap SELECT 1, 1, n, n, 1, 'missed', 'off', t, t, t
        FROM generate_series(1, 10001) AS n, (SELECT now() - interval '99 days') AS a (t)";
    bench.sql.batch_execute(rows).await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap().old_rows, 10_001);
}

#[tokio::test]
async fn nothing_is_dropped_when_the_retention_is_shorter_than_a_day() {
    let bench = Bench::new().await;
    make_days(&bench, 5, 3).await;
    let error = store(&bench, 0, None).await.retain().await.unwrap_err();
    assert!(error.to_string().contains("less than a day"), "{error}");
    assert_eq!(old_days(&bench).await.len(), 3);
}

#[tokio::test]
async fn a_view_on_a_day_that_is_to_go_is_named_with_what_to_do() {
    let bench = Bench::new().await;
    make_days(&bench, 33, 32).await;
    let oldest = names(&bench, [33]).await.remove(0);
    let view = format!("CREATE VIEW public.of_one_day AS SELECT * FROM {oldest}");
    bench.sql.batch_execute(&view).await.unwrap();
    let error = bench.store.retain().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(
        error.to_string(),
        format!(
            "the oldest day of host_usage stays, and with it all later ones: database: cannot drop \
             table public.{oldest} because other objects depend on it (SQLSTATE 2BP01): view public.of_one_day \
             depends on table public.{oldest}; drop what depends on it, or let it depend on something \
             that stays"
        )
    );
    bench.sql.batch_execute("DROP VIEW public.of_one_day").await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap().days.len(), 2);
}

#[tokio::test]
async fn what_was_long_over_of_access_goes_and_the_record_stays() {
    let bench = Bench::new().await;
    bench.host("a").await;
    bench.host("b").await;
    let rows = "
        INSERT INTO rowcall.token (id, secret_sha256, uses, used, created_by, expires_at, last_used_at, revoked_at)
        SELECT lpad(to_hex(n), 16, '0'), decode(repeat('00', 32), 'hex'), 1, used, '', now() + expires, now() - last, now() - revoked
          FROM (VALUES (1, 0, interval '1 day', NULL::interval, NULL::interval),
                       (2, 0, -interval '364 days', NULL, NULL),
                       (3, 1, interval '1 day', '364 days', NULL),
                       (4, 0, interval '1 day', '400 days', NULL),
                       (5, 0, -interval '366 days', NULL, NULL),
                       (6, 1, interval '1 day', '366 days', NULL),
                       (7, 0, interval '1 day', NULL, '366 days')) AS t (n, used, expires, last, revoked);
        UPDATE rowcall.certificate SET not_after = now() - interval '89 days' WHERE host_id = 1;
        UPDATE rowcall.certificate SET not_after = now() - interval '91 days' WHERE host_id = 2;
        INSERT INTO rowcall.conflict (host_id, newcomer_run, first_at, last_at, holder_run, holder_peer, newcomer_peer)
        SELECT 1, n, now() - interval '1 day' * n, now() - interval '1 day' * n, 1, '', '' FROM (VALUES (364), (366)) AS c (n);
        INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts) VALUES ('live', 9, now(), now());
        UPDATE rowcall.session SET opened_at = now() - interval '2 days';
        UPDATE rowcall.session SET aggregator = 'live', aggregator_run = 9 WHERE host_id = 1;
        INSERT INTO rowcall.audit (at, identity, peer, aggregator, action, target, result, detail)
        VALUES (now() - interval '20 years', '', '', '', '', '', '', '')";
    bench.sql.batch_execute(rows).await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap().old_rows, 3 + 1 + 1 + 1);
    let left = "SELECT array_agg(right(id, 1)::int8 ORDER BY id) FROM rowcall.token";
    let left: Vec<i64> = bench.sql.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, [1, 2, 3, 4]);
    for (table, host) in [("certificate", 1), ("session", 1), ("conflict", 1)] {
        let sql = format!("SELECT sum(host_id)::bigint FROM rowcall.{table}");
        assert_eq!(bench.number(&sql).await, host, "{table}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.audit").await, 1);
    assert_eq!(bench.store.retain().await.unwrap().old_rows, 0);
}
