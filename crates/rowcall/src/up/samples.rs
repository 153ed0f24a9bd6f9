//! One line per committed sample.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_aggregator::CommittedSample;
use rowcall_core::id::HostName;
use rowcall_core::record::{Body, Sample};

use crate::text::{self, FAINT};

/// The columns after time and host: title and width.
const COLUMNS: [(&str, usize); 6] =
    [("CPU IDLE", 8), ("KERNEL", 8), ("MEM FREE", 10), ("DISK I/O", 9), ("DISK FREE", 10), ("", 0)];

/// Longest host name, in characters, that the columns after it make room for.
const MAX_HOST: usize = 48;

/// Titles and lines of one width, until a host with a longer name comes.
#[derive(Debug)]
pub(super) struct Samples {
    host_width: usize,
    /// Show milliseconds: samples come more than once a second.
    fine: bool,
    zone: TimeZone,
    time_width: usize,
}

impl Samples {
    /// For samples of this host, and of others that may join.
    pub(super) fn new(host: &HostName, interval: Duration, zone: TimeZone) -> Self {
        let fine = interval < Duration::from_secs(1);
        let mut table = Self { host_width: host.as_str().len().max(4), fine, zone, time_width: 0 };
        table.time_width = table.time(Timestamp::UNIX_EPOCH).len();
        table
    }

    fn time(&self, at: Timestamp) -> String {
        let show = if self.fine { text::milliseconds } else { text::timestamp };
        show(at, &self.zone)
    }

    /// The titles' line.
    pub(super) fn titles(&self) -> String {
        let (time, host) = (self.time_width, self.host_width);
        let columns: String =
            COLUMNS.iter().map(|(title, width)| format!("  {title:>width$}")).collect();
        let line = format!("{:<time$}  {:<host$}{columns}", "TIME", "HOST");
        format!("{}\n", text::paint(FAINT, line.trim_end()))
    }

    /// A sample's line, under new titles where its host's name moves the columns; nothing for other
    /// records.
    pub(super) fn line(&mut self, committed: &CommittedSample) -> String {
        let Body::Sample(sample) = &committed.record.body else { return String::new() };
        let mut out = String::new();
        let needed = committed.host_name.as_str().len().min(MAX_HOST);
        if needed > self.host_width {
            self.host_width = needed;
            out = self.titles();
        }
        let at = Timestamp::from_microsecond(committed.record.time.0).unwrap_or(Timestamp::MIN);
        let (at, width) = (self.time(at), self.host_width);
        let cells: String = values(sample)
            .iter()
            .zip(COLUMNS)
            .map(|(value, (_, width))| format!("  {value:>width$}"))
            .collect();
        let (host, time) = (committed.host_name.as_str(), self.time_width);
        text::line(&mut out, &format!("{at:<time$}  {host:<width$}{cells}"));
        out
    }

    /// What was left out because the terminal is slow.
    pub(super) fn lagged(&self, number: u64) -> String {
        let words = format!("({} more not shown)", text::plural(number, "sample"));
        format!("{}\n", text::paint(FAINT, &words))
    }
}

fn values(sample: &Sample) -> [String; 5] {
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "-".into(), |value| format!("{} %", text::decimal(value, 1)))
    };
    let size = |kib: Option<i64>| {
        kib.and_then(|kib| u64::try_from(kib).ok()).map_or_else(|| "-".into(), text::kib)
    };
    let io = sample.disk_io.and_then(|number| u64::try_from(number).ok());
    [
        percent(sample.cpu_idle_percent),
        percent(sample.cpu_kernel_percent),
        size(sample.memory_free_kib),
        io.map_or_else(|| "-".into(), text::count),
        size(sample.disk_available_kib),
    ]
}

#[cfg(test)]
mod tests {
    use rowcall_core::id::{Sequence, UnixMicros};
    use rowcall_core::record::Record;

    use super::*;
    use crate::text::tests::plain;

    fn committed(sample: Sample) -> CommittedSample {
        of("node1", sample)
    }

    fn of(host: &str, sample: Sample) -> CommittedSample {
        CommittedSample {
            host_name: HostName::parse(host).unwrap(),
            record: Record {
                due_ticks: 0,
                sequence: Sequence::FIRST,
                time: UnixMicros(1_795_365_212_345_678),
                body: Body::Sample(sample),
            },
        }
    }

    #[test]
    fn lines_stand_under_their_titles() {
        let mut table = Samples::new(
            &HostName::parse("node1").unwrap(),
            Duration::from_secs(60),
            TimeZone::UTC,
        );
        let sample = Sample {
            memory_free_kib: Some(8_026_000),
            cpu_idle_percent: Some(100.0),
            cpu_kernel_percent: Some(0.04),
            disk_io: Some(1_234_567),
            disk_available_kib: Some(40 * 1024 * 1024),
            ..Sample::default()
        };
        let text = [table.titles(), table.line(&committed(sample))].concat();
        let text = [text, table.line(&committed(Sample::default()))].concat();
        assert_eq!(
            plain(&text),
            "\
TIME                  HOST   CPU IDLE    KERNEL    MEM FREE   DISK I/O   DISK FREE
2026-11-22T16:33:32Z  node1   100.0 %     0.0 %     7.7 GiB  1,234,567    40.0 GiB
2026-11-22T16:33:32Z  node1         -         -           -          -           -
"
        );
    }

    #[test]
    fn a_host_with_a_longer_name_moves_the_columns_of_all() {
        let mut table =
            Samples::new(&HostName::parse("vm").unwrap(), Duration::from_secs(60), TimeZone::UTC);
        let hosts = ["vm", "node3.example.com", "vm"];
        let lines = hosts.map(|host| table.line(&of(host, Sample::default())));
        let text = plain(&[vec![table.titles()], lines.to_vec()].concat().concat());
        let text: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
        assert_eq!(
            text,
            "\
2026-11-22T16:33:32Z  vm           -         -           -          -           -
TIME                  HOST               CPU IDLE    KERNEL    MEM FREE   DISK I/O   DISK FREE
2026-11-22T16:33:32Z  node3.example.com         -         -           -          -           -
2026-11-22T16:33:32Z  vm                        -         -           -          -           -
"
        );
        // One long name is no reason to leave no room for the rest.
        let long = table.line(&of(&"n".repeat(200), Sample::default()));
        assert!(plain(&long).contains(&format!("{}  ", "n".repeat(200))), "{long}");
        assert!(plain(&table.line(&of("vm", Sample::default()))).len() < 140);
    }

    #[test]
    fn short_intervals_show_milliseconds_and_zones_their_offset() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut table =
            Samples::new(&HostName::parse("node1").unwrap(), Duration::from_millis(10), zone);
        let line = table.line(&committed(Sample::default()));
        assert!(line.starts_with("2026-11-22T17:33:32.345+01:00  node1"), "{line}");
    }
}
