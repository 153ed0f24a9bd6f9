//! Settings: defaults, then the TOML file, then `ROWCALL_*` in the environment, then flags.
//!
//! Every source has the same flat keys ([`KEYS`]): `min_interval` in the file is
//! `ROWCALL_MIN_INTERVAL` in the environment and `--min-interval` as a flag. Every problem is
//! found and told at once, each with the place it comes from and what to write instead.

mod endpoint;
mod layers;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowcall_tls::load::Files;

use crate::queue::Limits;
pub use endpoint::Endpoint;
use layers::Layers;

/// The file that is read where no other is named. It may be missing.
pub const DEFAULT_FILE: &str = "/etc/rowcall/agent.toml";

/// Between two samples until an aggregator says otherwise for the first time.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Every key, and what it means.
pub const KEYS: [(&str, &str); 16] = [
    ("aggregator", "where the aggregator listens, https://HOST:7443"),
    ("server_name", "name expected in the aggregator's certificate instead of its host"),
    ("ca", "file with the authorities that may have issued the aggregator's certificate, PEM"),
    ("certificate", "file with this agent's certificate, PEM"),
    ("key", "file with the certificate's private key, PEM"),
    ("min_interval", "shortest time between samples, whatever an aggregator says"),
    ("align", "sample at whole intervals instead of spread by the host's name: true or false"),
    ("queue_records", "most records that wait or are kept for a refill"),
    ("queue_bytes", "most memory that they take"),
    ("backoff_min", "longest wait before the first new try"),
    ("backoff_max", "longest wait before any later one"),
    (
        "refused_wait",
        "longest wait after the aggregator refused this agent; a fifth is the shortest",
    ),
    ("ack_timeout", "end a stream when data is in flight and nothing was heard for this long"),
    ("stop_wait", "on a stop, longest wait for outstanding acknowledgements"),
    ("log_format", "text or json"),
    ("log_level", "error, warn, info, debug, trace, or per module as in info,rowcall_agent=debug"),
];

/// What the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the aggregator listens.
    pub aggregator: Endpoint,
    /// Name expected in its certificate, where that isn't the endpoint's host.
    pub server_name: Option<String>,
    /// Certificate, key and authorities. Read again at each connect.
    pub files: Files,
    /// Shortest time between samples. At least 10 ms; default 1 s.
    pub min_interval: Duration,
    /// Sample at whole intervals instead of spread by the host's name.
    pub align: bool,
    /// Bounds of the queue.
    pub queue: Limits,
    /// Longest first wait for a new connection; later ones double.
    pub backoff_min: Duration,
    /// Longest wait of all.
    pub backoff_max: Duration,
    /// Longest wait after a refusal that only people can change; the shortest is a fifth of it.
    pub refused_wait: Duration,
    /// Nothing heard for this long, with data in flight, ends a stream.
    pub ack_timeout: Duration,
    /// Longest wait for acknowledgements on a stop.
    pub stop_wait: Duration,
    /// How to log.
    pub log: Log,
}

/// How to log. Always to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// As lines of text or JSON.
    pub format: LogFormat,
    /// A level, or levels per module.
    pub level: String,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is wrong with a configuration: everything at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Config {
    /// With everything at its default but what has none.
    #[must_use]
    pub fn new(aggregator: Endpoint, files: Files) -> Self {
        Self {
            aggregator,
            server_name: None,
            files,
            min_interval: Duration::from_secs(1),
            align: false,
            queue: Limits { records: 2880, bytes: 1024 * 1024 },
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(120),
            refused_wait: Duration::from_secs(300),
            ack_timeout: Duration::from_secs(90),
            stop_wait: Duration::from_secs(5),
            log: Log { format: LogFormat::Text, level: "info".into() },
        }
    }

    /// Reads all sources. `file` is the one named by a flag; without it, `ROWCALL_CONFIG` or
    /// [`DEFAULT_FILE`]. `environment` looks a variable up, `flags` are keys and values.
    ///
    /// # Errors
    /// [`Problems`]: all of them, each with its place and a remedy.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(&'static str, String)],
    ) -> Result<Self, Problems> {
        let mut layers = Layers::default();
        match file.map(PathBuf::from).or_else(|| environment("ROWCALL_CONFIG").map(Into::into)) {
            Some(named) => layers.file(&named, false),
            None => layers.file(Path::new(DEFAULT_FILE), true),
        }
        layers.environment(environment);
        layers.flags(flags);
        Self::from_layers(layers)
    }

    fn from_layers(mut layers: Layers) -> Result<Self, Problems> {
        let defaults = Self::new(Endpoint::default(), Files::default_paths());
        let path = |path: &str| match path {
            "" => Err("the path is empty; name a file".to_owned()),
            path => Ok(PathBuf::from(path)),
        };
        let at_least = |least: Duration| {
            move |text: &str| match values::duration(text)? {
                duration if duration >= least => Ok(duration),
                _ => Err(format!(
                    "{text:?} is too short; the least is {}",
                    values::show_duration(least)
                )),
            }
        };
        let second = at_least(Duration::from_secs(1));
        let config = Self {
            aggregator: layers.required("aggregator", Endpoint::parse).unwrap_or_default(),
            server_name: layers.optional("server_name", endpoint::server_name),
            files: Files {
                certificate: layers.value("certificate", path, defaults.files.certificate),
                key: layers.value("key", path, defaults.files.key),
                authorities: layers.value("ca", path, defaults.files.authorities),
            },
            min_interval: layers.value(
                "min_interval",
                at_least(Duration::from_millis(10)),
                defaults.min_interval,
            ),
            align: layers.value("align", boolean, defaults.align),
            queue: Limits {
                records: layers.value("queue_records", records, defaults.queue.records),
                bytes: layers.value("queue_bytes", queue_bytes, defaults.queue.bytes),
            },
            backoff_min: layers.value(
                "backoff_min",
                at_least(Duration::from_millis(10)),
                defaults.backoff_min,
            ),
            backoff_max: layers.value(
                "backoff_max",
                at_least(Duration::from_millis(10)),
                defaults.backoff_max,
            ),
            refused_wait: layers.value("refused_wait", second, defaults.refused_wait),
            ack_timeout: layers.value("ack_timeout", second, defaults.ack_timeout),
            stop_wait: layers.value("stop_wait", values::duration, defaults.stop_wait),
            log: Log {
                format: layers.value("log_format", log_format, defaults.log.format),
                level: layers.value("log_level", log_level, defaults.log.level),
            },
        };
        if config.backoff_min > config.backoff_max {
            layers.problem(format!(
                "backoff_min is {}, above backoff_max with {}; make it the smaller one",
                values::show_duration(config.backoff_min),
                values::show_duration(config.backoff_max)
            ));
        }
        let problems = layers.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// What is in force, as a TOML file. Nothing in it is secret: the key is named by its path.
    #[must_use]
    pub fn to_toml(&self) -> String {
        use values::show_duration;
        let path = |path: &Path| path.display().to_string();
        let mut table = toml::Table::new();
        let mut text = |key: &str, value: String| table.insert(key.to_owned(), value.into());
        text("aggregator", self.aggregator.to_string());
        if let Some(name) = &self.server_name {
            text("server_name", name.clone());
        }
        text("ca", path(&self.files.authorities));
        text("certificate", path(&self.files.certificate));
        text("key", path(&self.files.key));
        text("min_interval", show_duration(self.min_interval));
        text("queue_records", self.queue.records.to_string());
        text("queue_bytes", self.queue.bytes.to_string());
        text("backoff_min", show_duration(self.backoff_min));
        text("backoff_max", show_duration(self.backoff_max));
        text("refused_wait", show_duration(self.refused_wait));
        text("ack_timeout", show_duration(self.ack_timeout));
        text("stop_wait", show_duration(self.stop_wait));
        let format = if self.log.format == LogFormat::Json { "json" } else { "text" };
        text("log_format", format.to_owned());
        text("log_level", self.log.level.clone());
        table.insert("align".to_owned(), self.align.into());
        table.to_string()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [problem] => write!(f, "configuration: {problem}"),
            problems => {
                write!(f, "configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

trait DefaultPaths {
    fn default_paths() -> Self;
}

impl DefaultPaths for Files {
    fn default_paths() -> Self {
        Self {
            certificate: "/etc/rowcall/agent.pem".into(),
            key: "/etc/rowcall/agent-key.pem".into(),
            authorities: "/etc/rowcall/ca.pem".into(),
        }
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn records(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|records| *records >= 2)
        .ok_or_else(|| format!("{text:?} is no number of records; write a whole number from 2 on"))
}

fn queue_bytes(text: &str) -> Result<usize, String> {
    match values::bytes(text)? {
        bytes if bytes >= 64 * 1024 => Ok(bytes),
        _ => Err(format!("{text:?} is too little; the least is 64KiB")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is no log format; write text or json")),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no log level ({error}); write for example info")),
    }
}

#[cfg(test)]
mod tests;
