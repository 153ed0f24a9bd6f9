//! Which protocol version two sides speak: a pure function.

/// A side's range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Lowest.
    pub min: u32,
    /// Highest.
    pub max: u32,
}

/// What this build speaks.
pub const OURS: Range = Range { min: crate::proto::PROTOCOL_MIN, max: crate::proto::PROTOCOL_MAX };

/// The two sides have no version in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no common protocol version: the agent speaks {} to {}, the aggregator {} to {}; upgrade the older one",
    theirs.min, theirs.max, ours.min, ours.max
)]
pub struct NoCommonVersion {
    /// The aggregator's range.
    pub ours: Range,
    /// The agent's range.
    pub theirs: Range,
}

/// The highest version that both speak.
///
/// # Errors
/// [`NoCommonVersion`] when there is none; a range whose ends are swapped has none with anybody.
pub fn negotiate(ours: Range, theirs: Range) -> Result<u32, NoCommonVersion> {
    let version = ours.max.min(theirs.max);
    if theirs.min <= theirs.max && version >= ours.min && version >= theirs.min {
        Ok(version)
    } else {
        Err(NoCommonVersion { ours, theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u32, max: u32) -> Range {
        Range { min, max }
    }

    #[test]
    fn the_highest_common_version_wins() {
        assert_eq!(negotiate(range(1, 3), range(2, 5)), Ok(3));
        assert_eq!(negotiate(range(2, 5), range(1, 3)), Ok(3));
        assert_eq!(negotiate(range(1, 1), range(1, 9)), Ok(1));
    }

    #[test]
    fn ranges_that_do_not_meet_are_refused_with_both_named() {
        for theirs in [range(4, 9), range(0, 0), range(2, 1)] {
            let refused = negotiate(range(1, 3), theirs).unwrap_err();
            assert!(refused.to_string().contains("the aggregator 1 to 3"), "{refused}");
        }
    }
}
