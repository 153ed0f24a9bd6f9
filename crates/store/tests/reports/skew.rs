//! Hosts whose clock is off.

use rowcall_store::reports::IntegrityKind::ClockSkew;

use crate::world::{World, at, between, expect};

const MINUTE: i64 = 60;

#[tokio::test]
async fn a_host_whose_clock_is_off_is_skewed_not_silent_ahead_and_behind() {
    let world = World::new().await;
    // Heard from 12:00 to 12:20. Ahead by an hour: its samples are refused. Behind by an hour: they
    // stand in windows that have theirs already.
    let ahead = world.host("ahead").await;
    world.clock_off(ahead, at(12, 0, 0), at(12, 20, 0), 3_600.0).await;
    let behind = world.host("behind").await;
    world.samples(behind, at(11, 0, 30), 30, 40).await;
    world.clock_off(behind, at(12, 0, 0), at(12, 20, 0), -3_600.0).await;
    let right = world.host("right").await;
    world.samples(right, at(12, 0, 0), MINUTE, 20).await;
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 25, 0))).await,
        expect([("ahead", "KKKKS"), ("behind", "KKKKS"), ("right", "CCCCS")])
    );
    assert_eq!(world.roll(&between(at(11, 5, 0), at(11, 15, 0))).await["behind"], "CC");
}

#[tokio::test]
async fn half_of_the_window_is_enough() {
    let world = World::new().await;
    for (name, through, more) in [
        ("half", at(12, 2, 30), None),
        ("less", at(12, 2, 29), None),
        ("pieces", at(12, 1, 0), Some((at(12, 3, 0), at(12, 9, 0)))),
    ] {
        let host = world.host(name).await;
        world.clock_off(host, at(11, 0, 0), through, 90.0).await;
        if let Some((from, through)) = more {
            world.clock_off(host, from, through, 90.0).await;
        }
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 10, 0))).await,
        expect([("half", "KS"), ("less", "SS"), ("pieces", "KK")])
    );
}

#[tokio::test]
async fn enough_samples_are_complete_whatever_the_clock_and_an_excuse_goes_first() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.clock_off(host, at(11, 0, 0), at(13, 0, 0), 90.0).await;
    world.samples(host, at(12, 0, 0), MINUTE, 3).await;
    world.samples(host, at(12, 5, 0), MINUTE, 1).await;
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 10, 0))).await;
    assert_eq!(world.roll(&between(at(12, 0, 0), at(12, 15, 0))).await, expect([("a", "CKE")]));
}

#[tokio::test]
async fn integrity_tells_by_how_much_a_clock_was_off_once() {
    let world = World::new().await;
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    for (name, spans) in [
        ("ahead", &[(0, 10, 90.0), (20, 30, 3_600.5)][..]),
        ("behind", &[(0, 10, -120.0)]),
        ("both", &[(0, 10, -120.0), (20, 30, 75.0)]),
        ("before", &[(-30, -10, 120.0)]),
    ] {
        let host = world.host(name).await;
        for (from, through, by) in spans {
            world.clock_off(host, at(12, *from, 0), at(12, *through, 0), *by).await;
        }
        if name == "ahead" {
            // Its samples say so too.
            world.samples(host, at(12, 0, 0), MINUTE, 60).await;
            world.set(host, at(12, 0, 0), at(12, 10, 0), "delay_s = -90").await;
        }
    }
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap().findings;
    let found: Vec<_> = found
        .into_iter()
        .map(|row| (row.host_name, row.kind, row.from, row.to, row.detail))
        .collect();
    let row = |host: &str, to, words: &str| {
        (host.to_owned(), ClockSkew, at(12, 0, 0), at(12, to, 0), words.to_owned())
    };
    assert_eq!(
        found,
        [
            row("ahead", 30, "clock ahead by up to 3600.5 s"),
            row("behind", 10, "clock behind by up to 120.0 s"),
            row("both", 30, "clock between 120.0 s behind and 75.0 s ahead"),
        ]
    );
}
