//! Texts of settings and what they mean: durations, sizes, and passwords inside database URLs.

use std::time::Duration;

/// Stands where a password was.
const HIDDEN: &str = "********";

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

/// Whether a database URL, or a line of keywords and values, carries a password.
pub(super) fn has_password(url: &str) -> bool {
    url != hide_password(url)
}

/// The same with every password hidden.
pub(super) fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return hide_keyword(url) };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    // A password may hold '/' and '@' unescaped; what comes after the last '@' is the host.
    let authority = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, password)) if !password.is_empty() => format!("{user}:{HIDDEN}@{host}"),
            _ => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let query = query.map(|query| {
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, _)) if is_secret(key) => format!("{key}={HIDDEN}"),
                _ => pair.to_owned(),
            })
            .collect();
        format!("?{}", pairs.join("&"))
    });
    format!("{scheme}://{authority}{}", query.unwrap_or_default())
}

fn is_secret(key: &str) -> bool {
    matches!(key.trim().to_ascii_lowercase().as_str(), "password" | "sslpassword")
}

/// A line such as `host=db user=rowcall password='with space'`.
fn hide_keyword(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once('=') {
        shown.push_str(key);
        shown.push('=');
        let trimmed = after.trim_start();
        shown.push_str(after.strip_suffix(trimmed).unwrap_or_default());
        let (value, next) = trimmed.split_at(value_length(trimmed));
        let secret = key.split_whitespace().next_back().is_some_and(is_secret);
        shown.push_str(if secret && !value.is_empty() { HIDDEN } else { value });
        rest = next;
    }
    shown.push_str(rest);
    shown
}

/// Bytes of the value that a text begins with: up to white space, or quoted with `'`.
fn value_length(text: &str) -> usize {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return at + 1,
            c if !quoted && c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
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

    #[test]
    fn passwords_are_found_and_hidden_wherever_they_stand() {
        for url in [
            "postgresql://rowcall:secret@db/host_agent",
            "postgres://rowcall:se/cr@et@db:5432/host_agent?sslmode=require",
            "postgresql://rowcall@db/host_agent?sslmode=require&password=secret",
            "postgresql:///host_agent?PASSWORD=secret",
            "host=db user=rowcall password=secret dbname=host_agent",
            "host=db password='with \\' secret' user=rowcall",
            "password = secret",
        ] {
            assert!(has_password(url), "{url}");
            let shown = hide_password(url);
            assert!(!shown.contains("secret") && !shown.contains("cr@et"), "{shown}");
        }
    }

    #[test]
    fn urls_without_a_password_stay_as_they_are() {
        for url in [
            "postgresql://rowcall@%2Ftmp%2Frc-1:5432/host_agent",
            "postgresql://db/host_agent?passfile=/etc/rowcall/pgpass",
            "host=db user=rowcall passfile=/etc/rowcall/pgpass",
            "postgresql://rowcall:@db/x",
            "host = db user = rowcall",
            "embedded",
            "",
        ] {
            assert!(!has_password(url), "{url}");
        }
    }
}
