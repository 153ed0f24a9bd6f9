//! `rowcall status`: who is connected, when the last commit was.

mod json;

use std::collections::HashSet;
use std::time::Duration;

use anstyle::Style;
use jiff::Timestamp;
use rowcall_proto::v1;

use crate::cli::StatusArgs;
use crate::client::Client;
use crate::host;
use crate::summary::instant;
use crate::text::{self, BAD, Cell, Column, FAINT, GOOD, HEADING, ODD, Screen, Table};

/// A host that was silent for this many intervals deserves a look.
const SILENT_INTERVALS: u32 = 3;
/// Clocks that differ by more than this deserve a look.
const ODD_OFFSET_MS: u64 = 5_000;

/// Asks, and gives back what to print.
pub(crate) async fn run(args: &StatusArgs, client: &Client) -> anyhow::Result<String> {
    let selector = host::selector(&args.select, args.name.as_deref())?;
    let selected = !selector.labels.is_empty() || !selector.name_glob.is_empty();
    // Status answers from memory, which knows no labels; the list of hosts does.
    let names = if selector.labels.is_empty() {
        None
    } else {
        let hosts = host::all(client, selector.clone(), false).await?;
        Some(hosts.into_iter().map(|host| host.host_name).collect::<HashSet<String>>())
    };
    let hosts = v1::HostSelector { name_glob: selector.name_glob, ..Default::default() };
    let request = v1::StatusRequest { hosts: Some(hosts) };
    let answer = client.admin().status(request).await.map_err(|status| client.explain(&status))?;
    let mut answer = answer.into_inner();
    if let Some(names) = names {
        answer.connected.retain(|host| names.contains(&host.host_name));
    }
    if args.json {
        return json::render(&answer);
    }
    let screen = Screen::detect(args.tz.clone(), &|name| std::env::var(name).ok());
    Ok(render(&answer, selected, client.server(), &screen))
}

fn render(answer: &v1::StatusResponse, selected: bool, server: &str, screen: &Screen) -> String {
    let mut out = String::new();
    let now = instant(answer.now.as_ref()).unwrap_or_default();
    let version = text::clean(&answer.aggregator_version);
    let up =
        instant(answer.started_at.as_ref()).map_or_else(|| "?".to_owned(), |at| since(at, now));
    let name = text::paint(HEADING, &format!("rowcall-aggregator {version}"));
    text::line(&mut out, &format!("{name} at {server}, up {up}"));

    let mut fact = |name: &str, style: Style, value: &str| {
        let name = text::paint(FAINT, &format!("{name:<12}"));
        text::line(&mut out, &format!("  {name} {}", text::paint(style, value)));
    };
    match instant(answer.last_commit_at.as_ref()) {
        Some(at) => {
            let words = format!("{} ({})", text::age(at, now), text::timestamp(at, &screen.zone));
            fact("last commit", Style::new(), &words);
        }
        None => fact("last commit", ODD, "none since the aggregator started"),
    }
    match answer.database_error.as_str() {
        "" => fact("database", GOOD, "takes writes"),
        error => fact("database", BAD, &format!("takes no writes: {}", text::clean(error))),
    }
    let mut samples = format!("{} committed", text::count(answer.committed_samples));
    samples.push_str(&format!(", {} sent again", text::count(answer.duplicate_samples)));
    let style = if answer.quarantined_samples > 0 { ODD } else { Style::new() };
    samples.push_str(&format!(", {} put aside", text::count(answer.quarantined_samples)));
    fact("samples", style, &samples);
    let listed = u64::try_from(answer.connected.len()).unwrap_or(u64::MAX);
    let whose = if selected { " of those selected" } else { "" };
    let mut hosts = format!("{} connected{whose}", text::count(listed));
    if answer.disconnected_hosts > 0 {
        hosts.push_str(&format!("; {} gone since the start", answer.disconnected_hosts));
    }
    fact("hosts", if answer.disconnected_hosts > 0 { ODD } else { Style::new() }, &hosts);
    if !answer.connected.is_empty() {
        out.push('\n');
        connected(&answer.connected, now).write(&mut out);
    }
    out
}

fn connected(hosts: &[v1::ConnectedHost], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::left("HOST"),
        Column::right("CONNECTED"),
        Column::right("LAST SAMPLE"),
        Column::right("EVERY"),
        Column::right("WAITING"),
        Column::right("CLOCK"),
        Column::left("FROM"),
    ]);
    for host in hosts {
        let every = Duration::from_millis(host.interval_ms.into());
        let off = host.clock_offset_ms.unsigned_abs() > ODD_OFFSET_MS;
        let clock = offset(host.clock_offset_ms);
        let waiting = host.spool.as_ref().map_or_else(|| "-".to_owned(), waiting);
        let connected = instant(host.connected_at.as_ref());
        table.row([
            text::clean(&host.host_name).into(),
            connected.map_or_else(|| "?".to_owned(), |at| since(at, now)).into(),
            last_sample(host, every, now),
            text::span(every).into(),
            waiting.into(),
            Cell::styled(if off { ODD } else { Style::new() }, &clock),
            text::clean(&host.peer_address).into(),
        ]);
    }
    table
}

/// Records that wait besides the one that brought this news: it was not acknowledged yet when the
/// agent told.
fn waiting(spool: &v1::SpoolStatus) -> String {
    text::count(spool.unacknowledged_records.saturating_sub(1))
}

/// A difference of clocks: in milliseconds where it is small, else as a span.
fn offset(millis: i64) -> String {
    if millis.unsigned_abs() < 10_000 {
        return format!("{millis:+} ms");
    }
    let sign = if millis < 0 { '-' } else { '+' };
    format!("{sign}{}", text::span(Duration::from_secs(millis.unsigned_abs() / 1_000)))
}

fn last_sample(host: &v1::ConnectedHost, every: Duration, now: Timestamp) -> Cell {
    let Some(at) = instant(host.last_sample_at.as_ref()) else {
        return Cell::styled(FAINT, "none yet");
    };
    let silent = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let late = silent > every.saturating_mul(SILENT_INTERVALS).max(Duration::from_secs(10));
    Cell::styled(if late { BAD } else { Style::new() }, &text::age(at, now))
}

fn since(then: Timestamp, now: Timestamp) -> String {
    let seconds = u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0);
    text::span(Duration::from_secs(seconds)).replace("0 ms", "0 s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{plain, screen};

    fn at(text: &str) -> Option<prost_types::Timestamp> {
        let at: Timestamp = text.parse().unwrap();
        Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
    }

    fn answer() -> v1::StatusResponse {
        let host = v1::ConnectedHost {
            host_name: "node1.example.org".to_owned(),
            connected_at: at("2026-11-22T14:00:00Z"),
            last_heard_at: at("2026-11-22T15:59:58Z"),
            last_sample_at: at("2026-11-22T15:59:57Z"),
            agent_version: "0.1.0".to_owned(),
            interval_ms: 60_000,
            spool: Some(v1::SpoolStatus { unacknowledged_records: 1, ..Default::default() }),
            clock_offset_ms: -3,
            peer_address: "10.0.0.1:40000".to_owned(),
        };
        let newcomer = v1::ConnectedHost {
            host_name: "node2\x1b[31m".to_owned(),
            connected_at: at("2026-11-22T16:00:00Z"),
            last_sample_at: None,
            spool: None,
            clock_offset_ms: 90_000,
            interval_ms: 10,
            ..host.clone()
        };
        v1::StatusResponse {
            aggregator_version: "0.1.0".to_owned(),
            started_at: at("2026-11-22T13:57:00Z"),
            now: at("2026-11-22T16:00:00Z"),
            last_commit_at: at("2026-11-22T15:59:58Z"),
            committed_samples: 1_234,
            duplicate_samples: 0,
            quarantined_samples: 0,
            database_error: String::new(),
            connected: vec![host, newcomer],
            disconnected_hosts: 1,
        }
    }

    #[test]
    fn status_shows_the_commit_the_counters_and_each_host() {
        assert_eq!(
            plain(&render(&answer(), false, "127.0.0.1:7443", &screen())),
            "\
rowcall-aggregator 0.1.0 at 127.0.0.1:7443, up 2 h 3 min
  last commit  2 s ago (2026-11-22T15:59:58Z)
  database     takes writes
  samples      1,234 committed, 0 sent again, 0 put aside
  hosts        2 connected; 1 gone since the start

  HOST               CONNECTED  LAST SAMPLE  EVERY  WAITING        CLOCK  FROM
  node1.example.org        2 h      3 s ago  1 min        0        -3 ms  10.0.0.1:40000
  node2?[31m               0 s     none yet  10 ms        -  +1 min 30 s  10.0.0.1:40000
"
        );
    }

    #[test]
    fn a_database_that_is_down_and_an_empty_fleet_are_said() {
        let answer = v1::StatusResponse {
            database_error: "connection refused\nfor good".to_owned(),
            last_commit_at: None,
            connected: Vec::new(),
            ..answer()
        };
        let text = plain(&render(&answer, true, "h:1", &screen()));
        assert!(text.contains("takes no writes: connection refused?for good\n"), "{text}");
        assert!(text.contains("none since the aggregator started"), "{text}");
        assert!(text.contains("0 connected of those selected") && !text.contains("HOST"), "{text}");
    }

    #[test]
    fn json_has_the_contracts_names() {
        let text = json::render(&answer()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["committed_samples"], 1_234);
        assert_eq!(value["connected"][0]["last_sample_at"], "2026-11-22T15:59:57Z");
        assert_eq!(value["connected"][0]["spool"]["unacknowledged_records"], 1);
        assert!(value["connected"][1]["last_sample_at"].is_null());
    }
}
