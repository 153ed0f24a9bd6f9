//! Settings: defaults < file < environment < flags.
//!
//! A value is checked once, here, and every problem is reported at once. A password is taken from
//! a file or the environment, never from a flag, where every user of the machine could read it.

mod enrollment;
mod layers;
mod reader;
mod settings;
mod value;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use ipnet::IpNet;
use rowcall_core::id::HostName;
use rowcall_core::session::aggregator::HELLO_DEADLINE;
use rowcall_store::url_shown;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Files;

use layers::Values;
use reader::Reader;
use settings::{CRL_IN_PKI_DIR, SETTINGS};

pub use crate::deadman::{DeadManUrl, InvalidUrl};
pub use enrollment::{Enrollment, Revocations};
pub use settings::{DEFAULT_FILE, with_flags};

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "ROWCALL_CONFIG";

/// Settings without a default that `serve` needs.
const TO_SERVE: [&str; 4] = ["database", "certificate", "key", "client_ca"];
/// And those of what only has to do with the database.
const FOR_DATABASE: [&str; 1] = ["database"];

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
    /// What this aggregator is called where several write to one database.
    pub name: HostName,
    /// Which database it writes to.
    pub database: Database,
    /// Where an embedded database lies.
    pub data_dir: PathBuf,
    /// Its certificate, key and the authorities of its clients.
    pub files: Files,
    /// Which of their certificates are revoked; none: no lists are looked at.
    pub revocations: Option<Revocations>,
    /// What it issues certificates with, and where; none: it doesn't.
    pub enrollment: Option<Enrollment>,
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
    /// Networks whose addresses have no bounds of their own.
    pub exempt_sources: Vec<IpNet>,
    /// Balancers: their connections begin with a header of the PROXY protocol, version 2.
    pub proxy_from: Vec<IpNet>,
    /// Samples older than this are dropped, by whole days.
    pub retention: Duration,
    /// Readings of devices and metrics older than this are dropped, by whole days; at most
    /// [`Config::retention`].
    pub device_retention: Duration,
    /// Above this size of the database the oldest day of samples is dropped.
    pub max_database_bytes: Option<u64>,
    /// How long silence is excused after an agent's Bye.
    pub excuse: Duration,
    /// What is called while rows are committed; none: nothing.
    pub dead_man_url: Option<DeadManUrl>,
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
        let mut reader = Reader::new(Values::defaults(), Vec::new());
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
        values.pki_dir();
        let shown = print(&values);
        Ok((Self::from_values(values, needed)?, shown))
    }

    fn from_values(mut values: Values, needed: &[&str]) -> Result<Self, Problems> {
        let problems = std::mem::take(&mut values.problems);
        let mut reader = Reader::new(values, problems);
        for key in needed {
            if reader.values.get(key).is_none() {
                let variable = settings::variable(key);
                let in_folder = settings::IN_PKI_DIR.iter().any(|(inside, _)| inside == key);
                reader.problems.push(format!(
                    "{key} is not set: give it in the settings file, as {variable} or as --{}{}",
                    key.replace('_', "-"),
                    if in_folder { ", or set pki_dir" } else { "" }
                ));
            }
        }
        if needed == TO_SERVE {
            reader.half_an_issuer();
        }
        reader.password_in_flag();
        reader.secret_in_flag();
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
        check(
            self.device_retention <= self.retention,
            "device_retention must be at most retention: devices are read beside samples",
        );
        check(self.flush_rows > 0, "flush_rows must be at least 1");
        check(
            !self.http_listen.is_some_and(|http| meet(http, self.listen)),
            "http_listen and listen are the same port: choose another for one of them, or `off` \
             for http_listen",
        );
        if let Some(enroll) = self.enrollment.as_ref().and_then(|enrollment| enrollment.listen) {
            check(
                !meet(enroll, self.listen),
                "enroll_listen and listen are the same port: choose another for one of them, or \
                 `off` for enroll_listen",
            );
            check(
                !self.http_listen.is_some_and(|http| meet(http, enroll)),
                "http_listen and enroll_listen are the same port: choose another for one of them, \
                 or `off`",
            );
        }
        problems
    }
}

/// Whether two listeners are in each other's way.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (every || one.ip() == other.ip())
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
                    ("dead_man_url", url) => DeadManUrl::parse(url.trim())
                        .map_or_else(|_| "********".to_owned(), |url| url.to_string()),
                    _ => value.text.clone(),
                };
                format!("{} = {} # {}\n", setting.key, toml::Value::String(text), value.source)
            }
            None => {
                let folder = values.get("pki_dir").filter(|_| setting.key == "client_crl");
                let once_there = folder.map(|folder| Path::new(folder.text.trim()));
                let once_there = once_there.map(|folder| {
                    format!(": {}, once it is there", folder.join(CRL_IN_PKI_DIR).display())
                });
                format!("# {} is not set{}\n", setting.key, once_there.unwrap_or_default())
            }
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
    values.pki_dir();
    Config::from_values(values, &TO_SERVE)
}

#[cfg(test)]
mod tests;
