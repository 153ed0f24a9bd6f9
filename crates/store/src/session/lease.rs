//! Who holds a host's stream, among all aggregators, and the newcomers that are refused for it.

use std::fmt;

use deadpool_postgres::GenericClient;
use postgres_types::ToSql;
use rowcall_core::convert::Hello;
use rowcall_core::id::{HostId, HostName, RunId, UnixMicros};
use tokio_postgres::Row;

use crate::access::{AccessRefusal, Presented};
use crate::error::{Error, Kind};
use crate::time::Time;
use crate::{Store, session};

use session::{CLOSE, CONFLICT, HOLDER, TAKE, TAKEN};

/// The aggregator that opens a session.
#[derive(Clone, Copy)]
pub struct SessionHolder<'a> {
    /// Its name, as in [`Store::observed`].
    pub aggregator: &'a str,
    /// Its process, as there.
    pub aggregator_run: RunId,
    /// Where the stream comes from.
    pub peer: &'a str,
    /// Whether this process still has a stream of that host and that process of its agent: it
    /// alone knows.
    pub still_lives: &'a (dyn Fn(HostId, RunId) -> bool + Send + Sync),
}

impl fmt::Debug for SessionHolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionHolder")
            .field("aggregator", &self.aggregator)
            .field("aggregator_run", &self.aggregator_run)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A host's stream, held since it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(super) host_id: HostId,
    pub(super) run: RunId,
    pub(super) aggregator_run: RunId,
    pub(super) since: Time,
}

impl Lease {
    /// Whose stream it is.
    #[must_use]
    pub fn host_id(&self) -> HostId {
        self.host_id
    }
}

/// One of two that claim a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The agent's process.
    pub run: RunId,
    /// Where it speaks from.
    pub peer: String,
    /// What it says of its machine.
    pub machine_id: Option<String>,
}

/// Who holds a host's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHolder {
    /// The agent.
    pub party: Party,
    /// The aggregator that it speaks to.
    pub aggregator: String,
    /// Since when, by the database's clock.
    pub since: UnixMicros,
}

/// Why a session is not opened. Displayed in words for the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// Its certificate is refused.
    #[error("{0}")]
    Access(AccessRefusal),
    /// Another process of the host's agent, or another machine with its certificate, is connected.
    #[error(
        "this host is connected from {} to aggregator {} by another agent process: is the \
         certificate used on two machines? keep the samples and come back later",
        .0.party.peer, .0.aggregator
    )]
    AlreadyConnected(StreamHolder),
}

impl StreamHolder {
    /// Reads the columns `holder_..` and `held_since`. None: nobody does.
    pub(super) fn from_row(row: &Row) -> Result<Option<(Self, RunId)>, Error> {
        let Some(run) = row.try_get::<_, Option<i64>>("holder_run")? else { return Ok(None) };
        let number = |number: i64| {
            u64::try_from(number).ok().and_then(|number| RunId::new(number).ok()).ok_or_else(|| {
                Error::new(Kind::Internal, format!("rowcall.session holds run {number}"))
            })
        };
        let Time(since) = row.try_get("held_since")?;
        let party = Party {
            run: number(run)?,
            peer: row.try_get("holder_peer")?,
            machine_id: row.try_get("holder_machine_id")?,
        };
        let holder = Self { party, aggregator: row.try_get("holder_aggregator")?, since };
        Ok(Some((holder, number(row.try_get("holder_aggregator_run")?)?)))
    }
}

/// What goes with taking a stream.
#[derive(Clone, Copy)]
pub(super) struct Taking {
    /// The certificate was seen within the hour.
    pub(super) seen_lately: bool,
    /// Nothing else is in the transaction.
    pub(super) alone: bool,
}

/// Takes a host's stream. The one who holds it, if it may not be taken.
pub(super) async fn take(
    client: &impl GenericClient,
    host_id: i32,
    hello: &Hello,
    shown: &Presented,
    holder: &SessionHolder<'_>,
    taking: Taking,
) -> Result<Result<Lease, StreamHolder>, Error> {
    let statement = client.prepare_cached(TAKE).await?;
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &host_id,
        &hello.run.as_i64(),
        &holder.aggregator,
        &holder.aggregator_run.as_i64(),
        &holder.peer,
        &hello.machine_id,
        &!taking.seen_lately,
        &shown.fingerprint.as_slice(),
        &shown.serial,
        &Time(shown.not_before),
        &Time(shown.not_after),
        &taking.alone,
    ];
    if let Some(row) = client.query_opt(&statement, &parameters).await? {
        return Ok(Ok(Lease {
            host_id: HostId(host_id),
            run: hello.run,
            aggregator_run: holder.aggregator_run,
            since: row.try_get(0)?,
        }));
    }
    let row = client.query_opt(HOLDER, &[&host_id]).await?;
    match row.as_ref().map(StreamHolder::from_row).transpose()?.flatten() {
        Some((holder, _)) => Ok(Err(holder)),
        None => Err(Error::new(
            Kind::Transient,
            "the stream was held by another agent process, which left at this moment",
        )),
    }
}

impl Store {
    /// These streams have ended. What was opened after one of them stays. How many were still held.
    ///
    /// # Errors
    /// As the database says.
    pub async fn close_sessions(&self, leases: &[Lease]) -> Result<u64, Error> {
        if leases.is_empty() {
            return Ok(0);
        }
        let (hosts, runs, aggregators) = columns(leases);
        let begins: Vec<_> = leases.iter().map(|lease| lease.since).collect();
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(CLOSE).await?;
            Ok(connection.execute(&statement, &[&hosts, &runs, &aggregators, &begins]).await?)
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Whose streams another process of the agent or of an aggregator holds now. One that nobody
    /// holds is not lost.
    ///
    /// # Errors
    /// As the database says.
    pub async fn sessions_lost(&self, leases: &[Lease]) -> Result<Vec<HostId>, Error> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let (hosts, runs, aggregators) = columns(leases);
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(TAKEN).await?;
            let rows = connection.query(&statement, &[&hosts, &runs, &aggregators]).await?;
            rows.iter().map(|row| Ok(HostId(row.try_get(0)?))).collect()
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }

    /// Keeps that a newcomer was refused since another one holds the host's stream; to be called
    /// at most once in 10 s for each host. After 2 minutes of it the integrity report names both.
    /// Nothing happens where the host is not known.
    ///
    /// # Errors
    /// As the database says.
    pub async fn conflict(
        &self,
        host: &HostName,
        holder: &Party,
        newcomer: &Party,
    ) -> Result<(), Error> {
        let connection = self.ingest.get().await?;
        let work = async {
            let statement = connection.prepare_cached(CONFLICT).await?;
            let parameters: [&(dyn ToSql + Sync); 7] = [
                &host.as_str(),
                &holder.run.as_i64(),
                &holder.peer,
                &holder.machine_id,
                &newcomer.run.as_i64(),
                &newcomer.peer,
                &newcomer.machine_id,
            ];
            connection.execute(&statement, &parameters).await?;
            Ok(())
        };
        let result = self.ingest.wait(work).await;
        self.ingest.settle(connection, &result);
        result
    }
}

fn columns(leases: &[Lease]) -> (Vec<i32>, Vec<i64>, Vec<i64>) {
    let hosts = leases.iter().map(|lease| lease.host_id.0).collect();
    let runs = leases.iter().map(|lease| lease.run.as_i64()).collect();
    (hosts, runs, leases.iter().map(|lease| lease.aggregator_run.as_i64()).collect())
}
