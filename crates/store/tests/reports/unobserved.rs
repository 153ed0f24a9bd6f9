//! Windows that no aggregator could observe.

use rowcall_core::id::UnixMicros;
use rowcall_store::reports::UnobservedCause::{self, Database, Down, Stopped};
use rowcall_store::reports::{Scope, UnobservedRow};

use crate::world::{World, at, between, expect};

const MINUTE: i64 = 60;

/// The last instant that matters.
fn end() -> UnixMicros {
    at(40, 0, 0)
}

/// One aggregator, away from one time to another: killed.
async fn away(world: &World, from: UnixMicros, to: UnixMicros) {
    world.observed(&[("a", 1, at(-24, 0, 0), from, false), ("a", 2, to, end(), false)]).await;
}

async fn holes(world: &World, scope: &Scope) -> Vec<UnobservedRow> {
    let frame = world.frame(scope).await;
    world.store.unobserved(scope, &frame).await.unwrap()
}

fn hole(from: UnixMicros, to: UnixMicros, cause: UnobservedCause) -> UnobservedRow {
    UnobservedRow { from, to: Some(to), cause }
}

#[tokio::test]
async fn windows_that_no_aggregator_saw_are_nobodys_silence() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 10).await;
    world.samples(host, at(12, 20, 0), MINUTE, 10).await;
    let dead = world.host("dead").await;
    world.samples(dead, at(12, 0, 0), MINUTE, 5).await;
    away(&world, at(12, 10, 0), at(12, 20, 0)).await;
    let scope = between(at(12, 0, 0), at(12, 30, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "CCUUCC"), ("dead", "CSUUSS")]));
    assert_eq!(holes(&world, &scope).await, [hole(at(12, 10, 0), at(12, 20, 0), Down)]);
}

#[tokio::test]
async fn at_both_ends_the_rest_of_the_window_must_have_its_samples() {
    let world = World::new().await;
    // Away from 12:07:30 to 12:15:30, back by 12:17:30: 2 of the ticks of 12:05, :06, :07 and of
    // :18, :19 are sure.
    away(&world, at(12, 7, 30), at(12, 15, 30)).await;
    for (name, before, after) in
        [("all", 3, 2), ("enough", 2, 2), ("few before", 1, 2), ("few after", 3, 1), ("none", 0, 0)]
    {
        let host = world.host(&name.replace(' ', "-")).await;
        world.samples(host, at(12, 0, 0), MINUTE, 5).await;
        world.samples(host, at(12, 5, 0), MINUTE, before).await;
        world.samples(host, at(12, 18, 0), MINUTE, after).await;
        world.samples(host, at(12, 20, 0), MINUTE, 5).await;
    }
    let states = world.roll(&between(at(12, 0, 0), at(12, 25, 0))).await;
    assert_eq!(
        states,
        expect([
            // Three of five are complete, whoever was away.
            ("all", "CCUUC"),
            ("enough", "CUUUC"),
            ("few-after", "CCUPC"),
            ("few-before", "CPUUC"),
            ("none", "CSUSC"),
        ])
    );
}

#[tokio::test]
async fn samples_within_the_hole_do_not_make_up_for_those_that_could_be_seen() {
    let world = World::new().await;
    // 12:00 to 12:03 could be seen: three were due there.
    away(&world, at(12, 3, 0), at(12, 5, 0)).await;
    let scope = between(at(12, 0, 0), at(12, 5, 0));
    let host = world.host("a").await;
    world.samples(host, at(12, 3, 10), MINUTE, 2).await;
    assert_eq!(world.roll(&scope).await["a"], "P");
    let host = world.host("b").await;
    world.samples(host, at(12, 1, 10), MINUTE, 2).await;
    assert_eq!(world.roll(&scope).await["b"], "U");
    // Four of five are asked for: all three that were due there.
    let scope = Scope { min_samples: Some(4), ..scope };
    assert_eq!(world.roll(&scope).await["b"], "P");
}

#[tokio::test]
async fn what_came_later_is_late_and_the_hole_is_still_told() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 30).await;
    world.set(host, at(12, 10, 0), at(12, 20, 0), "delay_s = 1200").await;
    away(&world, at(12, 10, 0), at(12, 20, 0)).await;
    let scope = between(at(12, 0, 0), at(12, 30, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "CCLLCC")]));
    assert_eq!(holes(&world, &scope).await, [hole(at(12, 10, 0), at(12, 20, 0), Down)]);
}

#[tokio::test]
async fn a_short_break_is_no_hole_and_another_aggregator_fills_one() {
    let world = World::new().await;
    world.host("a").await;
    let scope = between(at(12, 0, 0), at(12, 15, 0));
    // 60 s, no more.
    away(&world, at(12, 5, 0), at(12, 6, 0)).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "SSS")]));
    assert_eq!(holes(&world, &scope).await, []);
    // The second one has its own, elsewhere; only where both are away nobody sees.
    world
        .observed(&[
            ("a", 1, at(-24, 0, 0), at(12, 0, 0), false),
            ("b", 7, at(-24, 0, 0), at(12, 5, 0), true),
            ("b", 8, at(12, 6, 30), at(12, 12, 0), true),
            ("a", 2, at(12, 10, 0), end(), false),
        ])
        .await;
    assert_eq!(holes(&world, &scope).await, [hole(at(12, 5, 0), at(12, 6, 30), Stopped)]);
    // Once agents are back, from 12:08:30 to 12:10, one was due for sure.
    assert_eq!(world.roll(&scope).await, expect([("a", "SSS")]));
    world
        .observed(&[
            ("a", 1, at(-24, 0, 0), at(12, 4, 59), false),
            ("b", 7, at(-24, 0, 0), at(12, 4, 0), true),
            ("b", 8, at(12, 9, 30), end(), false),
        ])
        .await;
    assert_eq!(world.roll(&scope).await, expect([("a", "SUS")]));
}

#[tokio::test]
async fn agents_have_their_longest_pause_after_a_hole_to_come_back() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.interval(host, at(-20, 0, 0), 10_000).await;
    away(&world, at(12, 2, 0), at(12, 5, 0)).await;
    let minutes = |from, to| Scope { window_s: 60, ..between(from, to) };
    // Nobody is excused before the hole, and nobody longer than 2 minutes after it.
    let scope = minutes(at(12, 0, 0), at(12, 9, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "SSUUUUUSS")]));
    // Whether or not the hole itself lies in what is shown; it is told as it was.
    assert_eq!(world.roll(&minutes(at(12, 6, 0), at(12, 8, 0))).await, expect([("a", "US")]));
    assert_eq!(holes(&world, &scope).await, [hole(at(12, 2, 0), at(12, 5, 0), Down)]);
    assert_eq!(holes(&world, &minutes(at(12, 6, 0), at(12, 8, 0))).await, []);
    // To the second: of 12:07 10 s count less where the hole ended 10 s later.
    world.samples(host, at(12, 7, 10), 10, 3).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "SSUUUUUPS")]));
    away(&world, at(12, 2, 0), at(12, 5, 10)).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "SSUUUUUUS")]));
}

#[tokio::test]
async fn an_outage_of_the_database_within_one_run_counts_with_its_cause() {
    let world = World::new().await;
    world.host("a").await;
    world
        .observed(&[
            ("a", 1, at(-24, 0, 0), at(12, 5, 0), false),
            ("a", 1, at(12, 20, 0), end(), false),
        ])
        .await;
    let scope = between(at(12, 0, 0), at(12, 30, 0));
    assert_eq!(holes(&world, &scope).await, [hole(at(12, 5, 0), at(12, 20, 0), Database)]);
    assert_eq!(world.roll(&scope).await, expect([("a", "SUUUSS")]));
}

#[tokio::test]
async fn a_hole_that_lasts_has_no_end_and_its_finished_windows_are_unobserved() {
    let world = World::new().await;
    world.host("a").await;
    world.observed(&[("a", 1, at(-24, 0, 0), at(12, 10, 0), true)]).await;
    let scope = between(at(12, 0, 0), at(12, 30, 0));
    // The database's clock says that it lasts only where this day lies in its past.
    let row = world.sql.query_one("SELECT now() > $1::text::timestamptz", &[&"2026-11-04"]).await;
    if row.unwrap().get(0) {
        let lasts = UnobservedRow { from: at(12, 10, 0), to: None, cause: Stopped };
        assert_eq!(holes(&world, &scope).await, [lasts]);
        assert_eq!(world.roll(&scope).await, expect([("a", "SSUUUU")]));
        assert_eq!(world.roll_at(&scope, at(12, 20, 0)).await, expect([("a", "SSUU--")]));
    }
}

#[tokio::test]
async fn holes_are_told_whole_where_they_reach_into_the_range_oldest_first() {
    let world = World::new().await;
    world
        .observed(&[
            ("a", 1, at(-24, 0, 0), at(11, 0, 0), true),
            ("a", 2, at(11, 30, 0), at(11, 50, 0), true),
            ("a", 3, at(12, 2, 0), at(12, 58, 0), false),
            ("a", 4, at(13, 10, 0), end(), false),
        ])
        .await;
    assert_eq!(
        holes(&world, &between(at(12, 0, 0), at(13, 0, 0))).await,
        [hole(at(11, 50, 0), at(12, 2, 0), Stopped), hole(at(12, 58, 0), at(13, 10, 0), Down)]
    );
    assert_eq!(holes(&world, &between(at(12, 5, 0), at(12, 55, 0))).await, []);
}

#[tokio::test]
async fn a_slow_host_is_judged_by_what_was_left_of_its_half_hour() {
    let world = World::new().await;
    // Of 12:00 to 12:30 the first 10 min could be seen, and 9 min at the end: one tick is sure.
    away(&world, at(12, 10, 0), at(12, 21, 0)).await;
    for (name, count) in [("one", 1), ("none", 0)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), 600_000).await;
        world.samples(host, at(12, 5, 0), 600, count).await;
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 30, 0))).await,
        expect([("none", "SSSSSS"), ("one", "UUUUUU")])
    );
    // However little of it is shown.
    let part = between(at(12, 25, 0), at(12, 30, 0));
    assert_eq!(world.roll(&part).await, expect([("none", "S"), ("one", "U")]));
}
