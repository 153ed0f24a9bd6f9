//! Settings: defaults < file < environment < flags.
//!
//! A value is checked once, here, and every problem is reported at once. A password is taken from
//! a file or the environment, never from a flag, where every user of the machine could read it.

mod settings;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::ArgMatches;
use rowcall_core::session::aggregator::HELLO_DEADLINE;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Files;
use tracing_subscriber::EnvFilter;

use settings::{SETTINGS, Source, Value, Values};
use value::{has_password, hide_password, parse_duration, show_duration};

pub use settings::{DEFAULT_FILE, with_flags};

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// The one at this URL, which may hold a password.
    Url(String),
    /// A private server under [`Config::data_dir`].
    Embedded,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Passwords are hidden.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&hide_password(url)),
            Self::Embedded => f.write_str("embedded"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What an aggregator runs with. `rowcall-aggregator serve --help` explains each setting.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which database it writes to.
    pub database: Database,
    /// Where an embedded database lies.
    pub data_dir: PathBuf,
    /// Its certificate, key and the authorities of its clients.
    pub files: Files,
    /// Trust domain of its clients; none: the one that a client authority names.
    pub trust_domain: Option<TrustDomain>,
    /// Time between two samples of an agent. Whole milliseconds.
    pub interval: Duration,
    /// Most rows in one transaction.
    pub flush_rows: usize,
    /// Longest that a record waits for others.
    pub flush_after: Duration,
    /// Connections for ingest; one of them is kept for the writer.
    pub ingest_connections: usize,
    /// Connections for reports.
    pub report_connections: usize,
    /// Longest that a statement may run.
    pub statement_timeout: Duration,
    /// Longest wait for a connection of a pool.
    pub pool_wait: Duration,
    /// Longest that a shutdown may take.
    pub drain_deadline: Duration,
    /// Longest that a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Handshakes at a time.
    pub max_handshakes: usize,
    /// Handshakes at a time from one address.
    pub max_handshakes_per_source: usize,
    /// Whether the schema is brought up to date at the start.
    pub migrate: bool,
    /// Threads of the runtime; for [`crate::serve`]'s caller.
    pub workers: usize,
    /// For the caller, as above.
    pub log_format: LogFormat,
    /// For the caller, as above.
    pub log_level: String,
}

/// Everything that is wrong with the settings, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            several => {
                write!(f, "{} problems in the settings:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// The defaults, with the settings that have none.
    #[must_use]
    pub fn new(database: Database, files: Files) -> Self {
        let mut reader = Reader { values: Values::defaults(), problems: Vec::new() };
        let mut config = reader.config();
        config.database = database;
        config.files = files;
        config
    }

    /// Reads file, environment and flags (those of [`with_flags`]). Returns also what `--print-config` prints.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn load(
        matches: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), Problems> {
        let mut values = Values::defaults();
        let named = matches.get_one::<PathBuf>("config").cloned();
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match std::fs::read_to_string(&path) {
            Ok(text) => values.file(&path, &text),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => values.problems.push(format!("cannot read {}: {error}", path.display())),
        }
        values.environment(environment);
        values.flags(matches);
        let shown = print(&values);
        Ok((Self::from_values(values)?, shown))
    }

    fn from_values(mut values: Values) -> Result<Self, Problems> {
        let problems = std::mem::take(&mut values.problems);
        let mut reader = Reader { values, problems };
        for key in ["database", "certificate", "key", "client_ca"] {
            if reader.values.get(key).is_none() {
                let variable = settings::variable(key);
                reader.problems.push(format!(
                    "{key} is not set: give it in the settings file, as {variable} or as --{}",
                    key.replace('_', "-")
                ));
            }
        }
        reader.password_in_flag();
        let config = reader.config();
        let mut problems = reader.problems;
        problems.extend(config.disorder());
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// Checks what [`Config::load`] has checked already, for settings that a program made.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn validate(&self) -> Result<(), Problems> {
        let problems = self.disorder();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Time limits that contradict each other.
    ///
    /// The drain deadline is not bound to the statement timeout: what a shutdown leaves
    /// uncommitted is unacknowledged, so its agent sends it again.
    fn disorder(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |fits: bool, what: &str| {
            if !fits {
                problems.push(what.to_owned());
            }
        };
        check(
            self.flush_after < self.drain_deadline,
            "drain_deadline must be longer than flush_after, or a shutdown could not write what waits",
        );
        check(
            self.pool_wait <= self.statement_timeout,
            "pool_wait must be at most statement_timeout: a connection may be taken for that long",
        );
        check(
            self.handshake_timeout <= HELLO_DEADLINE,
            "handshake_timeout must be at most 10s, the time that a peer has for its Hello",
        );
        check(
            self.max_handshakes_per_source <= self.max_handshakes,
            "max_handshakes_per_source must be at most max_handshakes",
        );
        check(
            (Duration::from_millis(10)..=Duration::from_secs(86_400)).contains(&self.interval),
            "interval must lie between 10ms and 1d",
        );
        check(
            self.ingest_connections >= 2,
            "ingest_connections must be at least 2: one is the writer's own",
        );
        check(self.flush_rows > 0, "flush_rows must be at least 1");
        problems
    }
}

/// Reads values one by one and collects what is wrong with them. What has a problem gets its
/// default, so that the others can be looked at.
struct Reader {
    values: Values,
    problems: Vec<String>,
}

impl Reader {
    fn config(&mut self) -> Config {
        let database = match self.text("database").as_str() {
            "embedded" => Database::Embedded,
            url => Database::Url(url.to_owned()),
        };
        Config {
            listen: self.parsed("listen", "an address and port such as 0.0.0.0:7443"),
            database,
            data_dir: self.text("data_dir").into(),
            files: Files {
                certificate: self.text("certificate").into(),
                key: self.text("key").into(),
                authorities: self.text("client_ca").into(),
            },
            trust_domain: self.values.get("trust_domain").cloned().and_then(|value| {
                self.checked("trust_domain", &value, |t| {
                    TrustDomain::parse(t).map_err(|e| e.to_string())
                })
            }),
            interval: self.duration("interval", 10, 86_400_000),
            flush_rows: self.number("flush_rows", 1, 10_000),
            flush_after: self.duration("flush_after", 1, 10_000),
            ingest_connections: self.number("ingest_connections", 2, 64),
            report_connections: self.number("report_connections", 1, 64),
            statement_timeout: self.duration("statement_timeout", 100, 3_600_000),
            pool_wait: self.duration("pool_wait", 10, 3_600_000),
            drain_deadline: self.duration("drain_deadline", 10, 300_000),
            handshake_timeout: self.duration("handshake_timeout", 100, 10_000),
            max_handshakes: self.number("max_handshakes", 1, 65_536),
            max_handshakes_per_source: self.number("max_handshakes_per_source", 1, 65_536),
            migrate: self.parsed("migrate", "true or false"),
            workers: self.number("workers", 1, 64),
            log_format: self.required("log_format", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                other => Err(format!("{other:?} is neither text nor json")),
            }),
            log_level: self.required("log_level", |text| {
                EnvFilter::try_new(text)
                    .map(|_| text.to_owned())
                    .map_err(|error| format!("{text:?} is no log filter: {error}"))
            }),
        }
    }

    fn text(&self, key: &'static str) -> String {
        self.values.get(key).map(|value| value.text.clone()).unwrap_or_default()
    }

    /// A setting that has a default.
    fn required<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> T {
        let found = self.values.get(key).cloned();
        found.and_then(|value| self.checked(key, &value, &read)).unwrap_or_else(|| {
            let default = SETTINGS.iter().find(|s| s.key == key).and_then(|s| s.default);
            default
                .and_then(|text| read(text).ok())
                .expect("the table gives every such setting a default that can be read")
        })
    }

    fn checked<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        read(value.text.trim())
            .map_err(|problem| self.problems.push(format!("{key} ({}): {problem}", value.source)))
            .ok()
    }

    fn parsed<T: FromStr>(&mut self, key: &'static str, expected: &str) -> T {
        self.required(key, |text| text.parse().map_err(|_| format!("{text:?} is not {expected}")))
    }

    fn number(&mut self, key: &'static str, least: usize, most: usize) -> usize {
        self.required(key, |text| match text.replace('_', "").parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("{text:?} is no whole number between {least} and {most}")),
        })
    }

    fn duration(&mut self, key: &'static str, least_ms: u64, most_ms: u64) -> Duration {
        let (least, most) = (Duration::from_millis(least_ms), Duration::from_millis(most_ms));
        self.required(key, |text| match parse_duration(text)? {
            duration if (least..=most).contains(&duration) => Ok(duration),
            _ => Err(format!(
                "{text} is not between {} and {}",
                show_duration(least),
                show_duration(most)
            )),
        })
    }

    fn password_in_flag(&mut self) {
        let flag = self.values.get("database").filter(|value| value.source == Source::Flag);
        if flag.is_some_and(|value| has_password(&value.text)) {
            self.problems.push(
                "database (flag): a password in a flag is visible to every user of this machine; \
                 take it out and give it in the settings file, in ROWCALL_DATABASE, or with \
                 passfile=FILE in the URL"
                    .to_owned(),
            );
        }
    }
}

/// The settings in force as a settings file, each with where it comes from.
fn print(values: &Values) -> String {
    let mut shown = String::new();
    for setting in &SETTINGS {
        let line = match values.get(setting.key) {
            Some(value) => {
                let text = if setting.key == "database" {
                    hide_password(&value.text)
                } else {
                    value.text.clone()
                };
                format!("{} = {} # {}\n", setting.key, toml::Value::String(text), value.source)
            }
            None => format!("# {} is not set\n", setting.key),
        };
        shown.push_str(&line);
    }
    shown
}

/// Reads a settings file and nothing else; for tests and other programs.
///
/// # Errors
/// [`Problems`], all of them.
pub fn from_file_text(text: &str) -> Result<Config, Problems> {
    let mut values = Values::defaults();
    values.file(Path::new("settings"), text);
    Config::from_values(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "database = 'embedded'\ncertificate = 'c'\nkey = 'k'\nclient_ca = 'a'\n";

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<(Config, String), Problems> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregator.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let arguments = ["x", "--config", path].into_iter().chain(flags.iter().copied());
        let matches = with_flags(clap::Command::new("x")).try_get_matches_from(arguments).unwrap();
        Config::load(&matches, &|name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_can_be_read() {
        let config = load(LEAST, &[], &[]).unwrap().0;
        assert_eq!(config.listen.port(), 7443);
        assert_eq!(config.interval, Duration::from_secs(60));
        assert_eq!((config.flush_rows, config.flush_after), (1_000, Duration::from_millis(100)));
        assert_eq!(config.database, Database::Embedded);
        assert!(config.validate().is_ok());
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = format!("{LEAST}interval = '10s'\nworkers = 3\nflush_rows = 7\n");
        let environment = [("ROWCALL_INTERVAL", "20s"), ("ROWCALL_WORKERS", "4")];
        let config = load(&file, &environment, &["--interval", "30s"]).unwrap().0;
        assert_eq!(config.interval, Duration::from_secs(30));
        assert_eq!((config.workers, config.flush_rows), (4, 7));
        assert_eq!(config.report_connections, 4);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let file = "intervall = '1s'\ninterval = '1ms'\nlisten = 'here'\nworkers = 1.5\n\
                    drain_deadline = '50ms'\nlog_level = '=='\ntrust_domain = 'A b'\n";
        let problems = load(file, &[], &[]).unwrap_err().to_string();
        for part in [
            "unknown setting \"intervall\"",
            "interval (file): 1ms is not between 10ms and 1d",
            "listen (file): \"here\" is not an address",
            "workers is a float",
            "log_level (file)",
            "trust_domain (file)",
            "drain_deadline must be longer than flush_after",
            "database is not set: give it in the settings file, as ROWCALL_DATABASE or as --database",
            "certificate is not set",
            "key is not set",
            "client_ca is not set: give it in the settings file, as ROWCALL_CLIENT_CA or as --client-ca",
        ] {
            assert!(problems.contains(part), "{part} is missing in:\n{problems}");
        }
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        for (line, part) in [
            ("pool_wait = '31s'", "pool_wait must be at most statement_timeout"),
            ("max_handshakes = 10", "max_handshakes_per_source must be at most"),
            ("flush_after = '10s'", "drain_deadline must be longer"),
        ] {
            let problems = from_file_text(&format!("{LEAST}{line}\n")).unwrap_err().to_string();
            assert!(problems.contains(part), "{problems}");
        }
    }

    #[test]
    fn a_password_in_a_flag_is_refused_and_not_repeated() {
        let url = "postgresql://rowcall:hunter2@db/host_agent";
        let problems = load(LEAST, &[], &["--database", url]).unwrap_err().to_string();
        assert!(
            problems.contains("ROWCALL_DATABASE") && problems.contains("passfile"),
            "{problems}"
        );
        assert!(!problems.contains("hunter2"));
        assert!(load(LEAST, &[("ROWCALL_DATABASE", url)], &[]).is_ok());
    }

    #[test]
    fn printed_settings_hide_passwords_and_can_be_read_again() {
        let url = "postgresql://rowcall:hunter2@db/host_agent";
        let (config, shown) = load(LEAST, &[("ROWCALL_DATABASE", url)], &[]).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(shown.contains("interval = \"60s\" # default"), "{shown}");
        assert!(from_file_text(&shown).is_ok());
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let matches = with_flags(clap::Command::new("x"))
            .try_get_matches_from(["x", "--config", "/nonexistent/a.toml"])
            .unwrap();
        let problems = Config::load(&matches, &|_| None).unwrap_err().to_string();
        assert!(problems.contains("cannot read /nonexistent/a.toml"), "{problems}");
    }
}
