//! The table, and the same as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::stats::Spread;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Below(limit) => value < limit,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::Below(limit) => write!(f, "below {limit}"),
        }
    }
}

/// One measured number.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its name in JSON, for example `latency.p99`.
    pub(crate) id: String,
    /// What was measured, for people.
    pub(crate) what: String,
    pub(crate) value: f64,
    /// Lowest and highest, where it was measured several times.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) unit: &'static str,
    pub(crate) aim: Option<Aim>,
}

impl Figure {
    pub(crate) fn new(id: impl Into<String>, what: impl Into<String>, value: f64) -> Self {
        Self { id: id.into(), what: what.into(), value, range: None, unit: "", aim: None }
    }

    pub(crate) fn of(id: impl Into<String>, what: impl Into<String>, spread: Spread) -> Self {
        let figure = Self::new(id, what, spread.median);
        Self { range: Some((spread.low, spread.high)), ..figure }
    }

    #[must_use]
    pub(crate) fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    #[must_use]
    pub(crate) fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }

    fn measured(&self) -> String {
        let range = self.range.map_or_else(String::new, |(low, high)| {
            format!(" ({} to {})", number(low), number(high))
        });
        let space = if self.unit.is_empty() { "" } else { " " };
        format!("{}{space}{}{range}", number(self.value), self.unit)
    }

    fn aimed(&self) -> String {
        self.aim.map_or_else(String::new, |aim| {
            let verdict = if aim.is_met(self.value) { "met" } else { "missed" };
            format!("{aim}: {verdict}")
        })
    }
}

/// What one part found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) figures: Vec<Figure>,
    /// What is better read side by side.
    pub(crate) table: Option<Table>,
}

impl From<Vec<Figure>> for Found {
    fn from(figures: Vec<Figure>) -> Self {
        Self { figures, table: None }
    }
}

/// Rows of text under a head.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    name: &'static str,
    /// The head first.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(name: &'static str, head: &[&str]) -> Self {
        Self { name, rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn to_json(&self) -> Value {
        let (head, rows) = self.rows.split_first().map_or((&[][..], &[][..]), |(h, r)| (h, r));
        json!({ "name": self.name, "head": head, "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if index == 0 {
                for width in &widths {
                    write!(f, "|-{}-", "-".repeat(*width))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Everything that one run found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Names and values, in order.
    machine: Vec<(&'static str, String)>,
    figures: Vec<Figure>,
    tables: Vec<Table>,
}

impl Report {
    pub(crate) fn new(machine: Vec<(&'static str, String)>) -> Self {
        Self { machine, figures: Vec::new(), tables: Vec::new() }
    }

    pub(crate) fn add(&mut self, found: Found) {
        self.figures.extend(found.figures);
        self.tables.extend(found.table);
    }

    pub(crate) fn to_json(&self) -> Value {
        let machine = self.machine.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let figures = self.figures.iter().map(|figure| {
            json!({
                "id": figure.id,
                "what": figure.what,
                "value": figure.value,
                "low": figure.range.map(|(low, _)| low),
                "high": figure.range.map(|(_, high)| high),
                "unit": figure.unit,
                "aim": figure.aim.map(|aim| aim.to_string()),
                "met": figure.aim.map(|aim| aim.is_met(figure.value)),
            })
        });
        json!({
            "machine": machine.collect::<serde_json::Map<_, _>>(),
            "figures": figures.collect::<Vec<_>>(),
            "tables": self.tables.iter().map(Table::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.machine {
            writeln!(f, "- {name}: {value}")?;
        }
        writeln!(f)?;
        let mut table = Table::new("figures", &["figure", "median (lowest to highest)", "aim"]);
        for figure in &self.figures {
            table.row(vec![figure.what.clone(), figure.measured(), figure.aimed()]);
        }
        write!(f, "{table}")?;
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        Ok(())
    }
}

/// Three digits that count, or all before the point, in groups of three.
fn number(value: f64) -> String {
    let size = value.abs();
    if size < 10.0 {
        return format!("{value:.2}");
    }
    if size < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_count() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.714, "0.71"),
            (9.99, "9.99"),
            (42.34, "42.3"),
            (342.0, "342"),
            (48_211.7, "48,212"),
            (1_440_000.0, "1,440,000"),
            (-120.0, "-120"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_table_has_every_figure_and_says_whether_aims_are_met() {
        let mut report = Report::new(vec![("command", "make bench".to_owned())]);
        let spread = Spread { median: 0.5, low: 0.25, high: 0.75 };
        let mut beside = Table::new("beside", &["a", "b"]);
        beside.row(vec!["1".to_owned(), "two".to_owned()]);
        let figures = vec![
            Figure::of("a", "ratio", spread).aim(Aim::AtLeast(0.6)),
            Figure::new("b", "memory", 40.0).unit("KiB").aim(Aim::AtMost(64.0)),
            Figure::new("c", "rows", 1234.0).unit("rows/s"),
        ];
        report.add(Found { figures, table: Some(beside) });
        let expected = "\
- command: make bench

| figure | median (lowest to highest) | aim                  |
|--------|----------------------------|----------------------|
| ratio  | 0.50 (0.25 to 0.75)        | at least 0.6: missed |
| memory | 40.0 KiB                   | at most 64: met      |
| rows   | 1,234 rows/s               |                      |

| a | b   |
|---|-----|
| 1 | two |
";
        assert_eq!(report.to_string(), expected);
        let json = report.to_json();
        assert_eq!(json["machine"]["command"], "make bench");
        assert_eq!(json["figures"][0]["met"], false);
        assert_eq!(json["figures"][0]["low"], 0.25);
        assert_eq!(json["figures"][1]["aim"], "at most 64");
        assert_eq!(json["figures"][2]["met"], Value::Null);
        assert_eq!(json["tables"][0]["rows"][0][1], "two");
    }

    #[test]
    fn a_limit_itself_is_not_below_it() {
        assert!(!Aim::Below(1.0).is_met(1.0));
        assert!(Aim::AtMost(1.0).is_met(1.0) && Aim::AtLeast(1.0).is_met(1.0));
    }
}
