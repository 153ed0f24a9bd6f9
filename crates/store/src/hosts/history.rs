//! What a host was before, and its boots.

use rowcall_core::id::{HostName, UnixMicros};
use rowcall_core::record::HostFacts;
use tokio_postgres::Row;

use crate::Store;
use crate::error::Error;
use crate::session::facts_of;
use crate::time::Time;

pub(super) const HISTORY: &str = include_str!("../../../../sql/queries/hosts/history.sql");
pub(super) const BOOTS: &str = include_str!("../../../../sql/queries/hosts/boots.sql");

/// What a host was for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// From when on, by the database's clock, or the host's where a record told it. `None`: as far
    /// back as anything is known.
    pub from: Option<UnixMicros>,
    /// Until when. `None`: it still is.
    pub to: Option<UnixMicros>,
    /// What it was; without the boot.
    pub facts: HostFacts,
}

/// One boot of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRow {
    /// The kernel's id of it.
    pub boot_id: String,
    /// When, by the host's own clock.
    pub booted_at: Option<UnixMicros>,
    /// When an aggregator first heard of it.
    pub seen_at: UnixMicros,
}

impl Store {
    /// What the host that has this name, or had it, was, and its boots, both newest first, at most
    /// 1,000 of each. Empty where there is no such host.
    ///
    /// # Errors
    /// As the database says.
    pub async fn history(&self, name: &HostName) -> Result<(Vec<HistoryRow>, Vec<BootRow>), Error> {
        let history = self.look(HISTORY, &[&name.as_str()], HistoryRow::from_row).await?;
        let boots = self.look(BOOTS, &[&name.as_str()], BootRow::from_row).await?;
        Ok((history, boots))
    }
}

impl HistoryRow {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let time = |column: &str| -> Result<Option<UnixMicros>, Error> {
            Ok(row.try_get::<_, Option<Time>>(column)?.map(|Time(time)| time))
        };
        Ok(Self { from: time("valid_from")?, to: time("valid_to")?, facts: facts_of(row)? })
    }
}

impl BootRow {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            boot_id: row.try_get("boot_id")?,
            booted_at: row.try_get::<_, Option<Time>>("booted_at")?.map(|Time(time)| time),
            seen_at: row.try_get::<_, Time>("seen_at")?.0,
        })
    }
}
