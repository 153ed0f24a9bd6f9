//! Medians and percentiles.

/// The middle value and the extremes of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Middle value; of an even number of them the lower of the two in the middle.
    pub(crate) median: f64,
    /// Smallest.
    pub(crate) low: f64,
    /// Largest.
    pub(crate) high: f64,
}

impl Spread {
    /// None if there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            median: percentile(&values, 50)?,
            low: *values.first()?,
            high: *values.last()?,
        })
    }
}

/// The smallest of sorted values that at least `percent` of them do not exceed.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn percentiles_count_from_the_smallest() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 50), Some(100.0));
        assert_eq!(percentile(&sorted, 99), Some(198.0));
        assert_eq!(percentile(&sorted, 100), Some(200.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
