//! Who stalls: agents that do not read, a database that does not answer or has nothing left.

use std::time::Duration;

use rowcall_aggregator::Stopped;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::{Database, connect, test_options};
use rowcall_testkit::poll::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;

use crate::rig::{Agent, PATIENCE, Rig, count, hello, now, status_until};

/// The server's process and those that it started.
fn processes(postmaster: u32) -> Vec<Pid> {
    let parent_of = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let names = std::fs::read_dir("/proc").unwrap();
    let pids = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    pids.filter(|pid| pid.parse() == Ok(postmaster) || parent_of(pid) == Some(postmaster))
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}

/// A server whose processes all stand still until this is dropped.
struct Paused(Vec<Pid>);

impl Paused {
    fn all_of(postmaster: u32) -> Self {
        let mut paused = Vec::new();
        // The postmaster first, so that no new one escapes.
        let mut signal = |pid: Pid| {
            kill_process(pid, Signal::STOP).ok();
            paused.push(pid);
        };
        signal(Pid::from_raw(i32::try_from(postmaster).unwrap()).unwrap());
        processes(postmaster).into_iter().for_each(signal);
        Self(paused)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        for pid in &self.0 {
            kill_process(*pid, Signal::CONT).ok();
        }
    }
}

async fn own_server(connections: &'static str) -> rowcall_postgres::Server {
    let options = test_options().database("mine").setting("max_connections", connections);
    tokio::task::spawn_blocking(|| options.start()).await.unwrap().unwrap()
}

/// So many records from this sequence on, a millisecond apart.
fn records(first: u64, count: u64) -> Vec<pb::Record> {
    let start = now() - 3_600_000_000;
    (first..first + count)
        .map(|sequence| pb::Record {
            due_ticks: sequence,
            sequence,
            time_unix_us: start + i64::try_from(sequence).unwrap() * 1_000,
            body: Some(pb::record::Body::Sample(pb::Sample {
                memory_free_kib: Some(sequence),
                ..Default::default()
            })),
        })
        .collect()
}

async fn metric(rig: &Rig, series: &str) -> f64 {
    let text = rig.get("/metrics").await.1;
    text.lines().find_map(|line| line.strip_prefix(series)).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn an_agent_that_never_reads_its_acknowledgements_is_stored_once_and_holds_nobody_up() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut mute, _) = rig.connected("mute", 1).await;
    for first in 1..=2_000 {
        mute.batch(records(first, 1)).await;
    }
    let all = |status: &pb::StatusResponse| status.committed_samples == 2_000;
    status_until(&rig, "all to be committed", all).await;
    let (mut other, _) = rig.connected("other", 1).await;
    other.batch(records(1, 1)).await;
    other.acknowledged(1).await;
    // Acknowledgements that found no place were merged: what it reads now is few.
    let mut read = 0;
    loop {
        read += 1;
        match mute.next().await.unwrap() {
            Some(pb::stream_response::Frame::Ack(ack)) if ack.through_sequence == 2_000 => break,
            Some(pb::stream_response::Frame::Ack(_)) => {}
            other => panic!("expected an Ack, got {other:?}"),
        }
    }
    assert!(read <= 2_000);
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 2_001);
}

#[tokio::test]
async fn while_the_database_stands_still_a_stream_takes_a_bounded_backlog_and_all_of_it_once() {
    let server = own_server("50").await;
    let url = server.url("mine");
    let rig = Rig::start_with(&url, |_| {}).await;
    let (mut agent, welcome) = rig.connected_when_ready("node1", 1).await;
    agent.batch(records(1, 1)).await;
    agent.acknowledged(1).await;
    let paused = Paused::all_of(server.pid().unwrap());
    // An agent sends what its window holds, and waits. A batch of 3,000 is some 60 KiB.
    let (mut sent, mut in_flight, mut through) = (Vec::new(), 0, 1);
    loop {
        let batch = pb::Batch { records: records(through + 1, 3_000), spool: None };
        in_flight += prost::Message::encoded_len(&batch);
        if in_flight > usize::try_from(welcome.max_in_flight_bytes).unwrap() {
            break;
        }
        through += 3_000;
        sent.push(batch.records);
    }
    let requests = agent.requests.clone();
    let sending = tokio::spawn(async move {
        for records in sent {
            let batch = pb::Batch { records, spool: None };
            let frame = Some(pb::stream_request::Frame::Batch(batch));
            requests.send(pb::StreamRequest { frame }).await.unwrap();
        }
    });
    // Two batches are the stream's share; of the first, the writer has a thousand. The third waits.
    wait_for("the queue to hold the stream's share", PATIENCE, || async {
        (metric(&rig, "rowcall_queue_records").await >= 5_000.0).then_some(())
    })
    .await;
    let fault = |status: &pb::StatusResponse| !status.database_error.is_empty();
    let status = status_until(&rig, "the fault to be seen", fault).await;
    assert_eq!((status.committed_samples, status.connected.len()), (1, 1));
    assert!(metric(&rig, "rowcall_queue_records").await <= 8_192.0);
    drop(paused);
    sending.await.unwrap();
    agent.acknowledged(through).await;
    let sql = connect(&url).await.unwrap();
    let figures = "SELECT count(*), count(DISTINCT host_usage.\"timestamp\"), max(mark) \
                   FROM host_usage CROSS JOIN host_latest";
    let row = sql.query_one(figures, &[]).await.unwrap();
    let rows = i64::try_from(through).unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)),
        (rows, rows, rows)
    );
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_that_accepts_and_never_answers_is_waited_for_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://u@{}/x?sslmode=disable", listener.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        let mut held = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            held.spawn(async move {
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
    });
    let rig = Rig::start_with(&url, |_| {}).await;
    let says = |status: &pb::StatusResponse| {
        status.database_error.contains("127.0.0.1") && !status.database_error.contains("yet")
    };
    status_until(&rig, "the reason", says).await;
    assert_eq!(rig.get("/livez").await.0, 200, "that is no fault of the process");
    assert_eq!(rig.get("/readyz").await.0, 503);
    assert!(!rig.running.is_finished());
    assert_eq!(rig.stop().await.unwrap(), Stopped::InOrder);
    accepting.abort();
}

#[tokio::test]
async fn a_server_with_no_connection_left_is_waited_for_and_ingest_keeps_those_that_it_has() {
    let server = own_server("20").await;
    let url = server.url("mine");
    let mut idle = Vec::new();
    while let Ok(client) = connect(&url).await {
        idle.push(client);
    }
    let rig = Rig::start_with(&url, |config| config.pool_wait = Duration::from_millis(300)).await;
    let says = |status: &pb::StatusResponse| status.database_error.contains("SQLSTATE 53300");
    status_until(&rig, "the reason", says).await;
    // Some go: it comes up. Then all are taken again.
    idle.truncate(5);
    let (mut agent, _) = rig.connected_when_ready("node1", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    while let Ok(client) = connect(&url).await {
        idle.push(client);
    }
    let mut summary = rig.summary().await;
    assert!(summary.summary(pb::SummaryRequest::default()).await.is_err(), "reports have none");
    agent.samples(2..=9).await;
    agent.acknowledged(9).await;
    drop(idle);
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn behind_a_lock_that_outlasts_the_time_out_it_tries_again_without_a_rush() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start_with(&database.url(), |config| {
        config.statement_timeout = Duration::from_millis(200);
        config.pool_wait = Duration::from_millis(200);
    })
    .await;
    let (mut agent, _) = rig.connected_when_ready("node1", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.samples(1..=3).await;
    let started = std::time::Instant::now();
    let failures = "rowcall_commit_failures_total";
    wait_for("three tries to fail", PATIENCE, || async {
        (metric(&rig, failures).await >= 3.0).then_some(())
    })
    .await;
    // Each try waits for its time-out, so there can be no more than these.
    let most = started.elapsed().as_secs_f64() / 0.2 + 1.0;
    assert!(metric(&rig, failures).await <= most);
    let fault = |status: &pb::StatusResponse| status.database_error.contains("SQLSTATE 57014");
    status_until(&rig, "the reason", fault).await;
    lock.rollback().await.unwrap();
    agent.acknowledged(3).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 3);
}

#[tokio::test]
async fn an_agent_that_comes_while_its_host_is_locked_is_sent_away_and_others_are_not() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start_with(&database.url(), |config| {
        config.statement_timeout = Duration::from_millis(200);
        config.pool_wait = Duration::from_millis(200);
    })
    .await;
    drop(rig.connected_when_ready("locked", 1).await);
    let (mut other, _) = rig.connected("other", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("SELECT 1 FROM host_info WHERE hostname = 'locked' FOR UPDATE")
        .await
        .unwrap();
    let mut agent: Agent = rig.agent("locked").await;
    agent.hello(pb::Hello { spool_epoch: 9, ..hello("locked", 2) }).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), tonic::Code::Unavailable);
    other.samples(1..=2).await;
    other.acknowledged(2).await;
    lock.rollback().await.unwrap();
}
