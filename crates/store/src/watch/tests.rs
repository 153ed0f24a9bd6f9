use super::*;
use crate::testing::Bench;

fn run(number: u64) -> RunId {
    RunId::new(number).unwrap()
}

/// Moves all that was recorded some seconds into the past, as if so much time had gone by.
async fn pass(bench: &Bench, seconds: i64) {
    let sql = format!(
        "UPDATE rowcall.aggregator_span SET from_ts = from_ts - interval '{seconds} s',
             through_ts = through_ts - interval '{seconds} s' WHERE run <> 0;
         UPDATE rowcall.clock_span SET from_ts = from_ts - interval '{seconds} s',
             through_ts = through_ts - interval '{seconds} s'"
    );
    bench.sql.batch_execute(&sql).await.unwrap();
}

/// Each stretch of a process: seconds that it lasted, rounded, and whether it stopped.
async fn spans(bench: &Bench) -> Vec<(i64, i64, bool)> {
    let sql = "SELECT run, round(extract(epoch FROM through_ts - from_ts))::bigint, stopped
        FROM rowcall.aggregator_span WHERE run <> 0 ORDER BY id";
    let rows = bench.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn a_stretch_goes_on_until_nothing_is_heard_for_a_minute() {
    let bench = Bench::new().await;
    for seconds in [0, 20, 59, 61, 30] {
        pass(&bench, seconds).await;
        bench.store.observed("a", run(1), false).await.unwrap();
    }
    assert_eq!(spans(&bench).await, [(1, 79, false), (1, 30, false)]);
    // Another process, and another aggregator, have stretches of their own.
    bench.store.observed("a", run(2), false).await.unwrap();
    bench.store.observed("b", run(1), false).await.unwrap();
    pass(&bench, 10).await;
    bench.store.observed("a", run(1), true).await.unwrap();
    let expected = [(1, 79, false), (1, 40, true), (2, 0, false), (1, 0, false)];
    assert_eq!(spans(&bench).await, expected);
}

#[tokio::test]
async fn a_clock_set_back_begins_a_new_stretch_and_hides_no_later_outage() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("DELETE FROM rowcall.aggregator_span").await.unwrap();
    bench.store.observed("a", run(1), false).await.unwrap();
    // A few seconds are nothing.
    pass(&bench, -30).await;
    bench.store.observed("a", run(1), false).await.unwrap();
    assert_eq!(spans(&bench).await, [(1, 0, false)]);
    // An hour back: what was recorded lies in the future now.
    pass(&bench, -3_570).await;
    for _ in 0..3 {
        bench.store.observed("a", run(1), false).await.unwrap();
        pass(&bench, 20).await;
    }
    bench.store.observed("a", run(1), false).await.unwrap();
    assert_eq!(spans(&bench).await, [(1, 0, false), (1, 60, false)]);
    // Then nothing, while the old stretch still lies ahead.
    pass(&bench, 600).await;
    bench.store.observed("a", run(1), false).await.unwrap();
    let sql = "SELECT round(extract(epoch FROM to_ts - from_ts))::bigint FROM rowcall.unobserved(now() - interval '20 min', now())
        WHERE cause = 'database'";
    assert_eq!(bench.number(sql).await, 600);
}

#[tokio::test]
async fn holes_between_the_spans_of_all_aggregators_have_a_cause() {
    let bench = Bench::new().await;
    // Minutes before now. The first row ends with the migration.
    let rows = "DELETE FROM rowcall.aggregator_span;
        INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts, stopped)
        SELECT v.aggregator, v.run, coalesce(now() - make_interval(mins => v.f), '-infinity'),
               now() - make_interval(mins => v.t), v.stopped
        FROM (VALUES ('', 0, NULL, 1000, true),
            ('a', 1, 1000, 900, false), ('a', 1, 880, 800, true),
            ('a', 2, 780, 700, false), ('b', 9, 760, 650, false), ('a', 2, 640, 600, false),
            ('a', 3, 590, 500, true), ('b', 10, 499, 400, false), ('b', 10, 395, 300, false),
            ('b', 11, 280, 200, false)) AS v (aggregator, run, f, t, stopped)";
    bench.sql.batch_execute(rows).await.unwrap();
    let minutes = |from: &str, to: &str| {
        format!(
            "SELECT round(extract(epoch FROM now() - from_ts) / 60)::bigint,
                round(extract(epoch FROM now() - to_ts) / 60)::bigint, cause
             FROM rowcall.unobserved(now() - interval '{from} min', now() - interval '{to} min')"
        )
    };
    let holes = |from: &'static str, to: &'static str| {
        let (bench, sql) = (&bench, minutes(from, to));
        async move {
            let rows = bench.sql.query(&sql, &[]).await.unwrap();
            let hole = |row: &tokio_postgres::Row| -> (i64, Option<i64>, String) {
                (row.get(0), row.get(1), row.get(2))
            };
            rows.iter().map(hole).collect::<Vec<_>>()
        }
    };
    let all = [
        (900, Some(880), "database"),
        (800, Some(780), "stopped"),
        (650, Some(640), "database"),
        (600, Some(590), "down"),
        (400, Some(395), "database"),
        (300, Some(280), "down"),
        (200, None, "down"),
    ];
    let all = all.map(|(from, to, cause)| (from, to, cause.to_owned()));
    assert_eq!(holes("2000", "0").await, all);
    // Whole ones, where a range only touches them.
    assert_eq!(holes("890", "790").await, all[..2]);
    assert_eq!(holes("879", "801").await, []);
    assert_eq!(holes("100", "50").await, all[6..]);
    // Another one was the first to write again, as after a restore; one of before ran on.
    let two = "INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
        SELECT v.aggregator, v.run, now() - make_interval(mins => v.f), now() - make_interval(mins => v.t)
        FROM (VALUES ('c', 20, 190, 150), ('d', 21, 140, 90), ('c', 20, 130, 90),
            ('e', 22, 80, 10)) AS v (aggregator, run, f, t)";
    bench.sql.batch_execute(two).await.unwrap();
    let since = [(200, Some(190), "down"), (150, Some(140), "database"), (90, Some(80), "down")];
    let since = since.map(|(from, to, cause)| (from, to, cause.to_owned()));
    assert_eq!(holes("199", "20").await, since);
    // Whoever goes on for ever leaves none.
    let forever = "INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
        VALUES ('x', 99, '-infinity', 'infinity')";
    bench.sql.batch_execute(forever).await.unwrap();
    assert_eq!(holes("2000", "0").await, []);
}

/// Of each row of the only host: seconds that it lasted, and the offset.
async fn clocks(bench: &Bench) -> Vec<(i64, i64)> {
    let sql =
        "SELECT round(extract(epoch FROM through_ts - from_ts))::bigint, round(offset_s)::bigint
        FROM rowcall.clock_span ORDER BY from_ts";
    let rows = bench.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_the_interval_is_recorded_while_it_is() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let tell = |offset_s: i64, waited_s: u64| {
        let (bench, host_id) = (&bench, session.host_id);
        async move {
            let waited = Duration::from_secs(waited_s);
            let behind = i64::try_from(waited.as_micros()).unwrap();
            let clock = bench.now().await.plus_micros(offset_s * 1_000_000 - behind);
            let told = ToldClock { host_id, clock, waited };
            // What is known of one that the database lost does not matter.
            let stranger = ToldClock { host_id: HostId(999), ..told };
            bench.store.told_clocks(&[told, stranger]).await.unwrap();
        }
    };
    for offset in [0, 59, -59] {
        tell(offset, 0).await;
    }
    tell(0, 3_600).await;
    assert_eq!(clocks(&bench).await, []);
    // It drifts a little, and goes on; then it is set otherwise; then not heard for long.
    tell(-90, 0).await;
    pass(&bench, 60).await;
    tell(-100, 0).await;
    pass(&bench, 230).await;
    tell(-120, 0).await;
    assert_eq!(clocks(&bench).await, [(290, -120)]);
    pass(&bench, 60).await;
    tell(-160, 0).await;
    pass(&bench, 245).await;
    tell(-160, 0).await;
    pass(&bench, 60).await;
    // Told when it was near the one before, and written a while later.
    tell(-160, 30).await;
    assert_eq!(clocks(&bench).await, [(290, -120), (0, -160), (30, -160)]);
    // What counts is the host's own interval.
    bench.store.opened(&crate::testing::hello("node1", 1), Duration::from_secs(600)).await.unwrap();
    tell(500, 0).await;
    tell(-601, 0).await;
    assert_eq!(clocks(&bench).await.last(), Some(&(0, -601)));
    bench.store.told_clocks(&[]).await.unwrap();
    for clock in [i64::MIN, i64::MAX] {
        let told = ToldClock {
            host_id: session.host_id,
            clock: UnixMicros(clock),
            waited: Duration::ZERO,
        };
        bench.store.told_clocks(&[told]).await.unwrap();
    }
}
