//! The way to an aggregator, with the certificate as it is on disk at each connect.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::HostName;
use rowcall_core::proto::MAX_FRAME_BYTES;
use rowcall_proto::v1::telemetry_service_client::TelemetryServiceClient;
use rowcall_tls::connect::{ConnectError, Connector, ServerFault};
use rustls::AlertDescription;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

use super::material::{Expiry, Renewing};
use crate::Error;
use crate::config::{self, Config};
use crate::enroll::connector;
use crate::identity::About;

/// Flow-control windows of a client that receives nothing but acknowledgements.
const WINDOW_BYTES: u32 = 64 * 1024;

/// Calls that may wait for the connection: there is one.
const WAITING_CALLS: usize = 1;

/// Time for name, TCP, TLS and the server's first bytes.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Dials the aggregators that the settings name, or those that enrolment told.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    connector: Connector,
    /// Those of the settings.
    set: Vec<config::Endpoint>,
    pub(super) material: Arc<Renewing>,
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
    /// A new certificate: ours has expired.
    Renewal,
}

impl Dialer {
    /// Loads the certificate, which must name an agent. Blocks for three small files.
    pub(crate) fn load(config: &Config, clock: SharedClock) -> Result<Self, Error> {
        let material = Arc::new(Renewing::load(&config.source, clock)?);
        let enrolled = material.enrolled();
        let told = enrolled.and_then(|enrolled| enrolled.held.about.server_name.clone());
        // Without it each aggregator's certificate must be for the host that it is dialled by.
        let server_name = config.server_name.clone().or(told);
        let connector = connector(Arc::clone(&material.tls), server_name.as_deref())
            .map_err(Error::ServerName)?
            .with_deadline(CONNECT_DEADLINE);
        let dialer = Self { connector, set: config.aggregators.clone(), material };
        for aggregator in dialer.aggregators() {
            endpoint(&aggregator)?;
        }
        Ok(dialer)
    }

    /// Where streams go, as far as is known now: a renewal may tell anew.
    pub(crate) fn aggregators(&self) -> Vec<config::Endpoint> {
        match self.material.enrolled() {
            Some(enrolled) if self.set.is_empty() => enrolled.held.about.aggregators.clone(),
            _ => self.set.clone(),
        }
    }

    /// The host's name, as the certificate has it.
    pub(crate) fn name(&self) -> &HostName {
        &self.material.name
    }

    /// When the certificate in use ends, kept up to date.
    pub(crate) fn expiry(&self) -> Arc<Expiry> {
        Arc::clone(&self.material.expiry)
    }

    /// Connects to an aggregator, with the certificate that is on disk now.
    pub(crate) async fn connect(&self, to: &config::Endpoint) -> Result<Channel, NotConnected> {
        self.material.reload().await;
        self.dial(to).await
    }

    /// Connects with the certificate in use.
    pub(super) async fn dial(&self, to: &config::Endpoint) -> Result<Channel, NotConnected> {
        let endpoint = endpoint(to)
            .map_err(|error| NotConnected { reason: error.to_string(), remedy: Remedy::People })?;
        endpoint.connect_with_connector(self.connector.clone()).await.map_err(|error| {
            match ConnectError::find(&error) {
                Some(found) => self.explain(found),
                None => NotConnected { reason: chain(&error), remedy: Remedy::Time },
            }
        })
    }

    fn explain(&self, error: &ConnectError) -> NotConnected {
        let (certificate, authorities) = self.material.places();
        let enrolled = self.material.enrolled();
        let then = remedy(error, enrolled.as_ref().map(|enrolled| &enrolled.held.about));
        let (remedy, reason) = match error {
            ConnectError::CertificateRefused(alert) => (
                match alert {
                    AlertDescription::CertificateExpired => Remedy::Renewal,
                    _ => Remedy::Acceptance,
                },
                format!("{error}{then} (our certificate is {certificate})"),
            ),
            ConnectError::ServerCertificate(_) => {
                (Remedy::People, format!("{error}{then} (our CA file is {authorities})"))
            }
            ConnectError::Alert(_)
            | ConnectError::NotTls
            | ConnectError::NotHttp2
            | ConnectError::BadAddress(_) => (Remedy::People, error.to_string()),
            // What TLS says of it is long, and no more than this.
            ConnectError::Closed { step, error } if error.kind() == ErrorKind::UnexpectedEof => (
                Remedy::Time,
                format!(
                    "the server closed the connection {step} without a reason; it may be \
                     overloaded or stopping, its log may say more"
                ),
            ),
            _ => (Remedy::Time, error.to_string()),
        };
        NotConnected { reason, remedy }
    }
}

/// What an enrolled node can do besides, to be added to the error.
pub(crate) fn remedy(error: &ConnectError, enrolled: Option<&About>) -> String {
    let Some(about) = enrolled else { return String::new() };
    match error {
        ConnectError::CertificateRefused(
            AlertDescription::CertificateRevoked | AlertDescription::UnknownCA,
        ) => "; this node gets one with `rowcall-agent enroll --again` and a token of `rowcall token \
              create --host NAME --replace`"
            .to_owned(),
        ConnectError::ServerCertificate(ServerFault::Authority(_)) => {
            let servers: Vec<_> = about.enroll_servers.iter().map(ToString::to_string).collect();
            format!(
                "; this node was enrolled at {} and believes what it was given there: to move it to \
                 that server, use `rowcall-agent enroll --again` and a token of that one",
                servers.join(", ")
            )
        }
        _ => String::new(),
    }
}

/// A stream's client on a connection; with `gzip` what is sent there is compressed.
pub(super) fn telemetry(channel: Channel, gzip: bool) -> TelemetryServiceClient<Channel> {
    let client = TelemetryServiceClient::new(channel)
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    if gzip { client.send_compressed(CompressionEncoding::Gzip) } else { client }
}

/// What a connection to a server is made by.
pub(crate) fn endpoint(of: &config::Endpoint) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(of.to_string())
        .and_then(|endpoint| {
            endpoint.user_agent(concat!("rowcall-agent/", env!("CARGO_PKG_VERSION")))
        })
        .map_err(Error::Endpoint)?;
    Ok(endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .buffer_size(WAITING_CALLS))
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
