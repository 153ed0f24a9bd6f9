//! Aligned columns, two blanks apart, without lines: they can be read, cut and searched.

use anstyle::Style;

use super::{FAINT, line, paint};

/// Blanks before the first column.
const INDENT: &str = "  ";

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    title: String,
    right: bool,
}

impl Column {
    /// For text.
    pub(crate) fn left(title: impl Into<String>) -> Self {
        Self { title: title.into(), right: false }
    }

    /// For numbers.
    pub(crate) fn right(title: impl Into<String>) -> Self {
        Self { title: title.into(), right: true }
    }
}

/// A cell: text, perhaps with colours, that takes so many characters.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    /// Text in one style.
    pub(crate) fn styled(style: Style, text: &str) -> Self {
        Self { width: text.chars().count(), text: paint(style, text) }
    }

    /// Parts in several styles, one after the other.
    pub(crate) fn parts<'a>(parts: impl IntoIterator<Item = (Style, &'a str)>) -> Self {
        let mut cell = Self { text: String::new(), width: 0 };
        for (style, text) in parts {
            cell.text.push_str(&paint(style, text));
            cell.width += text.chars().count();
        }
        cell
    }

    /// A count that deserves a style unless it is 0.
    pub(crate) fn alarming(style: Style, number: u64) -> Self {
        let text = super::count(number);
        if number == 0 { Self::from(text) } else { Self::styled(style, &text) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { width: text.chars().count(), text }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Rows under titles.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing at its end are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The characters that are left in a line for one more column after these.
    pub(crate) fn room(&self, line: usize) -> usize {
        let gaps = 2 * self.columns.len();
        line.saturating_sub(INDENT.len() + gaps + self.widths().iter().sum::<usize>())
    }

    /// Whether a line of so many characters holds it.
    pub(crate) fn fits(&self, line: usize) -> bool {
        let gaps = 2 * self.columns.len().saturating_sub(1);
        INDENT.len() + gaps + self.widths().iter().sum::<usize>() <= line
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.width);
            cells.max().unwrap_or(0).max(column.title.chars().count())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// Adds titles and rows to the text.
    pub(crate) fn write(&self, out: &mut String) {
        let widths = self.widths();
        let titles: Vec<Cell> =
            self.columns.iter().map(|column| Cell::styled(FAINT, &column.title)).collect();
        for cells in std::iter::once(&titles).chain(&self.rows) {
            let mut text = INDENT.to_owned();
            for (index, cell) in cells.iter().enumerate() {
                let pad = widths.get(index).copied().unwrap_or(0).saturating_sub(cell.width);
                let right = self.columns.get(index).is_some_and(|column| column.right);
                if index > 0 {
                    text.push_str("  ");
                }
                if right {
                    text.push_str(&" ".repeat(pad));
                }
                text.push_str(&cell.text);
                if !right && index + 1 < cells.len() {
                    text.push_str(&" ".repeat(pad));
                }
            }
            line(out, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::plain;
    use super::super::{BAD, GOOD};
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_whatever_its_colours() {
        let mut table = Table::new([Column::left("HOST"), Column::right("N"), Column::left("X")]);
        table.row(["a".into(), Cell::alarming(BAD, 12_345), "x".into()]);
        table.row([
            Cell::styled(BAD, "longer"),
            "7".into(),
            Cell::parts([(GOOD, "C"), (BAD, "S")]),
        ]);
        assert_eq!(table.room(80), 80 - 2 - 6 - 2 - 6 - 2 - 2 - 2);
        assert!(table.fits(20) && !table.fits(19));
        let mut out = String::new();
        table.write(&mut out);
        assert_eq!(
            plain(&out),
            "  HOST         N  X\n\x20 a       12,345  x\n\x20 longer       7  CS\n"
        );
    }
}
