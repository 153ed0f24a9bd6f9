//! Hosts that were enrolled as ephemeral retire themselves.

use rowcall_core::id::HostName;

use super::query;
use crate::Store;
use crate::error::Error;
use crate::locks;

query!(RETIRE, "retire_ephemeral");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[RETIRE];

impl Store {
    /// Takes hosts out of the roll that were enrolled as ephemeral and have been silent for longer
    /// than that, by the database's clock; their names. Time in which no aggregator could hear them
    /// does not count, and one with an open stream is never silent. They may speak on: a Hello takes
    /// them back. To be called every minute; several processes may.
    ///
    /// # Errors
    /// As the database says.
    pub async fn retire_ephemeral(&self) -> Result<Vec<HostName>, Error> {
        let connection = self.ingest.get().await?;
        let work = async {
            let rows = connection.query(RETIRE, &[&locks::EPHEMERAL]).await?;
            let mut names = Vec::new();
            for row in rows {
                // Whatever is no name for us is out too, and in the record.
                names.extend(HostName::parse(row.try_get(0)?).ok());
            }
            Ok(names)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}
