//! Connections to PostgreSQL as a URL describes them: one or several servers, over a socket, plain
//! or over TLS, with a password from the URL or a file.
//!
//! Servers are tried one after the other, each with its own time limit, so that one that accepts
//! and stays silent doesn't keep us from the next. `sslmode` means what libpq means by it, with
//! one exception: where an `sslrootcert` is given and the server's certificate is not signed by
//! it, `prefer` does not go on without TLS. All files are read again for each new connection.

mod binding;
mod carrier;
mod explain;
mod files;
mod passfile;
mod shown;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod verify;

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Connection, Socket};

use crate::error::{Error, Kind, Target};
use binding::Stream;
use explain::Attempt;
use passfile::{Passfile, Wanted};
use tls::{Mode, Tls};

pub(crate) use carrier::{pack, unpack};
pub use shown::{url_has_password, url_shown};

/// The half of a connection that does the work, and must be polled.
pub(crate) type Link = Connection<Socket, Stream<Socket>>;

/// Reads a URL and the files that it names, without connecting.
///
/// # Errors
/// [`Kind::Config`], with what somebody must correct.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    let given = url::parse(url)?;
    Files::load(&given.tls, given.passfile.as_ref()).map(drop)
}

/// Reads a URL, but none of the files that it names.
///
/// # Errors
/// [`Kind::Config`], with what somebody must correct. The message holds no value of the URL.
pub fn check_url(url: &str) -> Result<(), Error> {
    url::parse(url).map(drop)
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    servers: Vec<Server>,
    random: bool,
    tls: Tls,
    passfile: Option<PathBuf>,
    /// For one server, login and all.
    patience: Duration,
    /// That a server writes is our choice, not the URL's.
    picks_writer: bool,
    /// Where no server writes, one that reads will do.
    or_reader: bool,
}

/// One of the servers of a URL.
#[derive(Clone)]
struct Server {
    config: Config,
    target: Target,
    host: String,
    port: u16,
    socket: bool,
}

/// What stands in the files now.
struct Files {
    tls: Arc<ClientConfig>,
    passwords: Option<Passfile>,
}

impl Files {
    fn load(tls: &Tls, passfile: Option<&PathBuf>) -> Result<Self, Error> {
        Ok(Self {
            tls: tls.load()?,
            passwords: passfile.map(|path| Passfile::read(path)).transpose()?,
        })
    }
}

impl Connector {
    /// Reads a URL. `options` are settings for the server, after those in the URL.
    ///
    /// # Errors
    /// [`Kind::Config`]: a URL that cannot be read, or that asks for what we cannot do.
    pub(crate) fn new(url: &str, options: &str, connect_timeout: Duration) -> Result<Self, Error> {
        let given = url::parse(url)?;
        let mut config = given.config.clone();
        if config.get_dbname().is_none() {
            config.dbname("host_agent");
        }
        if config.get_application_name().is_none() {
            config.application_name("rowcall-aggregator");
        }
        let first = config.get_options().map(|first| format!("{first} ")).unwrap_or_default();
        config.options(format!("{first}{options}"));
        set_tcp(&mut config, &given);
        let count = config.get_hosts().len().max(config.get_hostaddrs().len());
        // Of several servers one writes, and which one changes.
        let chosen = given.names("target_session_attrs");
        if count > 1 && !chosen {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let url::Given { tls, passfile, .. } = given;
        Ok(Self {
            servers: (0..count).map(|index| server(&config, index, connect_timeout)).collect(),
            random: config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            // A password in the URL goes before the file, as libpq has it.
            passfile: passfile.filter(|_| config.get_password().is_none()),
            tls,
            patience: connect_timeout * 2,
            picks_writer: count > 1 && !chosen,
            or_reader: false,
        })
    }

    /// Where the URL leaves it to us which server to take, one that only reads will do if there is
    /// none that writes.
    pub(crate) fn or_reader(mut self) -> Self {
        self.or_reader = self.picks_writer;
        self
    }

    /// The servers without password, for messages.
    pub(crate) fn target(&self) -> Target {
        let addresses: Vec<_> = self.servers.iter().map(|s| s.target.address.as_str()).collect();
        let address = addresses.join(", ");
        // There is at least one: a URL without a host was refused.
        self.servers.first().map_or_else(
            || Target { address: String::new(), database: String::new(), user: String::new() },
            |server| Target { address: address.clone(), ..server.target.clone() },
        )
    }

    /// When to give up on all servers together; a bit more than the sum of theirs.
    pub(crate) fn total_patience(&self) -> Duration {
        let tries = if self.or_reader { 2 } else { 1 };
        let servers = u32::try_from(self.servers.len() * tries).unwrap_or(u32::MAX);
        self.patience.saturating_mul(servers).saturating_add(self.patience)
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// Why it did not work, server by server; see [`Error::kind`] for what to do.
    pub(crate) async fn connect(&self) -> Result<(Client, Link), Error> {
        let (tls, passfile) = (self.tls.clone(), self.passfile.clone());
        // A file may lie on a file system that hangs.
        let files = tokio::task::spawn_blocking(move || Files::load(&tls, passfile.as_ref())).await;
        let files = files
            .map_err(|error| Error::new(Kind::Internal, format!("read TLS files: {error}")))??;
        let mut order: Vec<_> = self.servers.iter().collect();
        if self.random {
            order.sort_by_cached_key(|server| RandomState::new().hash_one(&server.host));
        }
        let (mut failures, mut readers) = (Vec::new(), Vec::new());
        for server in order {
            match self.try_server(server, &files).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    if error.kind() == Kind::ReadOnly && self.or_reader {
                        readers.push(server);
                    }
                    failures.push(error);
                }
            }
        }
        for server in readers {
            let mut any = server.clone();
            any.config.target_session_attrs(TargetSessionAttrs::Any);
            if let Ok(connection) = self.try_server(&any, &files).await {
                return Ok(connection);
            }
        }
        Err(Error::join(failures))
    }

    /// One server, for as long as one has.
    async fn try_server(&self, server: &Server, files: &Files) -> Result<(Client, Link), Error> {
        match tokio::time::timeout(self.patience, self.connect_to(server, files)).await {
            Ok(result) => result,
            Err(_) => Err(Error::no_connection(&server.target)),
        }
    }

    async fn connect_to(&self, server: &Server, files: &Files) -> Result<(Client, Link), Error> {
        let mut config = server.config.clone();
        let wanted = Wanted {
            host: &server.host,
            port: server.port,
            database: &server.target.database,
            user: &server.target.user,
        };
        if let Some(password) = files.passwords.as_ref().and_then(|file| file.find(wanted)) {
            config.password(password);
        }
        if server.socket {
            return self.attempt(server, config.ssl_mode(SslMode::Disable), files).await.1;
        }
        let first = match self.tls.mode {
            Mode::Disable | Mode::Allow => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        };
        let (over_tls, result) = self.attempt(server, config.ssl_mode(first), files).await;
        let Err(error) = result else { return result };
        // The other way round, once: where the server said no to this way, or TLS does not work.
        match self.tls.mode {
            Mode::Allow if error.is_login_refused() => {
                let second = self.attempt(server, config.ssl_mode(SslMode::Require), files).await;
                match second {
                    (true, result) => result,
                    (false, Ok(connection)) => Ok(connection),
                    // It has no TLS: the first answer says more.
                    (false, Err(_)) => Err(error),
                }
            }
            Mode::Prefer if over_tls && (error.is_login_refused() || error.is_tls_failure()) => {
                tracing::debug!(%error, "trying without TLS, as sslmode=prefer has it");
                let second = self.attempt(server, config.ssl_mode(SslMode::Disable), files).await.1;
                second.map_err(|other| if other.is_login_refused() { error } else { other })
            }
            _ => Err(error),
        }
    }

    /// One attempt, and whether it came to TLS.
    async fn attempt(
        &self,
        server: &Server,
        config: &Config,
        files: &Files,
    ) -> (bool, Result<(Client, Link), Error>) {
        let connector = binding::Connector::new(Arc::clone(&files.tls));
        let result = config.connect(connector.clone()).await;
        let over_tls = connector.used();
        let result = result.map_err(|error| {
            Attempt {
                target: &server.target,
                host: &server.host,
                tls: &self.tls,
                over_tls,
                socket: server.socket,
                passfile: self.passfile.as_deref(),
                config,
            }
            .explain(error)
        });
        (over_tls, result)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("target", &self.target())
            .field("tls", &self.tls)
            .field("passfile", &self.passfile)
            .finish_non_exhaustive()
    }
}

/// How soon a link that is dead is given up: what the URL says, else after some 10 s, whether it
/// idles or something was sent. A server behind it may have been replaced meanwhile.
fn set_tcp(config: &mut Config, given: &url::Given) {
    if !given.names("keepalives_idle") {
        config.keepalives_idle(Duration::from_secs(5));
    }
    if !given.names("keepalives_interval") {
        config.keepalives_interval(Duration::from_secs(2));
    }
    if !given.names("keepalives_retries") {
        config.keepalives_retries(3);
    }
    if !given.names("tcp_user_timeout") {
        config.tcp_user_timeout(Duration::from_secs(10));
    }
}

/// The server at a place in the URL's list, with everything that holds for all.
fn server(all: &Config, index: usize, connect_timeout: Duration) -> Server {
    let port = all.get_ports().get(index).or_else(|| all.get_ports().first());
    let port = port.copied().unwrap_or(5432);
    let address = all.get_hostaddrs().get(index).copied();
    let mut config = Config::new();
    config.port(port);
    let (host, shown, socket) = match (all.get_hosts().get(index), address) {
        (Some(Host::Unix(folder)), None) => {
            config.host_path(folder);
            let folder = folder.display();
            (folder.to_string(), format!("{folder}/.s.PGSQL.{port}"), true)
        }
        (Some(Host::Tcp(name)), address) => {
            config.host(name);
            let shown = match address {
                Some(address) => format!("{name}:{port} ({address})"),
                None => format!("{name}:{port}"),
            };
            (name.clone(), shown, false)
        }
        // An address stands for the name, also in the server's certificate.
        (_, address) => {
            let name = address.map(|address| address.to_string()).unwrap_or_default();
            config.host(&name);
            let shown = format!("{name}:{port}");
            (name, shown, false)
        }
    };
    if let Some(address) = address {
        config.hostaddr(address);
    }
    if let Some(user) = all.get_user() {
        config.user(user);
    }
    if let Some(password) = all.get_password() {
        config.password(password);
    }
    if let Some(name) = all.get_application_name() {
        config.application_name(name);
    }
    let database = all.get_dbname().unwrap_or_default();
    config
        .dbname(database)
        .options(all.get_options().unwrap_or_default())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .target_session_attrs(all.get_target_session_attrs())
        .load_balance_hosts(all.get_load_balance_hosts())
        .connect_timeout(connect_timeout)
        .keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle());
    if let Some(interval) = all.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = all.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    if let Some(timeout) = all.get_tcp_user_timeout() {
        config.tcp_user_timeout(*timeout);
    }
    let target = Target {
        address: shown,
        database: database.to_owned(),
        user: all.get_user().map_or_else(|| "of this process".to_owned(), str::to_owned),
    };
    Server { config, target, host, port, socket }
}
