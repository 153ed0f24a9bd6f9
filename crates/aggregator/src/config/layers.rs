//! The sources of settings, one over the other.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::settings::{IN_PKI_DIR, OF_ISSUER, SETTINGS, variable};

/// A settings file above this size is none.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a value comes from; later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    /// The name of a file in this folder.
    PkiDir(PathBuf),
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::PkiDir(folder) => write!(f, "default in pki_dir {}", folder.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A setting's text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) source: Source,
}

/// All that is set, and what is wrong with how it is set.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: BTreeMap<&'static str, Value>,
    pub(super) problems: Vec<String>,
}

impl Values {
    /// The defaults alone.
    pub(super) fn defaults() -> Self {
        let mut values = Self::default();
        for setting in &SETTINGS {
            if let Some(text) = setting.default {
                values.set(setting.key, text.to_owned(), Source::Default);
            }
        }
        values
    }

    /// Lays a file over what is there.
    pub(super) fn file(&mut self, path: &Path, may_be_missing: bool) {
        match read(path) {
            Ok(text) => self.text(path, &text),
            Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.problems.push(format!(
                "cannot read {}: {error}; name another settings file or make it readable",
                path.display()
            )),
        }
    }

    /// Lays a file's text over what is there.
    pub(super) fn text(&mut self, path: &Path, text: &str) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                // Not the line itself, which may hold a password.
                let line = error.span().map_or(1, |span| {
                    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
                });
                let (path, why) = (path.display(), error.message());
                self.problems.push(format!("{path}, line {line}: {why}"));
                return;
            }
        };
        for (key, value) in table {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                self.problems.push(format!("{}: {}", path.display(), unknown(&key)));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                other => {
                    let problem = format!(
                        "{}: {key} is a {}, expected a text, a whole number or true or false",
                        path.display(),
                        other.type_str()
                    );
                    self.problems.push(problem);
                    continue;
                }
            };
            self.set(setting.key, text, Source::File(path.to_owned()));
        }
    }

    /// Lays the environment over what is there. Variables of other programs are left alone.
    pub(super) fn environment(&mut self, read: &dyn Fn(&str) -> Option<String>) {
        for setting in &SETTINGS {
            let name = variable(setting.key);
            if let Some(text) = read(&name) {
                self.set(setting.key, text, Source::Environment(name));
            }
        }
    }

    /// Lays flags over what is there.
    pub(super) fn flags(&mut self, matches: &ArgMatches) {
        for setting in &SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.key) {
                let flag = format!("--{}", setting.key.replace('_', "-"));
                self.set(setting.key, text.clone(), Source::Flag(flag));
            }
        }
    }

    /// Lays what pki_dir stands for under all that is set.
    pub(super) fn pki_dir(&mut self) {
        let Some(folder) = self.get("pki_dir").map(|value| PathBuf::from(value.text.trim())) else {
            return;
        };
        let issues = self.get("issuer").is_none_or(|value| value.text.trim() != "false");
        for (key, name) in IN_PKI_DIR {
            if self.get(key).is_none() && (issues || !OF_ISSUER.contains(&key)) {
                let file = folder.join(name).to_string_lossy().into_owned();
                self.set(key, file, Source::PkiDir(folder.clone()));
            }
        }
    }

    fn set(&mut self, key: &'static str, text: String, source: Source) {
        self.values.insert(key, Value { text, source });
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }
}

/// Reads a settings file, but not a device without an end.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(std::io::Error::other("it has more than 1 MiB, which no settings file needs"));
    }
    String::from_utf8(text).map_err(|_| std::io::Error::other("it is no text in UTF-8"))
}

fn unknown(key: &str) -> String {
    let nearest = SETTINGS
        .iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .min()
        // Two slips in a short word make another word.
        .filter(|(slips, known)| *slips <= known.len().div_ceil(4));
    match nearest {
        Some((_, known)) => format!("unknown setting {key:?}; did you mean {known}?"),
        None => {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            format!("unknown setting {key:?}; remove it or write one of {}", known.join(", "))
        }
    }
}

/// How many letters to insert, remove or replace to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    // What is longer than any setting is none, however it is spelled.
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_answered_with_the_one_that_was_meant() {
        for (key, meant) in [
            ("intervall", "interval"),
            ("http-listen", "http_listen"),
            ("client_cas", "client_ca"),
            ("KEY", "key"),
            ("max_db_size", "max_database_size"),
        ] {
            let said = unknown(key);
            let near = said.ends_with(&format!("did you mean {meant}?"));
            assert!(near || (key == "max_db_size" && said.contains(meant)), "{said}");
        }
        for key in ["", "spool", "postgresql", &"x".repeat(10_000)] {
            assert!(
                unknown(key).contains("write one of listen, http_listen, enroll_listen"),
                "{key}"
            );
        }
    }

    #[test]
    fn distances_count_slips() {
        for (from, to, slips) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 2),
            ("ab", "abc", 1),
            ("xbc", "abc", 1),
        ] {
            assert_eq!(distance(from, to), slips, "{from} {to}");
        }
    }
}
