//! Prometheus' text format, version 0.0.4, without timestamps.

use std::collections::HashSet;

use rowcall_core::convert::devices::{is_label_name, is_metric_name};
use rowcall_core::devices::Metric;

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// The values of a file, in its order; not all of them need to be finite.
///
/// # Errors
/// For the first line that is not of the format, or has a timestamp.
pub(super) fn parse(text: &str) -> Result<Vec<Metric>, Mistake> {
    let mut metrics = Vec::new();
    // The last line ends too; one that does not is still being written.
    let whole = text.is_empty() || text.ends_with('\n');
    let lines = text.split('\n').count();
    for (at, line) in text.split('\n').enumerate() {
        let mistake = |what| Mistake { line: at + 1, what };
        let line = line.trim_matches([' ', '\t']);
        match line.strip_prefix('#') {
            Some(comment) => check_comment(comment).map_err(mistake)?,
            None if line.is_empty() => {}
            None => metrics.push(metric(line).map_err(mistake)?),
        }
    }
    if whole { Ok(metrics) } else { Err(Mistake { line: lines, what: "the last line has no end" }) }
}

/// `HELP name text` and `TYPE name type` have a form; other comments have none.
fn check_comment(comment: &str) -> Result<(), &'static str> {
    let mut words = comment.split([' ', '\t']).filter(|word| !word.is_empty());
    let keyword = words.next();
    if !matches!(keyword, Some("HELP" | "TYPE")) {
        return Ok(());
    }
    if !words.next().is_some_and(is_metric_name) {
        return Err("no name of a metric");
    }
    let is_type =
        |word: &str| matches!(word, "counter" | "gauge" | "histogram" | "summary" | "untyped");
    let is_known = words.next().is_some_and(|word| is_type(word.to_ascii_lowercase().as_str()));
    if keyword == Some("TYPE") && (!is_known || words.next().is_some()) {
        return Err("no type of a metric");
    }
    Ok(())
}

/// `name{label="value",...} value`
fn metric(line: &str) -> Result<Metric, &'static str> {
    let end = line.find([' ', '\t', '{']).ok_or("no value")?;
    let (name, rest) = line.split_at_checked(end).ok_or("no value")?;
    if !is_metric_name(name) {
        return Err("no name of a metric");
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = words.next().ok_or("no value")?.parse::<f64>().map_err(|_| "no number")?;
    match words.next() {
        None => Ok(Metric { name: name.to_owned(), labels, value }),
        Some(time) if time.parse::<i64>().is_ok() => Err("timestamps are not supported"),
        Some(_) => Err("something after the value"),
    }
}

type Labels = Vec<(String, String)>;

/// Labels up to the closing brace, and what comes after it.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let skip = |text: &'_ str| text.len() - text.trim_start_matches([' ', '\t']).len();
    let mut labels = Vec::new();
    let mut names = HashSet::new();
    loop {
        rest = rest.get(skip(rest)..).unwrap_or("");
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, after) = rest.split_once('=').ok_or("no end of the labels")?;
        let name = name.trim_end_matches([' ', '\t']);
        if !is_label_name(name) || name == "__name__" {
            return Err("no name of a label");
        }
        if !names.insert(name) {
            return Err("a label stands twice");
        }
        let after = after.trim_start_matches([' ', '\t']);
        let (value, after) = quoted(after.strip_prefix('"').ok_or("a value without quotes")?)?;
        labels.push((name.to_owned(), value));
        rest = after.trim_start_matches([' ', '\t']);
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return Err("no comma between labels"),
        };
    }
}

/// A value up to its closing quote, with `\\`, `\"` and `\n` for what they stand for.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('"') => return Ok((value, chars.as_str())),
            Some('\\') => value.push(match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                _ => return Err("an escape that there is not"),
            }),
            Some(c) => value.push(c),
            None => return Err("no end of a value"),
        }
    }
}
