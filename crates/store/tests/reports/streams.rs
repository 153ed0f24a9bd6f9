//! Connections that streams of rows hold.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use rowcall_store::{Kind, Settings, Store};

use crate::world::{World, at, between};

#[tokio::test]
async fn a_stream_holds_its_connection_until_it_is_dropped_or_read() {
    let world = World::new().await;
    world
        .sql
        .batch_execute(
            "INSERT INTO host_info (hostname) SELECT 'host-' || i FROM generate_series(1, 2000) AS i",
        )
        .await
        .unwrap();
    let settings = Settings {
        report_connections: 1,
        pool_wait: Duration::from_millis(50),
        ..Settings::new(world.database.url())
    };
    let store = Store::connect(&settings).await.unwrap();
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = store.frame(&scope).await.unwrap();

    // 24,000 rows are more than fits on the way, so this one is not done after its first.
    let mut rows = store.roll(&scope, &frame).await.unwrap();
    assert!(rows.try_next().await.unwrap().is_some());
    let error = store.hardware(&scope, &frame).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert!(error.to_string().contains("busy"), "{error}");

    // Dropped half-way it leaves nothing behind that the next report would see.
    drop(rows);
    let mut rows = store.roll(&scope, &frame).await.unwrap();
    let mut count = 0;
    while rows.try_next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 24_000);
    // Read to its end, it has given the connection back before it is dropped.
    assert_eq!(store.frame(&scope).await.unwrap().hosts, 2_000);
    assert!(rows.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_ends_the_statement_ends_the_stream_with_an_error() {
    let world = World::new().await;
    let settings = Settings {
        report_connections: 1,
        statement_timeout: Duration::from_millis(200),
        ..Settings::new(world.database.url())
    };
    let store = Store::connect(&settings).await.unwrap();
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = store.frame(&scope).await.unwrap();
    // Somebody holds the table, and the report waits until the server cancels it.
    world.sql.batch_execute("BEGIN; LOCK TABLE host_info").await.unwrap();
    let error = match store.hardware(&scope, &frame).await {
        Err(error) => error,
        Ok(mut rows) => rows.try_next().await.unwrap_err(),
    };
    assert!(error.is_transient(), "{error}");
    world.sql.batch_execute("ROLLBACK").await.unwrap();
    assert!(store.hardware(&scope, &frame).await.unwrap().try_next().await.unwrap().is_none());
}
