//! Bytes per row: on disk, and of WAL.
//!
//! A fleet that samples once a minute, each host at its own moment, so rows come in order of time.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rowcall_core::clock::{Clock as _, SystemClock};
use rowcall_core::id::UnixMicros;
use rowcall_store::{Incoming, OpenedSession, Store};
use rowcall_testkit::database::Client;

use super::ingest::{FLUSH_ROWS, sessions};
use super::{Sizes, real};
use crate::fleet::{self, MINUTE};
use crate::report::Figure;
use crate::stage::Stage;

/// Rows in a flush of a fleet of 1,000 hosts that sample once a minute, 100 ms after one another.
const SMALL_FLUSH: usize = 2;

/// Flushes of that size that are measured.
const SMALL_FLUSHES: usize = 500;

/// Minutes between two checkpoints, PostgreSQL's default.
const CHECKPOINT_MINUTES: u64 = 5;

/// Days back: a day that nothing else writes to.
const DAYS_BACK: i64 = 3;

pub(crate) async fn run(stage: &Arc<Stage>, sizes: &Sizes) -> Result<Vec<Figure>> {
    let client = stage.database("bench_storage").await?;
    let store = stage.store("bench_storage").await?;
    let mut sessions = sessions(&store, "store", sizes.storage_hosts).await?;
    // A host's moment has nothing to do with its id: neighbours in time are no neighbours in
    // host_latest.
    sessions.sort_unstable_by_key(|session| session.host_id.0.wrapping_mul(-1_640_531_535));
    // Whole days, so that all rows are in one partition.
    let day = 1_440 * MINUTE;
    let begin = UnixMicros((SystemClock.wall().0.div_euclid(day) - DAYS_BACK) * day);
    let mut fleet = Fleet { stage, store: &store, client: &client, sessions, begin, minute: 0 };

    // The table and host_latest have grown to what they are like after a while.
    fleet.minutes(sizes.storage_minutes / 5, FLUSH_ROWS).await?;
    let short = fleet.wal(CHECKPOINT_MINUTES, FLUSH_ROWS).await?;
    let long = fleet.wal(sizes.storage_minutes, FLUSH_ROWS).await?;
    let sizes_on_disk = fleet.bytes_per_row().await?;
    let small = fleet.wal_of_small_flushes().await?;

    let hosts = sizes.storage_hosts;
    Ok(vec![
        Figure::new("storage.heap", "heap per row", sizes_on_disk.0).unit("B"),
        Figure::new("storage.index", "index per row", sizes_on_disk.1).unit("B"),
        Figure::new(
            "storage.wal",
            format!(
                "WAL per row, {hosts} hosts, {} minutes after a checkpoint",
                sizes.storage_minutes
            ),
            long,
        )
        .unit("B"),
        Figure::new(
            "storage.wal_short",
            format!(
                "WAL per row, {CHECKPOINT_MINUTES} minutes after a checkpoint, page images included"
            ),
            short,
        )
        .unit("B"),
        Figure::new("storage.wal_small", format!("WAL per row, {SMALL_FLUSH} rows a flush"), small)
            .unit("B"),
    ])
}

struct Fleet<'a> {
    stage: &'a Arc<Stage>,
    store: &'a Store,
    client: &'a Client,
    sessions: Vec<OpenedSession>,
    begin: UnixMicros,
    /// Minutes already written.
    minute: u64,
}

impl Fleet<'_> {
    /// All hosts' samples of the next minute, in order of time.
    fn next_minute(&mut self) -> Result<Vec<Incoming>> {
        self.minute += 1;
        let start = i64::try_from(self.minute)? * MINUTE;
        let apart = MINUTE / i64::try_from(self.sessions.len().max(1))?;
        let mut records = Vec::with_capacity(self.sessions.len());
        for (slot, session) in (0_i64..).zip(&self.sessions) {
            let time = self.begin.plus_micros(start + slot * apart);
            let record = fleet::record(self.minute, time)?;
            let OpenedSession { host_id, epoch_id, .. } = *session;
            records.push(Incoming { host_id, epoch_id, record, told_due: None });
        }
        Ok(records)
    }

    async fn minutes(&mut self, minutes: u64, flush: usize) -> Result<u64> {
        let mut rows = 0;
        for _ in 0..minutes {
            let records = self.next_minute()?;
            for flush in records.chunks(flush) {
                rows += self.store.ingest(flush).await?.samples;
            }
        }
        Ok(rows)
    }

    /// Bytes of WAL per row of some minutes that begin with a checkpoint.
    async fn wal(&mut self, minutes: u64, flush: usize) -> Result<f64> {
        self.stage.checkpoint().await?;
        let before = self.wal_position().await?;
        let rows = self.minutes(minutes, flush).await?;
        ensure!(rows > 0, "no rows were stored");
        Ok((self.wal_position().await? - before) / real(rows)?)
    }

    async fn wal_of_small_flushes(&mut self) -> Result<f64> {
        let before = self.wal_position().await?;
        let (mut rows, mut flushes) = (0, 0);
        while flushes < SMALL_FLUSHES {
            for flush in self.next_minute()?.chunks(SMALL_FLUSH) {
                rows += self.store.ingest(flush).await?.samples;
                flushes += 1;
            }
        }
        Ok((self.wal_position().await? - before) / real(rows)?)
    }

    async fn wal_position(&self) -> Result<f64> {
        let query = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8";
        Ok(self.client.query_one(query, &[]).await?.try_get(0)?)
    }

    /// Heap and index of the day, per row.
    async fn bytes_per_row(&self) -> Result<(f64, f64)> {
        let query = "SELECT sum(pg_relation_size(relid))::float8, sum(pg_indexes_size(relid))::float8, \
                     (SELECT count(*) FROM host_usage)::float8 \
                     FROM pg_partition_tree('host_usage') WHERE isleaf AND pg_relation_size(relid) > 0";
        let row = self.client.query_one(query, &[]).await.context("sizes")?;
        let (heap, index, rows): (f64, f64, f64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok((heap / rows, index / rows))
    }
}
