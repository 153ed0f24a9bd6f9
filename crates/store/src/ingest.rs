//! Records into rows.

use rowcall_core::id::HostId;
use rowcall_core::record::Record;

use crate::error::{Error, Kind};
use crate::{EpochId, Store};

/// A record as it came from a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Who sent it.
    pub host_id: HostId,
    /// The epoch it belongs to.
    pub epoch_id: EpochId,
    /// What it is.
    pub record: Record,
}

/// What became of the records of one call: all of them are durable now, except those of
/// [`Committed::superseded`]. The five numbers add up to the other records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// New rows of `host_usage`.
    pub samples: u64,
    /// Records that were there already.
    pub duplicates: u64,
    /// Records put aside, with a reason.
    pub quarantined: u64,
    /// New gaps.
    pub gaps: u64,
    /// Records of what a host is.
    pub facts: u64,
    /// Epochs that are not their host's current one any more: nothing of theirs was stored or
    /// may be acknowledged; end the stream. A host may have another stream in the same call that
    /// is current, hence the epoch.
    pub superseded: Vec<(HostId, EpochId)>,
}

impl Store {
    /// Stores records. Returns after COMMIT: what it returns may be acknowledged.
    ///
    /// # Errors
    /// As the database says.
    pub async fn ingest(&self, records: &[Incoming]) -> Result<Committed, Error> {
        drop(records);
        Err(Error::new(Kind::Internal, "not built yet"))
    }
}
