//! Opening an agent's session.

use std::time::Duration;

use rowcall_core::convert::Hello;
use rowcall_core::id::{HostId, Sequence, UnixMicros};

use crate::Store;
use crate::error::{Error, Kind};

/// `rowcall.epoch.id`: the database's number for one life of one host's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub i32);

/// Up to where an epoch is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Every sequence up to this one is committed.
    pub through: Sequence,
    /// The time of the record at it, by the agent's clock.
    pub time: UnixMicros,
}

/// What the database says of a host that said Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// The host.
    pub host_id: HostId,
    /// The epoch, now the host's current one.
    pub epoch_id: EpochId,
    /// Up to where the epoch is committed. None: nothing is.
    pub mark: Option<Mark>,
    /// The host was not known before.
    pub host_is_new: bool,
    /// The epoch was not known before.
    pub epoch_is_new: bool,
    /// The host is not what it was.
    pub facts_changed: bool,
}

impl Store {
    /// Makes or finds the host, its epoch and its interval, in one transaction.
    ///
    /// # Errors
    /// As the database says.
    pub async fn open_session(
        &self,
        hello: &Hello,
        interval: Duration,
    ) -> Result<OpenedSession, Error> {
        drop((hello, interval));
        Err(Error::new(Kind::Internal, "not built yet"))
    }
}
