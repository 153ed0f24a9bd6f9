//! Hosts as operators see them: what each is, its labels, and whether it is in the roll.
//!
//! Labels select hosts in every report, so what may be a label is decided here, with words for the
//! person who typed it. A host is never deleted: its samples and history belong to it. It is
//! retired, and back in the roll when its agent says Hello again.

use std::collections::BTreeMap;

use postgres_types::ToSql;
use rowcall_core::convert::clean_text;
use rowcall_core::id::{HostId, HostName, UnixMicros};
use rowcall_core::record::HostFacts;
use tokio_postgres::Row;

use crate::Store;
use crate::error::{Error, Kind};
use crate::reports::check_selector;
use crate::session::facts_of;
use crate::time::Time;

const LIST: &str = include_str!("../../../sql/queries/hosts/list.sql");
const ONE: &str = include_str!("../../../sql/queries/hosts/one.sql");
const LABEL: &str = include_str!("../../../sql/queries/hosts/label.sql");
const UNLABEL: &str = include_str!("../../../sql/queries/hosts/unlabel.sql");
const RETIRE: &str = include_str!("../../../sql/queries/hosts/retire.sql");
const LOCK: &str = include_str!("../../../sql/queries/session/lock.sql");

/// All of them but the last, which is the session's.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[LIST, ONE, LABEL, UNLABEL, RETIRE];

/// Most labels of one host.
pub const MAX_HOST_LABELS: usize = 64;
/// Longest key of a label, in bytes.
pub const MAX_KEY_BYTES: usize = 63;
/// Longest value of a label, in bytes.
pub const MAX_VALUE_BYTES: usize = 255;

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
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&keys, &values, &filter.name_glob, &filter.include_retired, &after, &limit];
        self.look(LIST, &parameters).await
    }

    /// The host of this name, retired or not.
    ///
    /// # Errors
    /// As the database says.
    pub async fn host(&self, name: &HostName) -> Result<Option<Host>, Error> {
        Ok(self.look(ONE, &[&name.as_str()]).await?.pop())
    }

    /// Puts labels on a host and takes others off, all or nothing; the host as it is then. None:
    /// there is no such host. A label to take off that is not there is no error.
    ///
    /// # Errors
    /// [`Kind::Data`] with words for people: a key outside `[a-z0-9._/-]` or longer than
    /// [`MAX_KEY_BYTES`], a value longer than [`MAX_VALUE_BYTES`] or with characters that nobody
    /// sees, a key that is to be set and removed, a host with more than [`MAX_HOST_LABELS`]. Else
    /// as the database says.
    pub async fn label_host(
        &self,
        name: &HostName,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<Option<Host>, Error> {
        check_labels(set, remove)?;
        let keys: Vec<_> = set.keys().collect();
        let values: Vec<_> = set.values().collect();
        let mut connection = self.ingest.get().await?;
        let work = async {
            let transaction = connection.transaction().await?;
            // Changes of one host's labels come one after the other: they are counted below.
            let lock = transaction.prepare_cached(LOCK).await?;
            let Some(row) = transaction.query_opt(&lock, &[&name.as_str()]).await? else {
                return Ok(None);
            };
            let host_id: i32 = row.try_get(0)?;
            if !remove.is_empty() {
                transaction.execute(UNLABEL, &[&host_id, &remove]).await?;
            }
            if !set.is_empty() {
                transaction.execute(LABEL, &[&host_id, &keys, &values]).await?;
            }
            let host = Host::from_row(&transaction.query_one(ONE, &[&name.as_str()]).await?)?;
            if host.labels.len() > MAX_HOST_LABELS {
                return Err(refuse(format!(
                    "host {name} would have {} labels, at most {MAX_HOST_LABELS} are possible: \
                     remove some",
                    host.labels.len()
                )));
            }
            transaction.commit().await?;
            Ok(Some(host))
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Takes a host out of the roll from now on; the host as it is then. None: there is no such
    /// host. A retired one stays as it is, with the time at which it was retired first.
    ///
    /// Its samples are kept, and if its agent says Hello again, it is back in the roll.
    ///
    /// # Errors
    /// As the database says.
    pub async fn retire_host(&self, name: &HostName) -> Result<Option<Host>, Error> {
        let connection = self.ingest.get().await?;
        let work = async {
            connection.execute(RETIRE, &[&name.as_str()]).await?;
            let row = connection.query_opt(ONE, &[&name.as_str()]).await?;
            row.as_ref().map(Host::from_row).transpose()
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Looks without taking a connection from ingest.
    async fn look(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Host>, Error> {
        let connection = self.reports.get().await?;
        let work = async {
            let statement = connection.prepare_cached(sql).await?;
            let rows = connection.query(&statement, parameters).await?;
            rows.iter().map(Host::from_row).collect()
        };
        let result = self.reports.wait(work).await;
        self.reports.settle(connection, &result);
        result
    }
}

impl Host {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let time = |column: &str| -> Result<Option<UnixMicros>, Error> {
            Ok(row.try_get::<_, Option<Time>>(column)?.map(|Time(time)| time))
        };
        let name: &str = row.try_get("hostname")?;
        let name = HostName::parse(name).map_err(|error| {
            Error::new(Kind::Internal, format!("host_info holds {name:?}: {error}"))
        })?;
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
        })
    }
}

fn check_labels(set: &BTreeMap<String, String>, remove: &[String]) -> Result<(), Error> {
    for key in set.keys().chain(remove) {
        check_key(key)?;
    }
    if let Some(key) = remove.iter().find(|key| set.contains_key(*key)) {
        return Err(refuse(format!("label {key:?} is to be set and removed at once")));
    }
    for (key, value) in set {
        if value.len() > MAX_VALUE_BYTES {
            return Err(refuse(format!(
                "the value of label {key:?} has {} bytes, at most {MAX_VALUE_BYTES} are allowed",
                value.len()
            )));
        }
        if clean_text(value).unwrap_or_default() != *value {
            return Err(refuse(format!(
                "the value of label {key:?} is {value:?}: control characters, marks of direction \
                 and spaces at its ends are not allowed"
            )));
        }
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(refuse("a label's key is empty"));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(refuse(format!(
            "a label's key has {} bytes, at most {MAX_KEY_BYTES} are allowed",
            key.len()
        )));
    }
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '/' | '-');
    match key.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(refuse(format!(
            "the label's key {key:?} contains {c:?}, only a-z, 0-9, '.', '_', '/' and '-' are \
             allowed"
        ))),
        None => Ok(()),
    }
}

fn refuse(why: impl Into<String>) -> Error {
    Error::new(Kind::Data, why)
}

#[cfg(test)]
mod tests;
