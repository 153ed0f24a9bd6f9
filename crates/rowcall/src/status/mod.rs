//! `rowcall status`: who is connected, when the last commit was.

mod certificates;
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
        answer.gone.retain(|host| names.contains(&host.host_name));
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
    for (style, words) in certificates::facts(answer, now) {
        fact("certificates", style, &words);
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
        let gone = text::count(answer.disconnected_hosts.into());
        hosts.push_str(&format!("; {gone} gone since the start"));
    }
    fact("hosts", if answer.disconnected_hosts > 0 { ODD } else { Style::new() }, &hosts);
    if !answer.connected.is_empty() {
        out.push('\n');
        connected(&answer.connected, now).write(&mut out);
        spools(&mut out, &answer.connected, screen);
    }
    if !answer.gone.is_empty() {
        out.push('\n');
        gone(&answer.gone, now, screen).write(&mut out);
        let listed = u32::try_from(answer.gone.len()).unwrap_or(u32::MAX);
        if !selected && answer.disconnected_hosts > listed {
            let more = u64::from(answer.disconnected_hosts - listed);
            let words = format!("{} more; --name shows some.", text::count(more));
            text::paragraph(&mut out, screen, ODD, &words);
        }
    }
    out
}

/// What agents tell of their spools where something is wrong.
fn spools(out: &mut String, hosts: &[v1::ConnectedHost], screen: &Screen) {
    let mut lines = String::new();
    for host in hosts {
        let Some(spool) = &host.spool else { continue };
        let damaged = match spool.damaged_records {
            0 => None,
            number => Some(format!("{} found damaged", text::plural(number, "record"))),
        };
        let dropped = match spool.dropped_records {
            0 => None,
            number => Some(format!("{} dropped unacknowledged", text::plural(number, "record"))),
        };
        let wrong: Vec<String> = fault(spool.fault())
            .map(ToOwned::to_owned)
            .into_iter()
            .chain(dropped)
            .chain(damaged)
            .collect();
        if !wrong.is_empty() {
            let style = if spool.fault == 0 { ODD } else { BAD };
            let name = text::clean(&host.host_name);
            text::paragraph(&mut lines, screen, style, &format!("{name}: {}", wrong.join("; ")));
        }
    }
    if !lines.is_empty() {
        text::heading(out, "SPOOLS", "where something is wrong");
        out.push_str(&lines);
    }
}

/// What is wrong with a spool, in words.
fn fault(fault: v1::SpoolFault) -> Option<&'static str> {
    match fault {
        v1::SpoolFault::Unspecified => None,
        v1::SpoolFault::NotDurable => {
            Some("its spool lies in memory or on a network, and would not survive a crash")
        }
        v1::SpoolFault::NoSpace => Some("no room on the disk of its spool"),
        v1::SpoolFault::Io => Some("its spool cannot be written"),
    }
}

/// Hosts that were there since the aggregator started, and are not now.
fn gone(hosts: &[v1::GoneHost], now: Timestamp, screen: &Screen) -> Table {
    let mut table =
        Table::new([Column::left("GONE"), Column::right("LAST HEARD"), Column::left("AT")]);
    for host in hosts {
        let heard = instant(host.last_heard_at.as_ref());
        table.row([
            Cell::styled(ODD, &text::clean(&host.host_name)),
            heard.map_or_else(|| "?".to_owned(), |at| text::age(at, now)).into(),
            heard.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone)).into(),
        ]);
    }
    table
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
            gone: vec![v1::GoneHost {
                host_name: "node3".to_owned(),
                last_heard_at: at("2026-11-22T15:30:00Z"),
            }],
            ..v1::StatusResponse::default()
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

  GONE   LAST HEARD  AT
  node3  30 min ago  2026-11-22T15:30:00Z
"
        );
    }

    #[test]
    fn what_certificates_the_aggregator_has_is_said_and_what_is_wrong_with_them() {
        let good = v1::StatusResponse {
            certificate_expires_at: at("2027-11-22T16:00:00Z"),
            client_ca_expires_at: at("2036-11-22T16:00:00Z"),
            issues_certificates: true,
            ..answer()
        };
        let text = plain(&render(&good, false, "h:1", &screen()));
        let line = "  certificates issues; the server's ends in 365 d, the client authority's ends in 3653 d\n";
        assert!(text.contains(line), "{text}");
        let bad = v1::StatusResponse {
            certificate_error: "server.pem: no PEM\nx".to_owned(),
            certificate_expires_at: at("2026-11-22T15:00:00Z"),
            client_ca_expires_at: None,
            issues_certificates: false,
            ..good
        };
        let text = plain(&render(&bad, false, "h:1", &screen()));
        for line in [
            "certificates server.pem: no PEM?x; what was in use before stays in use\n",
            "certificates issues none; the server's ended 1 h ago\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let value: serde_json::Value = serde_json::from_str(&json::render(&bad).unwrap()).unwrap();
        assert_eq!(value["certificate_expires_at"], "2026-11-22T15:00:00Z");
        assert_eq!(value["issues_certificates"], false);
    }

    #[test]
    fn what_is_wrong_with_a_spool_is_said_under_the_hosts() {
        let mut answer = answer();
        answer.gone.clear();
        let spool = answer.connected[0].spool.as_mut().unwrap();
        spool.fault = v1::SpoolFault::NoSpace.into();
        spool.dropped_records = 1_200;
        let damaged = v1::SpoolStatus { damaged_records: 1, ..Default::default() };
        answer.connected[1].spool = Some(damaged);
        let text = plain(&render(&answer, false, "h:1", &screen()));
        let end = "
SPOOLS  where something is wrong
  node1.example.org: no room on the disk of its spool; 1,200 records dropped
  unacknowledged
  node2?[31m: 1 record found damaged
";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn of_many_hosts_that_are_gone_the_rest_is_counted() {
        let answer = v1::StatusResponse { disconnected_hosts: 1_500, ..answer() };
        let text = plain(&render(&answer, false, "h:1", &screen()));
        assert!(text.contains("2 connected; 1,500 gone since the start\n"), "{text}");
        assert!(text.ends_with("  1,499 more; --name shows some.\n"), "{text}");
        let text = plain(&render(&answer, true, "h:1", &screen()));
        assert!(!text.contains(" more;"), "{text}");
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
        assert_eq!(value["gone"][0]["host_name"], "node3");
        assert!(value["connected"][0]["spool"]["fault"].is_null());
    }
}
