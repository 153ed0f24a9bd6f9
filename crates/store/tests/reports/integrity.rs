//! What does not add up.

use rowcall_store::reports::IntegrityKind::{
    self, ClockSkew, Dropped, EpochChanged, Impossible, Missed, Quarantined, UnexplainedGap,
};
use rowcall_store::reports::{Integrity, IntegrityRow};

use crate::world::{World, at, between};

async fn integrity(world: &World) -> Integrity {
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    world.store.integrity(&scope, &frame).await.unwrap()
}

async fn findings(world: &World) -> Vec<(IntegrityKind, u64, String)> {
    let row = |row: IntegrityRow| (row.kind, row.samples, row.detail);
    integrity(world).await.findings.into_iter().map(row).collect()
}

/// A gap of some ticks between two times, in seconds after noon.
async fn gap(world: &World, host: i32, state: &str, cause: &str, ticks: i64, span: (i64, i64)) {
    world
        .run(
            "INSERT INTO rowcall.gap (host_id, epoch_id, sequence, through_sequence, ticks, state,
                                      cause, from_ts, to_ts)
             SELECT $1, 1, n, n, $4, $2, $3, to_timestamp($5::bigint / 1e6),
                    to_timestamp($6::bigint / 1e6)
               FROM (SELECT 1000 + count(*) AS n FROM rowcall.gap) s",
            &[&host, &state, &cause, &ticks, &at(12, 0, span.0).0, &at(12, 0, span.1).0],
        )
        .await;
}

#[tokio::test]
async fn a_fleet_in_order_has_no_findings() {
    let world = World::new().await;
    for (name, millis) in [("a", 60_000), ("b", 10_000), ("c", 600_000)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), millis).await;
        let seconds = i64::from(millis) / 1_000;
        world.samples(host, at(12, 0, 0), seconds, 3_600 / seconds).await;
    }
    world.host("silent").await;
    assert_eq!(integrity(&world).await, Integrity::default());
}

#[tokio::test]
async fn gaps_that_agents_told_are_added_up_by_state_and_cause() {
    let world = World::new().await;
    let host = world.host("a").await;
    gap(&world, host, "dropped", "size", 4, (0, 180)).await;
    gap(&world, host, "dropped", "size", 3, (600, 720)).await;
    gap(&world, host, "forgotten", "age", 2, (900, 960)).await;
    gap(&world, host, "missed", "off", 9, (1_200, 1_740)).await;
    // Ends before the range, begins after it.
    gap(&world, host, "missed", "off", 100, (-900, -1)).await;
    gap(&world, host, "missed", "off", 100, (3_600, 3_700)).await;
    let found = integrity(&world).await;
    assert_eq!(found.total, 3);
    assert_eq!(
        found.findings[0],
        IntegrityRow {
            host_name: "a".into(),
            kind: Dropped,
            samples: 7,
            from: at(12, 0, 0),
            to: at(12, 12, 0),
            detail: "dropped, cause: size, in 2 gaps".into(),
        }
    );
    assert_eq!(
        findings(&world).await[1..],
        [
            (Dropped, 2, "forgotten, cause: age, in 1 gap".to_owned()),
            (Missed, 9, "missed, cause: off, in 1 gap".to_owned()),
        ]
    );
}

#[tokio::test]
async fn gaps_beyond_all_numbers_are_held_at_the_largest() {
    let world = World::new().await;
    let host = world.host("a").await;
    gap(&world, host, "dropped", "size", i64::MAX, (0, 60)).await;
    gap(&world, host, "dropped", "size", i64::MAX, (60, 120)).await;
    assert_eq!(integrity(&world).await.findings[0].samples, i64::MAX.unsigned_abs());
}

#[tokio::test]
async fn values_that_cannot_be_are_counted_by_column() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), 60, 60).await;
    for (minute, columns) in [
        (0, "cpu_idle = 100.5, cpu_kernel = 0.5, memory_free = 1024, memory_available = 1024"),
        (1, "cpu_idle = 0, cpu_kernel = 0, memory_free = 0, disk_io = 0, disk_available = 0"),
        (2, "cpu_idle = NULL, cpu_kernel = NULL, memory_free = NULL, elapsed_s = NULL"),
        (3, "cpu_idle = 60, cpu_kernel = 50"),
        (4, "cpu_idle = -0.1"),
        (5, "cpu_kernel = 101, cpu_idle = 0"),
        (6, "memory_free = 1025"),
        (9, "memory_available = 9223372036854775807"),
        (7, "disk_io = -1, disk_available = -1, elapsed_s = 0"),
        (8, "cpu_idle = 'NaN'"),
        (10, "cpu_idle = 3e38, cpu_kernel = 3e38"),
    ] {
        world.set(host, at(12, minute, 0), at(12, minute + 1, 0), columns).await;
    }
    // 12:03 to 12:10; the sum is too much at 12:03, and no number at 12:08.
    let detail = "cpu_idle in 3, cpu_kernel in 2, cpu_idle + cpu_kernel in 3, memory_free in 1, \
                  memory_available in 1, disk_io in 1, disk_available in 1, elapsed_s in 1";
    assert_eq!(findings(&world).await, [(Impossible, 8, detail.to_owned())]);
}

#[tokio::test]
async fn a_clock_ahead_shows_in_one_sample_a_clock_behind_in_a_steady_delay() {
    let world = World::new().await;
    for (name, first, rest) in [
        ("ahead", "-2.5", "0.1"),
        ("behind", "40", "42.5"),
        // None of these is a clock's fault.
        ("just", "-1.9", "0.1"),
        ("slow", "5", "5"),
        ("unsteady", "40", "46"),
    ] {
        let host = world.host(name).await;
        world.samples(host, at(12, 0, 0), 60, 60).await;
        world.set(host, at(12, 0, 0), at(13, 0, 0), &format!("delay_s = {rest}")).await;
        world.set(host, at(12, 0, 0), at(12, 1, 0), &format!("delay_s = {first}")).await;
    }
    let host = world.host("replayed").await;
    world.samples(host, at(12, 0, 0), 60, 60).await;
    world
        .run("UPDATE host_usage SET delay_s = 7200 - 60 * sequence WHERE host_id = $1", &[&host])
        .await;
    assert_eq!(
        findings(&world).await,
        [
            (ClockSkew, 60, "clock behind by about 40.0 s".to_owned()),
            (ClockSkew, 1, "clock ahead by 2.5 s or more".to_owned()),
        ]
    );
}

#[tokio::test]
async fn refused_records_are_counted_by_reason() {
    let world = World::new().await;
    let host = world.host("a").await;
    for (sequence, received, reason) in [
        (1_i64, at(12, 10, 0), "too old"),
        (2, at(12, 11, 0), "too old"),
        (3, at(12, 12, 0), "no sense"),
        (4, at(13, 0, 0), "too old"),
    ] {
        world
            .run(
                "INSERT INTO rowcall.quarantine VALUES ($1, 1, $2, '2100-01-01 00:00:00+00',
                                                        to_timestamp($3::bigint / 1e6), $4)",
                &[&host, &sequence, &received.0, &reason],
            )
            .await;
    }
    assert_eq!(
        findings(&world).await,
        [(Quarantined, 2, "too old".to_owned()), (Quarantined, 1, "no sense".to_owned())]
    );
}

#[tokio::test]
async fn refused_records_that_were_only_counted_are_told_with_their_number() {
    let world = World::new().await;
    for (name, day, from, to, counted) in [
        ("a", "2026-11-03", at(12, 10, 0), at(12, 50, 0), 751_501_i64),
        ("b", "2026-11-03", at(11, 0, 0), at(12, 0, 0), 5),
        // Before and after the range.
        ("c", "2026-11-03", at(11, 0, 0), at(11, 59, 59), 6),
        ("d", "2026-11-03", at(13, 0, 0), at(13, 0, 1), 7),
        ("e", "2026-11-02", at(-2, 0, 0), at(-1, 0, 0), 8),
    ] {
        let host = world.host(name).await;
        world
            .run(
                "INSERT INTO rowcall.quarantine_day
                 VALUES ($1::text::date, $2, 1000, $3, to_timestamp($4::bigint / 1e6),
                         to_timestamp($5::bigint / 1e6))",
                &[&day, &host, &counted, &from.0, &to.0],
            )
            .await;
    }
    // All were kept: nothing but the rows themselves is told.
    let host = world.host("kept").await;
    let kept = "INSERT INTO rowcall.quarantine_day VALUES ('2026-11-03', $1, 9)";
    world.run(kept, &[&host]).await;
    let words = "only counted: more than a host's first 1,000 refused records of a day";
    assert_eq!(
        findings(&world).await,
        [(Quarantined, 751_501, words.to_owned()), (Quarantined, 5, words.to_owned())]
    );
    let first = &integrity(&world).await.findings[0];
    assert_eq!((first.from, first.to), (at(12, 10, 0), at(12, 50, 0)));
}

#[tokio::test]
async fn a_new_spool_is_told_with_what_is_known_of_the_old_one() {
    let world = World::new().await;
    for (name, epochs) in [
        ("a", &[(at(1, 0, 0), 77_i64, 41_i64), (at(12, 30, 0), 88, 0)][..]),
        ("first", &[(at(12, 30, 0), 99, 0)]),
        ("earlier", &[(at(1, 0, 0), 5, 1), (at(11, 59, 0), 6, 1)]),
    ] {
        let host = world.host(name).await;
        for (opened, epoch, mark) in epochs {
            world
                .run(
                    "INSERT INTO rowcall.epoch (host_id, epoch, opened_at, mark, mark_time)
                     VALUES ($1, $2, to_timestamp($3::bigint / 1e6), $4,
                             '2026-11-03 12:20:00+00')",
                    &[&host, epoch, &opened.0, mark],
                )
                .await;
        }
    }
    let found = integrity(&world).await;
    assert_eq!(found.total, 1);
    let finding = &found.findings[0];
    assert_eq!((finding.host_name.as_str(), finding.kind), ("a", EpochChanged));
    assert_eq!((finding.from, finding.to, finding.samples), (at(12, 20, 0), at(12, 30, 0), 0));
    assert!(finding.detail.contains("88 took the place of 77"), "{}", finding.detail);
    assert!(finding.detail.contains("after sequence 41"), "{}", finding.detail);
}

#[tokio::test]
async fn a_hole_that_no_record_explains_is_found() {
    let world = World::new().await;
    let words = "1 hole between samples that no record explains".to_owned();
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), 60, 10).await;
    // One missing tick is nothing, two samples 3 min apart lack two.
    world.samples(host, at(12, 11, 0), 60, 10).await;
    assert_eq!(findings(&world).await, []);
    world.samples(host, at(12, 23, 0), 60, 10).await;
    assert_eq!(findings(&world).await, [(UnexplainedGap, 2, words.clone())]);
    // What records tell of is explained, and only that.
    gap(&world, host, "missed", "starved", 1, (1_260, 1_260)).await;
    assert_eq!(findings(&world).await[0], (UnexplainedGap, 1, words.clone()));
    world
        .run(
            "INSERT INTO rowcall.quarantine VALUES ($1, 1, 7, '2026-11-03 12:22:00+00',
                                                    '2026-11-03 19:00:00+00', 'no sense')",
            &[&host],
        )
        .await;
    assert_eq!(findings(&world).await, [(Missed, 1, "missed, cause: starved, in 1 gap".into())]);
}

#[tokio::test]
async fn a_hole_is_measured_by_the_interval_that_was_in_force() {
    let world = World::new().await;
    let slow = world.host("slow").await;
    world.interval(slow, at(-20, 0, 0), 600_000).await;
    world.interval(slow, at(12, 30, 0), 10_000).await;
    world.samples(slow, at(12, 0, 0), 600, 3).await;
    world.samples(slow, at(12, 30, 0), 10, 3).await;
    assert_eq!(findings(&world).await, []);
    world.samples(slow, at(12, 30, 50), 10, 3).await;
    let words = "1 hole between samples that no record explains".to_owned();
    assert_eq!(findings(&world).await, [(UnexplainedGap, 2, words)]);
}

#[tokio::test]
async fn what_may_still_come_is_no_hole() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), 60, 2).await;
    world.samples(host, at(12, 30, 0), 60, 2).await;
    world.run("UPDATE host_usage SET sequence = sequence + 30 WHERE \"timestamp\" > $1::text::timestamptz",
        &[&"2026-11-03 12:20:00+00"]).await;
    world.run("UPDATE host_latest SET mark = 2", &[]).await;
    assert_eq!(findings(&world).await, []);
    world.run("UPDATE host_latest SET mark = 32", &[]).await;
    assert_eq!(findings(&world).await.len(), 1);
    // Of an epoch that is over nothing comes any more.
    world.run("UPDATE host_latest SET mark = 2, epoch_id = 900", &[]).await;
    assert_eq!(findings(&world).await.len(), 1);
}

#[tokio::test]
async fn the_list_ends_at_1000_worst_first_and_says_how_many_there_are() {
    let world = World::new().await;
    world
        .sql
        .batch_execute(
            "INSERT INTO host_info (hostname) SELECT 'h' || i FROM generate_series(1, 1100) AS i;
             INSERT INTO rowcall.gap SELECT id, 1, 1, 1, id, 'missed', 'off',
                 '2026-11-03 12:10:00+00', '2026-11-03 12:20:00+00' FROM host_info;
             UPDATE rowcall.gap SET state = 'dropped' WHERE host_id = 3",
        )
        .await
        .unwrap();
    let found = integrity(&world).await;
    assert_eq!((found.findings.len(), found.total), (1_000, 1_100));
    let first: Vec<_> = found.findings[..3].iter().map(|row| (row.kind, row.samples)).collect();
    assert_eq!(first, [(Dropped, 3), (Missed, 1_100), (Missed, 1_099)]);
}
