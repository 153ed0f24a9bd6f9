//! Changes of access, as the database tells of them.

use std::future::poll_fn;

use rowcall_core::id::HostId;
use tokio_postgres::{AsyncMessage, Client};

use crate::Store;
use crate::connect::Link;
use crate::error::{Error, Kind};
use crate::pool::{Purpose, connector};

/// The channel.
const LISTEN: &str = "LISTEN rowcall_access";

/// A connection of its own that hears whose access changed.
pub struct AccessEvents {
    link: Link,
    /// Keeps the connection open.
    _client: Client,
}

impl std::fmt::Debug for AccessEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessEvents").finish_non_exhaustive()
    }
}

impl AccessEvents {
    /// The next host whose access ended, or began again. Nothing is lost where this is not waited
    /// for to the end.
    ///
    /// # Errors
    /// [`Kind::Transient`] when the connection broke: listen anew, and look at all live identities,
    /// since what was told meanwhile is lost.
    pub async fn next(&mut self) -> Result<HostId, Error> {
        loop {
            match poll_fn(|context| self.link.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(told))) => {
                    if let Ok(id) = told.payload().parse() {
                        return Ok(HostId(id));
                    }
                    tracing::debug!("a notice of rowcall_access names no host");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(ended()),
            }
        }
    }
}

impl Store {
    /// Listens, on a connection of its own, for changes of access from now on. What changed before is
    /// for [`Store::refused_among`] to tell.
    ///
    /// # Errors
    /// Why it did not work, and what to do about it.
    pub async fn listen_access(&self) -> Result<AccessEvents, Error> {
        // Idle for ever, so none of the time-outs.
        let connector = connector(&self.settings, Purpose::Migration)?;
        let work = async {
            let (client, mut link) = connector.connect().await?;
            let answered = {
                let mut listening = std::pin::pin!(client.batch_execute(LISTEN));
                loop {
                    // The link does the work of both; what is told before the answer is not for us.
                    tokio::select! {
                        answered = &mut listening => break answered,
                        message = poll_fn(|context| link.poll_message(context)) => match message {
                            Some(Ok(_)) => {}
                            Some(Err(error)) => return Err(error.into()),
                            None => return Err(ended()),
                        }
                    }
                }
            };
            answered?;
            Ok(AccessEvents { link, _client: client })
        };
        match tokio::time::timeout(connector.total_patience(), work).await {
            Ok(result) => result,
            Err(_) => Err(Error::no_connection(&connector.target())),
        }
    }
}

fn ended() -> Error {
    Error::new(Kind::Transient, "the connection that hears of changed access ended")
}
