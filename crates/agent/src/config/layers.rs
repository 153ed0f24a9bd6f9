//! The sources of settings, one over the other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::KEYS;

/// Values by key, the last source on top, and what was wrong with the sources.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Value>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Value {
    text: String,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    File(PathBuf, &'static str),
    Environment(String),
    Flag(String),
}

impl Layers {
    /// Adds a TOML file.
    pub(super) fn file(&mut self, path: &Path, may_be_missing: bool) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let advice = "name another file or make it readable";
                return self
                    .problem(format!("{}: cannot be read: {error}; {advice}", path.display()));
            }
        };
        match text.parse::<toml::Table>() {
            Ok(table) => self.table(path, table),
            Err(error) => {
                let line = error
                    .span()
                    .and_then(|span| text.get(..span.start))
                    .map_or(1, |before| before.lines().count().max(1));
                let what = error.message();
                self.problem(format!("{}, line {line}: no valid TOML: {what}", path.display()));
            }
        }
    }

    fn table(&mut self, path: &Path, table: toml::Table) {
        for (name, value) in table {
            let Some((key, _)) = KEYS.iter().find(|(key, _)| *key == name) else {
                let known: Vec<_> = KEYS.iter().map(|(key, _)| *key).collect();
                self.problem(format!(
                    "{}: unknown key {name:?}; remove it or write one of {}",
                    path.display(),
                    known.join(", ")
                ));
                continue;
            };
            let origin = Origin::File(path.to_owned(), key);
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                other => {
                    let kind = other.type_str();
                    self.problem(format!(
                        "{origin}: a {kind} cannot stand here; write a text in quotes"
                    ));
                    continue;
                }
            };
            self.values.insert(key, Value { text, origin });
        }
    }

    /// Adds `ROWCALL_*` of the environment. Variables that are no key of ours belong to others.
    pub(super) fn environment(&mut self, look_up: impl Fn(&str) -> Option<String>) {
        for (key, _) in &KEYS {
            let variable = format!("ROWCALL_{}", key.to_ascii_uppercase());
            if let Some(text) = look_up(&variable) {
                self.values.insert(key, Value { text, origin: Origin::Environment(variable) });
            }
        }
    }

    /// Adds flags, by key.
    pub(super) fn flags(&mut self, flags: &[(&'static str, String)]) {
        for (key, text) in flags {
            let origin = Origin::Flag(key.replace('_', "-"));
            self.values.insert(key, Value { text: text.clone(), origin });
        }
    }

    /// The value of a key, or its default where no source has it or it is wrong.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The value of a key, if any source has it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.values.get(key)?;
        match parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                let problem = format!("{}: {problem}", value.origin);
                self.problem(problem);
                None
            }
        }
    }

    /// The value of a key without a default.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.values.contains_key(key) {
            let variable = key.to_ascii_uppercase();
            let flag = key.replace('_', "-");
            self.problem(format!(
                "{key} is not set; set it in the file, as ROWCALL_{variable} or with --{flag}"
            ));
        }
        self.optional(key, parse)
    }

    /// Something else is wrong.
    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Everything that was wrong.
    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, key) => write!(f, "{}: {key}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}
