use rowcall_testkit::database::{Database, connect};

use super::*;
use crate::testing::{Bench, failure_of_kind, hello, minutes_before, sample};
use crate::{Incoming, OpenedSession};

/// What an aggregator would name.
#[derive(Debug, Default)]
struct Live(Mutex<Vec<LiveMark>>);

impl Live {
    fn set(&self, marks: &[LiveMark]) {
        *self.0.lock().unwrap() = marks.to_vec();
    }
}

impl LiveMarks for Live {
    fn marks(&self) -> Vec<LiveMark> {
        self.0.lock().unwrap().clone()
    }
}

fn live(session: &OpenedSession, epoch: u64, mark: i64) -> LiveMark {
    let OpenedSession { host_id, epoch_id, .. } = *session;
    LiveMark { host_id, epoch_id, epoch: Epoch::new(epoch).unwrap(), mark }
}

/// Cuts all of the store's connections.
async fn cut(bench: &Bench) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    bench.number(sql).await;
}

struct Guarded {
    bench: Bench,
    live: Arc<Live>,
    session: OpenedSession,
    records: Vec<Incoming>,
}

impl Guarded {
    /// A host at sequence 20, and what an aggregator knows of it.
    async fn new() -> Self {
        let bench = Bench::new().await;
        let session = bench.host("node1").await;
        let now = bench.now().await;
        let records: Vec<_> = (1..=30_u64)
            .map(|n| sample(&session, n, minutes_before(now, 40 - n.cast_signed())))
            .collect();
        let live = Arc::new(Live::default());
        bench.store.guard_marks(Arc::<Live>::clone(&live));
        bench.store.ingest(&records[..20]).await.unwrap();
        live.set(&[live_at(&session, 20)]);
        Self { bench, live, session, records }
    }

    /// What the store says once its connections are cut.
    async fn verdict(&self) -> Result<(), Error> {
        cut(&self.bench).await;
        loop {
            match self.bench.store.ping().await {
                Err(error) if error.kind() == Kind::Transient => {}
                other => return other,
            }
        }
    }
}

fn live_at(session: &OpenedSession, mark: i64) -> LiveMark {
    live(session, 1, mark)
}

#[tokio::test]
async fn nothing_is_written_to_a_database_that_lost_what_a_live_stream_was_told() {
    let it = Guarded::new().await;
    it.verdict().await.unwrap();
    it.bench.sql.batch_execute("UPDATE host_latest SET mark = 12").await.unwrap();
    let untouched = it.bench.everything().await;
    cut(&it.bench).await;
    // What would fill the hole is refused too: the stream must end first.
    let error = failure_of_kind(&it.bench.store, &it.records[12..25], Kind::WentBack).await;
    let words = "it lacks what it had committed of 1 host, most of host 1 (node1), which had got \
                 to sequence 20 and is at 12";
    assert!(error.to_string().contains(words), "{error}");
    assert!(it.bench.store.opened(&hello("node2", 1), crate::testing::MINUTE).await.is_err());
    assert_eq!(it.bench.everything().await, untouched);
    // The streams are ended: the agent comes back and sends again.
    it.live.set(&[]);
    assert_eq!(it.bench.store.ingest(&it.records[12..]).await.unwrap().samples, 10);
    it.live.set(&[live_at(&it.session, 30)]);
    it.verdict().await.unwrap();
}

#[tokio::test]
async fn what_is_gone_or_another_hosts_is_lost_and_what_was_replaced_is_not() {
    let it = Guarded::new().await;
    let (store, sql) = (&it.bench.store, &it.bench.sql);
    // The host has another spool meanwhile, of which another aggregator knows.
    store.opened(&hello("node1", 2), crate::testing::MINUTE).await.unwrap();
    it.verdict().await.unwrap();
    let other = it.bench.host("node2").await;
    it.live.set(&[live_at(&it.session, 20), live_at(&other, 0)]);
    it.verdict().await.unwrap();
    for (lose, words) in [
        // As a backup has it that is from before the other spool.
        ("UPDATE rowcall.epoch SET mark = 19 WHERE id = 1", "sequence 20 and is at 19"),
        ("UPDATE rowcall.epoch SET epoch = 77 WHERE id = 1", "of 1 host, most of host 1, which"),
        ("UPDATE rowcall.epoch SET epoch = 77 WHERE id IN (1, 3)", "of 2 hosts, most of host 1, "),
        ("DELETE FROM rowcall.epoch WHERE id IN (1, 3)", "of 2 hosts, most of host 1, which"),
        ("DELETE FROM host_latest WHERE host_id = 2", "of 1 host, most of host 2, which"),
    ] {
        sql.batch_execute(&format!("BEGIN; CREATE TABLE e AS TABLE rowcall.epoch; CREATE TABLE l AS TABLE host_latest; COMMIT; {lose}")).await.unwrap();
        let error = it.verdict().await.unwrap_err();
        assert_eq!(error.kind(), Kind::WentBack, "{lose}: {error}");
        assert!(error.to_string().contains(words), "{lose}: {error}");
        let restore = "TRUNCATE rowcall.epoch, host_latest; INSERT INTO rowcall.epoch TABLE e;
            INSERT INTO host_latest TABLE l; DROP TABLE e, l";
        sql.batch_execute(restore).await.unwrap();
        it.verdict().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_restored_from_a_copy_is_refilled_and_nothing_is_written_before() {
    let it = Guarded::new().await;
    let server = Database::server().await.unwrap();
    let admin = connect(&server.url("postgres")).await.unwrap();
    let name = it.bench.database.name().to_owned();
    // Nobody may be connected while a copy is made.
    let alone = |from: &str| {
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}' AND pid <> pg_backend_pid()"
        )
    };
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.unwrap();
    admin.batch_execute(&alone(&name)).await.unwrap();
    let copied = loop {
        // A backend that was told to end is there for a moment still.
        match admin.batch_execute(&format!("CREATE DATABASE {name}_copy TEMPLATE {name}")).await {
            Err(error) if error.code().is_some_and(|code| code.code() == "55006") => {}
            other => break other,
        }
    };
    copied.unwrap();
    admin.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.unwrap();
    let committed = loop {
        match it.bench.store.ingest(&it.records[20..]).await {
            Ok(committed) => break committed,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    assert_eq!(committed.samples + committed.duplicates, 10);
    it.live.set(&[live_at(&it.session, 30)]);

    for sentence in [
        format!("DROP DATABASE {name} WITH (FORCE)"),
        format!("ALTER DATABASE {name}_copy RENAME TO {name}"),
        format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
    ] {
        admin.batch_execute(&sentence).await.unwrap();
    }
    let error = failure_of_kind(&it.bench.store, &it.records[20..], Kind::WentBack).await;
    assert!(error.to_string().contains("sequence 30 and is at 20"), "{error}");
    let sql = it.bench.database.connect().await.unwrap();
    let rows = "SELECT count(*) FROM host_usage";
    let rows_now = || async { sql.query_one(rows, &[]).await.unwrap().get::<_, i64>(0) };
    assert_eq!(rows_now().await, 20);
    it.live.set(&[]);
    assert_eq!(it.bench.store.ingest(&it.records[20..]).await.unwrap().samples, 10);
    assert_eq!(rows_now().await, 30);
}

#[tokio::test]
async fn the_marks_of_ten_thousand_sessions_are_compared_at_once() {
    let it = Guarded::new().await;
    let fill = "INSERT INTO host_info (hostname) SELECT 'many' || n FROM generate_series(2, 10000) AS n;
        INSERT INTO rowcall.epoch (host_id, epoch) SELECT id, 7 FROM host_info WHERE id > 1;
        INSERT INTO host_latest (host_id, epoch_id, mark) SELECT host_id, id, 5 FROM rowcall.epoch WHERE epoch = 7";
    it.bench.sql.batch_execute(fill).await.unwrap();
    let rows =
        it.bench.sql.query("SELECT host_id, id FROM rowcall.epoch WHERE epoch = 7", &[]).await;
    let mut marks = vec![live_at(&it.session, 20)];
    marks.extend(rows.unwrap().iter().map(|row| LiveMark {
        host_id: HostId(row.get(0)),
        epoch_id: EpochId(row.get(1)),
        epoch: Epoch::new(7).unwrap(),
        mark: 5,
    }));
    assert_eq!(marks.len(), 10_000);
    it.live.set(&marks);
    it.verdict().await.unwrap();
    it.bench.sql.batch_execute("UPDATE host_latest SET mark = 4").await.unwrap();
    let error = it.verdict().await.unwrap_err();
    assert!(error.to_string().contains("of 10000 hosts, most of host 1 (node1)"), "{error}");
}
