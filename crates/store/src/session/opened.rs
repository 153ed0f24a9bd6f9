//! What the database says of a host that said Hello.

use rowcall_core::id::{HostId, HostName, Sequence, UnixMicros};

use super::Lease;
use crate::time::Time;

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
    /// Ticks that were due up to it, as the agent counts. 0: it does not tell.
    pub due_ticks: i64,
}

impl Mark {
    pub(super) fn from_columns(
        mark: Option<i64>,
        time: Option<Time>,
        due: Option<i64>,
    ) -> Option<Self> {
        let through = Sequence::new(u64::try_from(mark?).ok()?).ok()?;
        Some(Self { through, time: time?.0, due_ticks: due? })
    }
}

/// What was different when an agent's process first said Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// No process of this host was seen before.
    First,
    /// The host was booted since the process before.
    Reboot,
    /// The agent has another version than the process before had.
    Upgrade {
        /// The version before, if it was told.
        from: Option<String>,
    },
    /// Nothing that was told.
    Restart,
}

impl Started {
    /// The word for it in the database.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Reboot => "reboot",
            Self::Upgrade { .. } => "upgrade",
            Self::Restart => "restart",
        }
    }
}

/// What the database says of a host that said Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// The host.
    pub host_id: HostId,
    /// What it is called now; its certificate may have a former name.
    pub name: HostName,
    /// The epoch, now the host's current one.
    pub epoch_id: EpochId,
    /// Up to where the epoch is committed. None: nothing is.
    pub mark: Option<Mark>,
    /// The host was not known before.
    pub host_is_new: bool,
    /// The epoch was not known before.
    pub epoch_is_new: bool,
    /// The host is not what it was; also true of a new one that tells anything.
    pub facts_changed: bool,
    /// The agent's process was not seen before, and what was different. None: it is known.
    pub started: Option<Started>,
    /// The host's stream, to be given back when it ends.
    pub lease: Lease,
}
