//! Histories by chance: what becomes of each tick is decided first, and then told as agent and
//! aggregator would have recorded it.

use super::world::{MINUTE, World};

/// Numbers by chance, the same for a seed (`SplitMix64`).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below `end`.
    pub(super) fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// What was recorded of a day.
#[derive(Default)]
struct History {
    samples: Vec<(i64, f32)>,
    gaps: Vec<(i64, i64, i64, &'static str, &'static str)>,
    refused: Vec<i64>,
    byes: Vec<(i64, i64)>,
    holes: Vec<(i64, i64)>,
    truth: Vec<&'static str>,
}

impl History {
    fn by(dice: &mut Dice) -> Self {
        let offset = dice.below(MINUTE);
        let mut it = Self::default();
        while it.truth.len() < 1_440 {
            let first = i64::try_from(it.truth.len()).unwrap();
            let length = (1 + dice.below(40)).min(1_440 - first);
            let mut at = |tick: i64| tick * MINUTE + offset + dice.below(400_000);
            let (from, to) = (at(first), at(first + length - 1));
            let times: Vec<_> = (first..first + length).map(&mut at).collect();
            let what = dice.below(12);
            let state = match what {
                0 => {
                    it.gaps.push((from, to, length, "missed", "off"));
                    "off"
                }
                1 => {
                    it.gaps.push((from, to, length, "missed", "suspended"));
                    "suspended"
                }
                2 => {
                    it.gaps.push((from, to, length, "missed", "starved"));
                    "starved"
                }
                3 => {
                    let state = ["dropped", "corrupt", "forgotten"][it.gaps.len() % 3];
                    it.gaps.push((from, to, length, state, "size"));
                    "dropped"
                }
                4 => {
                    it.refused.extend(&times);
                    "quarantined"
                }
                5 => {
                    it.samples.extend(times.iter().map(|at| (*at, 600.0)));
                    "late"
                }
                6 => {
                    // It said Bye a little after the tick before, and came back before the next.
                    let (bye, back) = (from - 20_000_000, to + 20_000_000);
                    it.byes.push((bye, back));
                    it.gaps.push((from, to, length, "missed", "off"));
                    "off after Bye"
                }
                // Holes that touch each other are one, and all of it counts.
                7 if length > 2 && it.truth.last() != Some(&"unobserved") => {
                    it.holes.push((from - 15_000_000, to + 15_000_000));
                    "unobserved"
                }
                8 => "unknown",
                _ => {
                    it.samples.extend(times.iter().map(|at| (*at, 0.3)));
                    "on_time"
                }
            };
            for tick in 0..length {
                // The fifteenth minute after a Bye 20 s before the first is still excused.
                let excused = tick < 15;
                it.truth.push(match state {
                    "off after Bye" if excused => "excused",
                    "off after Bye" => "off",
                    other => other,
                });
            }
        }
        it
    }
}

#[tokio::test]
async fn each_tick_is_what_it_was_whatever_happened() {
    let world = World::new().await;
    for seed in 0..60 {
        let history = History::by(&mut Dice::new(seed));
        world.forget().await;
        world.samples(history.samples).await;
        for (from, to, ticks, state, cause) in history.gaps {
            world.gap(from, to, ticks, state, cause).await;
        }
        for at in history.refused {
            world.refused(at).await;
        }
        for (at, back) in history.byes {
            world.bye(at, back).await;
        }
        world.unobserved(&history.holes).await;
        let ticks = world.ticks().await;
        assert_eq!(ticks.len(), 1_440, "seed {seed}");
        for (number, (found, truth)) in ticks.iter().zip(&history.truth).enumerate() {
            assert_eq!(found, truth, "seed {seed}, tick {number}");
        }
        assert_eq!(world.extra().await, 0, "seed {seed}");
    }
}
