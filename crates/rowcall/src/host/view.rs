//! Hosts as text.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rowcall_proto::v1;

use super::facts::{self, NAME};
use crate::summary::instant;
use crate::text::{self, BAD, Cell, Column, FAINT, HEADING, ODD, Screen, Table};

/// Fewest characters of the labels that say anything.
const MIN_LABELS: usize = 20;

/// What a selection without hosts says.
pub(super) const NO_MATCH: &str = "No host matches --select and --name.";

/// A table of hosts.
pub(super) fn list(hosts: &[v1::Host], selected: bool, screen: &Screen) -> String {
    let mut out = String::new();
    if hosts.is_empty() {
        let words = if selected {
            NO_MATCH
        } else {
            "No host: none has joined yet (`rowcall token create` makes what a node joins with), or \
             all are retired, which --retired shows."
        };
        text::paragraph(&mut out, screen, FAINT, words);
        return out;
    }
    let any_retired = hosts.iter().any(|host| host.retired_at.is_some());
    let any_revoked = hosts.iter().any(|host| host.revoked_at.is_some());
    let out_since = any_retired.then(|| Column::left("RETIRED"));
    let refused = any_revoked.then(|| Column::left("REVOKED"));
    let columns = || {
        let first = [
            Column::left("HOST"),
            Column::right("CPUS"),
            Column::right("MEMORY"),
            Column::left("AGENT"),
            Column::left("LAST SAMPLE"),
        ];
        first.into_iter().chain(out_since.clone()).chain(refused.clone())
    };
    let cells = |host: &v1::Host| -> Vec<Cell> {
        let info = host.host_info.as_ref();
        let last = instant(host.last_sample_at.as_ref());
        let mut cells: Vec<Cell> = vec![
            text::clean(&host.host_name).into(),
            known(info.and_then(|info| info.cpu_number).map(|n| text::count(n.into()))).into(),
            known(info.and_then(|info| info.total_mem_kib).map(text::kib)).into(),
            known(Some(text::cut(&text::clean(&host.agent_version), 16))).into(),
            last.map_or_else(
                || Cell::styled(BAD, "never"),
                |at| text::timestamp(at, &screen.zone).into(),
            ),
        ];
        let shown = [(any_retired, &host.retired_at, ODD), (any_revoked, &host.revoked_at, BAD)];
        for (_, at, style) in shown.into_iter().filter(|(any, ..)| *any) {
            // The day says enough, and leaves room for the labels.
            let at = instant(at.as_ref());
            let day = at.map(|at| text::timestamp(at, &screen.zone).chars().take(10).collect());
            cells.push(day.map_or_else(|| "-".into(), |day: String| Cell::styled(style, &day)));
        }
        cells
    };
    let mut fixed = Table::new(columns());
    for host in hosts {
        fixed.row(cells(host));
    }
    let room = fixed.room(screen.width).max(MIN_LABELS);
    let mut table = Table::new(columns().chain([Column::left("LABELS")]));
    for host in hosts {
        let labels = text::cut(&labels(host), room);
        table.row(cells(host).into_iter().chain([labels.into()]));
    }
    table.write(&mut out);
    let number = u64::try_from(hosts.len()).unwrap_or(u64::MAX);
    text::paragraph(&mut out, screen, FAINT, &text::plural(number, "host"));
    out
}

/// All facts of a host, each whole on its line, however narrow the screen is.
pub(super) fn show(host: &v1::Host, now: Timestamp, screen: &Screen) -> String {
    let mut out = String::new();
    text::line(&mut out, &text::paint(HEADING, &text::clean(&host.host_name)));
    let mut fact = |name: &str, value: String| {
        let name = text::paint(FAINT, &format!("{name:<NAME$}"));
        text::line(&mut out, &format!("  {name} {value}"));
    };
    let at = |time: &Option<prost_types::Timestamp>| {
        instant(time.as_ref()).map(|at| text::timestamp(at, &screen.zone))
    };
    fact("id", host.id.to_string());
    fact(
        "in the roll",
        match (at(&host.joined_at), at(&host.retired_at)) {
            (_, Some(retired)) => format!("no, retired since {retired}"),
            (Some(joined), None) => format!("since {joined}"),
            (None, None) => "no: it has not joined".to_owned(),
        },
    );
    if let Some(at) = at(&host.revoked_at) {
        let why = match host.revoked_reason.as_str() {
            "" => String::new(),
            reason => format!(": {}", text::clean(reason)),
        };
        fact("revoked", format!("since {at}{why}"));
    }
    if host.ephemeral_s > 0 {
        let span = text::span(Duration::from_secs(host.ephemeral_s));
        fact("ephemeral", format!("retires itself after {span} of silence"));
    }
    let mut name = "former names";
    for former in &host.former_names {
        fact(name, text::clean(former));
        name = "";
    }
    fact("last sample", at(&host.last_sample_at).unwrap_or_else(|| "never".to_owned()));
    fact("agent", known(Some(text::clean(&host.agent_version))));
    let info = host.host_info.clone().unwrap_or_default();
    for (name, words) in facts::of(&info) {
        fact(name, known(words));
    }
    for (noun, list) in [("disks", facts::disks(&info)), ("interfaces", facts::interfaces(&info))] {
        let list = list.unwrap_or_default();
        let width = list.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut name = noun;
        for (device, words) in &list {
            fact(name, format!("{device:<width$}  {words}").trim_end().to_owned());
            name = "";
        }
        if list.is_empty() {
            fact(name, "-".to_owned());
        }
    }
    let booted = info.booted_unix_us.and_then(|us| Timestamp::from_microsecond(us).ok());
    fact("booted", known(booted.map(|at| text::timestamp(at, &screen.zone))));
    fact("boot id", known(info.boot_id.as_deref().map(text::clean)));
    // One a line: there may be many, and each must be seen whole.
    let mut name = "labels";
    for (key, value) in sorted(host) {
        fact(name, format!("{key}={value}"));
        name = "";
    }
    if name == "labels" {
        fact(name, "-".to_owned());
    }
    let mut name = "certificates";
    for certificate in &host.certificates {
        fact(name, words_of(host, certificate, now, screen));
        name = "";
    }
    if name == "certificates" {
        fact(name, "none in force".to_owned());
    }
    out
}

/// A certificate in a line.
fn words_of(
    host: &v1::Host,
    certificate: &v1::Certificate,
    now: Timestamp,
    screen: &Screen,
) -> String {
    let (style, state) = super::certs::state(host, Some(certificate));
    let state = text::paint(style, state);
    let origin = text::clean(&certificate.origin);
    let ends = instant(certificate.expires_at.as_ref()).map_or_else(
        || "?".to_owned(),
        |at| format!("{} ({})", text::timestamp(at, &screen.zone), text::age(at, now)),
    );
    let seen = instant(certificate.last_seen_at.as_ref())
        .map_or_else(|| "never seen".to_owned(), |at| format!("seen {}", text::age(at, now)));
    format!("{state}; {origin}, until {ends}, {seen}")
}

/// A host's labels after a change.
pub(super) fn labelled(host: &v1::Host, screen: &Screen) -> String {
    let labels = labels(host);
    let labels = if labels == "-" { "no labels".to_owned() } else { labels };
    let mut out = String::new();
    let name = text::clean(&host.host_name);
    let words = format!("{name}: {labels}");
    if words.chars().count() <= screen.width {
        text::line(&mut out, &words);
    } else {
        text::line(&mut out, &format!("{name}:"));
        for (key, value) in sorted(host) {
            text::line(&mut out, &format!("  {key}={value}"));
        }
    }
    out
}

/// By key.
fn sorted(host: &v1::Host) -> BTreeMap<String, String> {
    host.labels.iter().map(|(key, value)| (text::clean(key), text::clean(value))).collect()
}

fn labels(host: &v1::Host) -> String {
    let labels: Vec<String> =
        sorted(host).iter().map(|(key, value)| format!("{key}={value}")).collect();
    known(Some(labels.join(", ")))
}

fn known(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}
