//! Hosts whose access ends while they are connected, and when they come back.

use std::time::{Duration, Instant};

use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use tonic::{Code, Status};

use crate::rig::{Agent, Rig, count, hello, status_until, until};

/// Ten times what is promised.
const TENFOLD: Duration = Duration::from_secs(50);

pub(crate) async fn revoke(rig: &Rig, name: &str, reason: &str) -> Result<pb::Host, Status> {
    let request = pb::RevokeHostRequest { host_name: name.into(), reason: reason.into() };
    Ok(rig.admin("operator").await.revoke_host(request).await?.into_inner().host.unwrap())
}

pub(crate) async fn restore(rig: &Rig, name: &str) -> Result<pb::Host, Status> {
    let request = pb::RestoreHostRequest { host_name: name.into() };
    Ok(rig.admin("operator").await.restore_host(request).await?.into_inner().host.unwrap())
}

/// What a live stream is told when it is cut; how long that took is printed.
#[expect(clippy::print_stdout, reason = "a figure, for whoever runs this with --nocapture")]
async fn cut(agent: &mut Agent, since: Instant) -> Status {
    let status = tokio::time::timeout(TENFOLD, agent.refused()).await.expect("it is never cut");
    println!("cut {:.3} s after the revocation", since.elapsed().as_secs_f64());
    status
}

/// What an agent is told that says Hello and gets no Welcome.
pub(crate) async fn turned_away(rig: &Rig, name: &str, run: u64) -> Status {
    let mut agent = rig.agent(name).await;
    agent.hello(hello(name, run)).await;
    agent.refused().await
}

async fn listening(database: &Database, aggregators: i64) {
    let query = format!(
        "SELECT count(*) = {aggregators} FROM pg_stat_activity \
         WHERE datname = current_database() AND query = 'LISTEN rowcall_access'"
    );
    until(database, &query).await;
}

#[tokio::test]
async fn a_revoked_host_is_cut_on_every_aggregator_and_refused_until_it_is_restored() {
    let database = Database::create().await.unwrap();
    let (one, other) = (Rig::start(&database).await, Rig::start(&database).await);
    let (mut a, _) = one.connected("a", 1).await;
    let (mut b, _) = other.connected("b", 2).await;
    let (mut bystander, _) = other.connected("bystander", 3).await;
    listening(&database, 2).await;
    for (agent, name) in [(&mut a, "a"), (&mut b, "b")] {
        let since = Instant::now();
        let host = revoke(&one, name, "stolen").await.unwrap();
        assert!(host.revoked_at.is_some() && host.retired_at.is_none());
        assert_eq!(host.revoked_reason, "stolen");
        let status = cut(agent, since).await;
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("revoked (stolen)"), "{status}");
    }
    let again = turned_away(&other, "a", 1).await;
    assert_eq!(again.code(), Code::PermissionDenied);
    assert!(again.message().contains("`rowcall host restore`"), "{again}");
    one.metrics_until("both refusals to be counted", |text| {
        text.contains("rowcall_refused_total{reason=\"revoked\"} 1\n")
    })
    .await;
    bystander.samples(1..=1).await;
    bystander.acknowledged(1).await;
    let host = restore(&other, "a").await.unwrap();
    assert_eq!((host.revoked_at, host.revoked_reason.as_str()), (None, ""));
    let (mut a, _) = one.connected("a", 4).await;
    a.samples(1..=1).await;
    a.acknowledged(1).await;
    assert_eq!(turned_away(&one, "b", 2).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn without_a_word_from_the_database_the_regular_check_cuts() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, welcome) = rig.connected("a", 1).await;
    listening(&database, 1).await;
    let sql = database.connect().await.unwrap();
    // By hand, and so nobody is told.
    let since = Instant::now();
    sql.execute(
        "INSERT INTO rowcall.host_access (host_id, ended_at, ended_why, reason) \
         VALUES ($1, now(), 'revoked', 'by hand')",
        &[&welcome.host_id],
    )
    .await
    .unwrap();
    let status = cut(&mut agent, since).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("by hand"), "{status}");
}

/// As after a stop of the process, or of the way to the database.
#[tokio::test]
async fn where_the_regular_check_is_late_nothing_is_written_before_it_is_asked() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, welcome) = rig.connected("a", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    let mut sql = database.connect().await.unwrap();
    let transaction = sql.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE rowcall.host_access").await.unwrap();
    transaction
        .execute(
            "INSERT INTO rowcall.host_access (host_id, ended_at, ended_why) VALUES ($1, now(), 'revoked')",
            &[&welcome.host_id],
        )
        .await
        .unwrap();
    until(
        &database,
        "SELECT max(clock_timestamp() - xact_start) > interval '8 s' FROM pg_stat_activity \
         WHERE datname = current_database() AND state = 'idle in transaction'",
    )
    .await;
    agent.samples(2..=2).await;
    until(
        &database,
        "SELECT count(*) >= 2 OR (SELECT count(*) FROM host_usage) = 2 FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    transaction.commit().await.unwrap();
    assert_eq!(cut(&mut agent, Instant::now()).await.code(), Code::PermissionDenied);
    restore(&rig, "a").await.unwrap();
    let (mut agent, welcome) = rig.connected("a", 1).await;
    assert_eq!(welcome.mark.unwrap().through_sequence, 1, "the second came from a revoked host");
    agent.samples(2..=2).await;
    agent.acknowledged(2).await;
}

#[tokio::test]
async fn a_connection_that_listened_and_was_killed_loses_no_revocation_and_is_made_anew() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("a", 1).await;
    listening(&database, 1).await;
    let sql = database.connect().await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND query = 'LISTEN rowcall_access'";
    sql.batch_execute(kill).await.unwrap();
    let since = Instant::now();
    revoke(&rig, "a", "").await.unwrap();
    assert_eq!(cut(&mut agent, since).await.code(), Code::PermissionDenied);
    listening(&database, 1).await;
}

#[tokio::test]
async fn while_the_database_cannot_be_asked_nobody_is_cut_and_it_is_told() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, welcome) = rig.connected("a", 1).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE rowcall.host_access RENAME TO away").await.unwrap();
    sql.execute(
        "INSERT INTO rowcall.away (host_id, ended_at, ended_why) VALUES ($1, now(), 'revoked')",
        &[&welcome.host_id],
    )
    .await
    .unwrap();
    let failing = |status: &pb::StatusResponse| {
        status.database_error.contains("revocations were not checked")
    };
    status_until(&rig, "the failure to be told", failing).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    sql.batch_execute("ALTER TABLE rowcall.away RENAME TO host_access").await.unwrap();
    assert_eq!(cut(&mut agent, Instant::now()).await.code(), Code::PermissionDenied);
    status_until(&rig, "the failure to be over", |status| status.database_error.is_empty()).await;
}

#[tokio::test]
async fn a_retired_host_is_cut_and_stays_out_until_it_is_restored() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("a", 1).await;
    agent.samples(1..=2).await;
    agent.acknowledged(2).await;
    let since = Instant::now();
    let request = pb::RetireHostRequest { host_name: "a".into() };
    rig.admin("operator").await.retire_host(request).await.unwrap();
    let status = cut(&mut agent, since).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("retired"), "{status}");
    assert!(turned_away(&rig, "a", 1).await.message().contains("retired"));
    let host = restore(&rig, "a").await.unwrap();
    assert!(host.retired_at.is_none() && host.revoked_at.is_none());
    let (_agent, welcome) = rig.connected("a", 1).await;
    assert_eq!(welcome.mark.unwrap().through_sequence, 2, "its samples are still there");
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 2);
}

#[tokio::test]
async fn a_certificate_that_an_enrolment_replaced_is_cut_and_the_new_one_is_not() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut old, welcome) = rig.connected("a", 1).await;
    let sql = database.connect().await.unwrap();
    // What an enrolment with a token that may replace does, as far as this matters.
    sql.execute("UPDATE rowcall.certificate SET revoked_at = now()", &[]).await.unwrap();
    sql.execute(
        "INSERT INTO rowcall.host_access (host_id, refused_before) \
         VALUES ($1, now() - interval '10 years')",
        &[&welcome.host_id],
    )
    .await
    .unwrap();
    let status = cut(&mut old, Instant::now()).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("--replace"), "{status}");
    let (mut new, again) = rig.connected("a", 2).await;
    assert_eq!(again.host_id, welcome.host_id);
    new.samples(1..=1).await;
    new.acknowledged(1).await;
}

#[tokio::test]
async fn an_ephemeral_host_retires_when_it_is_silent_and_comes_back_with_its_next_hello() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, welcome) = rig.connected("a", 1).await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    drop(agent);
    status_until(&rig, "the host to be gone", |status| status.connected.is_empty()).await;
    let sql = database.connect().await.unwrap();
    let id = &welcome.host_id;
    sql.execute("INSERT INTO rowcall.host_access (host_id, ephemeral_s) VALUES ($1, 60)", &[id])
        .await
        .unwrap();
    // As if all of it had been hours ago, and an aggregator had listened since.
    for age in [
        "UPDATE host_latest SET received_at = received_at - interval '5 h', \
                                joined_at = joined_at - interval '5 h'",
        "UPDATE rowcall.aggregator_span SET from_ts = from_ts - interval '5 h'",
    ] {
        sql.batch_execute(age).await.unwrap();
    }
    drop(rig);
    let rig = Rig::start(&database).await;
    until(&database, "SELECT retired_at IS NOT NULL FROM host_info").await;
    let (_agent, _) = rig.connected("a", 1).await;
    until(&database, "SELECT retired_at IS NULL FROM host_info").await;
}
