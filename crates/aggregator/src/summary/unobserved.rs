//! The times in which no aggregator could receive, and how many hosts each concerns.

use std::ops::Range;

use rowcall_core::proto::v1 as pb;
use rowcall_store::reports::{Frame, UnobservedCause, UnobservedRow, WAY_BACK};

use super::parts::size;

/// Counts hosts for each span.
#[derive(Debug)]
pub(super) struct Unobserved {
    spans: Vec<Span>,
}

/// A span, and the windows that it touches while agents come back from it, too.
#[derive(Debug)]
struct Span {
    row: UnobservedRow,
    windows: Range<usize>,
    hosts: u32,
}

impl Unobserved {
    /// Spans within a frame.
    pub(super) fn new(frame: &Frame, rows: Vec<UnobservedRow>) -> Self {
        let window = i64::from(frame.window_s.max(1)) * 1_000_000;
        let all = size(frame.windows);
        let index = |micros: i64| usize::try_from(micros.max(0) / window).unwrap_or(all).min(all);
        let span = |row: UnobservedRow| {
            let first = index(row.from.since(frame.from));
            // The window in which it ends is the last one, unless it ends as that one begins.
            let back = i64::try_from(WAY_BACK.as_micros()).unwrap_or(i64::MAX);
            let end = row.to.map_or(all, |to| {
                index(to.since(frame.from).saturating_add(back).saturating_add(window - 1))
            });
            Span { row, windows: first..end, hosts: 0 }
        };
        Self { spans: rows.into_iter().map(span).collect() }
    }

    /// A host with unobserved windows.
    pub(super) fn count(&mut self, host: &pb::RollHost) {
        let unobserved = i32::from(pb::WindowState::Unobserved);
        for span in &mut self.spans {
            let windows = host.states.get(span.windows.clone()).unwrap_or_default();
            span.hosts += u32::from(windows.contains(&unobserved));
        }
    }

    /// As the answer has them.
    pub(super) fn finish(self) -> Vec<pb::UnobservedSpan> {
        let span = |Span { row, hosts, .. }: Span| pb::UnobservedSpan {
            from: Some(crate::timestamp(row.from)),
            to: row.to.map(crate::timestamp),
            cause: cause(row.cause).into(),
            hosts,
        };
        self.spans.into_iter().map(span).collect()
    }
}

fn cause(cause: UnobservedCause) -> pb::UnobservedCause {
    match cause {
        UnobservedCause::Stopped => pb::UnobservedCause::Stopped,
        UnobservedCause::Down => pb::UnobservedCause::Down,
        UnobservedCause::Database => pb::UnobservedCause::Database,
    }
}
