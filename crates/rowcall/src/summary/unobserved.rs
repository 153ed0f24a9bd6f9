//! When nobody observed: one line for each time, however many hosts it concerns.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use rowcall_aggregator::WAY_BACK;
use rowcall_proto::v1::{self, UnobservedCause, WindowState};

use super::{Frame, instant};
use crate::text::{self, BAD, Cell, Column, FAINT, ODD, Screen, Table};

/// Most lines; the last ones are shown.
const MAX_LINES: usize = 20;

/// Adds the lines, if there are any, of a roll of so many hosts.
pub(super) fn write(
    out: &mut String,
    spans: &[v1::UnobservedSpan],
    hosts: u32,
    frame: &Frame,
    screen: &Screen,
) {
    if spans.is_empty() {
        return;
    }
    let mut table = Table::new([
        Column::left("UNOBSERVED FROM"),
        Column::left("FOR"),
        Column::right("STILL MISSING"),
        Column::left("WHY"),
    ]);
    let earlier = spans.len().saturating_sub(MAX_LINES);
    for span in spans.iter().skip(earlier) {
        let from = instant(span.from.as_ref());
        table.row([
            from.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone)).into(),
            length(from, instant(span.to.as_ref()), frame).into(),
            format!("{} of {}", text::count(span.hosts.into()), text::count(hosts.into())).into(),
            Cell::styled(BAD, short(span.cause())),
        ]);
    }
    table.write(out);
    if earlier > 0 {
        let earlier = u64::try_from(earlier).unwrap_or(u64::MAX);
        let words = format!("{} more before; a shorter time shows them.", text::count(earlier));
        text::paragraph(out, screen, ODD, &words);
    }
    let mut words = "No aggregator could receive anything in this time. STILL MISSING: hosts whose \
                     windows are unobserved therefore; those whose samples came later are not among \
                     them."
        .to_owned();
    if spans.iter().any(|span| span.cause() == UnobservedCause::Database) {
        let database = UnobservedCause::Database;
        words.push_str(&format!(" WHY {}: {}.", short(database), why(database)));
    }
    text::paragraph(out, screen, FAINT, &words);
}

/// A cause in words.
pub(super) fn why(cause: UnobservedCause) -> &'static str {
    match cause {
        UnobservedCause::Unspecified => "?",
        UnobservedCause::Stopped => "the aggregator was stopped",
        UnobservedCause::Down => "the aggregator was down",
        UnobservedCause::Database => {
            "the database took no writes, or was put back to an earlier state"
        }
    }
}

/// A cause in a word or two, for a table.
fn short(cause: UnobservedCause) -> &'static str {
    match cause {
        UnobservedCause::Unspecified => "?",
        UnobservedCause::Stopped => "aggregator stopped",
        UnobservedCause::Down => "aggregator down",
        UnobservedCause::Database => "database",
    }
}

fn length(from: Option<Timestamp>, to: Option<Timestamp>, frame: &Frame) -> String {
    let span = |to: Option<Timestamp>| {
        let seconds = to?.duration_since(from?).as_secs();
        Some(text::span(Duration::from_secs(u64::try_from(seconds).ok()?)))
    };
    match to {
        Some(to) => span(Some(to)).unwrap_or_else(|| "?".to_owned()),
        None => {
            span(frame.made).map_or_else(|| "still".to_owned(), |span| format!("{span}, still"))
        }
    }
}

/// Which windows may be late without a fault of their hosts: an agent keeps its samples while nobody
/// can receive them, and sends them once it is back.
#[derive(Debug)]
pub(super) struct Pardons(Vec<(Range<usize>, UnobservedCause)>);

impl Pardons {
    /// By the times that nobody observed.
    pub(super) fn of(spans: &[v1::UnobservedSpan], frame: &Frame) -> Self {
        let touched = |span: &v1::UnobservedSpan| Some((windows(span, frame)?, span.cause()));
        Self(spans.iter().filter_map(touched).collect())
    }

    /// Why a late window, by its index, is nobody's fault; `None`: it is its host's.
    pub(super) fn late(&self, window: usize) -> Option<UnobservedCause> {
        let found = self.0.iter().rev().find(|(windows, _)| windows.contains(&window));
        found.map(|(_, cause)| *cause)
    }

    /// Whether all that is wrong with a host is that it was late in windows that nobody observed.
    pub(super) fn explain(&self, host: &v1::RollHost) -> bool {
        host.states().enumerate().all(|(window, state)| match state {
            WindowState::Late => self.late(window).is_some(),
            WindowState::Complete | WindowState::Unobserved | WindowState::NotJudged => true,
            _ => false,
        })
    }
}

/// The windows that a span touches, by their index, with the time in which agents come back.
fn windows(span: &v1::UnobservedSpan, frame: &Frame) -> Option<Range<usize>> {
    let window = i64::from(frame.window_s.max(1)) * 1_000_000;
    let since = |at: Timestamp| Some(at.as_microsecond() - frame.from?.as_microsecond());
    let first = since(instant(span.from.as_ref())?)?.max(0) / window;
    let back = i64::try_from(WAY_BACK.as_micros()).unwrap_or(i64::MAX);
    let end = match instant(span.to.as_ref()) {
        Some(to) => since(to)?.saturating_add(back).max(0).saturating_add(window - 1) / window,
        None => i64::MAX,
    };
    Some(usize::try_from(first).ok()?..usize::try_from(end).unwrap_or(usize::MAX))
}
