//! Opening an agent's session: the host, its epoch and mark, its interval, and its process; and the
//! end of a process that says Bye.
//!
//! What is told wins over what is known, but what is not told leaves it: an agent that cannot
//! read a file any more does not make the database forget. Locks are taken in one order, see
//! [`crate::access`]; the host's `host_info` row comes before its `host_latest` row.

mod facts;
mod known;
mod lease;
mod lock;
mod opened;

use std::time::Duration;

use deadpool_postgres::{GenericClient, Object, Transaction};
use rowcall_core::convert::Hello;
use rowcall_core::id::{HostId, RunId};

use crate::Store;
use crate::access::Presented;
use crate::error::Error;
use crate::time::Time;

pub(crate) use facts::{facts_of, told};
use known::{About, Known};
use lease::Taking;
pub use lease::{Lease, Party, SessionHolder, SessionRefusal, StreamHolder};
pub(crate) use lock::{Locked, execute, find_host, join_roll, lock_host};
pub use opened::{EpochId, Mark, OpenedSession, Started};

/// Two transactions that stand in each other's way are tried again at once this often.
pub(crate) const CONFLICT_TRIES: u32 = 5;

macro_rules! query {
    ($name:ident, $file:literal) => {
        const $name: &str = include_str!(concat!("../../../sql/queries/session/", $file, ".sql"));
    };
}

query!(LOOK, "look");
query!(LOCK, "lock");
query!(INSERT, "insert");
query!(UPDATE, "update");
query!(TELL, "tell");
query!(LATEST_INSERT, "latest_insert");
query!(LATEST_LOCK, "latest_lock");
query!(REJOIN, "rejoin");
query!(EPOCH_FIND, "epoch_find");
query!(EPOCH_INSERT, "epoch_insert");
query!(EPOCH_CLOSE, "epoch_close");
query!(EPOCH_OPEN, "epoch_open");
query!(INTERVAL, "interval");
query!(RUN, "run");
query!(RUN_END, "run_end");
query!(TAKE, "take");
query!(HOLDER, "holder");
query!(CLOSE, "close");
query!(TAKEN, "taken");
query!(CONFLICT, "conflict");

/// All of them.
#[cfg(test)]
pub(crate) const QUERIES: &[&str] = &[
    LOOK,
    LOCK,
    INSERT,
    UPDATE,
    TELL,
    LATEST_INSERT,
    LATEST_LOCK,
    REJOIN,
    EPOCH_FIND,
    EPOCH_INSERT,
    EPOCH_CLOSE,
    EPOCH_OPEN,
    INTERVAL,
    RUN,
    RUN_END,
    TAKE,
    HOLDER,
    CLOSE,
    TAKEN,
    CONFLICT,
];

impl Store {
    /// Makes or finds the host, its epoch and its interval, in one transaction, and takes its
    /// stream, if its certificate may be used and no other process of its agent holds it. An agent
    /// that comes back as it was costs one look and one small row, who holds its stream.
    ///
    /// The epoch becomes the host's current one: from then on [`Store::ingest`] refuses records of
    /// any other epoch of the host. The epoch that was current is closed with its mark; should it
    /// come back, it goes on from there. A host that retired itself is back in the roll, from now on.
    ///
    /// A stream is taken over from the same process of the agent, from an aggregator that stopped
    /// or was not heard of for 60 s, and from the caller itself unless that says that it still
    /// lives.
    ///
    /// # Errors
    /// As the database says; nothing is changed then, nor by a refusal.
    pub async fn open_session(
        &self,
        hello: &Hello,
        interval: Duration,
        presented: &Presented,
        holder: &SessionHolder<'_>,
    ) -> Result<Result<OpenedSession, SessionRefusal>, Error> {
        let interval_ms = i32::try_from(interval.as_millis()).unwrap_or(i32::MAX).max(1);
        let newcomer = Newcomer { hello, interval_ms, presented, holder };
        let mut tries = 0;
        loop {
            let mut connection = self.ingest.get().await?;
            let result = self.ingest.wait(open(&mut connection, &newcomer)).await;
            self.ingest.settle(connection, &result);
            tries += 1;
            match result {
                Err(error) if error.is_conflict() && tries < CONFLICT_TRIES => {}
                other => return other,
            }
        }
    }

    /// The process of an agent stopped on purpose, `waited` ago: from then on its host's silence is
    /// excused for so long, or until the next process says Hello. Nothing happens where it is not
    /// known.
    ///
    /// # Errors
    /// As the database says; nothing is changed then.
    pub async fn end_run(
        &self,
        host: HostId,
        run: RunId,
        excused: Duration,
        waited: Duration,
    ) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(RUN_END).await?;
            let (excused_s, waited_s) = (excused.as_secs_f64(), waited.as_secs_f64());
            connection
                .execute(&statement, &[&host.0, &run.as_i64(), &excused_s, &waited_s])
                .await?;
            Ok(())
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}

/// Who asks for a session.
struct Newcomer<'a> {
    hello: &'a Hello,
    interval_ms: i32,
    presented: &'a Presented,
    holder: &'a SessionHolder<'a>,
}

impl Newcomer<'_> {
    async fn look(&self, client: &impl GenericClient) -> Result<Option<Known>, Error> {
        let statement = client.prepare_cached(LOOK).await?;
        let (name, run) = (self.hello.host_name.as_str(), self.hello.run.as_i64());
        let print = self.presented.fingerprint.as_slice();
        let begins = Time(self.presented.not_before);
        let row = client.query_opt(&statement, &[&name, &run, &print, &begins]).await?;
        row.as_ref().map(Known::from_row).transpose()
    }

    /// Why it is refused, as far as can be told from what is known.
    fn refusal(&self, known: &Known) -> Option<SessionRefusal> {
        if let Some(refusal) = &known.refusal {
            return Some(SessionRefusal::Access(refusal.clone()));
        }
        let (held, aggregator_run) = known.held.as_ref()?;
        let ours = *aggregator_run == self.holder.aggregator_run;
        let other = held.party.run != self.hello.run;
        let lives =
            ours && other && (self.holder.still_lives)(HostId(known.host_id), held.party.run);
        lives.then(|| SessionRefusal::AlreadyConnected(held.clone()))
    }

    async fn take(
        &self,
        client: &impl GenericClient,
        known: &Known,
        alone: bool,
    ) -> Result<Result<Lease, SessionRefusal>, Error> {
        let (hello, shown) = (self.hello, self.presented);
        let taking = Taking { seen_lately: known.seen_lately, alone };
        let taken = lease::take(client, known.host_id, hello, shown, self.holder, taking).await?;
        Ok(taken.map_err(SessionRefusal::AlreadyConnected))
    }
}

async fn open(
    connection: &mut Object,
    newcomer: &Newcomer<'_>,
) -> Result<Result<OpenedSession, SessionRefusal>, Error> {
    if let Some(known) = newcomer.look(&*connection).await? {
        if let Some(refusal) = newcomer.refusal(&known) {
            return Ok(Err(refusal));
        }
        if let Some(epoch_id) = known.as_it_was(newcomer.hello, newcomer.interval_ms) {
            let taken = newcomer.take(&*connection, &known, true).await?;
            return Ok(taken.map(|lease| OpenedSession {
                host_id: HostId(known.host_id),
                name: known.name,
                epoch_id,
                mark: known.mark,
                host_is_new: false,
                epoch_is_new: false,
                facts_changed: false,
                started: None,
                lease,
            }));
        }
    }
    let transaction = connection.transaction().await?;
    let session = change(&transaction, newcomer).await?;
    if session.is_ok() {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(session)
}

async fn change(
    transaction: &Transaction<'_>,
    newcomer: &Newcomer<'_>,
) -> Result<Result<OpenedSession, SessionRefusal>, Error> {
    let (hello, interval_ms) = (newcomer.hello, newcomer.interval_ms);
    let Locked { id: host_id, is_new: host_is_new, .. } =
        lock_host(transaction, &hello.host_name).await?;
    let known = newcomer.look(transaction).await?.ok_or_else(|| lock::gone(&hello.host_name))?;
    if let Some(refusal) = newcomer.refusal(&known) {
        return Ok(Err(refusal));
    }
    let lease = match newcomer.take(transaction, &known, false).await? {
        Ok(lease) => lease,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !known.has_latest {
        join_roll(transaction, host_id).await?;
    }

    let about = known.about.updated_by(hello);
    if known.retired {
        execute(transaction, REJOIN, &[&host_id]).await?;
    }
    if known.interval_ms != Some(interval_ms) {
        execute(transaction, INTERVAL, &[&host_id, &interval_ms]).await?;
    }
    let started = known.started(hello);
    if started.is_some() || known.run_ended {
        let how = started.as_ref().map_or("restart", Started::as_str);
        let run = hello.run.as_i64();
        execute(
            transaction,
            RUN,
            &[&host_id, &run, &how, &about.facts.boot_id, &about.agent_version],
        )
        .await?;
    }

    let current = known.epoch.filter(|_| known.epoch_number == Some(hello.epoch.as_i64()));
    let (epoch_id, mark, epoch_is_new) = match current {
        Some(epoch_id) => (epoch_id, known.mark, false),
        None => switch_epoch(transaction, host_id, hello).await?,
    };
    // What is told now lies before the epoch's next record, whatever the host's clock says.
    let mut facts_changed = false;
    if about != known.about || known.retired || current.is_none() {
        facts_changed = update(transaction, host_id, &about, hello, epoch_id).await?;
    }
    Ok(Ok(OpenedSession {
        host_id: HostId(host_id),
        name: known.name,
        epoch_id: EpochId(epoch_id),
        mark,
        host_is_new,
        epoch_is_new,
        facts_changed,
        started,
        lease,
    }))
}

/// Writes what is told of a host that is not as it was; whether its facts are others.
async fn update(
    transaction: &Transaction<'_>,
    host_id: i32,
    about: &About,
    hello: &Hello,
    epoch_id: i32,
) -> Result<bool, Error> {
    let (facts, booted) = (&about.facts, about.facts.booted.map(Time));
    execute(transaction, UPDATE, &[&host_id, &facts.boot_id, &booted, &about.agent_version])
        .await?;
    let told = told(facts, about.machine_id.as_deref())?;
    let (clock, next) = (Time(hello.clock), hello.next.as_i64());
    let tell = transaction.prepare_cached(TELL).await?;
    let row = transaction
        .query_one(&tell, &[&host_id, &told, &facts.boot_id, &booted, &clock, &epoch_id, &next])
        .await?;
    Ok(row.try_get(0)?)
}

/// Makes an epoch the host's current one.
async fn switch_epoch(
    transaction: &Transaction<'_>,
    host_id: i32,
    hello: &Hello,
) -> Result<(i32, Option<Mark>, bool), Error> {
    let epoch = hello.epoch.as_i64();
    let find = transaction.prepare_cached(EPOCH_FIND).await?;
    let (epoch_id, is_new): (i32, bool) =
        match transaction.query_opt(&find, &[&host_id, &epoch]).await? {
            Some(row) => (row.try_get(0)?, false),
            None => {
                let insert = transaction.prepare_cached(EPOCH_INSERT).await?;
                let origin = hello.epoch_origin.as_str();
                let row = transaction.query_one(&insert, &[&host_id, &epoch, &origin]).await?;
                (row.try_get(0)?, true)
            }
        };
    // A flush of the old epoch may hold it: its mark counts still, the next flush's does not.
    execute(transaction, LATEST_LOCK, &[&host_id]).await?;
    execute(transaction, EPOCH_CLOSE, &[&host_id]).await?;
    let open = transaction.prepare_cached(EPOCH_OPEN).await?;
    let row = transaction.query_one(&open, &[&host_id, &epoch_id]).await?;
    let mark = Mark::from_columns(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok((epoch_id, mark, is_new))
}

#[cfg(test)]
mod tests;
