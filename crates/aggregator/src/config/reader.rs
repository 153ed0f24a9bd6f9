//! From texts to values, each checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use rowcall_core::id::HostName;
use rowcall_store::{check_url, url_has_password};
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Files;
use tracing_subscriber::EnvFilter;

use super::enrollment::network;
use super::layers::{Source, Value, Values};
use super::settings::SETTINGS;
use super::value::{parse_duration, parse_size, show_duration};
use super::{Config, Database, DeadManUrl, LogFormat};

/// What `max_database_size` may be, in bytes: 1 GiB to 1 PiB.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 30..=1 << 50;

/// Nobody has more networks or addresses: a list beyond this is a slip.
const MAX_LIST: usize = 256;

/// What an aggregator is called on a machine whose name is none.
static NAMELESS: LazyLock<HostName> =
    LazyLock::new(|| HostName::parse("aggregator").expect("it is one"));

/// Reads values one by one and collects what is wrong with them. What has a problem gets its
/// default, so that the others can be looked at.
pub(super) struct Reader {
    pub(super) values: Values,
    pub(super) problems: Vec<String>,
}

impl Reader {
    pub(super) const fn new(values: Values, problems: Vec<String>) -> Self {
        Self { values, problems }
    }

    pub(super) fn config(&mut self) -> Config {
        let database = match self.text("database").as_str() {
            "embedded" => Database::Embedded,
            url => Database::Url(url.to_owned()),
        };
        Config {
            listen: self.parsed("listen", "an address and port such as 0.0.0.0:7443"),
            http_listen: self.address_or_off("http_listen", "127.0.0.1:7445"),
            name: self.name(),
            database,
            data_dir: self.path("data_dir"),
            files: Files {
                certificate: self.path("certificate"),
                key: self.path("key"),
                authorities: self.path("client_ca"),
            },
            revocations: self.revocations(),
            enrollment: self.enrollment(),
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
            exempt_sources: self.list("exempt_sources", network),
            proxy_from: self.list("proxy_from", network),
            retention: self.duration("retention", 7 * 86_400_000, 3_650 * 86_400_000),
            device_retention: self.duration("device_retention", 86_400_000, 3_650 * 86_400_000),
            max_database_bytes: self.values.get("max_database_size").cloned().and_then(|value| {
                self.checked("max_database_size", &value, |text| match parse_size(text)? {
                    bytes if SIZES.contains(&bytes) => Ok(bytes),
                    _ => Err(format!("{text} is not between 1GiB and 1PiB")),
                })
            }),
            excuse: self.duration("excuse", 0, 86_400_000),
            dead_man_url: self.values.get("dead_man_url").cloned().and_then(|value| {
                self.checked("dead_man_url", &value, |text| {
                    DeadManUrl::parse(text).map_err(|error| error.to_string())
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

    /// What it is called; by default as the kernel calls this machine.
    fn name(&mut self) -> HostName {
        let set = self.values.get("name").cloned().and_then(|value| {
            self.checked("name", &value, |text| {
                HostName::parse(text).map_err(|error| error.to_string().replace("host name", "it"))
            })
        });
        set.unwrap_or_else(|| {
            let kernels = rustix::system::uname().nodename().to_string_lossy().into_owned();
            HostName::parse(&kernels).unwrap_or_else(|_| NAMELESS.clone())
        })
    }

    /// An address, or the word off.
    pub(super) fn address_or_off(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<SocketAddr> {
        self.required(key, |text| match text {
            "off" => Ok(None),
            address => address.parse().map(Some).map_err(|_| {
                format!(
                    "{address:?} is neither an address and port such as {example} nor the word off"
                )
            }),
        })
    }

    /// What stands between commas.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.values.get(key).cloned() else { return Vec::new() };
        let all = |text: &str| {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let items = parts.map(&read).collect::<Result<Vec<_>, _>>()?;
            match items.len() {
                0..=MAX_LIST => Ok(items),
                count => Err(format!("{count} are too many; the most is {MAX_LIST}")),
            }
        };
        self.checked(key, &value, all).unwrap_or_default()
    }

    /// A file or folder. Where it is not set, that is said elsewhere.
    pub(super) fn path(&mut self, key: &'static str) -> PathBuf {
        let found = self.values.get(key).cloned();
        let read = |text: &str| match text {
            "" => Err("the path is empty; name a file".to_owned()),
            path => Ok(PathBuf::from(path)),
        };
        found.and_then(|value| self.checked(key, &value, read)).unwrap_or_default()
    }

    pub(super) fn text(&self, key: &'static str) -> String {
        self.values.get(key).map(|value| value.text.clone()).unwrap_or_default()
    }

    /// A setting that has a default.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let found = self.values.get(key).cloned();
        found.and_then(|value| self.checked(key, &value, &read)).unwrap_or_else(|| {
            let default = SETTINGS.iter().find(|s| s.key == key).and_then(|s| s.default);
            default
                .and_then(|text| read(text).ok())
                .expect("the table gives every such setting a default that can be read")
        })
    }

    pub(super) fn checked<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        read(value.text.trim())
            .map_err(|problem| self.problems.push(format!("{key} ({}): {problem}", value.source)))
            .ok()
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str, expected: &str) -> T {
        self.required(key, |text| text.parse().map_err(|_| format!("{text:?} is not {expected}")))
    }

    pub(super) fn number(&mut self, key: &'static str, least: usize, most: usize) -> usize {
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

    pub(super) fn secret_in_flag(&mut self) {
        let value = self.values.get("dead_man_url");
        if value.is_some_and(|value| matches!(value.source, Source::Flag(_))) {
            self.problems.push(
                "dead_man_url (flag --dead-man-url): a secret in a flag is visible to every user \
                 of this machine; give it in the settings file or in ROWCALL_DEAD_MAN_URL"
                    .to_owned(),
            );
        }
    }

    pub(super) fn password_in_flag(&mut self) {
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
