//! Records that are put aside.

use std::sync::Arc;

use rowcall_core::clock::TestClock;
use rowcall_core::throttle::EVERY;
use rowcall_testkit::log::Log;
use tracing::Level;

use super::*;

#[tokio::test]
async fn times_out_of_range_are_put_aside_with_a_reason_and_acknowledged() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let minute = |n: i64| minutes_before(now, n);
    let year_2100 = UnixMicros(4_102_444_800_000_000);
    let times = [
        (minute(-11), "in the future"),
        (minute(-10), ""),
        (minute(30 * 1_440 + 1), "older than retention"),
        (minute(30 * 1_440 - 5), ""),
        (UnixMicros(0), "older than retention"),
        (year_2100, "in the future"),
        (UnixMicros(i64::MIN), "older than retention"),
        (UnixMicros(i64::MAX), "in the future"),
    ];
    let records: Vec<_> =
        (1..).zip(times).map(|(n, (time, _))| sample(&session, n, time)).collect();
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 2, quarantined: 6, ..Committed::default() });
    for (n, (time, reason)) in (1_i64..).zip(times) {
        let sql = "SELECT reason FROM rowcall.quarantine WHERE sequence = $1";
        let found = bench.sql.query_opt(sql, &[&n]).await.unwrap();
        let found = found.map(|row| row.get::<_, String>(0)).unwrap_or_default();
        assert!(
            found.contains(reason) && found.is_empty() == reason.is_empty(),
            "{time:?}: {found}"
        );
    }
    assert_eq!(mark(&bench, &session).await.0, 8);
    let row = bench.sql.query_one("SELECT \"timestamp\", joined_at FROM host_latest", &[]);
    let row = row.await.unwrap();
    assert_eq!(row.get::<_, Time>(0).0, minute(-10), "only accepted ones are the newest");
    assert_eq!(row.get::<_, Time>(1).0, minute(30 * 1_440 - 5), "or the oldest");
}

#[tokio::test]
async fn one_bad_row_among_a_thousand_is_put_aside_and_the_rest_is_stored() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("ALTER TABLE host_usage ADD CHECK (disk_io <> 666)").await.unwrap();
    let sessions = join_all((0..10).map(|n| bench.host_named(n))).await;
    let start = minutes_before(bench.now().await, 200);
    let mut records = Vec::new();
    for n in 1..=100_u64 {
        for session in &sessions {
            records.push(sample(session, n, minutes_before(start, -n.cast_signed())));
        }
    }
    if let Body::Sample(sample) = &mut records[617].record.body {
        sample.disk_io = Some(666);
    }
    let bad = records[617].record.sequence.as_i64();
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 999, quarantined: 1, ..Committed::default() });
    let sql = "SELECT reason, sequence FROM rowcall.quarantine";
    let row = bench.sql.query_one(sql, &[]).await.unwrap();
    assert!(row.get::<_, &str>(0).contains("violates check constraint"), "{row:?}");
    assert_eq!(row.get::<_, i64>(1), bad);
    for session in &sessions {
        assert_eq!(mark(&bench, session).await.0, 100);
    }
    let before = bench.everything().await;
    let again = bench.store.ingest(&records).await.unwrap();
    assert_eq!(again, Committed { duplicates: 1_000, ..Committed::default() });
    assert_eq!(bench.everything().await, before);
}

#[tokio::test]
async fn a_gap_or_facts_that_the_database_refuses_are_put_aside_too() {
    let bench = Bench::new().await;
    let refuse = "ALTER TABLE rowcall.gap ADD CHECK (ticks <> 3);
        ALTER TABLE host_info ADD CHECK (cpu_number <> 8)";
    bench.sql.batch_execute(refuse).await.unwrap();
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let records = [
        sample(&session, 1, now),
        record(&session, 2, now, gap(9, now)),
        record(&session, 10, minutes_before(now, -1), Body::HostFacts(Box::new(facts()))),
        sample(&session, 11, minutes_before(now, 1)),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 2, quarantined: 2, ..Committed::default() });
    assert_eq!(mark(&bench, &session).await.0, 11);
}

/// Refused records of a host: in the table, and only counted.
async fn kept_and_counted(bench: &Bench, session: &OpenedSession) -> (i64, i64) {
    let id = session.host_id;
    let kept = format!("SELECT count(*) FROM rowcall.quarantine WHERE host_id = {id}");
    let counted = format!(
        "SELECT coalesce(sum(counted), 0)::bigint FROM rowcall.quarantine_day WHERE host_id = {id}"
    );
    (bench.number(&kept).await, bench.number(&counted).await)
}

#[tokio::test]
async fn beyond_1000_of_a_host_and_day_refused_samples_are_only_counted() {
    let bench = Bench::new().await;
    let (bad, good) = (bench.host("bad").await, bench.host("good").await);
    let now = minutes_before(bench.now().await, 60);
    let mut records = Vec::new();
    for n in 1..=2_500_u64 {
        records.push(sample(&bad, n, UnixMicros(n.cast_signed())));
        if n % 100 == 0 {
            records.push(sample(&good, n / 100, minutes_before(now, -(n / 100).cast_signed())));
        }
    }
    records.push(sample(&good, 26, UnixMicros(0)));
    let mut all = Committed::default();
    for part in records.chunks(700) {
        all.add(bench.store.ingest(part).await.unwrap());
    }
    assert_eq!(all, Committed { samples: 25, quarantined: 2_501, ..Committed::default() });
    assert_eq!(kept_and_counted(&bench, &bad).await, (1_000, 1_500));
    assert_eq!(kept_and_counted(&bench, &good).await, (1, 0));
    assert_eq!(mark(&bench, &bad).await.0, 2_500);
    let last_kept = "SELECT max(sequence) FROM rowcall.quarantine WHERE host_id = 1";
    assert_eq!(bench.number(last_kept).await, 1_000, "the first ones are kept");

    // Neither kept nor counted again.
    let before = bench.everything().await;
    for part in records.chunks(999) {
        let again = bench.store.ingest(part).await.unwrap();
        let duplicates = u64::try_from(part.len()).unwrap();
        assert_eq!(again, Committed { duplicates, ..Committed::default() });
    }
    assert_eq!(bench.everything().await, before);
}

#[tokio::test]
async fn beyond_1000_of_a_host_and_day_records_without_sense_are_only_counted() {
    let bench = Bench::new().await;
    let session = bench.host("bad").await;
    let now = bench.now().await;
    let mut records = Vec::new();
    for n in 1..=1_300_u64 {
        // Refused by the statement for samples, and by the one for all others.
        records.push(match n % 2 {
            0 => sample(&session, n, UnixMicros(0)),
            _ => record(&session, n, now, Body::Invalid("nonsense")),
        });
    }
    let first = bench.store.ingest(&records[..900]).await.unwrap();
    assert_eq!(first, Committed { quarantined: 900, ..Committed::default() });
    assert_eq!(kept_and_counted(&bench, &session).await, (900, 0));
    // What overlaps is no news.
    let second = bench.store.ingest(&records[500..]).await.unwrap();
    assert_eq!(second, Committed { quarantined: 400, duplicates: 400, ..Committed::default() });
    assert_eq!(kept_and_counted(&bench, &session).await, (1_000, 300));
    let times = "SELECT count(*) FROM rowcall.quarantine_day WHERE counted_from IS NOT NULL
        AND counted_to >= counted_from AND day = (now() AT TIME ZONE 'UTC')::date";
    assert_eq!(bench.number(times).await, 1);
}

#[tokio::test]
async fn another_day_has_its_own_thousand() {
    let bench = Bench::new().await;
    let session = bench.host("bad").await;
    let yesterday = "INSERT INTO rowcall.quarantine_day (day, host_id, kept, counted)
        VALUES ((now() AT TIME ZONE 'UTC')::date - 1, 1, 1000, 7)";
    bench.sql.batch_execute(yesterday).await.unwrap();
    let records: Vec<_> = (1..=10).map(|n| sample(&session, n, UnixMicros(0))).collect();
    assert_eq!(bench.store.ingest(&records).await.unwrap().quarantined, 10);
    assert_eq!(kept_and_counted(&bench, &session).await, (10, 7));
}

#[tokio::test]
async fn numbers_that_no_machine_has_are_stored_as_told() {
    let bench = Bench::new().await;
    let session = bench.host("a").await;
    let now = minutes_before(bench.now().await, 10);
    let extreme = |n: u64, number: i64, percent: f64| {
        let body = Sample {
            elapsed_us: Some(number),
            uptime_us: Some(number),
            memory_free_kib: Some(number),
            memory_available_kib: Some(number),
            cpu_idle_percent: Some(percent),
            cpu_kernel_percent: Some(percent),
            disk_io: Some(number),
            disk_available_kib: Some(number),
            clock_shift_us: Some(number),
            vitals: None,
        };
        record(&session, n, minutes_before(now, -n.cast_signed()), Body::Sample(body))
    };
    let records = [
        extreme(1, i64::MAX, f64::NAN),
        extreme(2, i64::MIN, f64::INFINITY),
        extreme(3, -1, -1.0),
        extreme(4, 24 << 30, f64::MIN_POSITIVE),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 4, ..Committed::default() });
    let unknown = "SELECT count(*) FROM host_usage WHERE cpu_idle IS NULL AND cpu_kernel IS NULL";
    assert_eq!(bench.number(unknown).await, 2, "neither NaN nor infinities are numbers");
    let large = "SELECT memory_free FROM host_usage WHERE sequence = 4";
    assert_eq!(bench.number(large).await, 24 << 20, "24 TiB");
}

#[tokio::test]
async fn a_day_that_a_person_cut_in_two_refuses_its_rows_with_the_reason_and_no_others() {
    let bench = Bench::new().await;
    let session = bench.host("a").await;
    // Half of a day is covered: it counts as there, and its other half has no place.
    let cut = "DO $$ DECLARE day timestamptz := date_trunc('day', now() - interval '9 days', 'UTC');
        BEGIN EXECUTE format('CREATE TABLE half PARTITION OF host_usage FOR VALUES FROM (%L) TO (%L)',
            day, day + interval '12 hours'); END $$";
    bench.sql.batch_execute(cut).await.unwrap();
    let now = bench.now().await;
    let midnight = UnixMicros(now.0.div_euclid(86_400_000_000) * 86_400_000_000);
    let day = minutes_before(midnight, 9 * 1_440);
    let records = [
        sample(&session, 1, day.plus_micros(3_600_000_000)),
        sample(&session, 2, day.plus_micros(13 * 3_600_000_000)),
        sample(&session, 3, now),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 2, quarantined: 1, ..Committed::default() });
    let row = bench.sql.query_one("SELECT reason FROM rowcall.quarantine", &[]).await.unwrap();
    let reason: &str = row.get(0);
    assert!(reason.contains("no partition of relation \"host_usage\" found"), "{reason}");
}

#[tokio::test]
async fn text_of_any_kind_is_stored_as_text() {
    let bench = Bench::new().await;
    let texts = [
        "Robert'); DROP TABLE host_info;--",
        "\"quoted\" \\ $1 $$ %s",
        "<script>alert(1)</script> &amp;",
        "שלום \u{5d0}",
        &"x".repeat(64 << 10),
    ];
    for (n, text) in (1..).zip(texts) {
        let told = HostFacts { cpu_model: Some(text.into()), os: Some(text.into()), ..facts() };
        let hello = rowcall_core::convert::Hello { facts: told, ..hello("a", n) };
        let session = bench.open(&hello).await;
        let row = bench.sql.query_one("SELECT cpu_model, os FROM host_info", &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), (text, text));
        let told = HostFacts { kernel: Some(text.into()), ..HostFacts::default() };
        let time = bench.now().await;
        let records =
            [record(&session, 1, time.plus_micros(1_000_000), Body::HostFacts(Box::new(told)))];
        assert_eq!(bench.store.ingest(&records).await.unwrap().facts, 1);
    }
}

#[tokio::test]
async fn text_with_a_zero_byte_that_slipped_through_is_put_aside_and_its_neighbours_are_stored() {
    let bench = Bench::new().await;
    let session = bench.host("a").await;
    let now = bench.now().await;
    let told = HostFacts { kernel: Some("a\0b".into()), ..HostFacts::default() };
    let records = [
        sample(&session, 1, minutes_before(now, 2)),
        record(&session, 2, now.plus_micros(1_000_000), Body::HostFacts(Box::new(told))),
        sample(&session, 3, minutes_before(now, 1)),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 2, quarantined: 1, ..Committed::default() });
    let row = bench.sql.query_one("SELECT reason FROM rowcall.quarantine", &[]).await.unwrap();
    assert!(row.get::<_, &str>(0).contains("unsupported Unicode escape sequence"), "{row:?}");
}

#[tokio::test]
async fn a_flood_of_refused_rows_is_one_line_and_a_number() {
    let mut bench = Bench::new().await;
    let clock = Arc::new(TestClock::at(UnixMicros(0)));
    bench.store.put_aside = PutAside::new(Arc::<TestClock>::clone(&clock));
    bench.sql.batch_execute("ALTER TABLE host_usage ADD CHECK (disk_io <> 120)").await.unwrap();
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let records: Vec<_> =
        (1..=30).map(|n| sample(&session, n, now.plus_micros(n.cast_signed()))).collect();
    let log = Log::start(Level::WARN);
    assert_eq!(bench.store.ingest(&records).await.unwrap().quarantined, 30);
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for words in ["record put aside", "sequence=1 ", "violates check constraint", "held_back=0"] {
        assert!(lines[0].contains(words), "{words}: {lines:?}");
    }
    // Nothing more is refused, and the others are told all the same.
    clock.advance(EVERY);
    bench.store.ingest(&[]).await.unwrap();
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("more records put aside"), "{lines:?}");
    assert!(lines[0].contains("held_back=29"), "{lines:?}");
    bench.store.ingest(&[]).await.unwrap();
    assert_eq!(log.take(), Vec::<String>::new());
}

#[tokio::test]
async fn of_samples_with_one_time_the_first_is_a_row_and_the_others_are_put_aside() {
    let bench = Bench::new().await;
    let (session, other) = (bench.host("node1").await, bench.host("node2").await);
    let now = minutes_before(bench.now().await, 5);
    let mut records = vec![
        sample(&session, 1, now),
        sample(&session, 2, now),
        sample(&session, 3, now),
        sample(&session, 4, now.plus_micros(1)),
        // Another host may have the same time, and the same sample may come twice.
        sample(&other, 1, now),
        sample(&other, 1, now),
    ];
    for (due, record) in (1_i64..).zip(&mut records[..4]) {
        record.record.due_ticks = due;
    }
    let committed = bench.store.ingest(&records).await.unwrap();
    let expected = Committed { samples: 3, quarantined: 2, duplicates: 1, ..Committed::default() };
    assert_eq!(committed, expected);
    let reasons = "SELECT count(*) FROM rowcall.quarantine
        WHERE reason = 'another sample of this host has the same time' AND sequence IN (2, 3)";
    assert_eq!(bench.number(reasons).await, 2);
    let ledger = "SELECT count(*) FROM rowcall.ledger WHERE hostname = 'node1'
        AND due = 4 AND committed = 2 AND quarantined = 2 AND difference = 0";
    assert_eq!(bench.number(ledger).await, 1);
    let again = bench.store.ingest(&records).await.unwrap();
    assert_eq!(again, Committed { duplicates: 6, ..Committed::default() });
    assert_eq!(bench.number(ledger).await, 1);
}
