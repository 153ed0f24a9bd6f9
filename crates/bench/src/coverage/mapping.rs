//! The file that says what becomes of each family.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

const FILE: &str = include_str!("node_exporter.tsv");

/// What Rowcall has of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Covered,
    Part,
    Textfile,
    Later,
    Unwanted,
    Own,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Covered, Self::Part, Self::Textfile, Self::Later, Self::Unwanted, Self::Own];

    /// The word for it in the file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Part => "part",
            Self::Textfile => "textfile",
            Self::Later => "later",
            Self::Unwanted => "unwanted",
            Self::Own => "own",
        }
    }

    /// What it says.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Part => "covered in less detail",
            Self::Textfile => "by a drop-in file",
            Self::Later => "not yet, worth a column",
            Self::Unwanted => "not wanted",
            Self::Own => "of node_exporter itself",
        }
    }
}

/// A column, or a key in one, of a table or view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) table: String,
    pub(crate) column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Name of the family; with a star at the end the beginning of several.
    pub(crate) family: String,
    pub(crate) state: State,
    /// Where the same is found.
    pub(crate) places: Vec<Place>,
    /// How it differs, or why it is not there.
    pub(crate) note: String,
}

/// The whole file.
#[derive(Debug)]
pub(crate) struct Mapping(Vec<Entry>);

impl Mapping {
    pub(crate) fn load() -> Result<Self> {
        Self::parse(FILE).context("node_exporter.tsv")
    }

    /// Reads lines; those that begin with `#` say nothing.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut entries = Vec::<Entry>::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') {
                continue;
            }
            let entry = entry(line).with_context(|| format!("line {number}: {line:?}"))?;
            if let Some(last) = entries.last() {
                ensure!(last.family < entry.family, "line {number}: not sorted, or there twice");
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// What is said of a family: by its own line, else by the longest beginning of it.
    pub(crate) fn of(&self, family: &str) -> Option<&Entry> {
        let begins = |entry: &&Entry| {
            entry.family.strip_suffix('*').is_some_and(|beginning| family.starts_with(beginning))
        };
        let own = self.0.iter().find(|entry| entry.family == family);
        own.or_else(|| self.0.iter().filter(begins).max_by_key(|entry| entry.family.len()))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

fn entry(line: &str) -> Result<Entry> {
    let mut cells = line.split('\t');
    let (Some(family), Some(state), Some(places)) = (cells.next(), cells.next(), cells.next())
    else {
        bail!("fewer than three cells");
    };
    let note = cells.next().unwrap_or_default().to_owned();
    ensure!(cells.next().is_none(), "more than four cells");
    let known = State::ALL.into_iter().find(|known| known.word() == state);
    let state = known.with_context(|| format!("no state {state:?}"))?;
    let places = match places {
        "-" => Vec::new(),
        places => places.split(',').map(place).collect::<Result<_>>()?,
    };
    let is_told = matches!(state, State::Covered | State::Part);
    ensure!(is_told != places.is_empty(), "what is told has a place, and nothing else has");
    ensure!(is_told || state == State::Own || !note.is_empty(), "no reason");
    Ok(Entry { family: family.to_owned(), state, places, note })
}

fn place(text: &str) -> Result<Place> {
    let (table, column) = text.split_once('.').context("no table.column")?;
    Ok(Place { table: table.to_owned(), column: column.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole() {
        let mapping = Mapping::load().unwrap();
        assert!(mapping.entries().count() > 250);
    }

    #[test]
    fn a_line_of_its_own_comes_before_a_beginning_and_a_longer_one_before_a_shorter() {
        let text = "node_a_*\tlater\t-\tx\nnode_a_b\tcovered\tt.c\nnode_a_b_*\tunwanted\t-\ty\n";
        let mapping = Mapping::parse(text).unwrap();
        let state = |family| mapping.of(family).map(|entry| entry.state);
        assert_eq!(state("node_a_b"), Some(State::Covered));
        assert_eq!(state("node_a_b_c"), Some(State::Unwanted));
        assert_eq!(state("node_a_c"), Some(State::Later));
        assert_eq!(state("node_b"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (text, said) in [
            ("node_a\tcovered", "fewer than three"),
            ("node_a\tgone\t-\tx", "no state \"gone\""),
            ("node_a\tcovered\t-", "has a place"),
            ("node_a\tlater\tt.c\tx", "has a place"),
            ("node_a\tlater\t-", "no reason"),
            ("node_a\tcovered\ttable", "no table.column"),
            ("node_b\tlater\t-\tx\nnode_a\tlater\t-\tx", "line 2: not sorted"),
            ("node_a\tlater\t-\tx\nnode_a\tlater\t-\tx", "there twice"),
        ] {
            let error = format!("{:#}", Mapping::parse(text).unwrap_err());
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
