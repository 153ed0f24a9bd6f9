//! Lines in columns, as wide as what is in them.

use std::fmt::Write as _;

/// Between two columns.
const GAP: &str = "  ";

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

    /// With its headings where there are any; nothing without a row.
    pub(super) fn write(&self, text: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let headings: Vec<_> =
            self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let has_headings = headings.iter().any(|heading| !heading.is_empty());
        let lines: Vec<_> =
            has_headings.then_some(&headings).into_iter().chain(&self.rows).collect();
        let width = |at: usize| {
            lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..self.columns.len()).map(|at| width(at).unwrap_or(0)).collect();
        for line in lines {
            let mut out = String::new();
            for ((cell, width), (_, align)) in line.iter().zip(&widths).zip(&self.columns) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right)]);
        table.row(vec!["a".into(), "12 GiB".into()]);
        table.row(vec!["b\u{fc}rste".into(), "-".into()]);
        let mut text = String::new();
        table.write(&mut text);
        assert_eq!(text, "  NAME      SIZE\n  a       12 GiB\n  b\u{fc}rste       -\n");
        let mut empty = String::new();
        Table::new(&[("NAME", Align::Left)]).write(&mut empty);
        assert_eq!(empty, "");
    }
}
