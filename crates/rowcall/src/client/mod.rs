//! The command's way to an aggregator: where it is, which certificate to show, and what went
//! wrong, in words that say what to do.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_proto::v1::admin_service_client::AdminServiceClient;
use rowcall_proto::v1::summary_service_client::SummaryServiceClient;
use rowcall_tls::config::{ConfigError, client_config};
use rowcall_tls::connect::{ConnectError, Connector};
use rowcall_tls::load::{DateError, LoadError, Material};
use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cli::ConnectionArgs;
use crate::text;

pub(crate) use settings::{ClientFile, FILE_NAME, Need, Settings, Surroundings, default_data_dir};

/// Connects and asks, within a time if there is a limit; gives back the answer.
pub(crate) fn ask<T>(
    connection: &ConnectionArgs,
    around: &Surroundings<'_>,
    need: Need,
    limit: Option<Duration>,
    question: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let settings = Settings::find(connection, around, need)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let asked = async { question(Client::connect(&settings).await?).await };
        let Some(limit) = limit else { return asked.await };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            let (server, limit) = (&settings.server, text::span(limit));
            Err(anyhow::anyhow!("the aggregator at {server} gave no answer within {limit}"))
        })
    });
    // A name server that does not answer holds a thread: nobody waits for it any more.
    runtime.shutdown_background();
    answer
}

/// Why the command got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Options contradict each other, or the server says that the request makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nothing says where the aggregator is.
    #[error("{0}")]
    Settings(String),
    /// Certificate, key or CA files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Certificate, key or CA files that rustls refuses.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Our certificate is out of date.
    #[error(transparent)]
    Dates(#[from] DateError),
    /// No connection.
    #[error("cannot reach the aggregator at {server}: {}{}", describe(.error), remedy(.error))]
    Unreachable {
        /// Its address.
        server: String,
        /// What stopped it.
        error: tonic::transport::Error,
    },
    /// It answered with an error.
    #[error("the aggregator at {server} answers {}{}{}", code_name(.status.code()), said(.status), code_remedy(.status.code(), *.need))]
    Answer {
        /// Its address.
        server: String,
        /// What was asked for.
        need: Need,
        /// The answer.
        status: Box<Status>,
    },
}

impl ClientError {
    /// The command's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings(_) => 2,
            Self::Unreachable { error, .. } => match ConnectError::find(error) {
                Some(ConnectError::CertificateRefused(_) | ConnectError::ServerCertificate(_)) => 4,
                _ => 3,
            },
            Self::Load(_) | Self::Config(_) | Self::Dates(_) => 4,
            Self::Answer { status, .. } => match status.code() {
                Code::InvalidArgument => 2,
                Code::Unauthenticated | Code::PermissionDenied => 4,
                Code::Unavailable | Code::DeadlineExceeded => 3,
                _ => 1,
            },
        }
    }
}

/// A connection to an aggregator.
#[derive(Debug)]
pub(crate) struct Client {
    server: String,
    enroll_server: String,
    channel: Channel,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, ClientError> {
        let material = Material::load(&settings.files)?;
        material.check_dates(SystemClock.wall())?;
        let config = Arc::new(ArcSwap::from_pointee(client_config(&material)?));
        let mut connector = Connector::new(config);
        if let Some(name) = &settings.server_name {
            let parsed = ServerName::try_from(name.clone()).map_err(|_| {
                ClientError::Usage(format!("the server name {name:?} is no DNS name or address"))
            })?;
            connector = connector.with_server_name(parsed);
        }
        let server = settings.server.clone();
        let endpoint = Endpoint::from_shared(format!("https://{server}")).map_err(|_| {
            ClientError::Usage(format!("{server:?} names no server; write HOST:PORT"))
        })?;
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => {
                let enroll_server = settings.enroll_server();
                Ok(Self { server, enroll_server, channel })
            }
            Err(error) => Err(ClientError::Unreachable { server, error }),
        }
    }

    /// Over a connection that is there.
    #[cfg(test)]
    pub(crate) fn over(channel: Channel) -> Self {
        let (server, enroll_server) = ("test:1".to_owned(), "test:7444".to_owned());
        Self { server, enroll_server, channel }
    }

    /// Where it is connected to.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Where nodes enrol.
    pub(crate) fn enroll_server(&self) -> &str {
        &self.enroll_server
    }

    /// The reports. One answer has at most 4 MiB, which tonic takes by default.
    pub(crate) fn summary(&self) -> SummaryServiceClient<Channel> {
        SummaryServiceClient::new(self.channel.clone())
    }

    /// The fleet as the aggregator sees it. The list of 10,000 connected hosts is larger than
    /// tonic takes by default.
    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        const MAX_STATUS_BYTES: usize = 256 * 1024 * 1024;
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_STATUS_BYTES)
    }

    /// What an error that the server answered to a question means.
    pub(crate) fn explain(&self, status: &Status) -> ClientError {
        self.explain_for(status, Need::Read)
    }

    /// What an error that the server answered means.
    pub(crate) fn explain_for(&self, status: &Status, need: Need) -> ClientError {
        let server = self.server.clone();
        let status = Box::new(status.clone());
        ClientError::Answer { server, need, status }
    }
}

fn describe(error: &tonic::transport::Error) -> String {
    ConnectError::find(error).map_or_else(|| format!("{error:?}"), ToString::to_string)
}

fn remedy(error: &tonic::transport::Error) -> &'static str {
    match ConnectError::find(error) {
        Some(ConnectError::Refused { .. }) => " (on this machine: is `rowcall up` running?)",
        Some(ConnectError::CertificateRefused(AlertDescription::CertificateRevoked)) => {
            " (by whoever runs the aggregator: `rowcall pki issue viewer NAME`)"
        }
        _ => "",
    }
}

/// As gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Its words, if it has any.
fn said(status: &Status) -> String {
    match status.message() {
        "" => String::new(),
        words => format!(": {}", text::clean(words)),
    }
}

fn code_remedy(code: Code, need: Need) -> &'static str {
    match (code, need) {
        (Code::PermissionDenied, Need::Read) => "; use a certificate of role viewer or operator",
        (Code::PermissionDenied, Need::Change) => {
            "; give a certificate of role operator with --cert and --key"
        }
        (Code::Unimplemented, _) => {
            "; if nodes enrol at this port (7444), reports are at another one (7443); else it may be \
             of another version than this command"
        }
        (Code::Unavailable, _) => "; `rowcall status` says whether its database takes writes",
        _ => "",
    }
}
