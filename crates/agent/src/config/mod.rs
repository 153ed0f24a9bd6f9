//! Settings: defaults, then the TOML file, then `ROWCALL_*` in the environment, then flags.
//!
//! Every source has the same flat keys ([`SETTINGS`]): `min_interval` in the file is
//! `ROWCALL_MIN_INTERVAL` in the environment and `--min-interval` as a flag. Every problem is
//! found and told at once, each with the place it comes from and what to write instead.

mod collecting;
mod endpoint;
mod layers;
mod settings;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowcall_tls::load::Files;

use crate::collect::Collect;
pub(crate) use endpoint::DEFAULT_PORT;
pub use endpoint::Endpoint;
use layers::Layers;
pub use settings::{SETTINGS, Setting};

/// The file that is read where no other is named. It may be missing.
pub const DEFAULT_FILE: &str = "/etc/rowcall/agent.toml";

/// Between two samples until an aggregator says otherwise for the first time.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// What the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where aggregators listen, one or several over the same database; tried in this order. Empty:
    /// where enrolment told, see [`Source::Enrolled`].
    pub aggregators: Vec<Endpoint>,
    /// Name expected in their certificates, where that isn't each endpoint's host.
    pub server_name: Option<String>,
    /// Where certificate, key and authorities come from. Read again at each connect.
    pub source: Source,
    /// Where to enrol, and to renew what has expired; tried in this order. Empty: where the node
    /// was enrolled.
    pub enroll_servers: Vec<Endpoint>,
    /// The token to enrol with at the start, while there is no identity.
    pub token_file: Option<PathBuf>,
    /// Shortest time between samples. At least 10 ms; default 1 s.
    pub min_interval: Duration,
    /// Sample at whole intervals instead of spread by the host's name.
    pub align: bool,
    /// What is read.
    pub collect: Collect,
    /// Where what waits is kept, and how much of it.
    pub spool: rowcall_spool::Settings,
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
    /// Where metrics are read, on loopback; none unless asked for.
    pub metrics_listen: Option<SocketAddr>,
    /// How to log.
    pub log: Log,
}

/// Where certificate, key and authorities come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files of whoever runs the node, who renews them too.
    Files(Files),
    /// The folder that enrolment and renewal fill.
    Enrolled(PathBuf),
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

/// What belongs together where certificates are one's own.
const OWN_FILES: [&str; 3] = ["certificate", "key", "ca"];

/// What is wrong with a configuration: everything at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Config {
    /// With certificates of one's own, and everything else at its default.
    #[must_use]
    pub fn new(aggregator: Endpoint, files: Files) -> Self {
        let mut config = Self::read(&mut Layers::defaults());
        config.aggregators = vec![aggregator];
        config.source = Source::Files(files);
        config
    }

    /// Reads all sources. `file` is the one named by a flag; without it, `ROWCALL_CONFIG` or
    /// [`DEFAULT_FILE`]. `environment` looks a variable up, `flags` are keys and values. Returns
    /// also what is in force as a settings file, each line with its source. Nothing in it is
    /// secret: the key is named by its path.
    ///
    /// # Errors
    /// [`Problems`]: all of them, each with its place and a remedy.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(&'static str, String)],
    ) -> Result<(Self, String), Problems> {
        let mut layers = Layers::defaults();
        match file.map(PathBuf::from).or_else(|| environment("ROWCALL_CONFIG").map(Into::into)) {
            Some(named) => layers.file(&named, false),
            None => layers.file(Path::new(DEFAULT_FILE), true),
        }
        layers.environment(environment);
        layers.flags(flags);
        let config = Self::read(&mut layers);
        config.look_at_identity(&mut layers);
        if config.backoff_min > config.backoff_max {
            layers.problem(format!(
                "backoff_min is {}, above backoff_max with {}; make it the smaller one",
                values::show_duration(config.backoff_min),
                values::show_duration(config.backoff_max)
            ));
        }
        let shown = layers.show();
        let problems = layers.into_problems();
        if problems.is_empty() { Ok((config, shown)) } else { Err(Problems(problems)) }
    }

    /// What doesn't go together among the settings that say who this agent is.
    fn look_at_identity(&self, layers: &mut Layers) {
        let has = |key: &'static str| Some(key).filter(|key| layers.has(key));
        let own: Vec<_> = OWN_FILES.into_iter().filter_map(has).collect();
        let lacks: Vec<_> = OWN_FILES.into_iter().filter(|key| !layers.has(key)).collect();
        let enrolls = ["enroll_server", "token_file"].into_iter().find_map(has);
        let (has_aggregator, has_server) = (layers.has("aggregator"), layers.has("enroll_server"));
        if !own.is_empty() && !lacks.is_empty() {
            layers.problem(format!(
                "{} set, but not {}: give certificate, key and ca for certificates of your own, or \
                 none of them for an enrolled node",
                verb(&own),
                lacks.join(" and ")
            ));
        }
        if let (false, Some(key)) = (own.is_empty(), enrolls) {
            layers.problem(format!(
                "{key} is set beside {}: a node with certificates of its own does not enrol; take \
                 one or the other out",
                own.join(", ")
            ));
        } else if enrolls.is_some() && !has_server {
            layers.problem("token_file is set, but not enroll_server: say where to enrol".into());
        }
        if !own.is_empty() && !has_aggregator {
            layers.problem(
                "aggregator is not set; set it in the file, as ROWCALL_AGGREGATOR or with \
                 --aggregator"
                    .into(),
            );
        }
    }

    fn read(layers: &mut Layers) -> Self {
        let (certificate, key, authorities) = (
            layers.optional("certificate", path),
            layers.optional("key", path),
            layers.optional("ca", path),
        );
        let identity_dir = layers.value("identity_dir", folder);
        let source = match (certificate, key, authorities) {
            (Some(certificate), Some(key), Some(authorities)) => {
                Source::Files(Files { certificate, key, authorities })
            }
            // What is half given is told as a problem.
            _ => Source::Enrolled(identity_dir),
        };
        Self {
            aggregators: layers.optional("aggregator", endpoint::endpoints).unwrap_or_default(),
            server_name: layers.optional("server_name", endpoint::server_name),
            source,
            enroll_servers: layers
                .optional("enroll_server", endpoint::enroll_servers)
                .unwrap_or_default(),
            token_file: layers.optional("token_file", path),
            min_interval: layers.value("min_interval", between("10ms", "1d")),
            align: layers.value("align", boolean),
            collect: collecting::read(layers),
            spool: rowcall_spool::Settings {
                dir: layers.value("spool_dir", folder),
                max_bytes: layers.value("spool_max_bytes", spool_bytes),
                max_age: layers.value("spool_max_age", between("1h", "366d")),
                // The certificate tells, once it is read.
                owner: String::new(),
            },
            backoff_min: layers.value("backoff_min", between("10ms", "1d")),
            backoff_max: layers.value("backoff_max", between("10ms", "1d")),
            refused_wait: layers.value("refused_wait", between("1s", "1d")),
            ack_timeout: layers.value("ack_timeout", between("1s", "1h")),
            stop_wait: layers.value("stop_wait", between("0s", "5m")),
            metrics_listen: layers.value("metrics_listen", metrics_listen),
            log: Log {
                format: layers.value("log_format", log_format),
                level: layers.value("log_level", log_level),
            },
        }
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

fn verb(keys: &[&str]) -> String {
    format!("{} {}", keys.join(" and "), if keys.len() == 1 { "is" } else { "are" })
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty; name a file".to_owned()),
        text if text.contains('\0') => Err(format!("{text:?} is no path; name a file")),
        text => Ok(PathBuf::from(text)),
    }
}

fn folder(text: &str) -> Result<PathBuf, String> {
    match path(text) {
        Ok(path) if path.is_absolute() => Ok(path),
        Ok(_) => Err(format!("{text:?} depends on where the agent is started; begin it with /")),
        Err(_) => Err(format!("{text:?} is no path; name a folder")),
    }
}

/// Reads a duration within bounds. None is without an upper one: a clock cannot be asked for the
/// end of time.
fn between(least: &str, most: &str) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let duration = values::duration(text)?;
        if duration < values::duration(least)? {
            Err(format!("{text:?} is too short; the least is {least}"))
        } else if duration > values::duration(most)? {
            Err(format!("{text:?} is too long; the most is {most}"))
        } else {
            Ok(duration)
        }
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn spool_bytes(text: &str) -> Result<u64, String> {
    match values::bytes(text)? {
        bytes if bytes < 1 << 20 => Err(format!("{text:?} is too little; the least is 1MiB")),
        bytes if bytes > 64 << 30 => Err(format!("{text:?} is too much; the most is 64GiB")),
        bytes => Ok(bytes),
    }
}

/// Nothing but loopback: who reads how a node does is decided by a proxy that knows its readers.
fn metrics_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().to_canonical().is_loopback() => Ok(Some(address)),
        Ok(_) => Err(format!(
            "{text:?} is reachable from other machines, and this page asks nobody who they are; \
             write 127.0.0.1:PORT, and put a proxy with TLS before it"
        )),
        Err(_) => Err(format!("{text:?} is no address; write off, or for example 127.0.0.1:7446")),
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
