use rowcall_testkit::database::{Database, connect, test_options};

use super::*;
use crate::Store;
use crate::testing::{Bench, MINUTE, failure_of_kind, hello, sample};

mod servers;

#[tokio::test]
async fn what_keeps_a_connection_from_working_is_named_without_the_password() {
    let database = Database::create().await.unwrap();
    let socket = database.url();
    let cases = [
        (
            "postgresql://u:geheim@127.0.0.1:1/x",
            Kind::Transient,
            "cannot reach PostgreSQL at 127.0.0.1:1",
        ),
        (
            "postgresql://u:geheim@no-such-host.invalid/x",
            Kind::Transient,
            "cannot reach PostgreSQL at no-such-host.invalid:5432",
        ),
        ("postgresql://u:ge@heim@127.0.0.1/x", Kind::Config, "percent-encoded"),
        ("postgresql://u:geheim@127.0.0.1:port/x", Kind::Config, "database URL"),
        ("postgresql://", Kind::Config, "names no host"),
        ("geheim", Kind::Config, "database URL"),
    ];
    for (url, kind, words) in cases {
        let error = Store::connect(&Settings::new(url)).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{url}: {text}");
        assert!(text.contains(words), "{url}: {text}");
        assert!(!text.contains("heim"), "{url}: {text}");
        let settings = format!("{:?}", Settings::new(url));
        assert!(!settings.contains("heim"), "{settings}");
    }

    let missing = socket.replace(database.name(), "no_such_database");
    let error = Store::connect(&Settings::new(missing)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("CREATE DATABASE \"no_such_database\""), "{error}");

    let stranger =
        socket.replace("user=rowcall", "user=nobody_such").replace("rowcall@", "nobody_such@");
    assert_ne!(stranger, socket);
    let error = Store::connect(&Settings::new(stranger)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("does not let user nobody_such in"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_printed() {
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let hba = folder.path().join("pg_hba.conf");
    std::fs::write(&hba, "local all rowcall peer map=rowcall\nlocal all all scram-sha-256\n")
        .unwrap();
    std::fs::set_permissions(&hba, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let hba = hba.to_str().unwrap().to_owned();
    let start = move || test_options().setting("hba_file", hba).start();
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let admin = connect(&server.url("postgres")).await.unwrap();
    admin.batch_execute("CREATE ROLE somebody LOGIN PASSWORD 'richtig'").await.unwrap();
    let url =
        |credentials: &str| server.url("postgres").replace("rowcall@", &format!("{credentials}@"));

    let right = Store::connect(&Settings::new(url("somebody:richtig"))).await;
    right.unwrap().ping().await.unwrap();
    for (credentials, words) in [
        ("somebody:geheim", "does not let user somebody in"),
        ("somebody", "asks for a password that the URL does not have"),
    ] {
        let error = Store::connect(&Settings::new(url(credentials))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    }
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let bench = Bench::empty().await;
    let name = format!("{}_latin1", bench.database.name());
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    bench.sql.batch_execute(&create).await.unwrap();
    let url = bench.database.url().replace(bench.database.name(), &name);
    let error = Store::connect(&Settings::new(url)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn connections_are_set_as_we_need_them_whatever_the_database_says() {
    let bench = Bench::new().await;
    let alter = format!(
        "ALTER DATABASE {0} SET synchronous_commit = off; ALTER DATABASE {0} SET timezone = 'Asia/Kolkata'",
        bench.database.name()
    );
    bench.sql.batch_execute(&alter).await.unwrap();
    for purpose in [Purpose::Ingest, Purpose::Reports] {
        let connector = connector(&Settings::new(bench.database.url()), purpose).unwrap();
        let (client, connection) = connector.connect().await.unwrap();
        tokio::spawn(connection);
        for (name, value) in [
            ("synchronous_commit", "on"),
            ("timezone", "UTC"),
            ("search_path", "public"),
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("application_name", "rowcall-aggregator"),
        ] {
            let row = client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings {
        connect_timeout: Duration::from_millis(50),
        ..Settings::new(format!("postgresql://u@{address}/x"))
    };
    for error in [
        Store::connect(&settings).await.unwrap_err(),
        connect_alone(&settings).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Transient);
        assert!(error.to_string().contains("no answer in time"), "{error}");
    }
}

#[tokio::test]
async fn work_without_an_answer_is_given_up_and_its_connection_with_it() {
    let bench = Bench::empty().await;
    let settings = Settings {
        statement_timeout: Duration::from_millis(10),
        connect_timeout: Duration::from_millis(10),
        ..Settings::new(bench.database.url())
    };
    let pool = Pool::new(&settings, Purpose::Ingest, 1).unwrap();
    let result = pool.wait(std::future::pending::<Result<(), Error>>()).await;
    let roomy = Settings::new(bench.database.url());
    let pool = Pool::new(&roomy, Purpose::Ingest, 1).unwrap();
    let connection = pool.get().await.unwrap();
    pool.settle(connection, &result);
    assert_eq!(pool.pool.status().size, 0, "the connection is thrown away");
    let error = result.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("has not answered"), "{error}");
}

#[tokio::test]
async fn a_busy_pool_says_so_and_leaves_the_other_one_alone() {
    let bench = Bench::new().await;
    let settings = Settings {
        report_connections: 1,
        pool_wait: Duration::from_millis(10),
        ..Settings::new(bench.database.url())
    };
    let store = Store::connect(&settings).await.unwrap();
    let held = store.reports.get().await.unwrap();
    let error = store.reports.get().await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().starts_with("all 1 connections to PostgreSQL"), "{error}");
    store.ping().await.unwrap();
    let idle = |max| PoolStatus { max, size: 1, available: 1, waiting: 0 };
    let busy = PoolStatus { available: 0, ..idle(1) };
    assert_eq!(store.pool_status(), [("ingest", idle(4)), ("reports", busy)]);
    drop(held);
    assert_eq!(store.pool_status()[1], ("reports", idle(1)));
    drop(store.reports.get().await.unwrap());
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled_and_the_connection_stays() {
    let bench = Bench::empty().await;
    let settings = Settings {
        statement_timeout: Duration::from_millis(20),
        ..Settings::new(bench.database.url())
    };
    let pool = Pool::new(&settings, Purpose::Reports, 1).unwrap();
    let connection = pool.get().await.unwrap();
    let error = Error::from(connection.batch_execute("SELECT pg_sleep(60)").await.unwrap_err());
    assert!(error.is_transient() && !error.spoils_connection(), "{error}");
    assert_eq!(error.sqlstate(), Some("57014"));
}

#[tokio::test]
async fn missing_tables_are_a_matter_of_the_schema_and_not_of_the_row() {
    let bench = Bench::empty().await;
    let hello = hello("node1", 1);
    let error = bench.store.opened(&hello, MINUTE).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Schema, "{error}");
    assert!(matches!(error.sqlstate(), Some("42P01" | "3F000")), "{error}");
    assert!(error.to_string().contains("run `rowcall-aggregator migrate`"), "{error}");
    // Migrated again, the same store works: nothing it prepared is in the way.
    bench.store.migrate().await.unwrap();
    bench.store.ensure_partitions().await.unwrap();
    bench.open(&hello).await;
}

/// Drops the database with all connections to it, and creates an empty one of its name.
async fn replace(database: &Database) {
    let server = Database::server().await.unwrap().url("postgres");
    let sql = connect(&server).await.unwrap();
    let name = database.name();
    for sentence in [
        format!("DROP DATABASE \"{name}\" WITH (FORCE)"),
        format!("CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0"),
    ] {
        sql.batch_execute(&sentence).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_replaced_behind_our_back_takes_nothing_of_the_hosts_of_the_old_one() {
    let bench = Bench::new().await;
    let old = bench.host("node1").await;
    let known = bench.store.schema_id().await.unwrap();
    assert!(known.is_some());
    bench.store.expect_schema(known);
    let now = bench.now().await;
    bench.store.ingest(&[sample(&old, 1, now)]).await.unwrap();

    replace(&bench.database).await;
    let other = Store::connect(&Settings::new(bench.database.url())).await.unwrap();
    other.migrate().await.unwrap();
    other.ensure_partitions().await.unwrap();
    let new = other.opened(&hello("node2", 1), MINUTE).await.unwrap();
    assert_eq!((new.host_id, new.epoch_id), (old.host_id, old.epoch_id), "another host's numbers");

    let records = [sample(&old, 2, now.plus_micros(1))];
    let error = failure_of_kind(&bench.store, &records, Kind::Schema).await;
    assert!(error.to_string().starts_with("the database is not the one"), "{error}");
    let sql = bench.database.connect().await.unwrap();
    let rows = sql.query("SELECT FROM host_usage", &[]).await.unwrap();
    assert_eq!(rows.len(), 0);

    // Who knows that all hosts must register again takes the new one.
    let found = bench.store.schema_id().await.unwrap();
    assert_eq!(found, other.schema_id().await.unwrap());
    assert!(found.is_some() && found != known);
    bench.store.expect_schema(found);
    bench.store.ingest(&[sample(&new, 1, now)]).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_gone_has_no_identity() {
    let bench = Bench::empty().await;
    assert_eq!(bench.store.schema_id().await.unwrap(), None);
    bench.store.migrate().await.unwrap();
    bench.store.expect_schema(bench.store.schema_id().await.unwrap());
    replace(&bench.database).await;
    // The old connections are cut, the new ones find no schema.
    let gone = wait_for_ok(|| bench.store.schema_id()).await;
    assert_eq!(gone, None);
    assert_eq!(bench.store.ping().await.unwrap_err().kind(), Kind::Schema);
    bench.store.expect_schema(gone);
    bench.store.migrate().await.unwrap();
    bench.store.ping().await.unwrap();
}

/// The first answer past the errors of connections that broke before.
async fn wait_for_ok<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_in_the_midst_of_a_statement_leaves_no_busy_connection() {
    let bench = Bench::empty().await;
    let settings = Settings::new(bench.database.url());
    let pool = Pool::new(&settings, Purpose::Ingest, 1).unwrap();
    let connection = pool.get().await.unwrap();
    let work = async {
        let result = connection.batch_execute("SELECT pg_sleep(3600)").await;
        pool.settle(connection, &result.map_err(Error::from));
    };
    // The first poll sends it; then its caller goes away.
    let mut work = Box::pin(work);
    assert!(futures_util::poll!(work.as_mut()).is_pending());
    drop(work);
    assert_eq!(pool.status().size, 0, "it is thrown away");
    let connection = pool.get().await.unwrap();
    let result = connection.batch_execute("SELECT 1").await.map_err(Error::from);
    pool.settle(connection, &result);
    assert_eq!(pool.status(), PoolStatus { max: 1, size: 1, available: 1, waiting: 0 });
}
