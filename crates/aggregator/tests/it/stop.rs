//! Starting and stopping.

use std::time::Duration;

use rowcall_aggregator::config::Database as Which;
use rowcall_aggregator::{Config, Error, Server, Stopped};
use rowcall_core::clock::SystemClock;
use rowcall_proto::v1 as pb;
use rowcall_testkit::database::Database;
use rowcall_testkit::poll::wait_for;
use rowcall_tls::load::Files;
use tokio::net::TcpStream;

use crate::rig::{PATIENCE, Rig, count};

#[tokio::test]
async fn a_stop_drains_streams_and_acknowledges_what_it_took() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut one, _) = rig.connected("node1", 1).await;
    let (mut two, _) = rig.connected("node2", 1).await;
    let mut locker = database.connect().await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    one.samples(1..=3).await;
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                   AND relation = 'host_usage'::regclass";
    wait_for("the writer to stand before the lock", PATIENCE, || async {
        (count(&database, blocked).await > 0).then_some(())
    })
    .await;
    let address = rig.handle.local_addr();
    let stopping = tokio::spawn(rig.stop());
    assert_eq!(two.drained().await, pb::DrainReason::Shutdown);
    assert_eq!(two.next().await.unwrap(), None);
    assert_eq!(one.drained().await, pb::DrainReason::Shutdown);
    wait_for("the listener to be closed", PATIENCE, || async {
        TcpStream::connect(address).await.err()
    })
    .await;
    lock.rollback().await.unwrap();
    one.acknowledged(3).await;
    assert_eq!(one.next().await.unwrap(), None);
    drop((one, two));
    assert_eq!(stopping.await.unwrap().unwrap(), Stopped::InOrder);
    assert_eq!(count(&database, "SELECT count(*) FROM host_usage").await, 3);
}

#[tokio::test]
async fn a_stop_that_finds_the_database_stuck_ends_at_the_deadline() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start_with(&database.url(), |config| {
        config.drain_deadline = Duration::from_millis(300);
    })
    .await;
    assert!(rig.handle.ready().await);
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
    assert_eq!(rig.stop().await.unwrap(), Stopped::AtDeadline);
    assert_eq!(agent.drained().await, pb::DrainReason::Shutdown);
    agent.next().await.expect_err("the connection must be cut, without an acknowledgement");
}

#[tokio::test]
async fn a_stop_that_finds_the_database_gone_says_what_is_not_committed() {
    let database = Database::create().await.unwrap();
    let mut rig = Rig::start(&database).await;
    assert!(rig.handle.ready().await);
    let (agent, _) = rig.connected("node1", 1).await;
    let sql = database.connect().await.unwrap();
    sql.batch_execute("ALTER TABLE host_usage RENAME TO host_usage_away").await.unwrap();
    agent.samples(1..=2).await;
    wait_for("the writer to find out", PATIENCE, || async {
        (!rig.status().await.database_error.is_empty()).then_some(())
    })
    .await;
    let stopped = rig.stop().await.unwrap();
    assert!(matches!(stopped, Stopped::Uncommitted { records: 1..=2 }), "{stopped:?}");
}

#[tokio::test]
async fn dropping_a_running_server_cuts_its_connections() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let (mut agent, _) = rig.connected("node1", 1).await;
    rig.running.abort();
    agent.next().await.expect_err("the connection must be cut");
}

#[tokio::test]
async fn an_idle_reader_does_not_hold_up_a_stop() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let _reader = rig.summary().await;
    assert_eq!(rig.stop().await.unwrap(), Stopped::InOrder);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let database = Database::create().await.unwrap();
    let rig = Rig::start(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let paths =
        rig.ca.write(folder.path(), "server", &rowcall_testkit::ca::Leaf::server()).unwrap();
    let files = Files {
        certificate: paths.certificate,
        key: paths.key.clone(),
        authorities: paths.authorities,
    };
    let mut config = Config::new(Which::Url(database.url()), files);
    config.listen = rig.handle.local_addr();
    config.trust_domain = Some("d".parse().unwrap());
    let error = Server::bind(config.clone(), SystemClock::shared()).await.unwrap_err().to_string();
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
    assert!(error.contains("choose another with --listen"), "{error}");
    assert!(error.starts_with("listen: "), "{error}");
    config.listen.set_port(0);
    config.http_listen = rig.handle.http_addr();
    let error = Server::bind(config.clone(), SystemClock::shared()).await.unwrap_err().to_string();
    assert!(error.starts_with("http_listen: cannot listen on 127.0.0.1:"), "{error}");
    assert!(error.contains("choose another with --http-listen"), "{error}");
    config.trust_domain = None;
    let error = Server::bind(config.clone(), SystemClock::shared()).await.unwrap_err();
    assert!(matches!(error, Error::Certificates(_)), "{error}");
    assert!(error.to_string().contains("set trust_domain"), "{error}");
    std::fs::write(&paths.key, "").unwrap();
    let error = Server::bind(config, SystemClock::shared()).await.unwrap_err().to_string();
    assert!(error.contains("is empty"), "{error}");
}
