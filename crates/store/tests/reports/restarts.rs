//! Starts of agents, and what they and outages explain.

use rowcall_core::id::UnixMicros;
use rowcall_store::reports::IntegrityKind::{
    self, EpochChanged, Missed, Restarted, UnexplainedGap,
};

use crate::world::{World, at, between};

const MINUTE: i64 = 60;

async fn findings(world: &World) -> Vec<(String, IntegrityKind, u64, String)> {
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap().findings;
    found.into_iter().map(|row| (row.host_name, row.kind, row.samples, row.detail)).collect()
}

#[tokio::test]
async fn each_start_but_the_first_is_told_with_its_way() {
    let world = World::new().await;
    let (early, noon, later) = (at(1, 0, 0), at(12, 5, 0), at(12, 20, 0));
    for (name, runs) in [
        ("first", &[("first", "0.1.0", noon, None)][..]),
        (
            "rebooted",
            &[("first", "0.1.0", early, Some(at(12, 4, 0))), ("reboot", "0.1.0", noon, None)],
        ),
        ("reset", &[("first", "0.1.0", early, None), ("reboot", "0.1.0", noon, None)]),
        ("upgraded", &[("first", "0.1.0", early, None), ("upgrade", "0.2.0", noon, None)]),
        (
            "crashed",
            &[
                ("first", "0.1.0", early, Some(at(2, 0, 0))),
                ("restart", "0.1.0", at(3, 0, 0), None),
                ("restart", "0.1.0", noon, None),
                ("restart", "0.1.0", later, None),
                ("restart", "0.1.0", at(13, 0, 0), None),
            ],
        ),
        (
            "stopped",
            &[("first", "0.1.0", early, Some(at(12, 4, 0))), ("restart", "0.1.0", noon, None)],
        ),
    ] {
        let host = world.host(name).await;
        for (how, version, started, ended) in runs {
            world.agent(host, how, version, *started, *ended).await;
        }
    }
    let row = |host: &str, words: &str| (host.to_owned(), Restarted, 0, words.to_owned());
    assert_eq!(
        findings(&world).await,
        [
            row(
                "crashed",
                "agent started again, and no goodbye arrived: it crashed, was killed, or was \
                 stopped while nobody could be told, 2 times"
            ),
            row("rebooted", "rebooted"),
            row(
                "reset",
                "rebooted without a stop of the agent: a crash, a reset or a loss of power"
            ),
            row("stopped", "agent stopped and started"),
            row("upgraded", "agent changed from version 0.1.0 to 0.2.0"),
        ]
    );
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let crashed = &world.store.integrity(&scope, &frame).await.unwrap().findings[0];
    assert_eq!((crashed.from, crashed.to), (noon, later));
}

#[tokio::test]
async fn a_new_spool_is_told_with_how_it_came_about() {
    let world = World::new().await;
    for (number, origin) in [(1_i64, "new"), (2, "rolled_back"), (3, "damaged"), (4, "unknown")] {
        let host = world.host(&format!("h{number}")).await;
        for (epoch, opened, origin) in
            [(number * 10, at(1, 0, 0), "new"), (number * 10 + 1, at(12, 30, 0), origin)]
        {
            world
                .run(
                    "INSERT INTO rowcall.epoch (host_id, epoch, opened_at, mark, origin)
                     VALUES ($1, $2, to_timestamp($3::bigint / 1e6), 41, $4)",
                    &[&host, &epoch, &opened.0, &origin],
                )
                .await;
        }
    }
    let found = findings(&world).await;
    assert!(found.iter().all(|(_, kind, ..)| *kind == EpochChanged));
    for ((_, _, _, detail), words) in found.iter().zip([
        "spool 11 took the place of 10: it is a new one. What the old one held after sequence 41 is \
         unknown",
        "spool 21 took the place of 20: the old one was rolled back or copied, as by the snapshot of \
         a virtual machine. What it held after sequence 41 and had not sent goes on in this one",
        "spool 31 took the place of 30: the old one was damaged. All of it that could be read is \
         sent again in this one; of the rest after sequence 41 nothing is known",
        "spool 41 took the place of 40: of the old one nothing is known after sequence 41",
    ]) {
        assert_eq!(detail, words);
    }
    assert_eq!(found.len(), 4);
}

/// A host with samples to 12:09 and from some minute on.
async fn with_hole(world: &World, name: &str, again: i64) -> i32 {
    let host = world.host(name).await;
    world.samples(host, at(12, 0, 0), MINUTE, 10).await;
    world.samples(host, at(12, again, 0), MINUTE, 5).await;
    host
}

/// What is unexplained of a host.
async fn unexplained(world: &World, name: &str) -> u64 {
    let found = findings(world).await;
    let mut found = found.iter().filter(|row| row.0 == name && row.1 == UnexplainedGap);
    found.next().map_or(0, |row| row.2)
}

async fn missed(world: &World, host: i32, ticks: i64, from: UnixMicros, to: UnixMicros) {
    world
        .run(
            "INSERT INTO rowcall.gap (host_id, epoch_id, sequence, through_sequence, ticks, state,
                                      cause, from_ts, to_ts)
             VALUES ($1, 1, $3, $3, $2, 'missed', 'off', to_timestamp($3::bigint / 1e6),
                     to_timestamp($4::bigint / 1e6))",
            &[&host, &ticks, &from.0, &to.0],
        )
        .await;
}

#[tokio::test]
async fn a_hole_in_which_no_agent_ran_is_explained() {
    let world = World::new().await;
    // Stopped at 12:09:30, back at 12:29:30.
    let planned = with_hole(&world, "planned", 30).await;
    world.agent(planned, "first", "0.1.0", at(1, 0, 0), Some(at(12, 9, 30))).await;
    world.agent(planned, "restart", "0.1.0", at(12, 29, 30), None).await;
    assert_eq!(unexplained(&world, "planned").await, 0);
    // Without a Bye nobody knows when it ended; then it is since the last sample.
    let crashed = with_hole(&world, "crashed", 30).await;
    world.agent(crashed, "first", "0.1.0", at(1, 0, 0), None).await;
    world.agent(crashed, "restart", "0.1.0", at(12, 29, 30), None).await;
    assert_eq!(unexplained(&world, "crashed").await, 0);
    // It was back at 12:15, and was not heard of for 15 min more.
    let slow = with_hole(&world, "slow", 30).await;
    world.agent(slow, "first", "0.1.0", at(1, 0, 0), Some(at(12, 9, 30))).await;
    world.agent(slow, "restart", "0.1.0", at(12, 15, 0), None).await;
    assert_eq!(unexplained(&world, "slow").await, 15);
    // What records tell of the same time is not taken off twice, of the rest it is.
    missed(&world, slow, 5, at(12, 10, 0), at(12, 14, 0)).await;
    assert_eq!(unexplained(&world, "slow").await, 15);
    missed(&world, slow, 5, at(12, 16, 0), at(12, 20, 0)).await;
    assert_eq!(unexplained(&world, "slow").await, 10);
    // A run elsewhere explains nothing.
    let other = with_hole(&world, "other", 30).await;
    world.agent(other, "first", "0.1.0", at(1, 0, 0), Some(at(12, 32, 0))).await;
    world.agent(other, "restart", "0.1.0", at(12, 33, 0), None).await;
    assert_eq!(unexplained(&world, "other").await, 20);
}

#[tokio::test]
async fn a_gap_that_is_told_of_a_hole_in_which_no_agent_ran_for_a_while_leaves_nothing() {
    let world = World::new().await;
    // 40 ticks from 12:10 to 12:49; for all but 4 of them there was no agent.
    let host = with_hole(&world, "a", 50).await;
    world.agent(host, "first", "0.1.0", at(1, 0, 0), Some(at(12, 12, 0))).await;
    world.agent(host, "restart", "0.1.0", at(12, 48, 0), None).await;
    assert_eq!(unexplained(&world, "a").await, 4);
    missed(&world, host, 40, at(12, 10, 0), at(12, 49, 0)).await;
    assert_eq!(unexplained(&world, "a").await, 0);
}

#[tokio::test]
async fn a_hole_that_nobody_observed_is_explained() {
    let world = World::new().await;
    with_hole(&world, "a", 30).await;
    let away = |from, to| [("x", 1, at(-24, 0, 0), from, false), ("x", 1, to, at(40, 0, 0), false)];
    assert_eq!(unexplained(&world, "a").await, 20);
    world.observed(&away(at(12, 9, 10), at(12, 29, 50))).await;
    assert_eq!(unexplained(&world, "a").await, 0);
    world.observed(&away(at(12, 9, 0), at(12, 20, 0))).await;
    assert_eq!(unexplained(&world, "a").await, 9);
}

#[tokio::test]
async fn a_gap_of_one_tick_counts_whole() {
    let world = World::new().await;
    let host = with_hole(&world, "a", 13).await;
    assert_eq!(unexplained(&world, "a").await, 3);
    missed(&world, host, 1, at(12, 10, 0), at(12, 10, 0)).await;
    missed(&world, host, 1, at(12, 11, 0), at(12, 11, 0)).await;
    assert_eq!(unexplained(&world, "a").await, 1);
    assert!(findings(&world).await.iter().any(|row| row.1 == Missed && row.2 == 2));
}
