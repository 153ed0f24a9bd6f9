//! A database that went back in time: what it forgot, the agents send again.

use std::path::{Path, PathBuf};
use std::process::Command;

use rowcall_postgres::{Server, Shutdown};
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::{connect, test_options};
use rowcall_testkit::poll::wait_for;

use crate::rig::{Agent, PATIENCE, Rig, hello};

/// A server whose data directory can be put aside and put back, as a backup.
struct Restorable {
    server: Option<Server>,
    backup: tempfile::TempDir,
}

impl Restorable {
    async fn start() -> Self {
        let start = || test_options().database("mine").start().unwrap();
        let server = tokio::task::spawn_blocking(start).await.unwrap();
        Self { server: Some(server), backup: tempfile::tempdir().unwrap() }
    }

    fn url(&self) -> String {
        self.server.as_ref().unwrap().url("mine")
    }

    /// Stops the server, has its files and a backup's place in its hands, starts it again.
    async fn with_files(
        &mut self,
        backup: &str,
        work: impl FnOnce(&Path, PathBuf) + Send + 'static,
    ) {
        let mut server = self.server.take().unwrap();
        let backup = self.backup.path().join(backup);
        let work = move || {
            server.stop(Shutdown::Immediate).unwrap();
            work(server.data_dir(), backup);
            server.start().unwrap();
            server
        };
        self.server = Some(tokio::task::spawn_blocking(work).await.unwrap());
    }

    async fn back_up(&mut self, name: &str) {
        self.with_files(name, |data, backup| copy(data, &backup)).await;
    }

    async fn restore(&mut self, name: &str) {
        self.with_files(name, |data, backup| {
            std::fs::remove_dir_all(data).unwrap();
            copy(&backup, data);
        })
        .await;
    }

    async fn number(&self, query: &str) -> i64 {
        connect(&self.url()).await.unwrap().query_one(query, &[]).await.unwrap().get(0)
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Comes back until it is welcome, as an agent does.
async fn back(rig: &Rig, name: &str, next: u64) -> (Agent, pb::Welcome) {
    wait_for(format!("{name} to be welcome"), PATIENCE, || async {
        let mut agent = rig.agent(name).await;
        agent.hello(pb::Hello { next_sequence: next, ..hello(name, 1) }).await;
        match agent.next().await {
            Ok(Some(pb::stream_response::Frame::Welcome(welcome))) => Some((agent, welcome)),
            _ => None,
        }
    })
    .await
}

/// Reads until the stream is drained: why, and within which time to come back.
async fn drained(agent: &mut Agent) -> (pb::DrainReason, u32) {
    loop {
        match agent.next().await.unwrap() {
            Some(pb::stream_response::Frame::Drain(drain)) => {
                return (drain.reason(), drain.reconnect_within_ms);
            }
            Some(pb::stream_response::Frame::Ack(_)) => {}
            other => panic!("expected a Drain, got {other:?}"),
        }
    }
}

async fn metric(rig: &Rig, series: &str) -> f64 {
    let text = rig.get("/metrics").await.1;
    text.lines().find_map(|line| line.strip_prefix(series)).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_restored_backup_is_refilled_by_every_agent_whether_it_sends_or_not() {
    let mut postgres = Restorable::start().await;
    let rig = Rig::start_with(&postgres.url(), |_| {}).await;
    let (mut busy, _) = rig.connected_when_ready("busy", 1).await;
    let (mut idle, _) = rig.connected("idle", 1).await;
    let (mut fresh, _) = rig.connected("fresh", 1).await;
    for agent in [&mut busy, &mut idle] {
        agent.samples(1..=5).await;
        agent.acknowledged(5).await;
    }
    postgres.back_up("before").await;
    for agent in [&mut busy, &mut idle] {
        agent.samples(6..=9).await;
        agent.acknowledged(9).await;
    }
    postgres.restore("before").await;
    // Nobody sends anything: the regular look finds it.
    for agent in [&mut busy, &mut idle, &mut fresh] {
        let (reason, within_ms) = drained(agent).await;
        assert_eq!((reason, within_ms), (pb::DrainReason::Refill, 2_000));
        assert_eq!(agent.next().await.unwrap(), None);
    }
    for name in ["busy", "idle"] {
        let (mut agent, welcome) = back(&rig, name, 10).await;
        assert_eq!(welcome.mark.map(|mark| mark.through_sequence), Some(5));
        agent.samples(6..=12).await;
        agent.acknowledged(12).await;
    }
    assert_eq!(postgres.number("SELECT count(*) FROM host_usage").await, 24);
    assert_eq!(metric(&rig, "rowcall_database_went_back_total").await, 1.0);
    assert_eq!(metric(&rig, "rowcall_refills_total").await, 3.0);
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn numbers_that_a_restored_database_gave_to_others_are_never_used_for_those_of_before() {
    let mut postgres = Restorable::start().await;
    let start = async |url: &str| {
        let rig = Rig::start_with(url, |_| {}).await;
        assert!(rig.handle.clone().ready().await);
        rig
    };
    start(&postgres.url()).await.stop().await.unwrap();
    postgres.back_up("empty").await;
    // A history in which node2 has the first number, and a high mark.
    let other = start(&postgres.url()).await;
    let mut two = other.agent("node2").await;
    two.hello(pb::Hello { spool_epoch: 8, ..hello("node2", 1) }).await;
    let second = two.welcome().await;
    two.samples(1..=50).await;
    wait_for("node2's samples", PATIENCE, || async {
        (postgres.number("SELECT count(*) FROM host_usage").await == 50).then_some(())
    })
    .await;
    drop(two);
    other.stop().await.unwrap();
    postgres.back_up("of node2").await;
    // And one in which node1 has it.
    postgres.restore("empty").await;
    let rig = start(&postgres.url()).await;
    let (mut one, first) = back(&rig, "node1", 1).await;
    assert_eq!(second.host_id, first.host_id, "the number of one host is another's");
    one.samples(1..=3).await;
    one.acknowledged(3).await;
    // What is on its way when the other history is put in place is nobody's: it is not committed.
    let mut locker = connect(&postgres.url()).await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    one.samples(4..=6).await;
    wait_for("the writer to stand before the lock", PATIENCE, || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                       AND relation = 'host_usage'::regclass";
        (postgres.number(waiting).await > 0).then_some(())
    })
    .await;
    postgres.restore("of node2").await;
    drop(lock);
    drained(&mut one).await;
    let (mut one, welcome) = back(&rig, "node1", 7).await;
    assert_ne!(welcome.host_id, first.host_id);
    assert_eq!(welcome.mark, None);
    one.samples(1..=6).await;
    one.acknowledged(6).await;
    let sql = connect(&postgres.url()).await.unwrap();
    let rows = sql
        .query(
            "SELECT hostname::text, count(*) FROM host_usage JOIN host_info ON id = host_id \
             GROUP BY 1 ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let rows: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [("node1".to_owned(), 6), ("node2".to_owned(), 50)]);
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_host_whose_mark_falls_again_and_again_is_asked_less_and_less_often() {
    let database = rowcall_testkit::database::Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let sql = database.connect().await.unwrap();
    let mut within = Vec::new();
    for _ in 0..4 {
        let (mut agent, _) = back(&rig, "node1", 10).await;
        agent.samples(1..=5).await;
        agent.acknowledged(5).await;
        sql.batch_execute("UPDATE host_latest SET mark = 2").await.unwrap();
        agent.samples(6..=7).await;
        let (reason, within_ms) = drained(&mut agent).await;
        assert_eq!(reason, pb::DrainReason::Refill);
        within.push(within_ms);
    }
    assert_eq!(within, [2_000, 4_000, 8_000, 16_000]);
    assert_eq!(metric(&rig, "rowcall_refills_total").await, 4.0);
    assert_eq!(metric(&rig, "rowcall_database_went_back_total").await, 0.0);
}
