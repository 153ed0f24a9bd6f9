//! Lines in columns, as wide as what is in them; a text in the last one is cut where the line ends.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Between two columns.
const GAP: &str = "  ";

/// Fewest characters that a last column is cut to.
const MIN_LAST: usize = 16;

/// A table of texts: a heading each, whether numbers stand in it, and the rows.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// On which side a column's texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// With its headings where there are any; nothing without a row. Lines are as wide as their
    /// columns ask for; only a last one of texts gives way to `width`.
    pub(super) fn write(&self, width: usize, text: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let headings: Vec<_> =
            self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let has_headings = headings.iter().any(|heading| !heading.is_empty());
        let lines: Vec<_> =
            has_headings.then_some(&headings).into_iter().chain(&self.rows).collect();
        let widest = |at: usize| {
            lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
        };
        let mut widths: Vec<_> =
            (0..self.columns.len()).map(|at| widest(at).unwrap_or(0)).collect();
        if let (Some((_, Align::Left)), Some((last, others))) =
            (self.columns.last(), widths.split_last_mut())
        {
            let before: usize = others.iter().map(|width| GAP.len() + width).sum();
            let room = width.saturating_sub(before + GAP.len());
            *last = (*last).min(room.max(MIN_LAST));
        }
        for line in lines {
            let mut out = String::new();
            for ((cell, width), (_, align)) in line.iter().zip(&widths).zip(&self.columns) {
                let cell = cut(cell, *width);
                // Writing into a String cannot fail.
                let _done = match align {
                    Align::Left => write!(out, "{GAP}{cell:<width$}"),
                    Align::Right => write!(out, "{GAP}{cell:>width$}"),
                };
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
    }
}

/// With three points in place of its end where it is longer.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    const CUT: &str = "...";
    if text.chars().count() <= width {
        return text.into();
    }
    let begin: String = text.chars().take(width.saturating_sub(CUT.len())).collect();
    (begin + CUT).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right)]);
        table.row(vec!["a".into(), "12 GiB".into()]);
        table.row(vec!["b\u{fc}rste".into(), "-".into()]);
        let mut text = String::new();
        table.write(80, &mut text);
        assert_eq!(text, "  NAME      SIZE\n  a       12 GiB\n  b\u{fc}rste       -\n");
        let mut empty = String::new();
        Table::new(&[("NAME", Align::Left)]).write(80, &mut empty);
        assert_eq!(empty, "");
    }

    #[test]
    fn a_long_last_text_is_cut_to_the_line_and_numbers_never_are() {
        let mut table = Table::new(&[("PID", Align::Right), ("COMMAND", Align::Left)]);
        table.row(vec!["1".into(), "\u{fc}".repeat(100)]);
        table.row(vec!["12345".into(), "init".into()]);
        for (width, shown) in [(80, 80), (30, 30), (0, 2 + 5 + 2 + MIN_LAST), (200, 109)] {
            let mut text = String::new();
            table.write(width, &mut text);
            assert_eq!(text.lines().map(|line| line.chars().count()).max(), Some(shown), "{text}");
            assert_eq!(text.contains("..."), shown < 109, "{text}");
        }
        let mut table = Table::new(&[("MOUNT", Align::Left), ("SIZE", Align::Right)]);
        table.row(vec!["x".repeat(100), "12 GiB".into()]);
        let mut text = String::new();
        table.write(80, &mut text);
        assert!(text.contains("12 GiB") && !text.contains("..."), "{text}");
    }
}
