//! What probes and people with curl get.

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::rig::{PATIENCE, Rig, count, request};

#[tokio::test]
async fn liveness_does_not_need_the_database_and_readiness_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let url =
        format!("postgresql://nobody@{}/x", folder.path().to_str().unwrap().replace('/', "%2F"));
    let rig = Rig::start_with(&url, |_| {}).await;
    assert_eq!(rig.get("/livez").await, (200, "alive\n".to_owned()));
    let reason = wait_for("the reason", PATIENCE, || async {
        let (status, text) = rig.get("/readyz").await;
        assert_eq!(status, 503);
        text.contains("cannot reach").then_some(text)
    })
    .await;
    assert!(reason.ends_with('\n') && !reason.contains("password"), "{reason}");
    let (status, text) = rig.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("\nrowcall_database_up 0\n"), "{text}");
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn readiness_follows_the_database() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    assert_eq!(rig.get("/readyz").await, (200, "ready\n".to_owned()));
    let sql = database.connect().await.unwrap();
    let (agent, _) = rig.connected("node1", 1).await;
    sql.batch_execute("ALTER TABLE host_usage RENAME TO host_usage_away").await.unwrap();
    agent.samples(1..=1).await;
    wait_for("readiness to end", PATIENCE, || async {
        (rig.get("/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(rig.get("/livez").await.0, 200);
    sql.batch_execute("ALTER TABLE host_usage_away RENAME TO host_usage").await.unwrap();
    wait_for("readiness to come back", PATIENCE, || async {
        (rig.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn readiness_ends_while_a_lock_keeps_the_writer_waiting_and_comes_back_with_the_commit() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.samples(1..=1).await;
    let reason = wait_for("readiness to end", PATIENCE, || async {
        let (status, reason) = rig.get("/readyz").await;
        (status == 503).then_some(reason)
    })
    .await;
    assert!(reason.starts_with("a transaction has been waiting for "), "{reason}");
    let service = "rowcall.v1.TelemetryService".to_owned();
    let mut health = HealthClient::new(rig.channel("viewer", "alice").await);
    let asked = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(asked.status(), ServingStatus::NotServing);
    assert_eq!(rig.get("/livez").await.0, 200);
    lock.rollback().await.unwrap();
    agent.acknowledged(1).await;
    assert_eq!(rig.get("/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn only_known_pages_and_reading_methods_are_answered() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (status, index) = rig.get("/").await;
    assert_eq!(status, 200);
    assert!(["/livez", "/readyz", "/metrics"].iter().all(|page| index.contains(page)), "{index}");
    assert_eq!(rig.get("/etc/passwd").await.0, 404);
    assert_eq!(rig.get("/livez/").await.0, 404);
    assert_eq!(rig.get("/livez?verbose").await.0, 200);
    let address = rig.handle.http_addr().unwrap();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"] {
        let answer = request(address, &format!("{method} /livez")).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    let head = request(address, "HEAD /metrics").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(head.head.contains("cache-control: no-store"), "{}", head.head);
}

#[tokio::test]
async fn a_stop_can_be_watched() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    agent.samples(1..=1).await;
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                   AND relation = 'host_usage'::regclass";
    wait_for("the writer to stand before the lock", PATIENCE, || async {
        (count(&database, blocked).await > 0).then_some(())
    })
    .await;
    rig.shutdown.cancel();
    assert_eq!(agent.drained().await, pb::DrainReason::Shutdown);
    assert_eq!(rig.get("/readyz").await, (503, "stopping\n".to_owned()));
    assert_eq!(rig.get("/livez").await.0, 200);
    lock.rollback().await.unwrap();
    agent.acknowledged(1).await;
    let address = rig.handle.http_addr().unwrap();
    rig.stop().await.unwrap();
    wait_for("the listener to be closed", PATIENCE, || async {
        TcpStream::connect(address).await.err()
    })
    .await;
}

#[tokio::test]
async fn requests_beyond_the_bounds_are_refused_and_ingest_goes_on() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let address = rig.handle.http_addr().unwrap();
    let mut large = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    drop(large.write_all(head.as_bytes()).await);
    let mut answer = Vec::new();
    // It may also reset the connection.
    drop(tokio::time::timeout(PATIENCE, large.read_to_end(&mut answer)).await.unwrap());
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");

    let (mut agent, _) = rig.connected("node1", 1).await;
    agent.samples(1..=3).await;
    agent.acknowledged(3).await;
}

#[tokio::test]
async fn connections_that_never_say_anything_keep_no_probe_out() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let address = rig.handle.http_addr().unwrap();
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..10 {
        assert_eq!(rig.get("/livez").await.0, 200);
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(rig.get("/readyz").await.0, 200);
    assert_eq!(rig.get("/metrics").await.0, 200);
    // The oldest made room.
    let read = tokio::time::timeout(PATIENCE, silent[0].read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}
