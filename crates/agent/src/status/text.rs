//! For people: one thing a line, what it is called in front.

use std::fmt::Write as _;
use std::time::Duration;

use rowcall_core::id::UnixMicros;

use super::{Certificate, Enrolled, Report, Spool};
use crate::sampler::in_words as skipped_in_words;
use crate::spool::in_words;
use crate::utc::Utc;

/// Width of what stands in front.
const NAMES: usize = 14;

pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _done = writeln!(text, "{name:NAMES$}{value}");
    };
    let spool = report.spool.as_ref();
    line(
        "agent",
        &match spool.map(|spool| spool.as_ref().and_then(|spool| spool.pid)) {
            Ok(Some(pid)) => {
                let whom = report.other_host().map(|host| format!(" as {host}"));
                format!("runs{}, pid {pid}", whom.unwrap_or_default())
            }
            Ok(None) if report.told.enrolment.is_some() => {
                "waits to be enrolled, or does not run".to_owned()
            }
            Ok(None) => "does not run".to_owned(),
            Err(_) => "unknown, since its spool cannot be read".to_owned(),
        },
    );
    match &report.certificate {
        Ok(certificate) => {
            line("host", &certificate.host);
            let ends = certificate.not_after;
            let when = match between(report.now, ends) {
                Some(left) => format!("expires {}, in {left}", Utc(ends)),
                None => {
                    let past = between(ends, report.now).unwrap_or_default();
                    format!("EXPIRED {}, {past} ago: issue a new one", Utc(ends))
                }
            };
            let path = certificate.path.display();
            let role = match certificate.role {
                "agent" => String::new(),
                role => format!("of role {role}, not agent; "),
            };
            line("certificate", &format!("{role}{when} ({path})"));
            line("identity", &identity(certificate, report.now));
        }
        Err(error) => line("certificate", error),
    }
    let told = &report.told;
    for (name, note) in [
        ("not enrolled", &told.enrolment),
        ("not renewed", &told.renewal),
        ("refused", &told.refused),
    ] {
        if let Some(note) = note {
            line(name, &format!("since {}: {}", Utc(note.at), note.text));
        }
    }
    line(
        "aggregators",
        &match report.aggregators.as_slice() {
            [] => "none known yet".to_owned(),
            known => known.join(", "),
        },
    );
    line("spool", &report.spool_dir.display().to_string());
    if let Some(other) = report.other_host() {
        let dir = report.spool_dir.display();
        line(
            "",
            &format!(
                "holds records of {other}: to go on as the host above, stop the agent, move {dir} \
                 away, start it"
            ),
        );
    }
    match spool {
        Ok(Some(spool)) => held(spool, report, &mut line),
        Ok(None) => line("", "empty: no agent has run on it yet"),
        Err(error) => line("", error),
    }
    if let Some(devices) = &report.devices {
        let when = match between(devices.at, report.now) {
            Some(past) => format!("{past} ago"),
            None => format!("at {} by a clock that was set since", Utc(devices.at)),
        };
        line("devices", &format!("read {when}"));
        if !devices.skipped.is_empty() {
            line("skipped", &skipped_in_words(&devices.skipped));
        }
    }
    if report.leaves_devices_out() {
        line("left out", "devices, while samples wait that need the rest of the spool");
    }
    text
}

/// Where the certificate comes from, and what becomes of it.
fn identity(certificate: &Certificate, now: UnixMicros) -> String {
    let Some(Enrolled { servers, issued_at, renew_at }) = &certificate.enrolled else {
        return "files of your own: renew them yourself".to_owned();
    };
    let renewal = match between(now, *renew_at) {
        Some(left) => format!("to be renewed in {left}"),
        None => "due to be renewed".to_owned(),
    };
    let servers = servers.join(", ");
    format!("enrolled at {servers}, this certificate issued {}, {renewal}", Utc(*issued_at))
}

fn held(spool: &Spool, report: &Report, line: &mut impl FnMut(&str, &str)) {
    let status = &spool.status;
    line("epoch", &format!("{}, {}", status.epoch, status.origin.as_str().replace('_', " ")));
    let (oldest, next) = (status.oldest.as_u64(), status.next.as_u64());
    line(
        "records",
        &match next - oldest.min(next) {
            0 => format!("none; the next is {next}"),
            1 => format!("{oldest}"),
            _ => format!("{oldest} to {}", next - 1),
        },
    );
    let limit = bytes(report.spool_max_bytes);
    line("size", &format!("{} of {limit}", bytes(status.size_bytes)));
    let waiting = status.unacknowledged_records;
    line(
        "waiting",
        &match status.oldest_unacknowledged_age {
            Some(age) if waiting > 0 => {
                format!("{waiting} not acknowledged, the oldest {} old", span(age))
            }
            _ => format!("{waiting} not acknowledged"),
        },
    );
    line(
        "acknowledged",
        &match status.acknowledged {
            None => "nothing yet".to_owned(),
            Some((through, at)) => match between(at, report.now) {
                Some(past) => format!("up to {through}, {past} ago ({})", Utc(at)),
                None => format!("up to {through}, at {} by a clock that was set since", Utc(at)),
            },
        },
    );
    line("dropped", &status.dropped_records.to_string());
    line("damaged", &status.damaged_records.to_string());
    if status.write_failures > 0 {
        line("not written", &format!("{} times", status.write_failures));
    }
    line("fault", status.fault.map_or("none", in_words));
}

/// The time from one instant to a later one.
fn between(earlier: UnixMicros, later: UnixMicros) -> Option<String> {
    u64::try_from(later.since(earlier)).ok().map(|us| span(Duration::from_micros(us)))
}

/// A time in its two largest units.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60)];
    let all = units.into_iter().chain([("s", seconds % 60)]);
    let largest = all.skip_while(|(_, number)| *number == 0).take(2);
    let parts: Vec<_> = largest
        .filter(|(_, number)| *number > 0)
        .map(|(unit, number)| format!("{number} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A size with one decimal, rounded down; bytes have none.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut unit = 1;
    for name in ["B", "KiB", "MiB", "GiB"] {
        if bytes / unit < 1024 || name == "GiB" {
            let tenths = bytes % unit * 10 / unit;
            let decimal = if unit == 1 { String::new() } else { format!(".{tenths}") };
            return format!("{}{decimal} {name}", bytes / unit);
        }
        unit *= 1024;
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3725, "1 h 2 min"),
            (86_400, "1 d"),
            (86_405, "1 d"),
            (700_000, "8 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn sizes_have_one_decimal_and_bytes_none() {
        for (size, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_300_000, "1.2 MiB"),
            (64 << 20, "64.0 MiB"),
            (5 << 40, "5120.0 GiB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }
}
