//! A database that went back in time: a restored backup, a promoted replica that lagged.
//!
//! Agents hold what they sent, and send it again when they see a lower mark in the answer to their
//! Hello. So whoever has live streams must end them before anything is committed on top of what
//! was lost. A database goes back only while nobody is connected to it: each new connection that
//! writes is compared before it is used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::id::{Epoch, HostId};
use tokio_postgres::Client;

use crate::error::{Error, Kind};
use crate::{EpochId, Store};

const LOST: &str = include_str!("../../../sql/queries/watch/lost.sql");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[LOST];

/// Up to where a live session's epoch was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveMark {
    /// Whose session it is.
    pub host_id: HostId,
    /// Its epoch.
    pub epoch_id: EpochId,
    /// The agent's number of that epoch: after a restore `epoch_id` may be another host's.
    pub epoch: Epoch,
    /// The sequence up to which it was committed; 0: nothing was.
    pub mark: i64,
}

/// Who knows the live sessions.
pub trait LiveMarks: fmt::Debug + Send + Sync {
    /// All that rely on what the database held. Called on each new connection; must not block.
    fn marks(&self) -> Vec<LiveMark>;
}

/// What new connections are compared with. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard(Arc<Mutex<Option<Arc<dyn LiveMarks>>>>);

impl Guard {
    fn set(&self, live: Arc<dyn LiveMarks>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(live);
    }

    /// Looks whether the database still holds what the live sessions rely on.
    ///
    /// # Errors
    /// [`Kind::WentBack`] if it does not; else as the database says.
    pub(crate) async fn check(&self, client: &Client) -> Result<(), Error> {
        let live = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let marks = live.map(|live| live.marks()).unwrap_or_default();
        if marks.is_empty() {
            return Ok(());
        }
        let hosts: Vec<i32> = marks.iter().map(|mark| mark.host_id.0).collect();
        let epochs: Vec<i32> = marks.iter().map(|mark| mark.epoch_id.0).collect();
        let numbers: Vec<i64> = marks.iter().map(|mark| mark.epoch.as_i64()).collect();
        let ends: Vec<i64> = marks.iter().map(|mark| mark.mark).collect();
        let Some(row) = client.query_opt(LOST, &[&hosts, &epochs, &numbers, &ends]).await? else {
            return Ok(());
        };
        let (count, id): (i64, i32) = (row.try_get(0)?, row.try_get(1)?);
        let name: Option<String> = row.try_get(2)?;
        let (from, to): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
        let hosts = if count == 1 { "1 host".into() } else { format!("{count} hosts") };
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        Err(Error::new(
            Kind::WentBack,
            format!(
                "the database went back in time: it lacks what it had committed of {hosts}, most \
                 of host {id}{name}, which had got to sequence {from} and is at {to}"
            ),
        ))
    }
}

impl Store {
    /// From now on, each new connection that writes is compared with these before it is used.
    /// Where the database holds less than it had committed, what needs a connection fails with
    /// [`Kind::WentBack`], until those sessions are not named any more: end them, and their agents
    /// come back and send again what is lost.
    pub fn guard_marks(&self, live: Arc<dyn LiveMarks>) {
        self.ingest.guard().set(live);
    }
}

#[cfg(test)]
mod tests;
