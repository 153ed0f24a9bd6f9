//! One host on one day of the past, three days ago, to which anything may have happened.

use std::collections::BTreeMap;

use rowcall_core::id::UnixMicros;

use crate::testing::Bench;
use crate::time::Time;

/// A minute, in microseconds.
pub(super) const MINUTE: i64 = 60_000_000;

/// Times are microseconds since the day began.
pub(super) struct World {
    pub(super) bench: Bench,
    day: i64,
}

impl World {
    pub(super) async fn new() -> Self {
        let bench = Bench::new().await;
        bench.host("node1").await;
        let day = "SELECT (extract(epoch FROM date_trunc('day', now(), 'UTC') - interval '3 days') * 1e6)::bigint";
        let world = Self { day: bench.number(day).await, bench };
        let days = "SELECT rowcall.create_days(ARRAY(
                SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-5, 0) AS n));
            UPDATE host_latest SET joined_at = now() - interval '9 days'";
        world.sql(days).await;
        world.forget().await;
        world
    }

    /// Makes as if nothing had happened.
    pub(super) async fn forget(&self) {
        let script =
            "DELETE FROM host_usage; DELETE FROM rowcall.gap; DELETE FROM rowcall.quarantine;
            DELETE FROM rowcall.host_interval; DELETE FROM rowcall.run";
        self.sql(script).await;
    }

    pub(super) async fn sql(&self, script: &str) {
        self.bench.sql.batch_execute(script).await.unwrap();
    }

    pub(super) fn time(&self, at: i64) -> Time {
        Time(UnixMicros(self.day + at))
    }

    /// Samples: when each was read, and how many seconds later it came.
    pub(super) async fn samples(&self, samples: impl IntoIterator<Item = (i64, f32)>) {
        let (times, delays): (Vec<Time>, Vec<f32>) =
            samples.into_iter().map(|(at, delay)| (self.time(at), delay)).unzip();
        let sql = "INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
            SELECT s.t, 1, 0, 1, s.d FROM unnest($1::timestamptz[], $2::real[]) AS s (t, d)";
        self.bench.sql.execute(sql, &[&times, &delays]).await.unwrap();
    }

    pub(super) async fn gap(&self, from: i64, to: i64, ticks: i64, state: &str, cause: &str) {
        let sql =
            "INSERT INTO rowcall.gap SELECT 1, 1, count(*), count(*), $1, $2, $3, $4, $5, now()
            FROM rowcall.gap";
        let (from, to) = (self.time(from), self.time(to));
        self.bench.sql.execute(sql, &[&ticks, &state, &cause, &from, &to]).await.unwrap();
    }

    pub(super) async fn refused(&self, at: i64) {
        let sql = "INSERT INTO rowcall.quarantine SELECT 1, 1, count(*), $1, now(), 'nonsense'
            FROM rowcall.quarantine";
        self.bench.sql.execute(sql, &[&self.time(at)]).await.unwrap();
    }

    pub(super) async fn interval(&self, from: i64, interval_ms: i32) {
        let sql = "INSERT INTO rowcall.host_interval VALUES (1, $1, $2)";
        self.bench.sql.execute(sql, &[&self.time(from), &interval_ms]).await.unwrap();
    }

    /// A process that said Bye and is excused for 15 minutes, and the next one.
    pub(super) async fn bye(&self, at: i64, back: i64) {
        let sql = "INSERT INTO rowcall.run (host_id, run, how, started_at, ended_at, excused_until)
            SELECT 1, 2 * count(*) + 1, 'restart', $1::timestamptz - interval '1 s', $1, $1::timestamptz + interval '15 min'
            FROM rowcall.run
            UNION ALL SELECT 1, 2 * count(*) + 2, 'restart', $2, NULL, NULL FROM rowcall.run";
        self.bench.sql.execute(sql, &[&self.time(at), &self.time(back)]).await.unwrap();
    }

    /// Nobody observed from and to these times.
    pub(super) async fn unobserved(&self, holes: &[(i64, i64)]) {
        self.sql("DELETE FROM rowcall.aggregator_span").await;
        let mut from: Option<i64> = None;
        let ends = holes.iter().map(|hole| Some(hole.0)).chain([None]);
        for (end, next) in ends.zip(holes.iter().map(|hole| Some(hole.1)).chain([None])) {
            let sql = "INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
                VALUES ('a', 1, coalesce($1, '-infinity'::timestamptz), coalesce($2, now()))";
            let (begin, end) = (from.map(|at| self.time(at)), end.map(|at| self.time(at)));
            self.bench.sql.execute(sql, &[&begin, &end]).await.unwrap();
            from = next;
        }
    }

    /// Ticks of the day in each state.
    pub(super) async fn states(&self) -> BTreeMap<String, i64> {
        let mut states = BTreeMap::new();
        for state in self.ticks().await {
            *states.entry(state).or_default() += 1;
        }
        states
    }

    /// The state of each tick of the day, in order.
    pub(super) async fn ticks(&self) -> Vec<String> {
        let sql = "SELECT state, tick, day FROM rowcall.tick
            WHERE host_id = 1 AND day = (now() AT TIME ZONE 'UTC')::date - 3 ORDER BY tick";
        let rows = self.bench.sql.query(sql, &[]).await.unwrap();
        for row in &rows {
            let at = row.get::<_, Time>(1).0.0 - self.day;
            assert!((0..1_440 * MINUTE).contains(&at), "a tick of another day");
        }
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Samples beyond the first of each tick.
    pub(super) async fn extra(&self) -> i64 {
        let sql =
            "SELECT sum(extra)::bigint FROM rowcall.ticks(1, (now() AT TIME ZONE 'UTC')::date - 3)";
        self.bench.number(sql).await
    }
}
