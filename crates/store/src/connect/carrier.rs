//! Our errors, through a pool that only knows the driver's.
//!
//! The driver's error has no constructor, but it holds whatever error a TLS connector gives: so
//! ours is given by one that does nothing else, on a stream that leads nowhere.

use std::error::Error as _;
use std::future::{Future, Ready, ready};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{NoTlsStream, TlsConnect};
use tokio_postgres::{Client, Config};

use super::Connector;
use crate::error::{Error, text};

type Opened = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl deadpool_postgres::Connect for Connector {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Opened> + Send + '_>> {
        Box::pin(async move {
            match Self::connect(self).await {
                Ok((client, link)) => {
                    let task = tokio::spawn(async move {
                        if let Err(error) = link.await {
                            // Whoever uses the client hears of it, and decides what it means.
                            let error = text(&error);
                            tracing::debug!(error, "a connection to the database broke");
                        }
                    });
                    Ok((client, task))
                }
                Err(error) => Err(pack(error).await),
            }
        })
    }
}

/// The error that was packed, if one was.
pub(crate) fn unpack(error: tokio_postgres::Error) -> Result<Error, tokio_postgres::Error> {
    if !error.source().is_some_and(<dyn std::error::Error>::is::<Error>) {
        return Err(error);
    }
    let ours = error.into_source().and_then(|source| source.downcast::<Error>().ok());
    Ok(*ours.expect("its type was looked at just now"))
}

/// The driver's error that holds one of ours.
pub(crate) async fn pack(error: Error) -> tokio_postgres::Error {
    let mut config = Config::new();
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    let failed = config.connect_raw(tokio::io::empty(), Carrier(error)).await;
    failed.err().expect("a connector that only fails never connects")
}

struct Carrier(Error);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<S> for Carrier {
    type Stream = NoTlsStream;
    type Error = Error;
    type Future = Ready<Result<NoTlsStream, Error>>;

    fn connect(self, _: S) -> Self::Future {
        ready(Err(self.0))
    }
}
