//! Several servers of which one writes, servers that are switched over, and one that falls silent.

use rowcall_testkit::database::{Client, Server, Shutdown};

use super::*;

async fn start() -> Server {
    tokio::task::spawn_blocking(|| test_options().start()).await.unwrap().unwrap()
}

async fn end(servers: impl IntoIterator<Item = Server> + Send + 'static) {
    tokio::task::spawn_blocking(move || drop(servers.into_iter().collect::<Vec<_>>()))
        .await
        .unwrap();
}

/// Lets all connections that come from now on write, or only read. A connection that may write.
async fn let_write(server: &Server, yes: bool) -> Client {
    let sql = connect(&server.url("postgres")).await.unwrap();
    let value = if yes { "off" } else { "on" };
    for sentence in [
        "SET default_transaction_read_only = off".to_owned(),
        format!("ALTER ROLE ALL SET default_transaction_read_only = {value}"),
    ] {
        sql.batch_execute(&sentence).await.unwrap();
    }
    sql
}

/// Both, the first one first, as a line.
fn line(servers: [&Server; 2], more: &str) -> String {
    let hosts = servers.map(|server| server.socket_dir().display().to_string()).join(",");
    let ports = servers.map(|server| server.port().to_string()).join(",");
    format!("host={hosts} port={ports} user=rowcall dbname=postgres {more}")
}

async fn migrated(server: &Server) {
    let store = Store::connect(&Settings::new(server.url("postgres"))).await.unwrap();
    store.migrate().await.unwrap();
    store.ensure_partitions().await.unwrap();
}

async fn hosts(sql: &Client) -> i64 {
    sql.query_one("SELECT count(*) FROM host_info", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn whichever_server_writes_is_found_and_followed() {
    let (one, two) = tokio::join!(start(), start());
    tokio::join!(migrated(&one), migrated(&two));
    let (first, second) = (let_write(&one, false).await, let_write(&two, true).await);
    let store = Store::connect(&Settings::new(line([&one, &two], ""))).await.unwrap();
    store.opened(&hello("a", 1), MINUTE).await.unwrap();
    assert_eq!((hosts(&first).await, hosts(&second).await), (0, 1));
    // A person's own choice: whoever answers first, and that one only reads.
    let any = Settings::new(line([&one, &two], "target_session_attrs=any"));
    let any = Store::connect(&any).await.unwrap();
    let error = any.opened(&hello("b", 1), MINUTE).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ReadOnly, "{error}");

    // They change places, and who is connected to the second one stays connected.
    drop((let_write(&one, true).await, let_write(&two, false).await));
    let (a, b) = tokio::join!(store.ingest.get(), store.ingest.get());
    for connection in [a.unwrap(), b.unwrap()] {
        // One that was there reads only from now on; one that is new leads to the first already.
        let demote = "SET default_transaction_read_only = on";
        let result = connection.batch_execute(demote).await.map_err(Error::from);
        store.ingest.settle(connection, &result);
    }
    assert_eq!(store.ingest.status().available, 2);
    let error = store.opened(&hello("c", 1), MINUTE).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (Kind::ReadOnly, Some("25006")), "{error}");
    assert_eq!(store.ingest.status().size, 0, "none is kept");
    store.opened(&hello("c", 1), MINUTE).await.unwrap();
    assert_eq!((hosts(&first).await, hosts(&second).await), (1, 1));
    drop((first, second));
    end([one, two]).await;
}

#[tokio::test]
async fn reports_are_read_from_a_server_that_only_reads_if_no_other_is_there() {
    let (one, mut two) = tokio::join!(start(), start());
    migrated(&one).await;
    drop(let_write(&one, false).await);
    let settings = Settings::new(line([&one, &two], ""));
    let store = Store::connect(&settings).await.unwrap();
    let writer = "SELECT NOT current_setting('transaction_read_only')::boolean";
    let connection = store.reports.get().await.unwrap();
    assert!(connection.query_one(writer, &[]).await.unwrap().get::<_, bool>(0));
    drop(connection);
    let two = tokio::task::spawn_blocking(move || {
        two.stop(Shutdown::Fast).unwrap();
        two
    });
    let two = two.await.unwrap();
    let connection = store.reports.get().await.unwrap();
    assert!(!connection.query_one(writer, &[]).await.unwrap().get::<_, bool>(0));
    drop(connection);
    // Nothing is written there, and the message says of each server why.
    let error = loop {
        match store.opened(&hello("a", 1), MINUTE).await.unwrap_err() {
            error if error.to_string().contains("only reads") => break error,
            error => assert!(error.is_transient(), "{error}"),
        }
    };
    assert!(error.is_transient());
    assert!(error.to_string().contains("cannot reach"), "{error}");
    end([one, two]).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_taken_again_when_it_is_back() {
    let server = start().await;
    migrated(&server).await;
    let settings = Settings {
        statement_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_millis(200),
        ..Settings::new(server.url("postgres"))
    };
    let store = Store::connect(&settings).await.unwrap();
    store.opened(&hello("a", 1), MINUTE).await.unwrap();
    let sql = connect(&server.url("postgres")).await.unwrap();
    let backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'rowcall-aggregator'";
    let pid: i32 = sql.query_one(backend, &[]).await.unwrap().get(0);
    let signal = |signal: &str| {
        let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(status.unwrap().success());
    };
    signal("-STOP");
    let error = store.opened(&hello("b", 1), MINUTE).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("has not answered"), "{error}");
    // The next one goes over another connection.
    store.opened(&hello("b", 1), MINUTE).await.unwrap();
    signal("-CONT");
    end([server]).await;
}
