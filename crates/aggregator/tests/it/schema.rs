//! A database that loses its schema under a running aggregator.

use rowcall_aggregator::Config;
use rowcall_aggregator::config::Database as Which;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use tonic::Code;

use crate::rig::{Agent, PATIENCE, Rig, count, hello};

/// Drops the database with all connections to it, and creates an empty one of its name.
async fn replace(database: &Database) {
    let server = Database::server().await.unwrap().url("postgres");
    let sql = rowcall_testkit::database::connect(&server).await.unwrap();
    let name = database.name();
    sql.batch_execute(&format!("DROP DATABASE \"{name}\" WITH (FORCE)")).await.unwrap();
    sql.batch_execute(&format!("CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0"))
        .await
        .unwrap();
}

/// Says Hello until it is welcome, as an agent does.
async fn welcomed(rig: &Rig, name: &str) -> (Agent, pb::Welcome) {
    wait_for(format!("{name} to be welcome"), PATIENCE, || async {
        let mut agent = rig.agent(name).await;
        agent.hello(hello(name, 1)).await;
        match agent.next().await {
            Ok(Some(pb::stream_response::Frame::Welcome(welcome))) => Some((agent, welcome)),
            _ => None,
        }
    })
    .await
}

async fn rows(database: &Database, host: &str) -> i64 {
    let query = format!(
        "SELECT count(*) FROM host_usage JOIN host_info ON id = host_id WHERE hostname = '{host}'"
    );
    count(database, &query).await
}

#[tokio::test]
async fn a_database_made_anew_is_migrated_and_every_host_registers_again() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut one, first) = rig.connected("node1", 1).await;
    let (mut two, _) = rig.connected("node2", 1).await;
    one.samples(1..=2).await;
    one.acknowledged(2).await;
    replace(&database).await;
    // Records that are under way belong to a number that will mean another host.
    one.samples(3..=4).await;
    for agent in [&mut one, &mut two] {
        let status = agent.refused().await;
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("the database was made anew"), "{status}");
    }
    let (mut two, welcome) = welcomed(&rig, "node2").await;
    assert_eq!(welcome.host_id, first.host_id, "the number of one host is now another's");
    two.samples(1..=1).await;
    two.acknowledged(1).await;
    let (mut one, welcome) = welcomed(&rig, "node1").await;
    assert_eq!(welcome.mark, None, "so the agent sends all it keeps again");
    one.samples(1..=4).await;
    one.acknowledged(4).await;
    assert_eq!((rows(&database, "node1").await, rows(&database, "node2").await), (4, 1));
    assert_eq!(rig.get("/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn a_database_replaced_by_a_full_one_gives_no_host_the_samples_of_another() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut one, first) = rig.connected("node1", 1).await;
    one.samples(1..=2).await;
    one.acknowledged(2).await;
    // Another database, in which the numbers of node1 are those of node2, takes its place.
    let (name, full) = (database.name(), format!("{}_full", database.name()));
    let server = Database::server().await.unwrap().url("postgres");
    let sql = rowcall_testkit::database::connect(&server).await.unwrap();
    let create = format!("CREATE DATABASE \"{full}\" ENCODING 'UTF8' TEMPLATE template0");
    sql.batch_execute(&create).await.unwrap();
    let mut other = Rig::start_with(&database.url().replace(name, &full), |_| {}).await;
    assert!(other.handle.ready().await);
    let (two, second) = other.connected("node2", 1).await;
    assert_eq!(second.host_id, first.host_id);
    drop(two);
    other.stop().await.unwrap();
    for sentence in [
        format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
        format!("ALTER DATABASE \"{full}\" RENAME TO \"{name}\""),
    ] {
        sql.batch_execute(&sentence).await.unwrap();
    }
    one.samples(3..=4).await;
    let status = one.refused().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the database was made anew"), "{status}");
    let (mut one, welcome) = welcomed(&rig, "node1").await;
    assert_ne!(welcome.host_id, first.host_id);
    one.samples(1..=4).await;
    one.acknowledged(4).await;
    assert_eq!((rows(&database, "node1").await, rows(&database, "node2").await), (4, 0));
}

#[tokio::test]
async fn without_the_right_to_migrate_it_says_what_to_do_and_goes_on_once_that_is_done() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    rig.stop().await.unwrap();
    let mut config = None;
    let mut rig = Rig::start_with(&database.url(), |settings| {
        settings.migrate = false;
        config = Some(settings.clone());
    })
    .await;
    assert!(rig.handle.ready().await);
    let (mut agent, _) = rig.connected("node1", 1).await;
    replace(&database).await;
    agent.samples(1..=1).await;
    wait_for("readiness to say what to do", PATIENCE, || async {
        let (status, text) = rig.get("/readyz").await;
        (status == 503 && text.contains("rowcall-aggregator migrate")).then_some(())
    })
    .await;
    let status = agent.refused().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the database was made anew"), "{status}");
    let files = config.unwrap().files;
    let by_hand = Config::new(Which::Url(database.url()), files);
    rowcall_aggregator::migrate(&by_hand).await.unwrap();
    let (mut agent, _) = welcomed(&rig, "node1").await;
    agent.samples(1..=1).await;
    agent.acknowledged(1).await;
    assert_eq!(rows(&database, "node1").await, 1);
}
