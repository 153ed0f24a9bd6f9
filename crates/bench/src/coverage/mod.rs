//! Which of node_exporter's metrics Rowcall has: `make coverage`.
//!
//! What is said of each family stands in `node_exporter.tsv`. A family that the real one gives and
//! that has no line there is an error, so the table can't fall behind.

mod mapping;

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Result, ensure};

pub(crate) use mapping::{Entry, Mapping, State};

use crate::exporter::{self, Exporter};
use crate::report::Table;

/// Prints the table of a real scrape on this machine.
pub(crate) async fn run() -> Result<()> {
    let scrape = Exporter::start().await?.scrape(false).await?;
    let (families, values) = exporter::families(&scrape)?;
    let mapping = Mapping::load()?;
    let text = told(&mapping, &families, values)?;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// How many of these families are in each state.
pub(crate) fn totals(mapping: &Mapping, families: &[String]) -> Result<BTreeMap<State, usize>> {
    let unknown: Vec<_> =
        families.iter().filter(|family| mapping.of(family).is_none()).map(String::as_str).collect();
    ensure!(
        unknown.is_empty(),
        "crates/bench/src/coverage/node_exporter.tsv says nothing of: {}",
        unknown.join(", ")
    );
    let mut totals = BTreeMap::new();
    for entry in families.iter().filter_map(|family| mapping.of(family)) {
        *totals.entry(entry.state).or_default() += 1;
    }
    Ok(totals)
}

fn told(mapping: &Mapping, families: &[String], values: usize) -> Result<String> {
    let totals = totals(mapping, families)?;
    let mut here =
        Table::new("coverage", &["node_exporter", "Rowcall", "where", "how, or why not"]);
    for family in families {
        if let Some(entry) = mapping.of(family) {
            here.row(cells(family, entry));
        }
    }
    let mut elsewhere =
        Table::new("elsewhere", &["on other machines", "Rowcall", "where", "how, or why not"]);
    for entry in mapping.entries().filter(|entry| !families.contains(&entry.family)) {
        elsewhere.row(cells(&entry.family, entry));
    }
    let mut counts = Table::new("totals", &["families here", "number"]);
    for (state, number) in totals {
        counts.row(vec![state.meaning().to_owned(), number.to_string()]);
    }
    counts.row(vec!["all".to_owned(), families.len().to_string()]);
    Ok(format!("{here}\n{elsewhere}\n{counts}\n{values} values in one scrape\n"))
}

fn cells(family: &str, entry: &Entry) -> Vec<String> {
    let places = entry.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    vec![family.to_owned(), entry.state.word().to_owned(), places, entry.note.clone()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rowcall_store::{Settings, Store};
    use rowcall_testkit::database::Database;

    use super::*;

    const SMALL: &str = "node_a\tcovered\thost_vitals.a\nnode_b_*\tlater\t-\tsome day\n";

    #[test]
    fn a_family_that_nothing_is_said_of_is_an_error() {
        let mapping = Mapping::parse(SMALL).unwrap();
        let families = ["node_a".to_owned(), "node_c".to_owned(), "node_b_1".to_owned()];
        let error = told(&mapping, &families, 3).unwrap_err().to_string();
        assert!(error.ends_with("says nothing of: node_c"), "{error}");
    }

    #[tokio::test]
    async fn every_place_is_a_column_for_people() {
        let database = Database::create().await.unwrap();
        let store = Store::connect(&Settings::new(database.url())).await.unwrap();
        store.migrate().await.unwrap();
        let client = database.connect().await.unwrap();
        let query = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'";
        let rows = client.query(query, &[]).await.unwrap();
        let columns: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let mapping = Mapping::load().unwrap();
        let places = mapping.entries().flat_map(|entry| &entry.places).map(ToString::to_string);
        let missing: BTreeSet<_> = places.filter(|place| !columns.contains(place)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_family_is_in_the_table_and_in_the_totals() {
        let mapping = Mapping::parse(SMALL).unwrap();
        let families = ["node_b_2".to_owned(), "node_b_1".to_owned()];
        let text = told(&mapping, &families, 7).unwrap();
        let expected = "\
| node_exporter | Rowcall | where | how, or why not |
|---------------|---------|-------|-----------------|
| node_b_2      | later   |       | some day        |
| node_b_1      | later   |       | some day        |

| on other machines | Rowcall | where         | how, or why not |
|-------------------|---------|---------------|-----------------|
| node_a            | covered | host_vitals.a |                 |
| node_b_*          | later   |               | some day        |

| families here           | number |
|-------------------------|--------|
| not yet, worth a column | 2      |
| all                     | 2      |

7 values in one scrape
";
        assert_eq!(text, expected);
    }
}
