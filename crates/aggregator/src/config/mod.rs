//! Settings: defaults < file < environment < flags.
//!
//! A value is checked once, here, and every problem is reported at once. A password is taken from
//! a file or the environment, never from a flag, where every user of the machine could read it.

mod layers;
mod settings;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::ArgMatches;
use rowcall_core::session::aggregator::HELLO_DEADLINE;
use rowcall_store::{check_url, url_has_password, url_shown};
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Files;
use tracing_subscriber::EnvFilter;

use layers::{Source, Value, Values};
use settings::SETTINGS;
use value::{parse_duration, parse_size, show_duration};

pub use settings::{DEFAULT_FILE, with_flags};

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "ROWCALL_CONFIG";

/// Settings without a default that `serve` needs.
const TO_SERVE: [&str; 4] = ["database", "certificate", "key", "client_ca"];
/// And those of what only has to do with the database.
const FOR_DATABASE: [&str; 1] = ["database"];

/// What `max_database_size` may be, in bytes: 1 GiB to 1 PiB.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 30..=1 << 50;

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
            Self::Url(url) => f.write_str(&url_shown(url)),
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
    /// Where it answers probes and gives metrics, over HTTP without TLS; none: nowhere.
    pub http_listen: Option<SocketAddr>,
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
    /// Longest that a TLS handshake may take, and then the time until the first call.
    pub handshake_timeout: Duration,
    /// Handshakes at a time.
    pub max_handshakes: usize,
    /// Handshakes at a time from one address.
    pub max_handshakes_per_source: usize,
    /// Samples older than this are dropped, by whole days.
    pub retention: Duration,
    /// Above this size of the database the oldest day of samples is dropped.
    pub max_database_bytes: Option<u64>,
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
    /// The defaults, with the settings that have none. It answers no HTTP: a program that embeds
    /// an aggregator says where.
    #[must_use]
    pub fn new(database: Database, files: Files) -> Self {
        let mut reader = Reader { values: Values::defaults(), problems: Vec::new() };
        let mut config = reader.config();
        config.database = database;
        config.files = files;
        config.http_listen = None;
        config
    }

    /// Reads file, environment and flags (those of [`with_flags`]). Returns also what
    /// `--print-config` prints.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn load(
        matches: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), Problems> {
        Self::load_with(&TO_SERVE, matches, environment)
    }

    /// As [`Config::load`], for what needs the database alone, as `migrate` does. Where no
    /// certificate, key or client_ca is set, [`Config::files`] are empty paths.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_for_database(
        matches: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), Problems> {
        Self::load_with(&FOR_DATABASE, matches, environment)
    }

    fn load_with(
        needed: &[&str],
        matches: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, String), Problems> {
        let mut values = Values::defaults();
        let named = matches.get_one::<PathBuf>("config").cloned();
        match named.or_else(|| environment(FILE_VARIABLE).map(Into::into)) {
            Some(path) => values.file(&path, false),
            None => values.file(Path::new(DEFAULT_FILE), true),
        }
        values.environment(environment);
        values.flags(matches);
        let shown = print(&values);
        Ok((Self::from_values(values, needed)?, shown))
    }

    fn from_values(mut values: Values, needed: &[&str]) -> Result<Self, Problems> {
        let problems = std::mem::take(&mut values.problems);
        let mut reader = Reader { values, problems };
        for key in needed {
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
        check(
            !self.http_listen.is_some_and(|http| meet(http, self.listen)),
            "http_listen and listen are the same port: choose another for one of them, or `off` \
             for http_listen",
        );
        problems
    }
}

/// Whether two listeners are in each other's way.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (every || one.ip() == other.ip())
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
            http_listen: self.required("http_listen", |text| match text {
                "off" => Ok(None),
                address => address.parse().map(Some).map_err(|_| {
                    format!(
                        "{address:?} is neither an address and port such as 127.0.0.1:7445 nor \
                         the word off"
                    )
                }),
            }),
            database,
            data_dir: self.path("data_dir"),
            files: Files {
                certificate: self.path("certificate"),
                key: self.path("key"),
                authorities: self.path("client_ca"),
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
            retention: self.duration("retention", 7 * 86_400_000, 3_650 * 86_400_000),
            max_database_bytes: self.values.get("max_database_size").cloned().and_then(|value| {
                self.checked("max_database_size", &value, |text| match parse_size(text)? {
                    bytes if SIZES.contains(&bytes) => Ok(bytes),
                    _ => Err(format!("{text} is not between 1GiB and 1PiB")),
                })
            }),
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

    /// A file or folder. Where it is not set, that is said elsewhere.
    fn path(&mut self, key: &'static str) -> PathBuf {
        let found = self.values.get(key).cloned();
        let read = |text: &str| match text {
            "" => Err("the path is empty; name a file".to_owned()),
            path => Ok(PathBuf::from(path)),
        };
        found.and_then(|value| self.checked(key, &value, read)).unwrap_or_default()
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
        let flag =
            self.values.get("database").filter(|value| matches!(value.source, Source::Flag(_)));
        let Some(url) = flag.map(|value| &value.text).filter(|url| url_has_password(url)) else {
            return;
        };
        let unreadable = check_url(url).err();
        let problem = unreadable.map(|why| format!("{why}; if it holds a password: "));
        self.problems.push(format!(
            "database (flag --database): {}a password in a flag is visible to every user of this \
             machine; take it out and give it in the settings file, in ROWCALL_DATABASE, or with \
             passfile=FILE in the URL",
            problem.unwrap_or_default()
        ));
    }
}

/// The settings in force as a settings file, each with where it comes from.
fn print(values: &Values) -> String {
    let mut shown = String::new();
    for setting in &SETTINGS {
        let line = match values.get(setting.key) {
            Some(value) => {
                let text = match (setting.key, value.text.as_str()) {
                    ("database", "embedded") => value.text.clone(),
                    ("database", url) => url_shown(url),
                    _ => value.text.clone(),
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
    values.text(Path::new("settings"), text);
    Config::from_values(values, &TO_SERVE)
}

#[cfg(test)]
mod tests;
