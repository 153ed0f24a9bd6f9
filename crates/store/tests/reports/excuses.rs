//! Planned stops: from an agent's Bye to its next start, for a while.

use crate::world::{World, at, between, expect};

const MINUTE: i64 = 60;

#[tokio::test]
async fn after_its_bye_a_host_is_excused_for_a_while_and_then_silent() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 6).await;
    // Excused to 12:20:30.
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 5, 30))).await;
    let scope = between(at(12, 0, 0), at(12, 35, 0));
    // In the window of the Bye one was there, and one surely due is excused by none; after 12:20:30
    // four were due.
    assert_eq!(world.roll(&scope).await, expect([("a", "CEEESSS")]));
    // Without the Bye there is no excuse.
    world.run("UPDATE rowcall.run SET ended_at = NULL, excused_until = NULL", &[]).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "CPSSSSS")]));
}

#[tokio::test]
async fn the_excuse_ends_with_the_next_start() {
    let world = World::new().await;
    for (name, after) in [("back", 60), ("stuck", 0), ("slow", 1)] {
        let host = world.host(name).await;
        world.samples(host, at(12, 0, 0), MINUTE, 7).await;
        world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 6, 30))).await;
        world.agent(host, "restart", "0.1.0", at(12, 12, 30), None).await;
        world.samples(host, at(12, 13, 0), MINUTE, after).await;
    }
    assert_eq!(
        world.roll(&between(at(12, 0, 0), at(12, 25, 0))).await,
        // Two are sure from 12:12:30 to 12:15.
        expect([("back", "CEECC"), ("slow", "CEPSS"), ("stuck", "CESSS")])
    );
}

#[tokio::test]
async fn a_start_before_the_bye_of_the_old_process_leaves_nothing_to_excuse() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 0, 10))).await;
    world.agent(host, "upgrade", "0.2.0", at(12, 0, 5), None).await;
    assert_eq!(world.roll(&between(at(12, 0, 0), at(12, 10, 0))).await, expect([("a", "SS")]));
}

#[tokio::test]
async fn every_stop_is_excused_by_itself() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 0, 0))).await;
    // Back for a minute, with its sample; then away without a word.
    world.agent(host, "restart", "0.1.0", at(12, 4, 0), Some(at(12, 5, 0))).await;
    world.agent(host, "restart", "0.1.0", at(12, 14, 0), None).await;
    world.samples(host, at(12, 4, 10), MINUTE, 1).await;
    assert_eq!(world.roll(&between(at(12, 0, 0), at(12, 20, 0))).await, expect([("a", "EESS")]));
}

#[tokio::test]
async fn excused_and_unobserved_time_add_up_and_the_unobserved_is_named() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 1).await;
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 1, 30))).await;
    world.agent(host, "restart", "0.1.0", at(12, 3, 0), None).await;
    let scope = between(at(12, 0, 0), at(12, 5, 0));
    // One in the first 90 s, and two that were due from 12:03 on.
    assert_eq!(world.roll(&scope).await, expect([("a", "P")]));
    let away = [
        ("a", 1, at(-24, 0, 0), at(12, 2, 30), false),
        ("a", 2, at(12, 6, 0), at(40, 0, 0), false),
    ];
    world.observed(&away).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "U")]));
    // Without the excuse two were due in time.
    world.run("UPDATE rowcall.run SET ended_at = NULL, excused_until = NULL", &[]).await;
    assert_eq!(world.roll(&scope).await, expect([("a", "P")]));
}

#[tokio::test]
async fn enough_samples_need_no_excuse() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), MINUTE, 3).await;
    world.agent(host, "first", "0.1.0", at(0, 0, 0), Some(at(12, 2, 30))).await;
    let scope = between(at(12, 0, 0), at(12, 5, 0));
    assert_eq!(world.roll(&scope).await, expect([("a", "C")]));
    world.set(host, at(12, 0, 0), at(12, 5, 0), "delay_s = 3600").await;
    assert_eq!(world.roll(&scope).await, expect([("a", "L")]));
}
