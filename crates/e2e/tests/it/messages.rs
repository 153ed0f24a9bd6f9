//! The table of the crate's README: each test that it names is there, and has the texts of its row.

use std::collections::BTreeSet;

use crate::repository::root;

/// A row: what is wrong, the texts that are said, and the tests as (file, name).
struct Row {
    input: String,
    texts: Vec<String>,
    tests: Vec<(String, String)>,
}

#[test]
fn each_test_of_the_table_is_there_and_has_the_texts_of_its_row() {
    let rows = rows(include_str!("../../README.md"));
    assert!(rows.len() > 45, "only {} rows were read", rows.len());
    for Row { input, texts, tests } in rows {
        assert!(!tests.is_empty(), "no test stands in the row of {input:?}");
        let mut bodies = String::new();
        for (file, name) in tests {
            let source = std::fs::read_to_string(root().join(&file))
                .unwrap_or_else(|error| panic!("{input:?}: {file}: {error}"));
            let body = test_body(&source, &name)
                .unwrap_or_else(|| panic!("{input:?}: {file} has no test {name}"));
            bodies.push_str(&literals_joined(body));
        }
        for text in texts {
            for piece in text.split('…').map(str::trim) {
                assert!(bodies.contains(piece), "{input:?}: no test of it has the text {piece:?}");
            }
        }
    }
}

#[test]
fn each_end_to_end_test_of_something_wrong_stands_in_the_table() {
    let named: BTreeSet<_> = rows(include_str!("../../README.md"))
        .into_iter()
        .flat_map(|row| row.tests.into_iter().map(|(_, name)| name))
        .collect();
    for file in [
        "wrong/database",
        "wrong/files",
        "wrong/settings",
        "outages",
        "remote",
        "faults",
        "hostile_machine/mod",
        "hostile_machine/swapping",
        "interop/mod",
        "identity/clones",
        "identity/names",
        "identity/renewal",
        "identity/revocation",
        "identity/tokens",
        "identity/authorities",
    ] {
        let path = root().join(format!("crates/e2e/tests/it/{file}.rs"));
        let source = std::fs::read_to_string(path).expect("a file of this crate");
        let tests: Vec<_> = names(&source).collect();
        assert!(!tests.is_empty(), "no test was found in {file}.rs");
        for test in tests {
            assert!(named.contains(test), "{file}.rs: {test} is in no row of the table");
        }
    }
}

#[test]
fn a_renamed_test_and_a_changed_text_are_seen() {
    let source =
        "#[test]\nfn old() {\n    says(\"a \\\n          b \\\"c\\\"\");\n}\n\nfn no_test() {\n}\n";
    assert!(test_body(source, "new").is_none());
    assert!(test_body(source, "ol").is_none());
    assert!(test_body(source, "no_test").is_none());
    let body = literals_joined(test_body(source, "old").expect("it is there"));
    assert!(body.contains("a b \"c\"") && !body.contains("no_test"), "{body}");
}

/// The rows of all tables whose last column names tests.
fn rows(readme: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut is_table = false;
    for line in readme.lines() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        is_table = line.starts_with('|') && (is_table || cells.last() == Some(&"held by"));
        let [input, seen, held] = cells.as_slice() else { continue };
        if is_table && line.contains(".rs`") {
            rows.push(Row {
                input: (*input).to_owned(),
                texts: quoted(seen),
                tests: held.split("<br>").map(|test| named(input, test)).collect(),
            });
        }
    }
    rows
}

/// What stands in quotation marks; `\"` and `\\` within them are as in Rust.
fn quoted(cell: &str) -> Vec<String> {
    let masked = cell.replace("\\\"", "\u{1}");
    let texts = masked.split('"').skip(1).step_by(2);
    texts.map(|text| text.replace('\u{1}', "\"")).collect()
}

/// File and name from "`file` `name`".
fn named(input: &str, test: &str) -> (String, String) {
    let parts: Vec<_> = test.trim().split('`').collect();
    let ["", file, " ", name, ""] = parts.as_slice() else {
        panic!("{input:?}: {test:?} is not a file and a name");
    };
    ((*file).to_owned(), (*name).to_owned())
}

/// The names of all tests in a source file.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let tests: Vec<_> = lines
        .windows(2)
        .filter(|two| two[0].starts_with("#[test]") || two[0].starts_with("#[tokio::test"))
        .filter_map(|two| two[1].split("fn ").nth(1)?.split('(').next())
        .collect();
    tests.into_iter()
}

/// The text of a test function, to the line that closes it.
fn test_body<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let named = names(source).find(|found| *found == name)?;
    let (before, rest) = source.split_once(&format!("fn {named}("))?;
    let line = before.rsplit('\n').next().unwrap_or_default();
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let close = format!("\n{}}}", " ".repeat(indent));
    rest.split_once(&close).map(|(body, _)| body)
}

/// Literals over several lines made one, and their quotation marks as they read.
fn literals_joined(body: &str) -> String {
    let mut joined = String::new();
    let mut parts = body.split("\\\n");
    joined.push_str(parts.next().unwrap_or_default());
    for part in parts {
        joined.push_str(part.trim_start());
    }
    joined.replace("\\\"", "\"")
}
