//! Values as people write them: durations and sizes with a unit.

use std::time::Duration;

/// "100ms", "10s", "5m", "2h", "7d".
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "{text:?} is no duration; write a whole number and ms, s, m, h or d, for example \"10s\""
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds_per_unit))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!("{text:?} is no duration; write a whole number and a unit, for example \"10s\"")
        })
}

/// "4MiB", "512KiB", "1048576" bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => {
            return Err(format!(
                "{text:?} is no size; write a whole number and KiB, MiB or GiB, for example \"4MiB\""
            ));
        }
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes_per_unit)).ok_or_else(
        || format!("{text:?} is no size; write a whole number and a unit, for example \"4MiB\""),
    )
}

/// As [`duration`] reads it, in the largest unit that fits.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in
            [("10ms", 10), ("1s", 1000), ("5 m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 fortnight",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        assert_eq!(bytes("4MiB"), Ok(4 << 20));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        for text in ["4MB", "MiB", "-1", "99999999999GiB99"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["10ms", "1500ms", "1s", "90s", "2m", "1h", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }
}
