//! Every setting: its key, its default, and what it means to people.

/// Before a setting's name in the environment.
const PREFIX: &str = "ROWCALL_";

/// One setting. Its key stands in the file; the variable and the flag are made from it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As in the file: `min_interval`.
    pub key: &'static str,
    /// As it would be written; none: it must be given, or is left out.
    pub default: Option<&'static str>,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What it means, with its bounds.
    pub help: &'static str,
}

const fn setting(
    key: &'static str,
    default: Option<&'static str>,
    value_name: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, default, value_name, help }
}

/// Every setting, in the order in which it is shown.
pub const SETTINGS: [Setting; 37] = [
    setting(
        "aggregator",
        None,
        "URL",
        "Where the aggregator listens, https://HOST:7443; several with commas, tried in this order; an enrolled node was told",
    ),
    setting(
        "server_name",
        None,
        "NAME",
        "Name expected in the aggregator's certificate instead of its host",
    ),
    setting(
        "identity_dir",
        Some("/var/lib/rowcall-agent/identity"),
        "DIR",
        "Folder of what enrolment gives: certificate, key and authorities, renewed there",
    ),
    setting(
        "enroll_server",
        None,
        "HOST:PORT",
        "Where to enrol at the start while there is no identity, and to renew one that expired; several with commas",
    ),
    setting(
        "token_file",
        None,
        "FILE",
        "Holds the token for that; read anew at each try, and not needed any more afterwards",
    ),
    setting(
        "ca",
        None,
        "FILE",
        "Own certificates: authorities that may have issued the aggregator's, PEM; goes with certificate and key",
    ),
    setting("certificate", None, "FILE", "Own certificates: this agent's, PEM"),
    setting(
        "key",
        None,
        "FILE",
        "Own certificates: its private key, PEM, for the agent's user alone",
    ),
    setting(
        "min_interval",
        Some("1s"),
        "DURATION",
        "Shortest time between samples, whatever an aggregator says, 10ms to 1d",
    ),
    setting(
        "align",
        Some("false"),
        "BOOL",
        "Sample at whole intervals instead of spread by the host's name",
    ),
    setting(
        "profile",
        Some("default"),
        "NAME",
        "What is read: classic (the classic columns alone), default (vitals with each sample, devices every 5 minutes) or full (devices with each sample); the settings below override it one by one",
    ),
    setting(
        "device_interval",
        None,
        "DURATION",
        "Shortest time between readings of devices, 1s to 1d; 0s with each sample, off never; by profile off, 5m or 0s",
    ),
    setting(
        "peak_interval",
        Some("10s"),
        "DURATION",
        "Time between the readings that peaks within a sample's time come from, 50ms to 1h",
    ),
    setting(
        "collectors_off",
        None,
        "NAMES",
        "What is not read, with commas: vitals, disks, interfaces, md_arrays, memory_controllers, cgroups, processes, metrics, sensors, filesystems",
    ),
    setting(
        "mounts_include",
        None,
        "PATTERNS",
        "Only filesystems mounted at these, with commas; * stands for any characters, ? for one",
    ),
    setting("mounts_exclude", None, "PATTERNS", "No filesystems mounted at these"),
    setting("disks_include", None, "PATTERNS", "Only disks of these names"),
    setting("disks_exclude", None, "PATTERNS", "No disks of these names"),
    setting("interfaces_include", None, "PATTERNS", "Only network interfaces of these names"),
    setting("interfaces_exclude", None, "PATTERNS", "No network interfaces of these names"),
    setting(
        "network_mounts",
        Some("false"),
        "BOOL",
        "Read filesystems that are reached over a network too, which may hang",
    ),
    setting(
        "top_processes",
        None,
        "NUMBER",
        "How many processes by each of CPU, memory and I/O, 0 to 50; by profile 5, 5 or 10",
    ),
    setting(
        "process_arguments",
        Some("false"),
        "BOOL",
        "Tell processes' arguments too, which may hold secrets, not only their names",
    ),
    setting(
        "metrics_dir",
        None,
        "DIR",
        "Folder whose *.prom files (node_exporter's textfile format) become rows of host_metric",
    ),
    setting("max_metrics", Some("500"), "NUMBER", "Most values from there, 0 to 4096"),
    setting(
        "collect_deadline",
        Some("2s"),
        "DURATION",
        "Longest wait for a reading of devices, 100ms to 30s; what has not answered then is skipped",
    ),
    setting(
        "spool_dir",
        Some("/var/lib/rowcall-agent/spool"),
        "DIR",
        "Folder of what waits or is kept for a refill, on a disk of this machine",
    ),
    setting(
        "spool_max_bytes",
        Some("64MiB"),
        "SIZE",
        "Most that it takes there, 1MiB to 64GiB; then the oldest goes first",
    ),
    setting(
        "spool_max_age",
        Some("7d"),
        "DURATION",
        "Longest that anything is kept there, 1h to 366d",
    ),
    setting(
        "backoff_min",
        Some("1s"),
        "DURATION",
        "Longest wait before the first new try, 10ms to 1d",
    ),
    setting("backoff_max", Some("2m"), "DURATION", "Longest wait before any later one, 10ms to 1d"),
    setting(
        "refused_wait",
        Some("5m"),
        "DURATION",
        "Longest wait after the aggregator refused this agent, the shortest is a fifth; 1s to 1d",
    ),
    setting(
        "ack_timeout",
        Some("90s"),
        "DURATION",
        "End a stream when data is in flight and nothing was heard for this long, 1s to 1h",
    ),
    setting(
        "stop_wait",
        Some("5s"),
        "DURATION",
        "On a stop, longest wait for outstanding acknowledgements, at most 5m",
    ),
    setting(
        "metrics_listen",
        Some("off"),
        "ADDRESS",
        "Serve /metrics for Prometheus at this loopback address, for example 127.0.0.1:7446",
    ),
    setting("log_format", Some("text"), "FORMAT", "text or json"),
    setting(
        "log_level",
        Some("info"),
        "FILTER",
        "error, warn, info, debug, trace, or per module as in info,rowcall_agent=debug",
    ),
];

impl Setting {
    /// The one with this key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Whether a list may stand in the file.
    pub(super) fn takes_several(&self) -> bool {
        matches!(self.value_name, "URL" | "HOST:PORT" | "NAMES" | "PATTERNS")
    }

    /// Its variable in the environment, `ROWCALL_MIN_INTERVAL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_ascii_uppercase())
    }

    /// Its flag without the dashes before it, `min-interval`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

/// The key that somebody who wrote this probably meant.
pub(super) fn meant(written: &str) -> Option<&'static str> {
    // A long text is no slip of a known key, and the comparison costs its length.
    if written.len() > 64 {
        return None;
    }
    let written = written.to_ascii_lowercase().replace('-', "_");
    let near = |key: &'static str| {
        let slips = slips(&written, key);
        let is_part = key.split('_').any(|part| part.len() > 3 && part == written);
        (slips <= key.len() / 3 || is_part).then_some((slips, key))
    };
    SETTINGS.iter().filter_map(|setting| near(setting.key)).min().map(|(_, key)| key)
}

/// How many letters have to be put in, left out or changed to make one text of the other.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, here) in row.iter_mut().skip(1).zip(&other) {
            let changed = diagonal + usize::from(letter != *here);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (one, other, count) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(slips(one, other), count, "{one} {other}");
        }
    }

    #[test]
    fn what_was_meant_is_found_and_nothing_far_from_it() {
        for (written, key) in [
            ("agregator", Some("aggregator")),
            ("min-interval", Some("min_interval")),
            ("interval", Some("min_interval")),
            ("cert", None),
            ("certficate", Some("certificate")),
            ("KEY", Some("key")),
            ("loglevel", Some("log_level")),
            ("database", None),
            ("", None),
        ] {
            assert_eq!(meant(written), key, "{written}");
        }
        assert_eq!(meant(&"x".repeat(1 << 20)), None);
    }
}
