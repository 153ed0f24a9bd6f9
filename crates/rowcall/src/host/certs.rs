//! Hosts' certificates as text.

use anstyle::Style;
use jiff::Timestamp;
use rowcall_proto::v1;

use super::view::NO_MATCH;
use crate::summary::instant;
use crate::text::{self, BAD, Cell, Column, FAINT, GOOD, ODD, Screen, Table};

/// Less than this left, in seconds, deserves a look: nodes renew from two thirds of 30 days on.
const SOON_S: i64 = 7 * 86_400;

/// One row a certificate, what ends first at the top; hosts without one before all.
pub(super) fn list(hosts: &[v1::Host], selected: bool, now: Timestamp, screen: &Screen) -> String {
    let mut out = String::new();
    if hosts.is_empty() {
        let words = if selected { NO_MATCH } else { "No host has joined yet." };
        text::paragraph(&mut out, screen, FAINT, words);
        return out;
    }
    let mut rows: Vec<(&v1::Host, Option<&v1::Certificate>)> = Vec::new();
    for host in hosts {
        rows.extend(host.certificates.iter().map(|certificate| (host, Some(certificate))));
        if host.certificates.is_empty() {
            rows.push((host, None));
        }
    }
    let ends = |certificate: Option<&v1::Certificate>| {
        certificate.and_then(|certificate| instant(certificate.expires_at.as_ref()))
    };
    rows.sort_by(|(a, first), (b, second)| {
        (ends(*first), &a.host_name).cmp(&(ends(*second), &b.host_name))
    });
    let titles = ["HOST", "STATE", "EXPIRES", "IN", "LAST SEEN", "ORIGIN", "SERIAL"];
    let mut table = Table::new(titles.map(Column::left));
    for (host, certificate) in rows {
        let (style, word) = state(host, certificate);
        let mut cells = vec![text::clean(&host.host_name).into(), Cell::styled(style, word)];
        match certificate {
            Some(certificate) => cells.extend(row(certificate, now, screen)),
            None => cells.extend(["-", "-", "-", "-", "-"].map(Cell::from)),
        }
        table.row(cells);
    }
    table.write(&mut out);
    let number = u64::try_from(hosts.len()).unwrap_or(u64::MAX);
    text::paragraph(&mut out, screen, FAINT, &text::plural(number, "host"));
    out
}

fn row(certificate: &v1::Certificate, now: Timestamp, screen: &Screen) -> [Cell; 5] {
    let show = |at: Option<Timestamp>, none: &str| -> String {
        at.map_or_else(|| none.to_owned(), |at| text::timestamp(at, &screen.zone))
    };
    let ends = instant(certificate.expires_at.as_ref());
    [
        show(ends, "?").into(),
        ends.map_or_else(|| "?".into(), |ends| left(ends, now)),
        show(instant(certificate.last_seen_at.as_ref()), "never").into(),
        text::clean(&certificate.origin).into(),
        Cell::styled(FAINT, &text::cut(&text::clean(&certificate.serial), 12)),
    ]
}

/// How long it still lasts.
pub(super) fn left(ends: Timestamp, now: Timestamp) -> Cell {
    let seconds = ends.duration_since(now).as_secs();
    let Ok(left) = u64::try_from(seconds) else { return Cell::styled(BAD, "over") };
    let words = text::span(std::time::Duration::from_secs(left));
    if seconds < SOON_S { Cell::styled(ODD, &words) } else { words.into() }
}

/// Whether a certificate lets a host in, in a word or two, and how to show it.
pub(super) fn state(
    host: &v1::Host,
    certificate: Option<&v1::Certificate>,
) -> (Style, &'static str) {
    let revoked = certificate.is_some_and(|certificate| certificate.revoked_at.is_some());
    if host.retired_at.is_some() {
        (ODD, "retired")
    } else if host.revoked_at.is_some() || revoked {
        (BAD, "revoked")
    } else if certificate.is_none() {
        (BAD, "none in force")
    } else {
        (GOOD, "good")
    }
}
