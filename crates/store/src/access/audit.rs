//! The record of every change of tokens, hosts and keys: `rowcall.audit`, which is only added to.

use deadpool_postgres::GenericClient;
use rowcall_core::convert::clean_text_within;

use super::query;
use crate::Store;
use crate::error::Error;

query!(AUDIT, "audit");

/// All of them.
#[cfg(test)]
pub(super) const QUERIES: &[&str] = &[AUDIT];

/// Most of each text, in bytes.
const MAX_TEXT: usize = 1_024;

/// Who changes something, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Whose certificate or token it is, for example `operator/anna`.
    pub identity: String,
    /// The address that it came from.
    pub peer: String,
    /// The aggregator that was asked.
    pub aggregator: String,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) action: &'a str,
    /// A host's name or a token's id.
    pub(crate) target: &'a str,
    /// `ok`, or `refused: ` and why.
    pub(crate) result: &'a str,
    pub(crate) detail: &'a str,
}

/// Adds a row, in the caller's transaction.
pub(crate) async fn record(
    client: &impl GenericClient,
    actor: &Actor,
    entry: &Entry<'_>,
) -> Result<(), Error> {
    let clean = |text: &str| clean_text_within(text, MAX_TEXT).unwrap_or_default();
    let texts = [
        &actor.identity,
        &actor.peer,
        &actor.aggregator,
        entry.action,
        entry.target,
        entry.result,
        entry.detail,
    ];
    let [identity, peer, aggregator, action, target, result, detail] = texts.map(clean);
    let statement = client.prepare_cached(AUDIT).await?;
    client
        .execute(&statement, &[&identity, &peer, &aggregator, &action, &target, &result, &detail])
        .await?;
    Ok(())
}

impl Store {
    /// Records what was refused before it reached the database. `action` as in `rowcall.audit`,
    /// `target` a host's name or a token's id, `result` beginning with `refused: `. What is refused
    /// again within the hour, to the same identity and for the same reason, is recorded once.
    ///
    /// # Errors
    /// As the database says.
    pub async fn audit(
        &self,
        actor: &Actor,
        action: &str,
        target: &str,
        result: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let entry = Entry { action, target, result, detail };
        let done = self.ingest.wait(record(&*connection, actor, &entry)).await;
        self.ingest.settle(connection, &done);
        done
    }
}
