//! The way to the aggregator, with the certificate as it is on disk at each connect.

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
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::config::Config;

/// Flow-control windows of a client that receives nothing but acknowledgements.
const WINDOW_BYTES: u32 = 64 * 1024;

/// Calls that may wait for the connection: there is one.
const WAITING_CALLS: usize = 1;

/// Time for name, TCP, TLS and the server's first bytes.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Dials the aggregator.
#[derive(Debug)]
pub(crate) struct Dialer {
    endpoint: Endpoint,
    connector: Connector,
    tls: Arc<ArcSwap<ClientConfig>>,
    files: Files,
    name: HostName,
    clock: SharedClock,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// In words.
    pub(crate) reason: String,
    /// Whether only people can change that: the aggregator refuses our certificate.
    pub(crate) is_refusal: bool,
}

impl Dialer {
    /// Loads the certificate, which must name an agent. Blocks for three small files.
    pub(crate) fn load(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let (name, tls) = load(&config.files, &clock)?;
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
        Ok(Self { endpoint, connector, tls, files: config.files.clone(), name, clock })
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
                Some(found) => NotConnected {
                    reason: found.to_string(),
                    is_refusal: found.is_certificate_refused(),
                },
                None => NotConnected { reason: chain(&error), is_refusal: false },
            }),
        }
    }

    /// Keeps what it has when the files are unreadable or name another host.
    async fn reload(&self) {
        let (files, clock) = (self.files.clone(), Arc::clone(&self.clock));
        let loaded = tokio::task::spawn_blocking(move || load(&files, &clock)).await;
        match loaded {
            Ok(Ok((name, tls))) if name == self.name => self.tls.store(Arc::new(tls)),
            Ok(Ok((name, _))) => tracing::warn!(
                was = %self.name, is = %name,
                "the certificate on disk names another host; restart the agent to use it"
            ),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the certificate cannot be read again, the one in use stays");
            }
            Err(error) => tracing::error!(%error, "reading the certificate failed"),
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

fn load(files: &Files, clock: &SharedClock) -> Result<(HostName, ClientConfig), Error> {
    let material = Material::load(files)?;
    let identity = material.identity()?;
    if identity.role != Role::Agent {
        return Err(Error::Role { role: identity.role.as_str(), path: files.certificate.clone() });
    }
    if let Err(error) = material.check_dates(clock.wall()) {
        tracing::warn!(%error, "the certificate is not valid now");
    }
    Ok((identity.name, client_config(&material)?))
}
