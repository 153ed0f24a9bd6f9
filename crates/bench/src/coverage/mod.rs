//! Which of node_exporter's metrics Rowcall has: `make coverage`.
//!
//! What is said of each family stands in `node_exporter.tsv`. A family that the real one gives and
//! that has no line there is an error, so the table can't fall behind. Its lines are wider than any
//! terminal: there the same is shown as a list.

mod mapping;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use anyhow::{Result, ensure};

pub(crate) use mapping::{Entry, Mapping, State};

use crate::exporter::{self, Exporter};
use crate::report::Table;

/// Prints what is said of a real scrape on this machine.
pub(crate) async fn run() -> Result<()> {
    let scrape = Exporter::start().await?.scrape(false).await?;
    let (families, values) = exporter::families(&scrape)?;
    let mapping = Mapping::load()?;
    let mut out = std::io::stdout().lock();
    let told = if out.is_terminal() { list } else { tables };
    let text = told(&mapping, &families, values)?;
    Ok(out.write_all(text.as_bytes())?)
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

/// As Markdown.
fn tables(mapping: &Mapping, families: &[String], values: usize) -> Result<String> {
    let counts = counts(mapping, families)?;
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
    Ok(format!("{here}\n{elsewhere}\n{counts}\n{values} values in one scrape\n"))
}

/// For a terminal: by state, what is said of a family on lines under it.
fn list(mapping: &Mapping, families: &[String], values: usize) -> Result<String> {
    let counts = counts(mapping, families)?;
    let here = families.iter().filter_map(|family| Some((family, mapping.of(family)?)));
    let elsewhere = mapping.entries().filter(|entry| !families.contains(&entry.family));
    let elsewhere = elsewhere.map(|entry| (&entry.family, entry));
    let here = by_state(here.collect(), "");
    let elsewhere = by_state(elsewhere.collect(), ", on other machines");
    Ok(format!("{here}{elsewhere}{counts}\n{values} values in one scrape\n"))
}

fn by_state(mut said: Vec<(&String, &Entry)>, which: &str) -> String {
    // Stable: within a state they keep their order.
    said.sort_by_key(|(_, entry)| entry.state);
    let mut text = String::new();
    for of_one in said.chunk_by(|(_, one), (_, next)| one.state == next.state) {
        let state = of_one.first().map_or("", |(_, entry)| entry.state.meaning());
        text.push_str(&format!("{state}{which}: {}\n", of_one.len()));
        for (family, entry) in of_one {
            text.push_str(&format!("  {family}\n"));
            for words in [places(entry), entry.note.clone()] {
                if !words.is_empty() {
                    text.push_str(&format!("      {words}\n"));
                }
            }
        }
        text.push('\n');
    }
    text
}

fn counts(mapping: &Mapping, families: &[String]) -> Result<Table> {
    let mut counts = Table::new("totals", &["families here", "number"]);
    for (state, number) in totals(mapping, families)? {
        counts.row(vec![state.meaning().to_owned(), number.to_string()]);
    }
    counts.row(vec!["all".to_owned(), families.len().to_string()]);
    Ok(counts)
}

fn cells(family: &str, entry: &Entry) -> Vec<String> {
    vec![family.to_owned(), entry.state.word().to_owned(), places(entry), entry.note.clone()]
}

fn places(entry: &Entry) -> String {
    entry.places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
        for told in [tables, list] {
            let error = told(&mapping, &families, 3).unwrap_err().to_string();
            assert!(error.ends_with("says nothing of: node_c"), "{error}");
        }
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
        let text = tables(&mapping, &families, 7).unwrap();
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

    #[test]
    fn in_a_terminal_it_is_a_list_that_fits() {
        let mapping = Mapping::parse(SMALL).unwrap();
        let text = list(&mapping, &["node_b_2".to_owned()], 7).unwrap();
        let expected = "\
not yet, worth a column: 1
  node_b_2
      some day

covered, on other machines: 1
  node_a
      host_vitals.a

not yet, worth a column, on other machines: 1
  node_b_*
      some day

";
        assert!(
            text.starts_with(expected) && text.ends_with("\n7 values in one scrape\n"),
            "{text}"
        );
        let whole = list(&Mapping::load().unwrap(), &[], 0).unwrap();
        let long: Vec<_> = whole.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}
