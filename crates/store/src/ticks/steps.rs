//! Clocks that are set while samples are read.

use super::world::{MINUTE, World};
use crate::ticks::random::Dice;

/// A host whose agent samples on the grid of its wall clock, which is set now and then: the times
/// of its samples, within a day but for its first and last hour.
fn stepping(dice: &mut Dice) -> Vec<i64> {
    let offset = dice.below(60_000_000);
    let (mut wall, mut since, mut times) = (60 * MINUTE, 60 * MINUTE, Vec::new());
    while wall < 1_380 * MINUTE && times.len() < 3_000 {
        let mut wait = MINUTE - (wall - offset).rem_euclid(MINUTE);
        // What was read less than half an interval ago is not read again.
        if since + wait < MINUTE / 2 {
            wait += MINUTE;
        }
        (wall, since) = (wall + wait, 0);
        if (60 * MINUTE..1_380 * MINUTE).contains(&wall) {
            times.push(wall + dice.below(20_000));
        }
        if dice.below(60) == 0 {
            let passed = dice.below(50_000_000);
            let step = (dice.below(200 * MINUTE) - 100 * MINUTE) >> dice.below(14);
            (wall, since) = ((wall + passed + step).max(60 * MINUTE), passed);
        }
    }
    times.sort_unstable();
    times.dedup();
    times
}

#[tokio::test]
async fn a_clock_that_is_set_makes_no_tick_more_or_less_and_loses_no_sample() {
    let world = World::new().await;
    for seed in 0..40 {
        world.forget().await;
        let times = stepping(&mut Dice::new(seed));
        world.samples(times.iter().map(|at| (*at, 0.0))).await;
        let states = world.states().await;
        assert_eq!(states.values().sum::<i64>(), 1_440, "seed {seed}");
        let with_a_sample = states["on_time"] + world.extra().await;
        assert_eq!(with_a_sample, i64::try_from(times.len()).unwrap(), "seed {seed}: {states:?}");
    }
}

#[tokio::test]
async fn an_hour_back_is_60_extra_samples_and_an_hour_forth_60_unknown_ticks() {
    let world = World::new().await;
    let at = |tick: i64| tick * MINUTE + 45_000_000;
    // At 10:00 it was 9:00 again.
    world.samples((0..1_440).map(|tick| (at(tick), 0.0))).await;
    world.samples((540..600).map(|tick| (at(tick) + 1_000, 0.0))).await;
    assert_eq!(world.states().await, [("on_time".to_owned(), 1_440)].into());
    assert_eq!(world.extra().await, 60);

    let world = World::new().await;
    world
        .samples((0..1_440).filter(|tick| !(540..600).contains(tick)).map(|tick| (at(tick), 0.0)))
        .await;
    let expected = [("on_time".to_owned(), 1_380), ("unknown".to_owned(), 60)];
    assert_eq!(world.states().await, expected.into());
}

#[tokio::test]
async fn a_border_keeps_clear_of_offsets_of_two_kinds() {
    // From noon on another part of the minute, as an agent with other settings takes.
    let world = World::new().await;
    for (first, second) in [(50, 0), (12, 42), (1, 31), (29, 30), (0, 59)] {
        world.forget().await;
        let jitter = |tick: i64| (tick % 5 - 2) * 400_000;
        let before = (-2..720).map(|tick| tick * MINUTE + first * 1_000_000 + jitter(tick));
        let after = (720..1_442).map(|tick| tick * MINUTE + second * 1_000_000 + jitter(tick));
        world.samples(before.chain(after).map(|at| (at, 0.0))).await;
        let states = world.states().await;
        assert!(states["on_time"] >= 1_439, "{first} and {second}: {states:?}");
        assert_eq!(states.values().sum::<i64>(), 1_440);
    }
}
