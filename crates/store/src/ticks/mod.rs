//! `rowcall.ticks`: each due tick of a host-day in exactly one state, held against histories whose
//! truth is known. Tests only: the function stands in `sql/migrations/V0004__ledger.sql`.

mod random;
mod steps;
mod world;

use world::{MINUTE, World};

use crate::time::Time;

#[tokio::test]
async fn a_day_without_anything_is_1440_unknown_ticks_and_a_stranger_has_none() {
    let world = World::new().await;
    assert_eq!(world.states().await, [("unknown".to_owned(), 1_440)].into());
    let none = "SELECT count(*) FROM rowcall.ticks(99, (now() AT TIME ZONE 'UTC')::date - 3)";
    assert_eq!(world.bench.number(none).await, 0);
}

#[tokio::test]
async fn a_sample_stands_in_the_middle_of_its_tick_whatever_the_hosts_offset() {
    let world = World::new().await;
    for offset_s in [0, 1, 12, 29, 30, 31, 59] {
        world.forget().await;
        // A second early or late is nothing; at the day's ends too.
        let jitter = |tick: i64| (tick % 3 - 1) * 1_000_000;
        let at = |tick: i64| tick * MINUTE + offset_s * 1_000_000 + jitter(tick);
        world.samples((-2..1_443).map(|tick| (at(tick), 0.5))).await;
        assert_eq!(world.states().await, [("on_time".to_owned(), 1_440)].into(), "{offset_s}");
        assert_eq!(world.extra().await, 0, "{offset_s}");
    }
}

#[tokio::test]
async fn late_is_what_came_more_than_a_minute_after_its_ticks_end() {
    let world = World::new().await;
    // Ticks end 30 s after the sample.
    world
        .samples(
            (0..1_440)
                .map(|tick| (tick * MINUTE + MINUTE / 2, if tick % 3 == 2 { 92.0 } else { 88.0 })),
        )
        .await;
    let expected = [("on_time".to_owned(), 960), ("late".to_owned(), 480)];
    assert_eq!(world.states().await, expected.into());
    // A second one in the tick that came in time.
    world.samples([(2 * MINUTE + MINUTE / 2 + 1, 0.0)]).await;
    assert_eq!(world.states().await["late"], 479);
    assert_eq!(world.extra().await, 1);
}

#[tokio::test]
async fn before_it_joined_and_after_it_was_retired_a_host_owes_nothing() {
    let world = World::new().await;
    let at = |tick: i64| tick * MINUTE + 12_000_000;
    world.samples((100..1_000).map(|tick| (at(tick), 0.0))).await;
    let script = "UPDATE host_latest SET joined_at = (SELECT min(\"timestamp\") FROM host_usage);
        UPDATE host_info SET retired_at = (SELECT max(\"timestamp\") FROM host_usage) + interval '100 min 1 s'";
    world.sql(script).await;
    let expected = [("on_time".to_owned(), 900), ("unknown".to_owned(), 100)];
    assert_eq!(world.states().await, expected.into());
    // Its first Hello was a while before its first sample.
    world.sql("UPDATE host_latest SET joined_at = joined_at - interval '50 s'").await;
    assert_eq!(world.states().await["on_time"], 900);
    assert_eq!(world.states().await.values().sum::<i64>(), 1_000);
}

#[tokio::test]
async fn as_many_ticks_are_due_as_the_intervals_in_force_make() {
    let world = World::new().await;
    let noon = 720 * MINUTE;
    // Every minute, from noon on every 10 s, from 18:00 on every 2 minutes.
    world.interval(noon + 5_000_000, 10_000).await;
    world.interval(1_080 * MINUTE + 5_000_000, 120_000).await;
    let minutes = (0..=720).map(|tick| (tick * MINUTE + 1_000_000, 0.0));
    let fast = (0..2_160).map(|tick| (noon + tick * 10_000_000 + 7_000_000, 0.0));
    let slow = (540..720).map(|tick| (tick * 2 * MINUTE + 30_000_000, 0.0));
    world.samples(minutes.chain(fast).chain(slow)).await;
    assert_eq!(world.states().await, [("on_time".to_owned(), 721 + 2_160 + 180)].into());
    assert_eq!(world.extra().await, 0);
}

#[tokio::test]
async fn a_gap_gives_away_as_many_ticks_as_it_has_also_over_midnight() {
    let world = World::new().await;
    let at = |tick: i64| tick * MINUTE + 12_000_000;
    world
        .samples((10..1_440).filter(|tick| !(600..700).contains(tick)).map(|tick| (at(tick), 0.0)))
        .await;
    // From an hour before midnight on; its first 60 are yesterday's.
    world.gap(at(-60), at(9), 65, "missed", "off").await;
    // A clock was set forward within: of 100 ticks without a sample 30 were due.
    world.gap(at(600), at(699), 30, "missed", "suspended").await;
    // Told of the clock before and after it was set back: nothing is left to explain.
    world.gap(at(900), at(800), 50, "missed", "starved").await;
    let expected = [("on_time", 1_330), ("off", 5), ("suspended", 30), ("unknown", 75)];
    let expected = expected.map(|(state, count)| (state.to_owned(), count));
    assert_eq!(world.states().await, expected.into());
}

#[tokio::test]
async fn the_view_gives_one_host_and_day_without_looking_at_others() {
    let world = World::new().await;
    world.sql("INSERT INTO host_info (hostname) SELECT 'other' || n FROM generate_series(1, 300) AS n;
        INSERT INTO host_latest (host_id, joined_at) SELECT id, now() - interval '9 days' FROM host_info WHERE id > 1").await;
    let explain = "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM rowcall.tick
        WHERE day = (now() AT TIME ZONE 'UTC')::date - 3 AND hostname = 'node1'";
    let count = "SELECT count(*) FROM rowcall.tick
        WHERE day = (now() AT TIME ZONE 'UTC')::date - 3 AND hostname = 'node1'";
    assert_eq!(world.bench.number(count).await, 1_440);
    let plan = world.bench.sql.simple_query(explain).await.unwrap();
    let plan = plan.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let plan = plan.unwrap();
    let calls = plan.split("\"Function Name\": \"ticks\"").nth(1).unwrap();
    let loops = calls.split("\"Actual Loops\": ").nth(1).unwrap();
    assert!(loops.starts_with("1,") || loops.starts_with("1\n"), "{plan}");
}

#[tokio::test]
async fn a_bye_excuses_nothing_once_the_next_process_began_however_late_it_was_recorded() {
    let world = World::new().await;
    let at = |tick: i64| tick * MINUTE + 12_000_000;
    world.samples((0..1_440).filter(|n| !(600..615).contains(n)).map(|n| (at(n), 0.0))).await;
    // The next process came at the seventh tick and crashed, before the Bye was written down.
    let sql = "INSERT INTO rowcall.run (host_id, run, how, started_at, ended_at, excused_until)
        VALUES (1, 1, 'first', $1, $2, $3), (1, 2, 'restart', $4, NULL, NULL)";
    let times = [at(0), at(608), at(615), at(606) + 1].map(|at| world.time(at));
    let [started, ended, until, next]: [&Time; 4] = times.each_ref();
    world.bench.sql.execute(sql, &[started, ended, until, next]).await.unwrap();
    let expected = [("on_time".to_owned(), 1_425), ("unknown".to_owned(), 15)];
    assert_eq!(world.states().await, expected.into());
    // As of when it came.
    world.sql("UPDATE rowcall.run SET ended_at = ended_at - interval '9 min' WHERE run = 1").await;
    let expected = [("on_time", 1_425), ("excused", 7), ("unknown", 8)];
    assert_eq!(world.states().await, expected.map(|(state, n)| (state.to_owned(), n)).into());
}

#[tokio::test]
async fn between_hello_and_its_first_sample_a_host_owes_no_tick_but_later_ones() {
    let world = World::new().await;
    let at = |tick: i64| tick * MINUTE + 12_000_000;
    let joined = async |at: i64| {
        let sql = "UPDATE host_latest SET joined_at = $1";
        world.bench.sql.execute(sql, &[&world.time(at)]).await.unwrap();
    };
    // Who never sends anything owes all, here at full minutes.
    joined(at(100) - 5_000_000).await;
    assert_eq!(world.states().await.values().sum::<i64>(), 1_339);
    // The first sample is a whole tick later; the next one but one is missing.
    world.samples((101..1_440).filter(|n| *n != 103).map(|n| (at(n), 0.0))).await;
    let newest =
        "UPDATE host_latest SET \"timestamp\" = (SELECT max(\"timestamp\") FROM host_usage)";
    world.sql(newest).await;
    let all = |unknown: i64| -> std::collections::BTreeMap<_, _> {
        [("on_time".to_owned(), 1_338), ("unknown".to_owned(), unknown)].into()
    };
    assert_eq!(world.states().await, all(1));
    // One that stayed away for longer owes what is beyond the first interval.
    joined(at(90) - 5_000_000).await;
    assert_eq!(world.states().await, all(11));
    // Once it has sent, a tick within the interval is missing like any other.
    let script =
        "DELETE FROM host_usage WHERE \"timestamp\" = (SELECT min(\"timestamp\") FROM host_usage)";
    world.sql(script).await;
    world.samples([(at(100) + 400_000, 0.0)]).await;
    joined(at(100) + 400_000).await;
    assert_eq!(world.states().await, all(2));
    // A gap is a word, too.
    world.forget().await;
    joined(at(100) - 5_000_000).await;
    world.gap(at(101), at(110), 10, "dropped", "size").await;
    assert_eq!(
        world.states().await,
        [("dropped".to_owned(), 10), ("unknown".to_owned(), 1_329)].into()
    );
}

#[tokio::test]
async fn many_gaps_over_the_same_ticks_are_answered_within_a_statements_time() {
    let world = World::new().await;
    world.interval(-MINUTE, 1_000).await;
    let gaps = "INSERT INTO rowcall.gap
        SELECT 1, 1, n, n, 2, CASE n % 2 WHEN 0 THEN 'dropped' ELSE 'missed' END,
               CASE n % 4 WHEN 3 THEN 'starved' ELSE 'new word' END, $1, $2, now()
        FROM generate_series(1, 20000) AS n";
    let (from, to) = (world.time(0), world.time(1_440 * MINUTE - 1));
    world.bench.sql.execute(gaps, &[&from, &to]).await.unwrap();
    world.sql("SET statement_timeout = '30s'").await;
    let expected = [("dropped", 20_000), ("starved", 10_000), ("unknown", 56_400)];
    assert_eq!(world.states().await, expected.map(|(state, n)| (state.to_owned(), n)).into());
}
