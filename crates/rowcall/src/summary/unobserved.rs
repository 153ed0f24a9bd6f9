//! When nobody observed: one line for each time, however many hosts it concerns.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use rowcall_proto::v1::{self, UnobservedCause, WindowState};

use super::{Frame, instant};
use crate::text::{self, BAD, Cell, Column, FAINT, ODD, Screen, Table};

/// Most lines; the last ones are shown.
const MAX_LINES: usize = 20;

/// Adds the lines, if there are any.
pub(super) fn write(
    out: &mut String,
    spans: &[v1::UnobservedSpan],
    frame: &Frame,
    screen: &Screen,
) {
    if spans.is_empty() {
        return;
    }
    let columns = [Column::left("UNOBSERVED FROM"), Column::left("FOR"), Column::right("HOSTS")];
    let mut table = Table::new(columns.into_iter().chain([Column::left("WHY")]));
    let earlier = spans.len().saturating_sub(MAX_LINES);
    for span in spans.iter().skip(earlier) {
        let from = instant(span.from.as_ref());
        table.row([
            from.map_or_else(|| "?".to_owned(), |at| text::timestamp(at, &screen.zone)).into(),
            length(from, instant(span.to.as_ref()), frame).into(),
            text::count(span.hosts.into()).into(),
            Cell::styled(BAD, why(span.cause())),
        ]);
    }
    table.write(out);
    if earlier > 0 {
        let earlier = u64::try_from(earlier).unwrap_or(u64::MAX);
        let words = format!("{} more before; a shorter time shows them.", text::count(earlier));
        text::paragraph(out, screen, ODD, &words);
    }
    let words = "No aggregator could receive anything in this time. HOSTS: with windows that are \
                 unobserved therefore; those whose samples came later are not among them.";
    text::paragraph(out, screen, FAINT, words);
}

/// A cause in words.
pub(super) fn why(cause: UnobservedCause) -> &'static str {
    match cause {
        UnobservedCause::Unspecified => "?",
        UnobservedCause::Stopped => "the aggregator was stopped",
        UnobservedCause::Down => "the aggregator was down",
        UnobservedCause::Database => "the database took no writes",
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

/// Whether all that is wrong with a host is that it was late in windows that nobody observed.
pub(super) fn explains(spans: &[v1::UnobservedSpan], frame: &Frame, host: &v1::RollHost) -> bool {
    let mut late = Vec::new();
    for (window, state) in host.states().enumerate() {
        match state {
            WindowState::Late => late.push(window),
            WindowState::Complete | WindowState::Unobserved | WindowState::NotJudged => {}
            _ => return false,
        }
    }
    let times: Vec<_> = spans.iter().filter_map(|span| windows(span, frame)).collect();
    late.iter().all(|window| times.iter().any(|windows| windows.contains(window)))
}

/// The windows that a span touches, by their index.
fn windows(span: &v1::UnobservedSpan, frame: &Frame) -> Option<Range<usize>> {
    let window = i64::from(frame.window_s.max(1)) * 1_000_000;
    let since = |at: Timestamp| Some(at.as_microsecond() - frame.from?.as_microsecond());
    let first = since(instant(span.from.as_ref())?)?.max(0) / window;
    let end = match instant(span.to.as_ref()) {
        Some(to) => since(to)?.max(0).saturating_add(window - 1) / window,
        None => i64::MAX,
    };
    Some(usize::try_from(first).ok()?..usize::try_from(end).unwrap_or(usize::MAX))
}
