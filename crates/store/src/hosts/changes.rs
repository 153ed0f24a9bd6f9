//! Changes of a host: its labels, its name, and whether it may speak. Each writes its row of
//! `rowcall.audit`, also where there is no such host.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use rowcall_core::convert::clean_text_within;
use rowcall_core::id::HostName;

use super::labels::refuse;
use super::{Host, MAX_HOST_LABELS, MAX_VALUE_BYTES, ONE, check_labels};
use crate::access::{Actor, BACK, Entry, notify, query, record};
use crate::error::Error;
use crate::session::{CONFLICT_TRIES, Locked, execute, find_host};
use crate::{Store, locks};

pub(super) const LABEL: &str = include_str!("../../../../sql/queries/hosts/label.sql");
pub(super) const UNLABEL: &str = include_str!("../../../../sql/queries/hosts/unlabel.sql");
pub(super) const RETIRE: &str = include_str!("../../../../sql/queries/hosts/retire.sql");
query!(END, "end");
query!(RESTORE, "restore");
query!(NAME_TAKEN, "name_taken");
query!(RENAME, "rename");

/// Those in the folder of access.
#[cfg(test)]
pub(super) const ACCESS_QUERIES: &[&str] = &[END, RESTORE, NAME_TAKEN, RENAME];

/// What is refused where no host has the name, or had it.
const NO_HOST: &str = "refused: there is no such host";

/// What became of a new name.
#[derive(Clone, Debug, PartialEq)]
pub enum Renamed {
    /// The host has it now.
    Done(Box<Host>),
    /// There is no host of the old name.
    NoHost,
    /// Another host has the new name, or had it.
    Taken {
        /// What that one is called now.
        by: String,
    },
}

/// A change of one host.
enum Change<'a> {
    Label { set: &'a BTreeMap<String, String>, remove: &'a [String] },
    Revoke { reason: &'a str },
    Retire,
    Restore,
}

impl Store {
    /// Puts labels on a host and takes others off, all or nothing; the host as it is then. None:
    /// there is no such host. A label to take off that is not there is no error.
    ///
    /// # Errors
    /// [`crate::Kind::Data`] with words for people: a key outside `[a-z0-9._/-]` or longer than
    /// [`super::MAX_KEY_BYTES`], a value longer than [`MAX_VALUE_BYTES`] or with characters that
    /// nobody sees, a key that is to be set and removed, a host with more than
    /// [`MAX_HOST_LABELS`]. Else as the database says.
    pub async fn label_host(
        &self,
        actor: &Actor,
        name: &HostName,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<Option<Host>, Error> {
        check_labels(set, remove)?;
        self.change_host(actor, name, &Change::Label { set, remove }).await
    }

    /// Takes a host out of the roll from now on and refuses its certificates; the host as it is
    /// then. None: there is no such host. A retired one stays as it is, with the time at which it
    /// was retired first. Its samples are kept.
    ///
    /// # Errors
    /// As the database says.
    pub async fn retire_host(&self, actor: &Actor, name: &HostName) -> Result<Option<Host>, Error> {
        self.change_host(actor, name, &Change::Retire).await
    }

    /// Refuses all certificates of a host from now on, for a reason in words, which is cut to
    /// [`MAX_VALUE_BYTES`]; the host as it is then, still in the roll. None: there is no such host.
    /// Revoking twice changes nothing.
    ///
    /// # Errors
    /// As the database says.
    pub async fn revoke_host(
        &self,
        actor: &Actor,
        name: &HostName,
        reason: &str,
    ) -> Result<Option<Host>, Error> {
        self.change_host(actor, name, &Change::Revoke { reason }).await
    }

    /// Undoes [`Store::revoke_host`] and [`Store::retire_host`]: its certificates are good again, but
    /// those that an enrolment replaced, and it is in the roll from now on. None: there is no such
    /// host.
    ///
    /// # Errors
    /// As the database says.
    pub async fn restore_host(
        &self,
        actor: &Actor,
        name: &HostName,
    ) -> Result<Option<Host>, Error> {
        self.change_host(actor, name, &Change::Restore).await
    }

    /// Gives a host another name; it stays the same host. The old name goes on to mean it, and a name
    /// that it had before may be its own again.
    ///
    /// # Errors
    /// As the database says.
    pub async fn rename_host(
        &self,
        actor: &Actor,
        old: &HostName,
        new: &HostName,
    ) -> Result<Renamed, Error> {
        let mut tries = 0;
        loop {
            let mut connection = self.ingest.get().await?;
            let work = async {
                let transaction = connection.transaction().await?;
                let renamed = rename(&transaction, old, new).await?;
                let result = match &renamed {
                    Renamed::Done(_) => "ok".to_owned(),
                    Renamed::NoHost => NO_HOST.to_owned(),
                    Renamed::Taken { by } => {
                        format!("refused: {new} is or was a name of host {by}")
                    }
                };
                let detail = format!("to {new}");
                let (target, result) = (old.as_str(), result.as_str());
                let entry = Entry { action: "host.rename", target, result, detail: &detail };
                record(&transaction, actor, &entry).await?;
                transaction.commit().await?;
                Ok(renamed)
            };
            let result: Result<Renamed, Error> = self.ingest.wait(work).await;
            self.ingest.settle(connection, &result);
            tries += 1;
            match result {
                // A host of that name said its first Hello at this moment; the next look finds it.
                Err(error)
                    if tries < CONFLICT_TRIES
                        && (error.is_conflict() || error.sqlstate() == Some("23505")) => {}
                other => return other,
            }
        }
    }

    async fn change_host(
        &self,
        actor: &Actor,
        name: &HostName,
        change: &Change<'_>,
    ) -> Result<Option<Host>, Error> {
        let mut tries = 0;
        loop {
            let mut connection = self.ingest.get().await?;
            let work = async {
                let transaction = connection.transaction().await?;
                let locked = find_host(&transaction, name).await?;
                let host = match &locked {
                    Some(locked) => Some(apply(&transaction, locked, change).await?),
                    None => None,
                };
                let target = locked.as_ref().map_or(name.as_str(), |locked| &locked.name);
                let result = if host.is_some() { "ok" } else { NO_HOST };
                let (action, detail) = (change.action(), change.detail());
                let entry = Entry { action, target, result, detail: &detail };
                record(&transaction, actor, &entry).await?;
                transaction.commit().await?;
                Ok(host)
            };
            let result = self.ingest.wait(work).await;
            self.ingest.settle(connection, &result);
            tries += 1;
            match result {
                Err(error) if error.is_conflict() && tries < CONFLICT_TRIES => {}
                other => return other,
            }
        }
    }
}

impl Change<'_> {
    fn action(&self) -> &'static str {
        match self {
            Self::Label { .. } => "host.label",
            Self::Revoke { .. } => "host.revoke",
            Self::Retire => "host.retire",
            Self::Restore => "host.restore",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Label { set, remove } => format!("set {set:?}, removed {remove:?}"),
            Self::Revoke { reason } => (*reason).to_owned(),
            Self::Retire | Self::Restore => String::new(),
        }
    }
}

async fn apply(
    transaction: &Transaction<'_>,
    host: &Locked,
    change: &Change<'_>,
) -> Result<Host, Error> {
    match change {
        Change::Label { set, remove } => {
            let (keys, values): (Vec<_>, Vec<_>) = set.iter().unzip();
            if !remove.is_empty() {
                transaction.execute(UNLABEL, &[&host.id, remove]).await?;
            }
            if !set.is_empty() {
                transaction.execute(LABEL, &[&host.id, &keys, &values]).await?;
            }
        }
        Change::Revoke { reason } => {
            let reason = clean_text_within(reason, MAX_VALUE_BYTES);
            execute(transaction, END, &[&host.id, &"revoked", &reason]).await?;
            notify(transaction, host.id).await?;
        }
        Change::Retire => {
            execute(transaction, RETIRE, &[&host.id]).await?;
            execute(transaction, END, &[&host.id, &"retired", &None::<String>]).await?;
            notify(transaction, host.id).await?;
        }
        Change::Restore => {
            execute(transaction, RESTORE, &[&host.id]).await?;
            execute(transaction, BACK, &[&host.id]).await?;
            notify(transaction, host.id).await?;
        }
    }
    let changed = Host::from_row(&transaction.query_one(ONE, &[&host.name]).await?)?;
    // Changes of one host come one after the other, since its row is locked.
    if matches!(change, Change::Label { .. }) && changed.labels.len() > MAX_HOST_LABELS {
        return Err(refuse(format!(
            "host {} would have {} labels, at most {MAX_HOST_LABELS} are possible: remove some",
            host.name,
            changed.labels.len()
        )));
    }
    Ok(changed)
}

async fn rename(
    transaction: &Transaction<'_>,
    old: &HostName,
    new: &HostName,
) -> Result<Renamed, Error> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::NAMES]).await?;
    let Some(host) = find_host(transaction, old).await? else { return Ok(Renamed::NoHost) };
    if let Some(row) = transaction.query_opt(NAME_TAKEN, &[&new.as_str(), &host.id]).await? {
        return Ok(Renamed::Taken { by: row.try_get(0)? });
    }
    if host.name != new.as_str() {
        execute(transaction, RENAME, &[&host.id, &new.as_str()]).await?;
        // Whoever shows the host by its name.
        notify(transaction, host.id).await?;
    }
    let row = transaction.query_one(ONE, &[&new.as_str()]).await?;
    Ok(Renamed::Done(Box::new(Host::from_row(&row)?)))
}
