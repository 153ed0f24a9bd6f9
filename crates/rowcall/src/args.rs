//! What people may write for a span, an instant, a selector.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use rowcall_core::id::{HostName, MAX_HOST_NAME_BYTES};
use rowcall_tls::identity::TrustDomain;

/// Longest window, in seconds: a day.
const MAX_WINDOW_S: u64 = 86_400;
/// Shortest interval between samples.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Longest label key, in bytes.
const MAX_KEY_BYTES: usize = 63;
/// Longest label value, in bytes.
const MAX_VALUE_BYTES: usize = 255;

/// An instant as written: absolute, by the clock of the zone in use, or some time ago.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum When {
    /// RFC 3339.
    At(Timestamp),
    /// Date and time without a zone.
    Civil(DateTime),
    /// That long before now.
    Ago(SignedDuration),
}

impl When {
    /// The instant.
    ///
    /// # Errors
    /// When it lies outside the years that can be told.
    pub(crate) fn resolve(self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, jiff::Error> {
        match self {
            Self::At(at) => Ok(at),
            Self::Civil(civil) => Ok(civil.to_zoned(zone.clone())?.timestamp()),
            Self::Ago(ago) => now.checked_sub(ago),
        }
    }
}

fn signed(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// A span of time: `90s`, `5m`, `2h`, `1h30m`, `1d`, `250ms`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let duration = signed(text).and_then(|signed| Duration::try_from(signed).ok());
    duration.ok_or_else(|| "not a span of time; write for instance 90s, 5m, 2h or 1h30m".to_owned())
}

/// A window's length in seconds.
pub(crate) fn window(text: &str) -> Result<u32, String> {
    let span = span(text)?;
    let seconds = Some(span.as_secs())
        .filter(|s| span.subsec_nanos() == 0 && (1..=MAX_WINDOW_S).contains(s))
        .and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| "a window has 1 second to 1 day, in whole seconds".to_owned())
}

/// The time between samples, in whole milliseconds.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    let fits = span >= MIN_INTERVAL
        && span <= Duration::from_secs(MAX_WINDOW_S)
        && span.subsec_nanos().is_multiple_of(1_000_000);
    if fits {
        Ok(span)
    } else {
        Err("an interval has 10 ms to 1 day, in whole milliseconds".into())
    }
}

/// Time between readings of devices: none is never, zero is with each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceInterval(pub(crate) Option<Duration>);

impl fmt::Display for DeviceInterval {
    /// As [`device_interval`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map_or_else(|| "off".to_owned(), short_span))
    }
}

/// Reads a [`DeviceInterval`], within the agent's bounds.
pub(crate) fn device_interval(text: &str) -> Result<DeviceInterval, String> {
    if text == "off" {
        return Ok(DeviceInterval(None));
    }
    let span = span(text)?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(MAX_WINDOW_S);
    let fits = span.is_zero() || bounds.contains(&span);
    if fits && span.subsec_nanos().is_multiple_of(1_000_000) {
        Ok(DeviceInterval(Some(span)))
    } else {
        Err("devices are read every 1 s to 1 day, in whole milliseconds; or write 0s for with \
             each sample, off for never"
            .into())
    }
}

/// Whole milliseconds as [`span`] reads them: `90s`, `1500ms`.
pub(crate) fn short_span(span: Duration) -> String {
    match (span.as_secs(), span.subsec_millis()) {
        (seconds, 0) => format!("{seconds}s"),
        _ => format!("{}ms", span.as_millis()),
    }
}

/// An instant: RFC 3339, a date with or without a time, `now`, or a span ago (`2h`, `-30m`).
pub(crate) fn when(text: &str) -> Result<When, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(When::Ago(SignedDuration::ZERO));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(When::At(at));
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        return Ok(When::Civil(civil));
    }
    if let Ok(date) = text.parse::<Date>() {
        return Ok(When::Civil(date.at(0, 0, 0, 0)));
    }
    signed(text).map(|span| When::Ago(span.abs())).ok_or_else(|| {
        "not an instant; write for instance 2026-11-22T16:00:00Z, 2026-11-22T16:00 (in --tz), \
         2h (that long ago) or now"
            .to_owned()
    })
}

/// A zone's name, as in `Europe/Berlin`.
pub(crate) fn zone(text: &str) -> Result<TimeZone, String> {
    if text.eq_ignore_ascii_case("utc") || text == "Z" {
        return Ok(TimeZone::UTC);
    }
    let unknown =
        || "not a time zone; write Area/City, for instance Europe/Berlin, or UTC".to_owned();
    TimeZone::get(text).map_err(|_| unknown())
}

/// Conditions on labels, as written: `key=value,key=value`. All must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector(Vec<(String, String)>);

impl Selector {
    /// One map of all conditions.
    ///
    /// # Errors
    /// When a key has two values: no host could match.
    pub(crate) fn merge(all: &[Self]) -> Result<BTreeMap<String, String>, String> {
        let mut labels = BTreeMap::new();
        for (key, value) in all.iter().flat_map(|selector| &selector.0) {
            let before = labels.insert(key.clone(), value.clone());
            if before.is_some_and(|before| before != *value) {
                return Err(format!("label {key} cannot have two values; no host would match"));
            }
        }
        Ok(labels)
    }
}

/// Reads a selector.
pub(crate) fn selector(text: &str) -> Result<Selector, String> {
    text.split(',').map(condition).collect::<Result<_, _>>().map(Selector)
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form key=value"))?;
    Ok((label_key(key)?, label_value(key, value)?))
}

fn label_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-".contains(c);
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.chars().all(fits) {
        return Err(format!("{key:?} is no label key: 1 to 63 of a-z, 0-9, '.', '_', '/' and '-'"));
    }
    Ok(key.to_owned())
}

fn label_value(key: &str, value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("the value of {key} has more than {MAX_VALUE_BYTES} bytes"));
    }
    Ok(value.to_owned())
}

/// What to do with a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LabelChange {
    /// Give it this value, whether it is there or not.
    Set(String, String),
    /// Take it away.
    Remove(String),
}

/// A change of a label: `key=value` sets it, `key-` removes it.
pub(crate) fn label_change(text: &str) -> Result<LabelChange, String> {
    if let Some((key, value)) = text.split_once('=') {
        if value.contains(',') {
            // A selector could never ask for it.
            return Err("a value has no comma; write several changes with blanks between".into());
        }
        return Ok(LabelChange::Set(label_key(key)?, label_value(key, value)?));
    }
    match text.strip_suffix('-') {
        Some(key) => Ok(LabelChange::Remove(label_key(key)?)),
        None => Err(format!(
            "{text:?} is neither KEY=VALUE, which sets a label, nor KEY-, which removes one"
        )),
    }
}

/// A host's name.
pub(crate) fn host_name(text: &str) -> Result<HostName, String> {
    HostName::parse(text).map_err(|error| error.to_string())
}

/// A name that is given now.
pub(crate) fn new_name(text: &str) -> Result<HostName, String> {
    HostName::parse_new(text).map_err(|error| error.to_string())
}

/// Which hosts: a name, or a glob.
pub(crate) fn host_glob(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
    if text.is_empty() || text.len() > MAX_HOST_NAME_BYTES || !text.chars().all(fits) {
        return Err("a name or glob has 1 to 253 of a-z, 0-9, '.', '_', '-', '*' and '?'".into());
    }
    Ok(text)
}

/// A label: `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match label_change(text) {
        Ok(LabelChange::Set(key, value)) => Ok((key, value)),
        Ok(LabelChange::Remove(_)) => Err(format!("{text:?} is not of the form key=value")),
        Err(error) => Err(error),
    }
}

/// How long a token or a silent host lasts: whole seconds, a minute to 366 days.
pub(crate) fn life(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if span.subsec_nanos() == 0 && (60..=366 * 86_400).contains(&span.as_secs()) {
        Ok(span)
    } else {
        Err("from 1m to 366d, in whole seconds".into())
    }
}

/// Why something is done, for the record.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() > MAX_VALUE_BYTES || text.chars().any(char::is_control) {
        return Err(format!("a reason is one line of at most {MAX_VALUE_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

/// What all identities of a fleet begin with.
pub(crate) fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| error.to_string())
}

/// A name or an address in a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerName {
    /// In lower case.
    Dns(String),
    /// IPv4 or IPv6.
    Address(IpAddr),
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A name or an address that a server is reached under.
pub(crate) fn server_name(text: &str) -> Result<ServerName, String> {
    let text = text.trim().to_ascii_lowercase();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ServerName::Address(address));
    }
    // Numbers and points that make no address are a slip; so is a port behind a name.
    let slip = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match rustls::pki_types::DnsName::try_from(text.as_str()) {
        Ok(_) if !slip => Ok(ServerName::Dns(text)),
        _ => Err("neither a DNS name nor an IP address; give it without port or https://".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_friendly() {
        for (text, millis) in
            [("10ms", 10), ("1s", 1_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000)]
        {
            assert_eq!(span(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "60", "-5m", "1mo", "soon"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn windows_and_intervals_have_limits() {
        assert_eq!(window("5m"), Ok(300));
        assert_eq!(window("1d"), Ok(86_400));
        assert!(window("500ms").is_err() && window("25h").is_err() && window("0s").is_err());
        assert_eq!(interval("10ms"), Ok(MIN_INTERVAL));
        assert!(interval("9ms").is_err() && interval("10500us").is_err());
    }

    #[test]
    fn instants_are_absolute_of_the_zone_or_some_time_ago() {
        let now: Timestamp = "2026-11-22T16:00:00Z".parse().unwrap();
        let berlin = zone("Europe/Berlin").unwrap();
        for (text, means) in [
            ("2026-11-22T12:00:00+02:00", "2026-11-22T10:00:00Z"),
            ("2026-11-22T12:00", "2026-11-22T11:00:00Z"),
            ("2026-11-22 12:00:30", "2026-11-22T11:00:30Z"),
            ("2026-11-22", "2026-11-21T23:00:00Z"),
            ("2h", "2026-11-22T14:00:00Z"),
            ("-30m", "2026-11-22T15:30:00Z"),
            ("30m ago", "2026-11-22T15:30:00Z"),
            ("now", "2026-11-22T16:00:00Z"),
        ] {
            let at = when(text).unwrap().resolve(now, &berlin).unwrap();
            assert_eq!(at, means.parse().unwrap(), "{text}");
        }
        assert!(when("yesterday").is_err());
        let ages = When::Ago(SignedDuration::from_hours(24 * 366 * 20_000));
        assert!(ages.resolve(now, &berlin).is_err());
    }

    #[test]
    fn zones_are_known_by_name() {
        assert_eq!(zone("UTC"), Ok(TimeZone::UTC));
        assert!(zone("Europe/Atlantis").is_err());
    }

    #[test]
    fn selectors_hold_all_conditions_and_refuse_contradictions() {
        let read = |texts: &[&str]| {
            Selector::merge(&texts.iter().map(|text| selector(text).unwrap()).collect::<Vec<_>>())
        };
        let labels = read(&["rack=a1,env=prod", "env=prod,note="]).unwrap();
        assert_eq!(labels["rack"], "a1");
        assert_eq!(labels["note"], "");
        assert_eq!(labels.len(), 3);
        assert!(read(&["env=prod", "env=test"]).is_err());
        for text in ["rack", "=x", "Rack=x", "a=b,"] {
            assert!(selector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_are_set_with_an_equals_sign_and_removed_with_a_minus_behind() {
        let set = |key: &str, value: &str| Ok(LabelChange::Set(key.to_owned(), value.to_owned()));
        assert_eq!(label_change("rack=a1"), set("rack", "a1"));
        assert_eq!(label_change("note="), set("note", ""));
        assert_eq!(label_change("a-b=c=d-"), set("a-b", "c=d-"));
        assert_eq!(label_change("rack-"), Ok(LabelChange::Remove("rack".to_owned())));
        assert_eq!(label_change("a-b-"), Ok(LabelChange::Remove("a-b".to_owned())));
        for text in ["rack", "-", "=x", "Rack=x", "Rack-", "a=b,c=d", &"x".repeat(64)] {
            assert!(label_change(text).is_err(), "{text}");
        }
        assert!(label_change(&format!("k={}", "v".repeat(256))).is_err());
    }

    #[test]
    fn a_new_name_is_no_path() {
        assert!(new_name("ann").is_ok() && host_name("..").is_ok());
        for text in ["..", ".ann", "ann.", "a..b", "-a"] {
            assert!(new_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn globs_spans_and_reasons_of_tokens_and_hosts_have_limits() {
        assert_eq!(host_glob(" Node-?.rack* "), Ok("node-?.rack*".to_owned()));
        for text in ["", " ", "node 1", "[a-z]", &"n".repeat(254)] {
            assert!(host_glob(text).is_err(), "{text}");
        }
        assert_eq!(life("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(life("366d"), Ok(Duration::from_secs(366 * 86_400)));
        for text in ["59s", "367d", "60500ms", "60", ""] {
            assert!(life(text).is_err(), "{text}");
        }
        assert_eq!(label("rack=a1"), Ok(("rack".to_owned(), "a1".to_owned())));
        assert!(label("rack-").is_err() && label("rack").is_err());
        assert_eq!(reason(" stolen "), Ok("stolen".to_owned()));
        assert!(reason("a\nb").is_err() && reason(&"x".repeat(256)).is_err());
    }

    #[test]
    fn servers_have_dns_names_and_addresses_without_ports() {
        assert_eq!(server_name("DB.Example.org"), Ok(ServerName::Dns("db.example.org".into())));
        assert_eq!(server_name("::1").unwrap().to_string(), "::1");
        assert_eq!(server_name("10.0.0.1"), Ok(ServerName::Address([10, 0, 0, 1].into())));
        for text in ["", "10.0.0", "db:7443", "https://db", "a_b c", "10.0.0.1:7443", "*"] {
            assert!(server_name(text).is_err(), "{text}");
        }
    }
}
