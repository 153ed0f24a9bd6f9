//! Sessions: from Hello to a row.

use rowcall_core::record::Body;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::Code;

use crate::rig::{Rig, count, hello, status_until};

#[tokio::test]
async fn a_sample_becomes_a_row_and_is_acknowledged() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let mut observed = rig.handle.samples();
    let (mut agent, welcome) = rig.connected("node1", 1).await;
    assert_eq!((welcome.protocol, welcome.interval_ms, welcome.mark), (1, 60_000, None));
    agent.samples(1..=3).await;
    agent.acknowledged(3).await;
    let client = database.connect().await.unwrap();
    let row = client
        .query_one(
            "SELECT count(*), min(u.memory_free)::int8, min(u.cpu_idle)::float8, min(i.id) \
             FROM host_usage u JOIN host_info i ON i.id = u.host_id WHERE i.hostname = 'node1'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 2_048));
    assert!((row.get::<_, f64>(2) - 90.0).abs() < 0.001);
    assert_eq!(row.get::<_, i32>(3), welcome.host_id);
    let sample = observed.recv().await.unwrap();
    assert_eq!(sample.host_name.as_str(), "node1");
    assert!(matches!(sample.record.body, Body::Sample(_)));
    let status = rig.status().await;
    assert_eq!((status.committed_samples, status.connected.len()), (3, 1));
    assert!(status.last_commit_at.is_some() && status.connected[0].last_sample_at.is_some());
    assert_eq!(status.database_error, "");
}

#[tokio::test]
async fn a_replay_changes_nothing_and_the_mark_comes_with_welcome() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let record = |sequence: u64, time_unix_us| pb::Record {
        due_ticks: 0,
        sequence,
        time_unix_us,
        body: Some(pb::record::Body::Sample(pb::Sample::default())),
    };
    let now = crate::rig::now();
    let records = vec![record(1, now - 2), record(2, now - 1)];
    agent.batch(records.clone()).await;
    agent.acknowledged(2).await;
    drop(agent);
    let (mut again, welcome) = rig.connected("node1", 1).await;
    let mark = welcome.mark.unwrap();
    assert_eq!((mark.through_sequence, mark.time_unix_us), (2, now - 1));
    again.batch(records).await;
    again.acknowledged(2).await;
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 2);
    assert_eq!(rig.status().await.duplicate_samples, 2);
}

#[tokio::test]
async fn another_host_name_than_the_certificates_is_denied_and_writes_nothing() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let mut agent = rig.agent("node1").await;
    agent.hello(hello("node2", 1)).await;
    agent.samples(1..=1).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "Hello says host node2, but the certificate names node1; an agent writes only its own host"
    );
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 0);
    assert_eq!(rig.handle.refused(), 1);
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_and_an_unknown_protocol_are_refused() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let mut agent = rig.agent("node1").await;
    agent.samples(1..=1).await;
    let status = agent.refused().await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "the first frame must be Hello")
    );
    let mut agent = rig.agent("node1").await;
    agent.hello(pb::Hello { protocol_min: 8, protocol_max: 9, ..hello("node1", 1) }).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        "no common protocol version: the agent speaks 8 to 9, the aggregator 1 to 1; upgrade the \
         older one"
    );
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    let text = "x".repeat(rowcall_proto::MAX_FRAME_BYTES);
    let info = pb::HostInfo { os: Some(text), ..Default::default() };
    let body = Some(pb::record::Body::HostInfo(info.into()));
    agent.batch(vec![pb::Record { due_ticks: 0, sequence: 1, time_unix_us: 1, body }]).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("at most 262144 bytes"), "{status}");
}

#[tokio::test]
async fn another_process_of_a_connected_host_is_refused_and_the_first_goes_on() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut first, _) = rig.connected("node1", 1).await;
    let mut clone = rig.agent("node1").await;
    clone.hello(hello("node1", 2)).await;
    let status = clone.refused().await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("host node1 is connected from 127.0.0.1:"), "{status}");
    first.samples(1..=1).await;
    first.acknowledged(1).await;
}

#[tokio::test]
async fn the_same_process_replaces_its_session() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut old, _) = rig.connected("node1", 1).await;
    let (mut new, _) = rig.connected("node1", 1).await;
    assert_eq!(old.drained().await, pb::DrainReason::Replaced);
    assert_eq!(old.next().await.unwrap(), None);
    new.samples(1..=1).await;
    new.acknowledged(1).await;
    assert_eq!(rig.status().await.connected.len(), 1);
}

#[tokio::test]
async fn a_host_that_hung_up_is_counted_as_disconnected() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (agent, _) = rig.connected("node1", 1).await;
    drop(agent);
    let gone = |status: &pb::StatusResponse| status.connected.is_empty();
    let status = status_until(&rig, "the host to be gone", gone).await;
    assert_eq!(status.disconnected_hosts, 1);
}
