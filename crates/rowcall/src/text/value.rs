//! Values with their units.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

/// Longer than this, in seconds, is no span that a clock has measured.
const MAX_SPAN_S: u64 = 36_525 * 86_400;

/// Text from outside, fit for a terminal: control and direction characters become `?`.
pub(crate) fn clean(text: &str) -> String {
    let strange = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if strange(c) { '?' } else { c }).collect()
}

/// A number with commas between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun: `1 host`, `2 hosts`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(number))
}

/// A measured number with so many digits behind the point. What no instrument measures keeps the
/// table narrow: from ten million on it is a power of ten, and what is no number is a dash.
pub(crate) fn decimal(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        "-".to_owned()
    } else if value.abs() < 1e7 {
        format!("{value:.digits$}")
    } else {
        format!("{value:.0e}")
    }
}

/// Text of at most so many characters; what is left out is two points.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(2)).collect();
    format!("{}..", kept.trim_end())
}

/// KiB in the largest unit that leaves at least 1, with one digit behind the point.
pub(crate) fn kib(kib: u64) -> String {
    const UNITS: [&str; 7] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"];
    let (mut tenths, mut unit) = (u128::from(kib) * 10, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("ZiB");
    if unit == 0 {
        format!("{kib} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// What a legend says of [`short_bytes`], after a blank.
pub(crate) const K_IS: &str = " K: 1,024 bytes.";

/// Bytes in at most five characters, for columns of them: `512`, `1.5K`, `20M`; K is 1,024.
pub(crate) fn short_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    // What would be rounded to 1024 is 1.0 of the next.
    while tenths >= 10_235 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("E");
    if unit == 0 || tenths >= 100 {
        format!("{}{name}", (tenths + 5) / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

/// An instant in RFC 3339 to the second; `Z` for UTC, else with the zone's offset.
pub(crate) fn timestamp(at: Timestamp, zone: &TimeZone) -> String {
    at_precision(at, zone, 0)
}

/// An instant in RFC 3339 to the millisecond.
pub(crate) fn milliseconds(at: Timestamp, zone: &TimeZone) -> String {
    at_precision(at, zone, 3)
}

fn at_precision(at: Timestamp, zone: &TimeZone, digits: u8) -> String {
    let printer = DateTimePrinter::new().precision(Some(digits));
    if *zone == TimeZone::UTC {
        return printer.timestamp_to_string(&at);
    }
    printer.timestamp_with_offset_to_string(&at, zone.to_offset(at))
}

/// A span as people say it, in its two largest units: `250 ms`, `5 min`, `1 h 30 min`.
pub(crate) fn span(span: Duration) -> String {
    let (seconds, millis) = (span.as_secs(), span.subsec_millis());
    if seconds == 0 {
        return format!("{millis} ms");
    }
    if seconds > MAX_SPAN_S {
        return "over 100 years".to_owned();
    }
    let parts = [
        (seconds / 86_400, "d"),
        (seconds % 86_400 / 3600, "h"),
        (seconds % 3600 / 60, "min"),
        (seconds % 60, "s"),
        (u64::from(millis), "ms"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let shown: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    shown.join(" ")
}

/// How long before `now` something was: `now`, `3 s ago`; also when the clocks differ.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match u64::try_from(seconds) {
        Ok(0) => "now".to_owned(),
        Ok(seconds) => format!("{} ago", span(Duration::from_secs(seconds))),
        Err(_) => format!("in {}", span(Duration::from_secs(seconds.unsigned_abs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_never_reach_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\n\u{202e}c\u{9b}"), "a?[2Jb??c?");
        assert_eq!(clean("Intel® Xeon®"), "Intel® Xeon®");
    }

    #[test]
    fn numbers_have_commas_between_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "host"), "1 host");
        assert_eq!(plural(0, "host"), "0 hosts");
    }

    #[test]
    fn sizes_stand_in_their_largest_unit() {
        assert_eq!(kib(1023), "1023 KiB");
        assert_eq!(kib(1024), "1.0 MiB");
        assert_eq!(kib(8_026_000), "7.7 GiB");
        assert_eq!(kib(24 * 1024 * 1024 * 1024), "24.0 TiB");
        assert_eq!(kib(u64::MAX), "16.0 ZiB");
    }

    #[test]
    fn bytes_take_five_characters_at_most() {
        for (bytes, said) in [
            (0, "0"),
            (1_023, "1023"),
            (1_024, "1.0K"),
            (10_180, "9.9K"),
            (10_240, "10K"),
            (1_048_064, "1.0M"),
            (20 << 20, "20M"),
            (1_500 << 30, "1.5T"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short_bytes(bytes), said, "{bytes}");
        }
    }

    #[test]
    fn absurd_numbers_stay_short() {
        assert_eq!(decimal(99.95, 1), "100.0");
        assert_eq!(decimal(-3300.4, 0), "-3300");
        assert_eq!(decimal(1e300, 1), "1e300");
        assert_eq!(decimal(-2.5e7, 1), "-2e7");
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(decimal(value, 1), "-");
        }
        assert!(span(Duration::MAX).len() < 16, "{}", span(Duration::MAX));
    }

    #[test]
    fn long_texts_are_cut_where_the_room_ends() {
        assert_eq!(cut("as it is", 8), "as it is");
        assert_eq!(cut("a b c d e", 8), "a b c..");
        assert_eq!(cut("ÄÖÜßéèê", 5), "ÄÖÜ..");
    }

    #[test]
    fn times_are_rfc_3339_in_utc_or_with_the_zones_offset_on_both_sides_of_a_change() {
        let at: Timestamp = "2026-10-25T00:30:00.1239Z".parse().unwrap();
        assert_eq!(timestamp(at, &TimeZone::UTC), "2026-10-25T00:30:00Z");
        assert_eq!(milliseconds(at, &TimeZone::UTC), "2026-10-25T00:30:00.123Z");
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(timestamp(at, &berlin), "2026-10-25T02:30:00+02:00");
        let later = "2026-10-25T01:30:00Z".parse().unwrap();
        assert_eq!(timestamp(later, &berlin), "2026-10-25T02:30:00+01:00");
    }

    #[test]
    fn spans_are_said_in_their_two_largest_units() {
        for (millis, said) in [
            (10, "10 ms"),
            (1_000, "1 s"),
            (1_500, "1 s 500 ms"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (3_605_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), said);
        }
    }

    #[test]
    fn ages_bear_clocks_that_differ() {
        let now: Timestamp = "2026-11-22T16:00:00Z".parse().unwrap();
        assert_eq!(age(now, now), "now");
        assert_eq!(age("2026-11-22T15:58:57Z".parse().unwrap(), now), "1 min 3 s ago");
        assert_eq!(age("2026-11-22T16:00:05Z".parse().unwrap(), now), "in 5 s");
    }
}
