//! A database with hosts and samples at chosen times.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use postgres_types::ToSql;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::{Frame, Scope, WindowState};
use rowcall_store::{Settings, Store};
use rowcall_testkit::database::Database;
use tokio_postgres::Client;

/// 2026-11-03 00:00:00 UTC, in seconds: the day on which most tests happen.
pub(crate) const DAY: i64 = 1_793_664_000;

pub(crate) const FILES: [(&str, &str); 10] = [
    ("frame", include_str!("../../../../sql/queries/reports/frame.sql")),
    ("hardware", include_str!("../../../../sql/queries/reports/hardware.sql")),
    ("memory", include_str!("../../../../sql/queries/reports/memory.sql")),
    ("roll", include_str!("../../../../sql/queries/reports/roll.sql")),
    ("unobserved", include_str!("../../../../sql/queries/reports/unobserved.sql")),
    ("balance", include_str!("../../../../sql/queries/reports/balance.sql")),
    ("integrity", include_str!("../../../../sql/queries/reports/integrity.sql")),
    ("ledger", include_str!("../../../../sql/queries/reports/ledger.sql")),
    ("boots", include_str!("../../../../sql/queries/reports/boots.sql")),
    ("pressure", include_str!("../../../../sql/queries/reports/pressure.sql")),
];

/// An instant of the day: hours, minutes, seconds.
pub(crate) fn at(hour: i64, minute: i64, second: i64) -> UnixMicros {
    UnixMicros((DAY + hour * 3_600 + minute * 60 + second) * 1_000_000)
}

/// Windows of 5 minutes between two times of the day.
pub(crate) fn between(from: UnixMicros, to: UnixMicros) -> Scope {
    Scope { from: Some(from), to: Some(to), ..Scope::default() }
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) sql: Client,
    pub(crate) database: Database,
}

impl World {
    /// The schema, and partitions from the day before to the day after; an aggregator was there all
    /// the time.
    pub(crate) async fn new() -> Self {
        Self::around(UnixMicros(DAY * 1_000_000)).await
    }

    /// The same around another day.
    pub(crate) async fn around(time: UnixMicros) -> Self {
        let database = Database::create().await.unwrap();
        let store = Store::connect(&Settings::new(database.url())).await.unwrap();
        store.migrate().await.unwrap();
        let sql = database.connect().await.unwrap();
        let day = time.0.div_euclid(86_400_000_000) * 86_400;
        for start in [day - 86_400, day, day + 86_400] {
            let end = start + 86_400;
            for table in ["host_usage", "host_vitals", "rowcall.device_sample"] {
                sql.batch_execute(&format!(
                    "DO $$ BEGIN
                         CREATE TABLE {table}_at_{start} PARTITION OF {table}
                         FOR VALUES FROM (to_timestamp({start})) TO (to_timestamp({end}));
                     EXCEPTION WHEN invalid_object_definition THEN NULL; END $$"
                ))
                .await
                .unwrap();
            }
        }
        let world = Self { store, sql, database };
        world.run("UPDATE rowcall.aggregator_span SET through_ts = 'infinity'", &[]).await;
        world
    }

    pub(crate) async fn run(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) {
        self.sql.execute(sql, parameters).await.unwrap();
    }

    /// A host that joined the day before, with an interval of 60 s, 1 GiB and 2 CPUs.
    pub(crate) async fn host(&self, name: &str) -> i32 {
        self.host_joined(name, at(-24, 0, 0)).await
    }

    pub(crate) async fn host_joined(&self, name: &str, joined: UnixMicros) -> i32 {
        let row = self
            .sql
            .query_one(
                "WITH h AS (INSERT INTO host_info (hostname, cpu_number, total_mem, \"timestamp\")
                            VALUES ($1, 2, 1048576, to_timestamp($2::bigint / 1e6)) RETURNING id),
                      l AS (INSERT INTO host_latest (host_id, epoch_id, joined_at, mark)
                            SELECT id, id, to_timestamp($2::bigint / 1e6), 1000000 FROM h)
                 SELECT id FROM h",
                &[&name, &joined.0],
            )
            .await
            .unwrap();
        row.get(0)
    }

    pub(crate) async fn interval(&self, host: i32, from: UnixMicros, millis: i32) {
        self.run(
            "INSERT INTO rowcall.host_interval VALUES ($1, to_timestamp($2::bigint / 1e6), $3)",
            &[&host, &from.0, &millis],
        )
        .await;
    }

    pub(crate) async fn retire(&self, host: i32, time: UnixMicros) {
        self.run(
            "UPDATE host_info SET retired_at = to_timestamp($2::bigint / 1e6) WHERE id = $1",
            &[&host, &time.0],
        )
        .await;
    }

    /// In place of the one that was always there: one that was there from some times to others.
    pub(crate) async fn observed(&self, spans: &[(&str, i64, UnixMicros, UnixMicros, bool)]) {
        self.run("DELETE FROM rowcall.aggregator_span", &[]).await;
        for (aggregator, run, from, through, stopped) in spans {
            self.run(
                "INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts, stopped)
                 VALUES ($1, $2, to_timestamp($3::bigint / 1e6), to_timestamp($4::bigint / 1e6), $5)",
                &[aggregator, run, &from.0, &through.0, stopped],
            )
            .await;
        }
    }

    /// A process of a host's agent, from its first Hello to its Bye, if it said one, with an excuse
    /// of 15 minutes.
    pub(crate) async fn agent(
        &self,
        host: i32,
        how: &str,
        version: &str,
        started: UnixMicros,
        ended: Option<UnixMicros>,
    ) {
        self.run(
            "INSERT INTO rowcall.run
                 (host_id, run, started_at, how, agent_version, ended_at, excused_until)
             VALUES ($1, $2, to_timestamp($2::bigint / 1e6), $3, $4, to_timestamp($5::bigint / 1e6),
                     to_timestamp($5::bigint / 1e6) + interval '15 minutes')",
            &[&host, &started.0, &how, &version, &ended.map(|ended| ended.0)],
        )
        .await;
    }

    /// A time in which a host was heard with a clock that was off by so much.
    pub(crate) async fn clock_off(
        &self,
        host: i32,
        from: UnixMicros,
        through: UnixMicros,
        by_s: f64,
    ) {
        self.run(
            "INSERT INTO rowcall.clock_span VALUES
                 ($1, to_timestamp($2::bigint / 1e6), to_timestamp($3::bigint / 1e6), $4)",
            &[&host, &from.0, &through.0, &by_s],
        )
        .await;
    }

    /// Samples from a time on, in steps of some seconds, each received after 0.1 s.
    pub(crate) async fn samples(&self, host: i32, from: UnixMicros, every_s: i64, count: i64) {
        self.run(
            "INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s,
                                         elapsed_s, cpu_idle, cpu_kernel, memory_free,
                                         memory_available)
                 SELECT to_timestamp($2::bigint / 1e6) + i * $3::bigint * interval '1 second', $1,
                        i + 1, $1, 0.1, $3, 75, 5, 256, 512
                   FROM generate_series(0::bigint, $4::bigint - 1) AS i",
            &[&host, &from.0, &every_s, &count],
        )
        .await;
        self.run(
            "UPDATE host_latest l SET \"timestamp\" = n.newest
               FROM (SELECT host_id, max(\"timestamp\") AS newest FROM host_usage GROUP BY 1) n
              WHERE n.host_id = l.host_id",
            &[],
        )
        .await;
    }

    /// Sets columns of a host's samples in a range: `cpu_idle = 140`.
    pub(crate) async fn set(&self, host: i32, from: UnixMicros, to: UnixMicros, columns: &str) {
        self.run(
            &format!(
                "UPDATE host_usage SET {columns} WHERE host_id = $1
                    AND \"timestamp\" >= to_timestamp($2::bigint / 1e6)
                    AND \"timestamp\" < to_timestamp($3::bigint / 1e6)"
            ),
            &[&host, &from.0, &to.0],
        )
        .await;
    }

    /// A frame as if it were the evening of the next day.
    pub(crate) async fn frame(&self, scope: &Scope) -> Frame {
        self.store.frame_at(scope, Some(at(44, 0, 0))).await.unwrap()
    }

    /// The roll that evening.
    pub(crate) async fn roll(&self, scope: &Scope) -> BTreeMap<String, String> {
        self.roll_at(scope, at(44, 0, 0)).await
    }

    /// Each host's states at a time: Complete, Silent, Partial, Late, Unobserved, Excused, `K` for
    /// skewed; `-` is not judged.
    pub(crate) async fn roll_at(&self, scope: &Scope, now: UnixMicros) -> BTreeMap<String, String> {
        let frame = self.store.frame_at(scope, Some(now)).await.unwrap();
        let rows: Vec<_> =
            self.store.roll(scope, &frame).await.unwrap().try_collect().await.unwrap();
        let mut states = BTreeMap::<String, String>::new();
        for row in rows {
            let states = states.entry(row.host_name).or_default();
            assert_eq!(states.len(), usize::try_from(row.window).unwrap(), "windows in order");
            states.push(match row.state {
                WindowState::Complete => 'C',
                WindowState::Silent => 'S',
                WindowState::Partial => 'P',
                WindowState::Late => 'L',
                WindowState::Unobserved => 'U',
                WindowState::Excused => 'E',
                WindowState::Skewed => 'K',
                WindowState::NotJudged => '-',
            });
        }
        assert_eq!(u64::try_from(states.len()).unwrap(), frame.hosts);
        states
    }
}

/// A map as the answers are written down.
pub(crate) fn expect<const N: usize>(hosts: [(&str, &str); N]) -> BTreeMap<String, String> {
    hosts.map(|(host, states)| (host.to_owned(), states.to_owned())).into()
}
