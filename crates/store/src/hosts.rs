//! Hosts as operators see them: what each is, its labels, its certificates, and whether it is in the
//! roll.
//!
//! Labels select hosts in every report, so what may be a label is decided here, with words for the
//! person who typed it. A host is never deleted: its samples and history belong to it. It is
//! retired or revoked, and restored. A name that a host had before means it too.

mod changes;
mod history;
mod labels;

use std::collections::BTreeMap;
use std::time::Duration;

use postgres_types::ToSql;
use rowcall_core::id::{HostId, HostName, UnixMicros};
use rowcall_core::record::HostFacts;
use tokio_postgres::Row;

use crate::Store;
use crate::access::span;
use crate::error::{Error, Kind};
use crate::reports::check_selector;
use crate::session::facts_of;
use crate::time::Time;

pub use changes::Renamed;
pub use history::{BootRow, HistoryRow};
pub(crate) use labels::check_labels;
pub use labels::{MAX_HOST_LABELS, MAX_KEY_BYTES, MAX_VALUE_BYTES};

const LIST: &str = include_str!("../../../sql/queries/hosts/list.sql");
const ONE: &str = include_str!("../../../sql/queries/hosts/one.sql");

/// Those in the folder of hosts.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[
    LIST,
    ONE,
    history::HISTORY,
    history::BOOTS,
    changes::LABEL,
    changes::UNLABEL,
    changes::RETIRE,
];
/// Those in the folder of access.
#[cfg(test)]
pub(crate) const ACCESS_QUERIES: &[&str] = changes::ACCESS_QUERIES;

/// A host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The database's number for it.
    pub id: HostId,
    /// The name in its certificate.
    pub name: HostName,
    /// What it is.
    pub facts: HostFacts,
    /// When one of the facts last changed; a boot is no change.
    pub facts_changed_at: UnixMicros,
    /// What people put on it.
    pub labels: BTreeMap<String, String>,
    /// From when on it is in the roll. None: it has never opened a session.
    pub joined_at: Option<UnixMicros>,
    /// Since when it is out of the roll. None: it is in.
    pub retired_at: Option<UnixMicros>,
    /// Time of its newest sample, by its own clock. None: there is none.
    pub last_sample_at: Option<UnixMicros>,
    /// The version of the agent that last said Hello.
    pub agent_version: Option<String>,
    /// Those of its certificates that are neither expired nor revoked, the newest first; empty
    /// where they were not asked for.
    pub certificates: Vec<HostCertificate>,
    /// Since when its certificates are refused, because it is revoked or retired. None: they are not.
    pub revoked_at: Option<UnixMicros>,
    /// Why, in the words of who did it; empty if nothing was said.
    pub revoked_reason: String,
    /// It retires itself after being silent for so long. None: it does not.
    pub ephemeral: Option<Duration>,
    /// What it was called before; certificates of these names speak for it.
    pub former_names: Vec<String>,
}

/// A certificate of a host, issued here or seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCertificate {
    /// SHA-256 of it, DER.
    pub fingerprint: Vec<u8>,
    /// Its number, as openssl shows it.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: UnixMicros,
    /// Until when.
    pub not_after: UnixMicros,
    /// `enrolled`, `renewed` or `seen`.
    pub origin: String,
    /// When it last opened a stream, to the hour. None: it never did.
    pub last_seen_at: Option<UnixMicros>,
}

/// Which hosts to list. The default: all that are in the roll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Labels that a host must carry, all of them.
    pub labels: BTreeMap<String, String>,
    /// Pattern of a host's name, `*` for any characters, `?` for one. Empty: any name.
    pub name_glob: String,
    /// Retired ones too.
    pub include_retired: bool,
    /// With their certificates.
    pub certificates: bool,
}

impl Store {
    /// Hosts by name (in the order of its bytes), those after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`Kind::Data`] for a filter beyond the limits of a report's selector; else as the database
    /// says.
    pub async fn list_hosts(
        &self,
        filter: &Filter,
        after: Option<&HostName>,
        limit: u32,
    ) -> Result<Vec<Host>, Error> {
        check_selector(&filter.labels, &filter.name_glob)?;
        let keys: Vec<_> = filter.labels.keys().collect();
        let values: Vec<_> = filter.labels.values().collect();
        let after = after.map(HostName::as_str);
        let limit = i64::from(limit);
        let parameters: [&(dyn ToSql + Sync); 7] = [
            &keys,
            &values,
            &filter.name_glob,
            &filter.include_retired,
            &after,
            &limit,
            &filter.certificates,
        ];
        self.look(LIST, &parameters, Host::from_row).await
    }

    /// The host that has this name, or had it, retired or not, with its certificates.
    ///
    /// # Errors
    /// As the database says.
    pub async fn host(&self, name: &HostName) -> Result<Option<Host>, Error> {
        Ok(self.look(ONE, &[&name.as_str()], Host::from_row).await?.pop())
    }

    /// Looks without taking a connection from ingest.
    async fn look<T>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        read: fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let connection = self.reports.get().await?;
        let work = async {
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query(&statement, parameters).await?;
            rows.iter().map(read).collect()
        };
        let result = self.reports.wait(work).await;
        self.reports.settle(connection, &result);
        result
    }
}

/// What a host is called, in the column `hostname`.
pub(crate) fn stored_name(row: &Row) -> Result<HostName, Error> {
    let name: &str = row.try_get("hostname")?;
    HostName::parse(name)
        .map_err(|error| Error::new(Kind::Internal, format!("host_info holds {name:?}: {error}")))
}

impl Host {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let time = |column: &str| -> Result<Option<UnixMicros>, Error> {
            Ok(row.try_get::<_, Option<Time>>(column)?.map(|Time(time)| time))
        };
        let name = stored_name(row)?;
        let keys: Vec<String> = row.try_get("keys")?;
        let values: Vec<String> = row.try_get("values")?;
        let Time(facts_changed_at) = row.try_get("facts_changed_at")?;
        Ok(Self {
            id: HostId(row.try_get("id")?),
            name,
            facts: facts_of(row)?,
            facts_changed_at,
            labels: keys.into_iter().zip(values).collect(),
            joined_at: time("joined_at")?,
            retired_at: time("retired_at")?,
            last_sample_at: time("last_sample_at")?,
            agent_version: row.try_get("agent_version")?,
            certificates: certificates(row)?,
            revoked_at: time("ended_at")?,
            revoked_reason: row.try_get("reason")?,
            ephemeral: span(row.try_get("ephemeral_s")?),
            former_names: row.try_get("former_names")?,
        })
    }
}

/// From columns that are arrays, all of one length; NULL: there is none.
fn certificates(row: &Row) -> Result<Vec<HostCertificate>, Error> {
    let Some(prints) = row.try_get::<_, Option<Vec<Vec<u8>>>>("fingerprints")? else {
        return Ok(Vec::new());
    };
    let serials: Vec<String> = row.try_get("serials")?;
    let begins: Vec<Time> = row.try_get("begins")?;
    let ends: Vec<Time> = row.try_get("ends")?;
    let origins: Vec<String> = row.try_get("origins")?;
    let seen: Vec<Option<Time>> = row.try_get("seen")?;
    let ids = prints.into_iter().zip(serials).zip(origins);
    let times = begins.into_iter().zip(ends).zip(seen);
    Ok(ids
        .zip(times)
        .map(|(((fingerprint, serial), origin), ((begin, end), seen))| HostCertificate {
            fingerprint,
            serial,
            not_before: begin.0,
            not_after: end.0,
            origin,
            last_seen_at: seen.map(|time| time.0),
        })
        .collect())
}

#[cfg(test)]
mod tests;
