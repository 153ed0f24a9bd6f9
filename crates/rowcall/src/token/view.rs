//! Tokens as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rowcall_proto::v1;

use super::State;
use crate::summary::instant;
use crate::text::{self, Cell, Column, FAINT, GOOD, HEADING, ODD, Screen, Table};

/// Fewest characters of the labels that say anything.
const MIN_LABELS: usize = 20;

/// What a new token is for, until when, and how a node joins with it.
pub(super) fn created(token: &v1::Token, server: &str, now: Timestamp) -> String {
    let mut out = String::new();
    let title = format!("token {}", token.id);
    let mut line = |name: &str, value: &str| {
        let name = text::paint(FAINT, &format!("{name:<7}"));
        writeln!(out, "  {name} {value}").expect("a String takes everything");
    };
    let hosts = match (token.uses, token.host_glob.as_str()) {
        (1, "") => "one host of any name".to_owned(),
        (1, glob) => format!("one host named {}", text::clean(glob)),
        (uses, "") => format!("{} of any name", text::plural(uses.into(), "host")),
        (uses, glob) => {
            format!("{} named {}", text::plural(uses.into(), "host"), text::clean(glob))
        }
    };
    let replace = if token.replace { ", also one that exists" } else { "" };
    line("joins", &format!("{hosts}{replace}"));
    if let Some(at) = instant(token.expires_at.as_ref()) {
        line("until", &format!("{} ({})", text::timestamp(at, &TimeZone::UTC), text::age(at, now)));
    }
    if !token.labels.is_empty() {
        line("labels", &labels(token));
    }
    if token.ephemeral_s > 0 {
        let span = text::span(Duration::from_secs(token.ephemeral_s));
        line("leaves", &format!("each host retires itself after {span} of silence"));
    }
    let join = "on the node, with the token on standard input";
    format!(
        "{}\n{out}  {}\n    rowcall-agent enroll --server {server} --token-file -\n",
        text::paint(HEADING, &title),
        text::paint(FAINT, join)
    )
}

/// A table of tokens.
pub(super) fn list(tokens: &[v1::Token], all: bool, now: Timestamp, screen: &Screen) -> String {
    let mut out = String::new();
    if tokens.is_empty() {
        let words = if all {
            "No token."
        } else {
            "No token is in force; --all shows those that were. `rowcall token create` makes one."
        };
        text::paragraph(&mut out, screen, FAINT, words);
        return out;
    }
    let titles = ["TOKEN", "STATE", "HOSTS"].map(Column::left);
    let more = [
        Column::right("USED"),
        Column::left("EXPIRES"),
        Column::left("MADE BY"),
        Column::left("MAY"),
    ];
    let columns = || titles.clone().into_iter().chain(more.clone());
    let cells = |token: &v1::Token| -> Vec<Cell> {
        let state = State::of(token, now);
        let style = if state == State::InForce { GOOD } else { ODD };
        let hosts = if token.host_glob.is_empty() { "any" } else { &token.host_glob };
        let expires = instant(token.expires_at.as_ref());
        vec![
            text::clean(&token.id).into(),
            Cell::styled(style, state.words()),
            text::cut(&text::clean(hosts), 24).into(),
            format!("{} of {}", text::count(token.used.into()), text::count(token.uses.into()))
                .into(),
            expires.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone)).into(),
            text::clean(maker(&token.created_by)).into(),
            may(token).into(),
        ]
    };
    let mut fixed = Table::new(columns());
    for token in tokens {
        fixed.row(cells(token));
    }
    let room = fixed.room(screen.width).max(MIN_LABELS);
    let mut table = Table::new(columns().chain([Column::left("LABELS")]));
    for token in tokens {
        table.row(cells(token).into_iter().chain([text::cut(&labels(token), room).into()]));
    }
    table.write(&mut out);
    let number = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
    text::paragraph(&mut out, screen, FAINT, &text::plural(number, "token"));
    out
}

/// What it may do beyond joining new hosts for good.
fn may(token: &v1::Token) -> String {
    let replace = token.replace.then(|| "replace".to_owned());
    let span = Duration::from_secs(token.ephemeral_s);
    let ephemeral = (token.ephemeral_s > 0).then(|| format!("leave after {}", text::span(span)));
    let may: Vec<String> = replace.into_iter().chain(ephemeral).collect();
    if may.is_empty() { "-".to_owned() } else { may.join(", ") }
}

/// Of an identity its role and name: the trust domain is the same everywhere.
fn maker(identity: &str) -> &str {
    let path = identity.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    path.map_or(identity, |(_, path)| path)
}

fn labels(token: &v1::Token) -> String {
    let sorted: BTreeMap<&String, &String> = token.labels.iter().collect();
    let labels: Vec<String> =
        sorted.iter().map(|(key, value)| text::clean(&format!("{key}={value}"))).collect();
    if labels.is_empty() { "-".to_owned() } else { labels.join(", ") }
}
