//! The way to the aggregator, with the certificate as it is on disk at each connect.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::proto::MAX_FRAME_BYTES;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use rowcall_tls::config::client_config;
use rowcall_tls::connect::{ConnectError, Connector};
use rowcall_tls::identity::Role;
use rowcall_tls::load::{Files, Material};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

use super::journal::Journal;
use crate::Error;
use crate::config::Config;

/// Flow-control windows of a client that receives nothing but acknowledgements.
const WINDOW_BYTES: u32 = 64 * 1024;

/// Calls that may wait for the connection: there is one.
const WAITING_CALLS: usize = 1;

/// Time for name, TCP, TLS and the server's first bytes.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Time to read the certificate again; then the one in use stays.
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// Dials the aggregator.
#[derive(Debug)]
pub(crate) struct Dialer {
    endpoint: Endpoint,
    connector: Connector,
    tls: Arc<ArcSwap<ClientConfig>>,
    files: Files,
    name: HostName,
    clock: SharedClock,
    pub(super) reload_deadline: Duration,
    reload: Mutex<Reload>,
}

/// Reading the files again, which hangs with their file system: never twice at a time.
#[derive(Debug, Default)]
struct Reload {
    running: Option<JoinHandle<Result<Loaded, Error>>>,
    journal: Journal,
}

/// What the files gave.
#[derive(Debug)]
struct Loaded {
    name: HostName,
    tls: ClientConfig,
    /// What people should know and that stops nothing.
    warnings: Vec<String>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// In words, with what to do.
    pub(crate) reason: String,
    /// Who can change that.
    pub(crate) remedy: Remedy,
}

/// What a failure needs to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Time, as far as one can know.
    Time,
    /// People at this end or the other.
    People,
    /// People, and the aggregator refuses us: trying soon again only burdens it.
    Acceptance,
}

impl Dialer {
    /// Loads the certificate, which must name an agent. Blocks for three small files.
    pub(crate) fn load(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let Loaded { name, tls, warnings } = load(&config.files, &clock)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let tls = Arc::new(ArcSwap::from_pointee(tls));
        let mut connector = Connector::new(Arc::clone(&tls)).with_deadline(CONNECT_DEADLINE);
        if let Some(server_name) = &config.server_name {
            let server_name = ServerName::try_from(server_name.clone())
                .map_err(|_| Error::ServerName(server_name.clone()))?;
            connector = connector.with_server_name(server_name);
        }
        let endpoint = Endpoint::from_shared(config.aggregator.to_string())
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("rowcall-agent/", env!("CARGO_PKG_VERSION")))
            })
            .map_err(Error::Endpoint)?
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .buffer_size(WAITING_CALLS);
        let (files, reload) = (config.files.clone(), Mutex::default());
        let reload_deadline = RELOAD_DEADLINE;
        Ok(Self { endpoint, connector, tls, files, name, clock, reload_deadline, reload })
    }

    /// The host's name, as the certificate has it.
    pub(crate) fn name(&self) -> &HostName {
        &self.name
    }

    /// Connects, with the certificate that is on disk now.
    pub(crate) async fn connect(&self) -> Result<TelemetryServiceClient<Channel>, NotConnected> {
        self.reload().await;
        let connector = self.connector.clone();
        match self.endpoint.connect_with_connector(connector).await {
            Ok(channel) => Ok(TelemetryServiceClient::new(channel)
                .max_decoding_message_size(MAX_FRAME_BYTES)
                .max_encoding_message_size(MAX_FRAME_BYTES)),
            Err(error) => Err(match ConnectError::find(&error) {
                Some(found) => self.explain(found),
                None => NotConnected { reason: chain(&error), remedy: Remedy::Time },
            }),
        }
    }

    fn explain(&self, error: &ConnectError) -> NotConnected {
        let Files { certificate, authorities, .. } = &self.files;
        let (remedy, reason) = match error {
            ConnectError::CertificateRefused(_) => (
                Remedy::Acceptance,
                format!("{error} (our certificate is {})", certificate.display()),
            ),
            ConnectError::ServerCertificate(_) => {
                (Remedy::People, format!("{error} (our CA file is {})", authorities.display()))
            }
            ConnectError::Alert(_)
            | ConnectError::NotTls
            | ConnectError::NotHttp2
            | ConnectError::BadAddress(_) => (Remedy::People, error.to_string()),
            _ => (Remedy::Time, error.to_string()),
        };
        NotConnected { reason, remedy }
    }

    /// Keeps what it has when the files are unreadable or name another host.
    async fn reload(&self) {
        let mut reload = self.reload.lock().await;
        let mut running = reload.running.take().unwrap_or_else(|| {
            let (files, clock) = (self.files.clone(), Arc::clone(&self.clock));
            tokio::task::spawn_blocking(move || load(&files, &clock))
        });
        let Ok(loaded) = timeout(self.reload_deadline, &mut running).await else {
            reload.running = Some(running);
            let path = self.files.certificate.display();
            return reload.warn(format!(
                "reading {path} and the files beside it again hangs, the certificate in use \
                 stays; check that file system"
            ));
        };
        match loaded {
            Ok(Ok(Loaded { name, tls, warnings })) if name == self.name => {
                self.tls.store(Arc::new(tls));
                warnings.into_iter().for_each(|warning| reload.warn(warning));
            }
            Ok(Ok(Loaded { name, .. })) => reload.warn(format!(
                "the certificate in {} now names host {name}, this agent runs as {}; restart it \
                 to use that",
                self.files.certificate.display(),
                self.name
            )),
            Ok(Err(error)) => reload.warn(format!("the certificate in use stays: {error}")),
            Err(error) => tracing::error!(%error, "reading the certificate failed"),
        }
    }
}

impl Reload {
    fn warn(&mut self, text: String) {
        if let Some(repeated) = self.journal.note(&text, Instant::now()) {
            tracing::warn!("{text}{repeated}");
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn load(files: &Files, clock: &SharedClock) -> Result<Loaded, Error> {
    let material = Material::load(files)?;
    let identity = material.identity()?;
    if identity.role != Role::Agent {
        return Err(Error::Role { role: identity.role.as_str(), path: files.certificate.clone() });
    }
    let mut warnings = Vec::new();
    if let Err(error) = material.check_dates(clock.wall()) {
        warnings.push(format!("the certificate is not valid now: {error}"));
    }
    warnings.extend(open_to_all(&files.key));
    Ok(Loaded { name: identity.name, tls: client_config(&material)?, warnings })
}

/// Warns of a key that every user of this machine may read or replace. It is no reason to fall
/// silent: a node that stops being watched is the greater harm.
fn open_to_all(key: &Path) -> Option<String> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    let may = match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (false, false) => return None,
        (true, false) => "read",
        (false, true) => "write to",
        (true, true) => "read and write to",
    };
    let path = key.display();
    Some(format!(
        "every user of this machine may {may} the private key {path} (mode {:04o}) and so speak \
         as this host; run `chmod o= {path}`, and issue a new certificate where users are not \
         trusted",
        mode & 0o7777
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_all_may_read_is_warned_of_and_one_for_a_group_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("agent-key.pem");
        std::fs::write(&key, "").unwrap();
        let warning = |mode| {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            open_to_all(&key)
        };
        for good in [0o400, 0o440, 0o600, 0o640] {
            assert_eq!(warning(good), None, "{good:o}");
        }
        for (bad, said) in [(0o644, "may read the"), (0o602, "may write to"), (0o666, "read and")] {
            let warning = warning(bad).unwrap();
            assert!(warning.contains(said) && warning.contains("chmod o= "), "{warning}");
            assert!(warning.contains(&format!("mode {bad:04o}")), "{warning}");
        }
    }
}
