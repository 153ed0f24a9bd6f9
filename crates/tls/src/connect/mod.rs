//! The way to a server: name, TCP, TLS, and the server's first bytes.
//!
//! In TLS 1.3 a client is done before the server has looked at its certificate: the refusal
//! arrives later, where HTTP/2 would show "broken pipe" or nothing. So a connection counts as
//! made only when the server's first bytes are there (an HTTP/2 server starts with SETTINGS),
//! and until then nothing is written that could make the server's kernel reset the connection.

mod error;
mod pinned;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use error::{ConnectError, ServerFault, Step};
pub use pinned::{PinError, pinned_config};

use crate::config::ALPN;
use crate::socket;

/// Time for everything from the name to the server's first bytes, unless told otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// Port of a URI that names none.
pub const DEFAULT_PORT: u16 = 7443;

/// Enough for the head of the server's first frame. Reads of more go past the buffer.
const FIRST_BYTES: usize = 64;

/// A connection made.
pub type ServerStream = BufReader<TlsStream<TcpStream>>;

/// Dials servers. For `tonic::transport::Endpoint::connect_with_connector`; the endpoint's URI is
/// `https://host:port`. [`ConnectError::find`] takes the reason out of tonic's error.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ArcSwap<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
    deadline: Duration,
}

impl Connector {
    /// The configuration is read anew for every connection, so that storing another one in
    /// `config` is enough to use a renewed certificate from the next connection on.
    #[must_use]
    pub fn new(config: Arc<ArcSwap<ClientConfig>>) -> Self {
        Self { config, server_name: None, deadline: DEFAULT_DEADLINE }
    }

    /// Expects the server's certificate to be for this name instead of the URI's host: where a
    /// server is reached by an address or through a tunnel that its certificate does not name.
    #[must_use]
    pub fn with_server_name(mut self, name: ServerName<'static>) -> Self {
        self.server_name = Some(name);
        self
    }

    /// Time for everything from the name to the server's first bytes.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes one connection. `host` is a name or an address, an IPv6 one with or without
    /// brackets.
    ///
    /// # Errors
    /// [`ConnectError`] says what stopped it.
    pub async fn connect(&self, host: &str, port: u16) -> Result<ServerStream, ConnectError> {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| ConnectError::BadAddress(host.to_owned()))?,
        };
        let deadline = Instant::now() + self.deadline;
        let late = |step| ConnectError::Deadline { step, after: self.deadline };

        let tcp = self.dial(host, port, deadline).await?;
        let connector = TlsConnector::from(self.config.load_full());
        let tls = timeout_at(deadline, connector.connect(server_name, tcp))
            .await
            .map_err(|_| late(Step::Handshake))?
            .map_err(|error| ConnectError::of_tls(error, Step::Handshake))?;
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(ConnectError::NotHttp2);
        }
        let mut stream = BufReader::with_capacity(FIRST_BYTES, tls);
        let first = timeout_at(deadline, stream.fill_buf())
            .await
            .map_err(|_| late(Step::FirstBytes))?
            .map_err(|error| ConnectError::of_tls(error, Step::FirstBytes))?;
        if first.is_empty() {
            return Err(ConnectError::of_tls(
                io::ErrorKind::UnexpectedEof.into(),
                Step::FirstBytes,
            ));
        }
        Ok(stream)
    }

    /// Tries the name's addresses one after the other; each gets its share of the time left, so
    /// that one which swallows everything doesn't hide the next.
    async fn dial(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let after = self.deadline;
        let addresses: Vec<_> = timeout_at(deadline, lookup_host((host, port)))
            .await
            .map_err(|_| ConnectError::Deadline { step: Step::Name, after })?
            .map_err(|error| ConnectError::NameNotFound { host: host.to_owned(), error })?
            .collect();
        let mut last = ConnectError::NameNotFound {
            host: host.to_owned(),
            error: io::Error::new(io::ErrorKind::NotFound, "it has no address"),
        };
        for (tried, address) in addresses.iter().copied().enumerate() {
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let now = Instant::now();
            let until = now + deadline.saturating_duration_since(now) / left;
            last = match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    return match socket::prepare(&stream) {
                        Ok(()) => Ok(stream),
                        Err(error) => Err(ConnectError::Unreachable { address, error }),
                    };
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    ConnectError::Refused { address }
                }
                Ok(Err(error)) => ConnectError::Unreachable { address, error },
                Err(_) => ConnectError::Deadline { step: Step::Tcp, after },
            };
        }
        Err(last)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<ServerStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| ConnectError::BadAddress(uri.to_string()))?;
            let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
            connector.connect(host, port).await.map(TokioIo::new)
        })
    }
}
