//! Two agents that claim one host: the first goes on, the other is refused and named.

use rowcall_proto::v1 as pb;
use rowcall_testkit::ca::Leaf;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tonic::Code;

use crate::revocation::turned_away;
use crate::rig::{Agent, PATIENCE, Rig, count, hello, now, until};

/// What the integrity report says of two that claim one host.
async fn duplicates(rig: &Rig) -> Vec<pb::IntegrityFinding> {
    let seconds =
        |ahead: i64| prost_types::Timestamp { seconds: now() / 1_000_000 + ahead, nanos: 0 };
    let request = pb::SummaryRequest {
        from: Some(seconds(-3_600)),
        to: Some(seconds(60)),
        reports: vec![pb::Report::Integrity.into()],
        ..Default::default()
    };
    let answer = rig.summary().await.summary(request).await.unwrap().into_inner();
    let mut findings = answer.integrity.unwrap().findings;
    findings.retain(|finding| finding.kind() == pb::IntegrityKind::DuplicateIdentity);
    findings
}

/// A clone: the same machine and spool, another process.
fn clone_of(name: &str, run: u64) -> pb::Hello {
    pb::Hello { machine_id: "0123456789abcdef0123456789abcdef".into(), ..hello(name, run) }
}

async fn cloned(rig: &Rig, name: &str, run: u64) -> Agent {
    let agent = rig.agent(name).await;
    agent.hello(clone_of(name, run)).await;
    agent
}

async fn refused_and_named(first: &Rig, second: &Rig, database: &Database) {
    let mut original = cloned(first, "a", 11).await;
    original.welcome().await;
    let mut clone = cloned(second, "a", 22).await;
    clone.samples(1..=5).await;
    let status = clone.refused().await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("another agent process"), "{status}");
    original.samples(1..=1).await;
    original.acknowledged(1).await;
    assert_eq!(count(database, "SELECT count(*) FROM host_usage").await, 1, "only the first's");
    until(database, "SELECT count(*) = 1 FROM rowcall.conflict").await;
    assert!(duplicates(first).await.is_empty(), "it may be a restart");
    let sql = database.connect().await.unwrap();
    let earlier = "UPDATE rowcall.conflict SET first_at = first_at - interval '2 min'";
    sql.batch_execute(earlier).await.unwrap();
    let findings = duplicates(first).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].host_name, "a");
    for named in ["11", "22", "127.0.0.1", "0123456789abcdef0123456789abcdef"] {
        assert!(findings[0].detail.contains(named), "{named}: {}", findings[0].detail);
    }
}

#[tokio::test]
async fn a_clone_on_the_same_aggregator_is_refused_and_both_are_named_after_two_minutes() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    refused_and_named(&rig, &rig, &database).await;
}

#[tokio::test]
async fn a_clone_on_another_aggregator_is_refused_and_both_are_named_after_two_minutes() {
    let database = Database::create().await.unwrap();
    let (one, other) = (Rig::start(&database).await, Rig::start(&database).await);
    refused_and_named(&one, &other, &database).await;
}

#[tokio::test]
async fn an_agent_started_anew_gets_in_elsewhere_as_soon_as_its_old_stream_is_dead() {
    let database = Database::create().await.unwrap();
    let (one, other) = (Rig::start(&database).await, Rig::start(&database).await);
    let (old, _) = one.connected("a", 1).await;
    assert_eq!(turned_away(&other, "a", 2).await.code(), Code::AlreadyExists);
    // As after kill -9: the kernel closes the connection.
    drop(old);
    let _new = wait_for("the new process to get in", PATIENCE, || async {
        let mut agent = other.agent("a").await;
        agent.hello(hello("a", 2)).await;
        match agent.next().await {
            Ok(Some(pb::stream_response::Frame::Welcome(_))) => Some(agent),
            Ok(other) => panic!("expected a Welcome, got {other:?}"),
            // Not yet; or it has tried too often by now.
            Err(status) => {
                let expected = [Code::AlreadyExists, Code::Unavailable];
                assert!(expected.contains(&status.code()), "{status}");
                None
            }
        }
    })
    .await;
    until(&database, "SELECT run = 2 FROM rowcall.session").await;
}

#[tokio::test]
async fn the_same_process_moves_to_another_aggregator_while_its_old_stream_seems_to_live() {
    let database = Database::create().await.unwrap();
    let (one, other) = (Rig::start(&database).await, Rig::start(&database).await);
    let (mut old, _) = one.connected("a", 1).await;
    let (mut new, _) = other.connected("a", 1).await;
    new.samples(1..=1).await;
    new.acknowledged(1).await;
    // The first one learns of it.
    assert_eq!(old.refused().await.code(), Code::AlreadyExists);
    until(&database, "SELECT count(*) = 1 FROM rowcall.session").await;
    assert_eq!(turned_away(&one, "a", 2).await.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn two_names_of_one_host_are_one_host_also_on_one_aggregator() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut old, welcome) = rig.connected("old", 1).await;
    let request = pb::RenameHostRequest { host_name: "old".into(), new_name: "new".into() };
    rig.admin("operator").await.rename_host(request).await.unwrap();
    let status = turned_away(&rig, "new", 2).await;
    assert_eq!(status.code(), Code::AlreadyExists);
    old.samples(1..=1).await;
    old.acknowledged(1).await;
    // The same process with its new certificate.
    let (_new, again) = rig.connected("new", 1).await;
    assert_eq!(again.host_id, welcome.host_id);
    assert_eq!(old.drained().await, pb::DrainReason::Replaced);
    assert_eq!(count(&database, "SELECT count(*) FROM host_info").await, 1);
}

#[tokio::test]
async fn an_aggregator_that_stops_leaves_no_session_behind() {
    let database = Database::create().await.unwrap();
    let (one, other) = (Rig::start(&database).await, Rig::start(&database).await);
    let (_agent, _) = one.connected("a", 1).await;
    one.stop().await.unwrap();
    assert_eq!(count(&database, "SELECT count(*) FROM rowcall.session").await, 0);
    let (_elsewhere, _) = other.connected("a", 2).await;
}

#[tokio::test]
async fn neither_name_nor_number_of_another_host_gets_anything_written_for_it() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (victim, welcome) = rig.connected("b", 1).await;
    drop(victim);
    // Its name; its name as people write it; its number, its number as a name.
    for said in ["b", "B", &welcome.host_id.to_string(), "a b", ""] {
        let mut forger = rig.agent("a").await;
        forger.hello(hello(said, 2)).await;
        forger.samples(1..=1).await;
        let status = forger.refused().await;
        let expected = match said {
            "a b" | "" => Code::InvalidArgument,
            _ => Code::PermissionDenied,
        };
        assert_eq!(status.code(), expected, "{said:?}: {status}");
    }
    let (_, metrics) = rig.get("/metrics").await;
    assert!(metrics.contains("rowcall_refused_total{reason=\"other_host\"} 3\n"), "{metrics}");
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 0);
    assert_eq!(
        count(&database, "SELECT count(*) FROM host_info").await,
        1,
        "nor one of the forger"
    );
    // A certificate with two names names nobody.
    let both = Leaf::client("x").uris(&["spiffe://d/agent/a", "spiffe://d/agent/b"]);
    let status = Agent::try_open(rig.dial(&both).await.unwrap()).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_an_agent_sent_whose_host_was_given_away_meanwhile_is_not_mixed_in() {
    let database = Database::create().await.unwrap();
    Rig::start(&database).await.stop().await.unwrap();
    // The aggregator gives no sign of life, so others may take it for gone.
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE rowcall.aggregator_span IN SHARE MODE").await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("a", 1).await;
    let (mut bystander, _) = rig.connected("b", 2).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    // As another aggregator would.
    let sql = database.connect().await.unwrap();
    let taken = "UPDATE rowcall.session SET run = 9, aggregator_run = 9 \
                 WHERE host_id = (SELECT id FROM host_info WHERE hostname = 'a')";
    sql.batch_execute(taken).await.unwrap();
    agent.samples(2..=2).await;
    bystander.samples(1..=1).await;
    bystander.acknowledged(1).await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("another agent process"), "{status}");
    let rows = "SELECT count(*) FROM host_usage u JOIN host_info i ON i.id = u.host_id \
                WHERE hostname = 'a'";
    assert_eq!(count(&database, rows).await, 1);
    lock.rollback().await.unwrap();
}
