//! From a batch to its acknowledgement.

use std::collections::VecDeque;
use std::time::Duration;

use rowcall_core::id::Sequence;
use tokio::time::Instant;

/// Batches of one stream whose time is taken at once; further ones are not measured, so that a
/// peer that sends thousands of tiny batches costs no memory here.
const MAX_TIMED: usize = 32;

/// Takes the time of one stream's batches.
#[derive(Debug, Default)]
pub(crate) struct AckTimer {
    /// Last sequence of a batch, and when it came. Sequences grow.
    batches: VecDeque<(u64, Instant)>,
}

impl AckTimer {
    /// A batch came that ends with this sequence.
    pub(crate) fn received(&mut self, through: Sequence) {
        if self.batches.len() < MAX_TIMED {
            self.batches.push_back((through.as_u64(), Instant::now()));
        }
    }

    /// An acknowledgement was handed out for everything up to here: how long each batch of it
    /// took.
    pub(crate) fn acknowledged(&mut self, through: u64) -> impl Iterator<Item = Duration> {
        std::iter::from_fn(move || {
            let (_, came) = self.batches.pop_front_if(|(last, _)| *last <= through)?;
            Some(came.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(n: u64) -> Sequence {
        Sequence::new(n).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn every_batch_is_measured_once_when_it_is_acknowledged() {
        let mut timer = AckTimer::default();
        timer.received(sequence(3));
        tokio::time::advance(Duration::from_secs(1)).await;
        timer.received(sequence(5));
        let mut seconds =
            |through| timer.acknowledged(through).map(|t| t.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(2), [0_u64; 0]);
        assert_eq!(seconds(4), [1]);
        assert_eq!(seconds(4), [0_u64; 0]);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(seconds(9), [2]);
    }

    #[test]
    fn a_flood_of_batches_is_not_remembered() {
        let mut timer = AckTimer::default();
        (1..=10_000).for_each(|n| timer.received(sequence(n)));
        assert_eq!(timer.acknowledged(10_000).count(), MAX_TIMED);
        assert!(timer.batches.is_empty());
    }
}
