//! What this crate's tests share: a migrated database, hosts and records.

use std::time::Duration;

use rowcall_core::convert::Hello;
use rowcall_core::id::{Epoch, HostName, RunId, Sequence, UnixMicros};
use rowcall_core::record::{Body, EpochOrigin, HostFacts, Record, Sample};
use rowcall_core::version::Range;
use rowcall_testkit::database::Database;
use tokio_postgres::Client;

use sha2::{Digest as _, Sha256};

use crate::access::{Actor, Presented};
use crate::{Error, Incoming, Kind, OpenedSession, SessionHolder, SessionRefusal, Settings, Store};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A database with the schema, a store on it, and a connection to look behind its back.
pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) sql: Client,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let bench = Self::empty().await;
        bench.store.migrate().await.unwrap();
        bench.store.ensure_partitions().await.unwrap();
        bench
    }

    /// Without the schema.
    pub(crate) async fn empty() -> Self {
        rowcall_testkit::log::install();
        let database = Database::create().await.unwrap();
        let store = Store::connect(&Settings::new(database.url())).await.unwrap();
        let sql = database.connect().await.unwrap();
        Self { database, store, sql }
    }

    /// The database's clock.
    pub(crate) async fn now(&self) -> UnixMicros {
        UnixMicros(self.number("SELECT (extract(epoch FROM now()) * 1e6)::bigint").await)
    }

    /// The one value of type bigint that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// All that the tables say, row for row, as text; but for the count of samples that came again.
    pub(crate) async fn everything(&self) -> Vec<String> {
        let tables = [
            "host_info",
            "host_usage",
            "host_vitals",
            "host_device",
            "rowcall.device_sample",
            "host_metric",
            "host_latest",
            "host_info_history",
            "host_boot",
            "rowcall.facts_anchor",
            "rowcall.host_interval",
            "rowcall.epoch",
            "rowcall.gap",
            "rowcall.quarantine",
            "rowcall.quarantine_day",
            "rowcall.dropped_day",
            "rowcall.run",
            "rowcall.token",
            "rowcall.certificate",
            "rowcall.host_access",
            "rowcall.host_alias",
            "rowcall.conflict",
            "rowcall.audit",
        ];
        let mut rows = Vec::new();
        for table in tables {
            let sql =
                format!("SELECT (to_jsonb(t) - 'duplicates')::text FROM {table} AS t ORDER BY 1");
            let found = self.sql.query(&sql, &[]).await.unwrap();
            rows.extend(found.iter().map(|row| format!("{table} {}", row.get::<_, String>(0))));
        }
        rows
    }

    pub(crate) async fn open(&self, hello: &Hello) -> OpenedSession {
        self.store.opened(hello, MINUTE).await.unwrap()
    }

    pub(crate) async fn host_named(&self, number: u32) -> OpenedSession {
        self.host(&format!("node{number:03}")).await
    }

    /// A session of a host with nothing to tell, in its first epoch.
    pub(crate) async fn host(&self, name: &str) -> OpenedSession {
        self.open(&hello(name, 1)).await
    }
}

impl Store {
    /// A session on the one aggregator of most tests, with the one certificate of its name.
    pub(crate) async fn opened(
        &self,
        hello: &Hello,
        interval: Duration,
    ) -> Result<OpenedSession, Error> {
        let opened = self.asked(hello, interval, &certificate(&hello.host_name), 1).await?;
        Ok(opened.unwrap())
    }

    /// A session on an aggregator of which nothing lives but what others hold.
    pub(crate) async fn asked(
        &self,
        hello: &Hello,
        interval: Duration,
        shown: &Presented,
        aggregator: u64,
    ) -> Result<Result<OpenedSession, SessionRefusal>, Error> {
        let name = format!("aggregator{aggregator}");
        let holder = SessionHolder {
            aggregator: &name,
            aggregator_run: RunId::new(aggregator).unwrap(),
            peer: "192.0.2.1:1",
            still_lives: &|_, _| false,
        };
        self.open_session(hello, interval, shown, &holder).await
    }
}

/// The certificate that a host has in most tests, valid for 30 days from some day in the past on.
pub(crate) fn certificate(name: &HostName) -> Presented {
    Presented {
        fingerprint: Sha256::digest(name.as_str()).into(),
        serial: "01".into(),
        not_before: UnixMicros(1_700_000_000_000_000),
        not_after: UnixMicros(4_000_000_000_000_000),
    }
}

/// Who changes things.
pub(crate) fn actor() -> Actor {
    Actor {
        identity: "operator/anna".into(),
        peer: "192.0.2.9:9".into(),
        aggregator: "aggregator1".into(),
    }
}

/// The first error of this kind, past those of connections that broke before.
pub(crate) async fn failure_of_kind(store: &Store, records: &[Incoming], kind: Kind) -> Error {
    loop {
        let error = store.ingest(records).await.unwrap_err();
        if error.kind() == kind {
            return error;
        }
        assert!(error.is_transient(), "{error}");
    }
}

pub(crate) fn hello(name: &str, epoch: u64) -> Hello {
    Hello {
        versions: Range { min: 1, max: 1 },
        host_name: HostName::parse(name).unwrap(),
        agent_version: None,
        machine_id: None,
        boot_id: None,
        run: RunId::new(1).unwrap(),
        epoch: Epoch::new(epoch).unwrap(),
        oldest: Sequence::FIRST,
        next: Sequence::FIRST,
        clock: UnixMicros(0),
        epoch_origin: EpochOrigin::New,
        facts: HostFacts::default(),
    }
}

/// What a machine tells.
pub(crate) fn facts() -> HostFacts {
    HostFacts {
        cpu_number: Some(8),
        cpu_architecture: Some("x86_64".into()),
        cpu_model: Some("Model 1".into()),
        cpu_mhz: Some(3_400.5),
        l2_cache_kib: Some(1_024),
        total_mem_kib: Some(16 << 20),
        os: Some("Debian 12".into()),
        kernel: Some("6.1".into()),
        kernel_host_name: Some("node".into()),
        booted: Some(UnixMicros(1_700_000_000_000_000)),
        ..HostFacts::default()
    }
}

pub(crate) fn record(
    session: &OpenedSession,
    sequence: u64,
    time: UnixMicros,
    body: Body,
) -> Incoming {
    Incoming {
        host_id: session.host_id,
        epoch_id: session.epoch_id,
        record: Record { due_ticks: 0, sequence: Sequence::new(sequence).unwrap(), time, body },
        told_due: None,
    }
}

pub(crate) fn sample(session: &OpenedSession, sequence: u64, time: UnixMicros) -> Incoming {
    let sample = Sample {
        elapsed_us: Some(60_000_000),
        uptime_us: Some(3_600_000_000),
        memory_free_kib: Some(4 << 20),
        memory_available_kib: Some(8 << 20),
        cpu_idle_percent: Some(75.0),
        cpu_kernel_percent: Some(5.0),
        disk_io: Some(120),
        disk_available_kib: Some(100 << 20),
        clock_shift_us: None,
        vitals: None,
    };
    record(session, sequence, time, Body::Sample(sample))
}

/// `time` some minutes before.
pub(crate) fn minutes_before(time: UnixMicros, minutes: i64) -> UnixMicros {
    time.plus_micros(-60_000_000 * minutes)
}
