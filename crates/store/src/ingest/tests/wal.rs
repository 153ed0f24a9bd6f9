//! What a row costs in the write-ahead log, which is what a replica and a backup have to carry.

use rowcall_testkit::database::{Client, connect, test_options};

use super::*;
use crate::testing::MINUTE;

/// Hosts whose samples come in order of time, as those of a fleet do.
const HOSTS: u32 = 400;

struct Fleet {
    store: Store,
    sql: Client,
    sessions: Vec<OpenedSession>,
    begin: UnixMicros,
}

impl Fleet {
    async fn new(url: &str) -> Self {
        let store = Store::connect(&Settings::new(url)).await.unwrap();
        store.migrate().await.unwrap();
        store.ensure_partitions().await.unwrap();
        let mut sessions = Vec::new();
        for n in 0..HOSTS {
            let hello = hello(&format!("node{n:03}"), 1);
            sessions.push(store.opened(&hello, MINUTE).await.unwrap());
        }
        // Neighbours in time are no neighbours in host_latest.
        sessions.sort_unstable_by_key(|session| session.host_id.0.wrapping_mul(-1_640_531_535));
        let sql = connect(url).await.unwrap();
        let begin = "SELECT (extract(epoch FROM now()) * 1e6)::bigint - 3000 * 60000000::bigint";
        let begin = UnixMicros(sql.query_one(begin, &[]).await.unwrap().get(0));
        Self { store, sql, sessions, begin }
    }

    async fn position(&self) -> i64 {
        let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }

    fn sample(&self, minute: i64, slot: i64, session: &OpenedSession) -> Incoming {
        let time = self.begin.plus_micros(minute * 60_000_000 + slot * 100_000);
        let mut incoming = sample(session, u64::try_from(minute + 1).unwrap(), time);
        incoming.record.due_ticks = minute + 1;
        incoming.told_due = Some(minute + 1);
        // What is measured differs from the sample before.
        if let Body::Sample(sample) = &mut incoming.record.body {
            sample.uptime_us = Some((minute + 1) * 60_000_000);
            sample.memory_free_kib = Some(minute << 10);
        }
        incoming
    }

    /// Bytes of log for each row of some minutes, in flushes of so many rows.
    async fn per_row(&self, minutes: std::ops::Range<i64>, flush: usize) -> i64 {
        let (before, mut rows) = (self.position().await, 0);
        for minute in minutes {
            let slots = (0_i64..).zip(&self.sessions);
            let records: Vec<_> =
                slots.map(|(slot, session)| self.sample(minute, slot, session)).collect();
            for part in records.chunks(flush) {
                rows += self.store.ingest(part).await.unwrap().samples;
            }
        }
        (self.position().await - before) / rows.cast_signed()
    }
}

#[tokio::test]
async fn a_row_costs_little_in_the_log() {
    // A server of its own: its log is of this test alone.
    let start = || test_options().start();
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let fleet = Fleet::new(&server.url("postgres")).await;
    fleet.per_row(0..10, 100).await;
    let large = fleet.per_row(10..60, 100).await;
    let small = fleet.per_row(60..64, 2).await;
    assert!(large < 560 && small < 600, "{large} B a row, {small} B in flushes of two");
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}
