//! Texts of settings and what they mean: durations and sizes.

use std::time::Duration;

/// Units of a duration, longest first, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration such as `100ms`, `60s`, `10min`, `2h` or `1d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = UNITS.iter().find(|(name, _)| *name == unit.trim()).and_then(|(_, factor)| {
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor))
    });
    millis.map(Duration::from_millis).ok_or_else(|| {
        format!(
            "{text:?} is no duration: expected a whole number and ms, s, min, h or d, such as 60s"
        )
    })
}

/// Writes a duration as [`parse_duration`] reads it, in the longest unit that is exact.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    UNITS
        .iter()
        .filter(|(name, _)| *name != "m")
        .find(|(_, factor)| millis > 0 && millis.is_multiple_of(u128::from(*factor)))
        .map_or_else(
            || format!("{millis}ms"),
            |(name, f)| format!("{}{name}", millis / u128::from(*f)),
        )
}

/// Units of a size: powers of 1,024, and of 1,000.
const SIZES: [(&str, u64); 8] = [
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
];

/// Reads a size such as `512MiB`, `100GiB` or `2TB`, in bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor))
        .ok_or_else(|| {
            format!(
                "{text:?} is no size: expected a whole number and MiB, GiB or TiB (or MB, GB, \
                 TB), such as 100GiB"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["10ms", "1500ms", "60ms", "2s", "90s", "5min", "2h", "1d"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("5 m").unwrap(), Duration::from_secs(300));
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in
            ["", "60", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            let problem = parse_duration(text).unwrap_err();
            assert!(problem.contains("such as 60s"), "{problem}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        for (text, bytes) in
            [("1GiB", 1 << 30), ("100 gib", 100 << 30), ("2TB", 2_000_000_000_000), ("0MB", 0)]
        {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "100", "GiB", "1.5GiB", "-1GiB", "1G", "99999999PiB", "1 GiB x"] {
            let problem = parse_size(text).unwrap_err();
            assert!(problem.contains("such as 100GiB"), "{problem}");
        }
    }
}
