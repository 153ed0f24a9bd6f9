//! Who answered, window by window.

use futures_util::TryStreamExt as _;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::Scope;

use crate::world::{World, at, between, expect};

const MINUTE: i64 = 60;

#[tokio::test]
async fn a_host_without_any_row_is_silent_in_every_window() {
    let world = World::new().await;
    world.host("silent").await;
    let busy = world.host("busy").await;
    world.samples(busy, at(12, 0, 7), MINUTE, 20).await;
    let scope = between(at(12, 0, 0), at(12, 20, 0));
    assert_eq!(world.roll(&scope).await, expect([("busy", "CCCC"), ("silent", "SSSS")]));

    let frame = world.frame(&scope).await;
    let rows: Vec<_> = world.store.roll(&scope, &frame).await.unwrap().try_collect().await.unwrap();
    assert!(rows[..4].iter().all(|row| row.samples == 5));
    assert!(rows[..4].iter().all(|row| row.last_sample_at == Some(at(12, 19, 7))));
    assert!(rows[4..].iter().all(|row| row.samples == 0 && row.last_sample_at.is_none()));
}

#[tokio::test]
async fn three_of_five_are_complete_two_are_partial() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 3).await;
    world.samples(host, at(12, 5, 0), MINUTE, 2).await;
    // The first instant of a window belongs to it, the last one before its end as well.
    world.samples(host, at(12, 10, 0), 1, 1).await;
    world.samples(host, at(12, 14, 58), 1, 2).await;
    let scope = between(at(12, 0, 0), at(12, 20, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "CPCS")]));
    for (least, states) in [(1, "CCCS"), (2, "CCCS"), (4, "PPPS"), (0, "CCCS"), (900, "PPPS")] {
        let scope = Scope { min_samples: Some(least), ..scope.clone() };
        assert_eq!(world.roll(&scope).await, expect([("a", states)]), "min_samples {least}");
    }
}

#[tokio::test]
async fn more_than_are_due_are_never_needed() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 5).await;
    let scope = Scope { min_samples: Some(900), ..between(at(12, 0, 0), at(12, 5, 0)) };
    assert_eq!(world.roll(&scope).await, expect([("a", "C")]));
}

#[tokio::test]
async fn a_host_is_judged_from_its_first_whole_window_on() {
    let world = World::new().await;
    world.host_joined("mid", at(12, 7, 0)).await;
    world.host_joined("edge", at(12, 5, 0)).await;
    world.run("INSERT INTO host_info (hostname) VALUES ('never')", &[]).await;
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 20, 0))).await,
        expect([("edge", "-SSS"), ("mid", "--SS"), ("never", "----")])
    );
}

#[tokio::test]
async fn a_retired_host_is_judged_to_its_last_whole_window_and_then_leaves_the_roll() {
    let world = World::new().await;
    for (name, retired) in [("mid", at(12, 12, 0)), ("edge", at(12, 10, 0)), ("gone", at(12, 0, 0))]
    {
        let host = world.host(name).await;
        world.samples(host, at(11, 0, 0), MINUTE, 70).await;
        world.retire(host, retired).await;
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 20, 0))).await,
        expect([("edge", "CC--"), ("mid", "CC--")])
    );
}

#[tokio::test]
async fn an_open_window_is_not_judged() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 20).await;
    world.host("b").await;
    let scope = between(at(12, 0, 0), at(12, 20, 0));
    for (now, a, b) in [
        (at(12, 14, 59), "CC--", "SS--"),
        (at(12, 15, 0), "CCC-", "SSS-"),
        (at(11, 0, 0), "----", "----"),
    ] {
        assert_eq!(world.roll_at(&scope, now).await, expect([("a", a), ("b", b)]));
        let frame = world.store.frame_at(&scope, Some(now)).await.unwrap();
        let judged = a.chars().filter(|state| *state != '-').count();
        assert_eq!(frame.finished_windows(), u32::try_from(judged).unwrap());
    }
}

#[tokio::test]
async fn at_10_s_18_of_30_are_needed() {
    let world = World::new().await;
    for (name, count) in [("a", 18), ("b", 17), ("c", 24)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), 10_000).await;
        world.samples(host, at(12, 0, 0), 10, count).await;
    }
    let scope = between(at(12, 0, 0), at(12, 5, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "C"), ("b", "P"), ("c", "C")]));
    // 4 of 5 at a minute are 24 of 30 here.
    let scope = Scope { min_samples: Some(4), ..scope };
    assert_eq!(world.roll(&scope).await, expect([("a", "P"), ("b", "P"), ("c", "C")]));
}

#[tokio::test]
async fn at_10_min_windows_are_judged_by_the_half_hour() {
    let world = World::new().await;
    let host = world.host("slow").await;
    world.interval(host, at(-20, 0, 0), 600_000).await;
    // 12:00 to 12:30 three, to 13:00 two, to 13:30 one, to 14:00 none.
    world.samples(host, at(12, 3, 0), 600, 5).await;
    world.samples(host, at(13, 3, 0), 600, 1).await;
    let hour = between(at(12, 0, 0), at(13, 0, 0));
    assert_eq!(world.roll(&hour).await, expect([("slow", "CCCCCCCCCCCC")]));
    let hour = between(at(13, 0, 0), at(14, 0, 0));
    assert_eq!(world.roll(&hour).await, expect([("slow", "PPPPPPSSSSSS")]));
    // The half hour counts whole, however little of it is shown, over a day's end too.
    for (from, to, states) in [
        (at(12, 10, 0), at(12, 15, 0), "C"),
        (at(12, 25, 0), at(12, 35, 0), "CC"),
        (at(13, 25, 0), at(13, 35, 0), "PS"),
    ] {
        assert_eq!(world.roll(&between(from, to)).await, expect([("slow", states)]));
    }
    // Half an hour that is not over is not judged, nor one in which the host joined.
    let scope = between(at(12, 0, 0), at(12, 40, 0));
    assert_eq!(world.roll_at(&scope, at(12, 45, 0)).await, expect([("slow", "CCCCCC--")]));
    world.retire(host, at(12, 59, 0)).await;
    assert_eq!(world.roll(&scope).await, expect([("slow", "CCCCCC--")]));
    let later = world.host_joined("later", at(12, 1, 0)).await;
    world.interval(later, at(12, 1, 0), 600_000).await;
    assert_eq!(world.roll(&scope).await, expect([("later", "------SS"), ("slow", "CCCCCC--")]));
}

#[tokio::test]
async fn a_change_of_the_interval_within_a_window_counts_by_pieces() {
    let world = World::new().await;
    // 2.5 min at 60 s and 2.5 min at 10 s: 2.5 + 15, so 17 are due and 11 needed.
    for (name, count) in [("a", 11), ("b", 10)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), 60_000).await;
        world.interval(host, at(12, 2, 30), 10_000).await;
        world.samples(host, at(12, 2, 30), 10, count).await;
        world.samples(host, at(12, 5, 0), 10, 17).await;
        world.samples(host, at(11, 55, 0), 60, 3).await;
    }
    assert_eq!(
        world.roll(&between(at(11, 55, 0), at(12, 10, 0))).await,
        expect([("a", "CCP"), ("b", "CPP")])
    );
}

#[tokio::test]
async fn a_change_from_a_long_interval_is_judged_by_the_half_hour_until_its_window_ends() {
    let world = World::new().await;
    // 12 min at 10 min and 18 min at 60 s: 19.2, so 19 are due and 12 needed in the half hour;
    // from 12:15 on each window by itself.
    for (name, count) in [("a", 12), ("b", 11)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), 600_000).await;
        world.interval(host, at(12, 12, 0), 60_000).await;
        world.samples(host, at(12, 12, 0), 60, count).await;
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 30, 0))).await,
        expect([("a", "CCCCCS"), ("b", "PPPCCS")])
    );
}

#[tokio::test]
async fn before_its_first_record_the_interval_is_a_minute() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.interval(host, at(12, 5, 0), 10_000).await;
    world.samples(host, at(12, 0, 0), 60, 3).await;
    world.samples(host, at(12, 5, 0), 60, 3).await;
    assert_eq!(world.roll(&between(at(12, 0, 0), at(12, 10, 0))).await, expect([("a", "CP")]));
}

#[tokio::test]
async fn rows_of_a_replay_make_a_window_late_not_complete() {
    let world = World::new().await;
    let windows = between(at(12, 0, 0), at(12, 5, 0));
    // Samples at 12:00:00 to 12:04:00; in time is until 12:06:00.
    for (name, replayed_to, states) in
        [("all", at(12, 5, 0), "L"), ("two", at(12, 2, 0), "C"), ("three", at(12, 3, 0), "L")]
    {
        let host = world.host(name).await;
        world.samples(host, at(12, 0, 0), MINUTE, 5).await;
        world.set(host, at(12, 0, 0), replayed_to, "delay_s = 3600").await;
        assert_eq!(world.roll(&windows).await[name], states);
    }
    // A delay counts from the sample, the limit from the window's end: 12:00 + 360 s is 12:06.
    let host = world.host("edge").await;
    world.samples(host, at(12, 0, 0), MINUTE, 3).await;
    world.set(host, at(12, 0, 0), at(12, 1, 0), "delay_s = 360").await;
    assert_eq!(world.roll(&windows).await["edge"], "C");
    world.set(host, at(12, 0, 0), at(12, 1, 0), "delay_s = 360.5").await;
    assert_eq!(world.roll(&windows).await["edge"], "L");
}

#[tokio::test]
async fn a_slow_host_is_late_by_the_end_of_its_half_hour() {
    let world = World::new().await;
    let host = world.host("slow").await;
    world.interval(host, at(-20, 0, 0), 600_000).await;
    world.samples(host, at(12, 0, 0), 600, 3).await;
    let scope = between(at(12, 0, 0), at(12, 10, 0));
    // 12:00:00 + 1,860 s is 12:31:00.
    world.set(host, at(12, 0, 0), at(12, 5, 0), "delay_s = 9000").await;
    world.set(host, at(12, 10, 0), at(12, 15, 0), "delay_s = 1260").await;
    assert_eq!(world.roll(&scope).await, expect([("slow", "CC")]));
    world.set(host, at(12, 10, 0), at(12, 15, 0), "delay_s = 1261").await;
    assert_eq!(world.roll(&scope).await, expect([("slow", "LL")]));
}

#[tokio::test]
async fn windows_shorter_than_the_interval_are_judged_in_groups_too() {
    let world = World::new().await;
    let host = world.host("a").await;
    // Windows of 30 s at a minute: groups of 3 min; two of three are needed.
    world.samples(host, at(12, 0, 0), MINUTE, 2).await;
    world.samples(host, at(12, 3, 0), MINUTE, 1).await;
    let scope = Scope { window_s: 30, ..between(at(12, 0, 0), at(12, 9, 0)) };
    assert_eq!(world.roll(&scope).await, expect([("a", "CCCCCCPPPPPPSSSSSS")]));
}

#[tokio::test]
async fn hosts_of_all_kinds_are_judged_side_by_side() {
    let world = World::new().await;
    for (name, millis) in [("slow", 600_000), ("quick", 10_000), ("usual", 60_000)] {
        let host = world.host(name).await;
        world.interval(host, at(-20, 0, 0), millis).await;
        world
            .samples(host, at(12, 0, 0), i64::from(millis) / 1_000, 1_800_000 / i64::from(millis))
            .await;
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 30, 0))).await,
        expect([("quick", "CCCCCC"), ("slow", "CCCCCC"), ("usual", "CCCCCC")])
    );
}

#[tokio::test]
async fn a_range_is_widened_to_whole_windows_that_align_to_the_unix_epoch() {
    let world = World::new().await;
    world.host("a").await;
    let frame = world.frame(&between(at(12, 1, 2), at(12, 10, 1))).await;
    assert_eq!((frame.from, frame.to, frame.windows), (at(12, 0, 0), at(12, 15, 0), 3));
    let frame = world.frame(&between(at(12, 0, 0), at(12, 10, 0))).await;
    assert_eq!((frame.from, frame.to, frame.windows), (at(12, 0, 0), at(12, 10, 0), 2));
    let week = Scope { window_s: 7, ..between(at(12, 0, 0), at(12, 0, 1)) };
    let frame = world.frame(&week).await;
    assert_eq!(frame.from.0 % 7_000_000, 0);
    assert!(frame.from <= at(12, 0, 0) && frame.to >= at(12, 0, 1));
    // The file widens by itself as well.
    let wide = between(at(12, 0, 0), at(12, 15, 0));
    assert_eq!(world.roll(&wide).await["a"].len(), 3);
}

#[tokio::test]
async fn without_a_range_it_is_the_hour_that_ends_with_the_last_finished_window() {
    let world = World::new().await;
    let scope = Scope::default();
    let frame = world.store.frame_at(&scope, Some(at(12, 34, 56))).await.unwrap();
    assert_eq!((frame.from, frame.to), (at(11, 30, 0), at(12, 30, 0)));
    assert_eq!((frame.windows, frame.now, frame.hosts), (12, at(12, 34, 56), 0));
    let scope = Scope { from: Some(at(12, 0, 0)), ..scope };
    let frame = world.store.frame_at(&scope, Some(at(12, 34, 56))).await.unwrap();
    assert_eq!((frame.from, frame.to), (at(12, 0, 0), at(12, 30, 0)));
}

#[tokio::test]
async fn a_scope_that_makes_no_sense_is_refused_with_the_reason() {
    let world = World::new().await;
    let hour = between(at(12, 0, 0), at(13, 0, 0));
    let label = |value: &str| [("k".to_owned(), value.to_owned())].into();
    for (scope, reason) in [
        (between(at(12, 0, 0), at(12, 0, 0)), "ends before it starts"),
        (between(at(13, 0, 0), at(12, 0, 0)), "ends before it starts"),
        (Scope { from: Some(at(99, 0, 0)), ..Scope::default() }, "ends before it starts"),
        (Scope { window_s: 0, ..hour.clone() }, "window of 0 s"),
        (Scope { window_s: 86_401, ..hour.clone() }, "window of 86401 s"),
        (Scope { window_s: 1, ..between(at(0, 0, 0), at(30, 0, 0)) }, "108000 windows"),
        (between(UnixMicros(-1), at(12, 0, 0)), "before 1970"),
        (Scope { to: Some(UnixMicros(5)), ..Scope::default() }, "before 1970"),
        (between(at(12, 0, 0), UnixMicros(i64::MAX)), "after 9999"),
        (Scope { name_glob: "a\0".into(), ..hour.clone() }, "zero byte"),
        (Scope { labels: label("\0"), ..hour.clone() }, "zero byte"),
        (Scope { name_glob: "a".repeat(2_000), ..hour.clone() }, "longer than"),
    ] {
        let error = world.store.frame_at(&scope, Some(at(44, 0, 0))).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}, expected {reason}");
        assert_eq!(error.kind(), rowcall_store::Kind::Data);
    }
}

#[tokio::test]
async fn windows_of_dropped_days_are_not_judged() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(0, 0, 0), 60, 5).await;
    let scope = between(at(-1, 50, 0), at(0, 10, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "SSCS")]));
    let dropped =
        "INSERT INTO rowcall.dropped_day (day, reason, bytes) VALUES ('2026-11-02', 'size', 1)";
    world.run(dropped, &[]).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "--CS")]));
}
