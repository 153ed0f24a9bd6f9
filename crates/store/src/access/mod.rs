//! Who may speak: join tokens, certificates, and whose access ended; with a record of every change.
//!
//! Whether a certificate is good is decided in the database, by `rowcall.refusal`. Each change
//! writes its row of `rowcall.audit` in its own transaction, and tells all aggregators at COMMIT
//! where it ends or begins somebody's access.
//!
//! Locks are taken in one order: the token, the host's `host_info` row, its `rowcall.session`, its
//! certificates, its `rowcall.host_access`, its `host_latest`. Whoever opens a session as it was takes
//! the middle ones only.

mod audit;
mod enroll;
mod ephemeral;
mod events;
mod renew;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;

use deadpool_postgres::Transaction;
use rowcall_core::id::{HostName, UnixMicros};
use tokio_postgres::Row;

use crate::Store;
use crate::error::{Error, Kind};
use crate::hosts::stored_name;
use crate::time::Time;

pub use audit::Actor;
pub(crate) use audit::{Entry, record};
pub(crate) use enroll::BACK;
pub use enroll::{EnrollRefusal, Enrolled, Enrolment, IssuedCertificate};
pub use events::AccessEvents;
pub use renew::Renewal;
pub(crate) use tokens::span;
pub use tokens::{
    MAX_EPHEMERAL, MAX_TOKEN_TTL, MAX_TOKEN_USES, MIN_EPHEMERAL, MIN_TOKEN_TTL, NewToken, TokenInfo,
};

macro_rules! query {
    ($name:ident, $file:literal) => {
        const $name: &str = include_str!(concat!("../../../../sql/queries/access/", $file, ".sql"));
    };
}
pub(crate) use query;

query!(NOTIFY, "notify");
query!(REFUSED, "refused");
query!(RENAMED, "renamed");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&[&str]] = &[
    &[NOTIFY, REFUSED, RENAMED],
    audit::QUERIES,
    enroll::QUERIES,
    ephemeral::QUERIES,
    tokens::QUERIES,
    crate::hosts::ACCESS_QUERIES,
];

/// A certificate that somebody shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// SHA-256 of the whole certificate, DER.
    pub fingerprint: [u8; 32],
    /// Its number, as openssl shows it.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: UnixMicros,
    /// Until when.
    pub not_after: UnixMicros,
}

/// Why a certificate that its authority certifies is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All certificates of the host are.
    HostRevoked,
    /// The host was taken out.
    HostRetired,
    /// This certificate is.
    CertificateRevoked,
    /// The host was enrolled anew since.
    CertificateReplaced,
    /// Only where a certificate is asked for: its key has one already, of another host or name, or
    /// one that is over.
    KeyInUse,
}

/// A certificate is refused. Displayed in words, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRefusal {
    /// Why.
    pub why: Why,
    /// Since when, by the database's clock.
    pub since: UnixMicros,
    /// In the words of who ended it; may be empty.
    pub reason: String,
}

impl AccessRefusal {
    /// Reads the columns `why`, `since` and `reason`. None: it is not refused.
    pub(crate) fn from_row(row: &Row) -> Result<Option<Self>, Error> {
        let Some(why) = row.try_get::<_, Option<&str>>("why")? else { return Ok(None) };
        let why = match why {
            "revoked" => Why::HostRevoked,
            "retired" => Why::HostRetired,
            "certificate" => Why::CertificateRevoked,
            "replaced" => Why::CertificateReplaced,
            other => {
                let words = format!("a certificate is refused for the unknown reason {other:?}");
                return Err(Error::new(Kind::Internal, words));
            }
        };
        let Time(since) = row.try_get("since")?;
        Ok(Some(Self { why, since, reason: row.try_get("reason")? }))
    }
}

impl fmt::Display for AccessRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, then) = match self.why {
            Why::HostRevoked => (
                "this host's access is revoked",
                "an operator lets it in again with `rowcall host restore`",
            ),
            Why::HostRetired => (
                "this host is retired",
                "an operator takes it back with `rowcall host restore`, or stop its agent",
            ),
            Why::CertificateRevoked => {
                ("this certificate is revoked", "enrol the host with a token made with --replace")
            }
            Why::CertificateReplaced => (
                "this certificate was replaced when the host was enrolled anew",
                "if this is the machine that should have the name, enrol it with a token made with \
                 --replace",
            ),
            Why::KeyInUse => ("this key has a certificate already", "make a new key and ask again"),
        };
        f.write_str(what)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        write!(f, "; {then}")
    }
}

impl Store {
    /// Which of some live identities are refused now, and why: the place of each in the list.
    ///
    /// # Errors
    /// As the database says.
    pub async fn refused_among(
        &self,
        live: &[(HostName, Presented)],
    ) -> Result<Vec<(usize, AccessRefusal)>, Error> {
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = live.iter().map(|(name, _)| name.as_str()).collect();
        let prints: Vec<_> = live.iter().map(|(_, shown)| shown.fingerprint.as_slice()).collect();
        let begins: Vec<_> = live.iter().map(|(_, shown)| Time(shown.not_before)).collect();
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(REFUSED).await?;
            let rows = connection.query(&statement, &[&names, &prints, &begins]).await?;
            let mut refused = Vec::new();
            for row in rows {
                if let Some(refusal) = AccessRefusal::from_row(&row)? {
                    refused.push((place(&row)?, refusal));
                }
            }
            Ok(refused)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Which of some names are former ones, and what their hosts are called now: the place of each
    /// in the list.
    ///
    /// # Errors
    /// As the database says.
    pub async fn renamed_among(&self, names: &[HostName]) -> Result<Vec<(usize, HostName)>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = names.iter().map(HostName::as_str).collect();
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(RENAMED).await?;
            let rows = connection.query(&statement, &[&names]).await?;
            rows.iter().map(|row| Ok((place(row)?, stored_name(row)?))).collect()
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}

/// The place in a list that the column `number` counts from 1.
fn place(row: &Row) -> Result<usize, Error> {
    let number: i64 = row.try_get("number")?;
    usize::try_from(number - 1)
        .map_err(|_| Error::new(Kind::Internal, format!("{number} is no place in a list")))
}

/// Tells all aggregators, at COMMIT, that a host's access changed.
pub(crate) async fn notify(transaction: &Transaction<'_>, host_id: i32) -> Result<(), Error> {
    let statement = transaction.prepare_cached(NOTIFY).await?;
    transaction.execute(&statement, &[&host_id]).await?;
    Ok(())
}
