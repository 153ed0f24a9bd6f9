//! The sources of settings, one over the other.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::settings::{SETTINGS, Setting, meant};
use crate::collect::Profile;

/// A file above this size is no configuration; a device may have no end at all.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Values by key, the last source on top, and what was wrong with the sources.
#[derive(Debug)]
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
    Default,
    Profile(Profile),
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl Layers {
    /// The defaults alone.
    pub(super) fn defaults() -> Self {
        let values = SETTINGS.iter().filter_map(|setting| {
            let text = setting.default?.to_owned();
            Some((setting.key, Value { text, origin: Origin::Default }))
        });
        Self { values: values.collect(), problems: Vec::new() }
    }

    /// Adds a TOML file.
    pub(super) fn file(&mut self, path: &Path, may_be_missing: bool) {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let advice = match error.kind() {
                    io::ErrorKind::NotFound => "check the path",
                    io::ErrorKind::PermissionDenied => "make it readable for the agent's user",
                    _ => "name a TOML file",
                };
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
            let Some(setting) = Setting::find(&name) else {
                let advice = meant(&name).map_or_else(
                    || "remove it; `rowcall-agent run --help` has all of them".to_owned(),
                    |key| format!("did you mean {key}?"),
                );
                self.problem(format!("{}: unknown key {name:?}; {advice}", path.display()));
                continue;
            };
            let origin = Origin::File(path.to_owned());
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                toml::Value::Array(parts) if setting.takes_several() => {
                    let parts = parts.iter().map(|part| part.as_str());
                    match parts.collect::<Option<Vec<_>>>() {
                        Some(parts) => parts.join(", "),
                        None => {
                            let place = origin.place(setting.key);
                            self.problem(format!("{place}: write each in quotes"));
                            continue;
                        }
                    }
                }
                other => {
                    let (key, kind) = (setting.key, other.type_str());
                    let article = if kind.starts_with('a') { "an" } else { "a" };
                    self.problem(format!(
                        "{}: {article} {kind} cannot stand here; write a text in quotes",
                        origin.place(key)
                    ));
                    continue;
                }
            };
            self.values.insert(setting.key, Value { text, origin });
        }
    }

    /// Adds `ROWCALL_*` of the environment. Variables that are no key of ours belong to others.
    pub(super) fn environment(&mut self, look_up: impl Fn(&str) -> Option<String>) {
        for setting in &SETTINGS {
            let variable = setting.variable();
            if let Some(text) = look_up(&variable) {
                let origin = Origin::Environment(variable);
                self.values.insert(setting.key, Value { text, origin });
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

    /// Gives a key that no source has the profile's value.
    pub(super) fn by_profile(&mut self, key: &'static str, profile: Profile, text: String) {
        self.values.entry(key).or_insert(Value { text, origin: Origin::Profile(profile) });
    }

    /// The value of a key that has a default; the default where it is wrong, so that the others
    /// can be looked at.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.optional(key, &parse).unwrap_or_else(|| {
            let default = Setting::find(key).and_then(|setting| setting.default);
            default
                .and_then(|text| parse(text).ok())
                .expect("the table gives every such setting a default that can be read")
        })
    }

    /// The value of a key, if any source has it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.values.get(key)?;
        match parse(value.text.trim()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                let problem = format!("{}: {problem}", value.origin.place(key));
                self.problem(problem);
                None
            }
        }
    }

    /// Whether any source has a value for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// What is in force as a settings file, each line with where it comes from.
    pub(super) fn show(&self) -> String {
        let line = |setting: &Setting| match self.values.get(setting.key) {
            Some(value) => {
                let text = toml::Value::String(value.text.clone());
                format!("{} = {text} # {}\n", setting.key, value.origin)
            }
            None => format!("# {} is not set\n", setting.key),
        };
        SETTINGS.iter().map(line).collect()
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

impl Origin {
    /// Where a key's value stands.
    fn place(&self, key: &str) -> String {
        match self {
            Self::Default | Self::Profile(_) => format!("default of {key}"),
            Self::File(path) => format!("{}: {key}", path.display()),
            Self::Environment(variable) => format!("environment variable {variable}"),
            Self::Flag(flag) => format!("--{flag}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(profile) => write!(f, "profile {}", profile.name()),
            // A name may hold a line break, which would end the comment.
            Self::File(path) => write!(f, "file {path:?}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"))
}
