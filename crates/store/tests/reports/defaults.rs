//! The files as they stand.

use futures_util::TryStreamExt as _;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::Scope;

use crate::world::{FILES, World};

async fn now(client: &tokio_postgres::Client) -> UnixMicros {
    let row = client.query_one("SELECT (extract(epoch FROM now()) * 1e6)::bigint", &[]).await;
    UnixMicros(row.unwrap().get(0))
}

#[tokio::test]
async fn every_file_runs_as_it_stands() {
    let world = World::new().await;
    for (name, file) in FILES {
        let answer = world.sql.simple_query(file).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn every_file_runs_on_an_empty_fleet() {
    let world = World::new().await;
    let scope = Scope::default();
    let frame = world.store.frame(&scope).await.unwrap();
    assert_eq!((frame.hosts, frame.windows), (0, 12));
    let (store, scope, frame) = (&world.store, &scope, &frame);
    let roll: Vec<_> = store.roll(scope, frame).await.unwrap().try_collect().await.unwrap();
    let memory: Vec<_> = store.memory(scope, frame).await.unwrap().try_collect().await.unwrap();
    let hardware: Vec<_> = store.hardware(scope, frame).await.unwrap().try_collect().await.unwrap();
    let boots: Vec<_> = store.boots(scope, frame).await.unwrap().try_collect().await.unwrap();
    let pressure: Vec<_> = store.pressure(scope, frame).await.unwrap().try_collect().await.unwrap();
    assert!(roll.is_empty() && memory.is_empty() && hardware.is_empty());
    assert!(boots.is_empty() && pressure.is_empty());
    assert_eq!(store.balance(scope, frame).await.unwrap(), []);
    assert_eq!(store.integrity(scope, frame).await.unwrap().total, 0);
}

#[tokio::test]
async fn the_defaults_of_the_files_are_those_of_the_program() {
    let database = World::new().await;
    let now_there = now(&database.sql).await;
    let world = World::around(now_there).await;
    // now() stands still within a transaction.
    world.sql.batch_execute("BEGIN").await.unwrap();
    let now = now(&world.sql).await;
    world.sql.batch_execute("COMMIT").await.unwrap();
    let host = world.host_joined("a", now.plus_micros(-5_400_000_000)).await;
    world.samples(host, now.plus_micros(-5_000_000_000), 60, 50).await;

    world.sql.batch_execute("BEGIN").await.unwrap();
    let row =
        world.sql.query_one("SELECT (extract(epoch FROM now()) * 1e6)::bigint", &[]).await.unwrap();
    let now = UnixMicros(row.get(0));
    let roll = FILES[3].1.trim_end().trim_end_matches(';');
    let as_it_stands: Vec<_> = world
        .sql
        .query(
            &format!(
                "SELECT hostname, state, samples,
                        (extract(epoch FROM window_start) * 1e6)::bigint FROM ({roll}) AS r"
            ),
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let state: String = row.get(1);
            let word = state.replace('_', "");
            (row.get::<_, String>(0), word, row.get::<_, i32>(2), UnixMicros(row.get(3)))
        })
        .collect();

    let scope = Scope::default();
    let frame = world.store.frame_at(&scope, Some(now)).await.unwrap();
    let rows: Vec<_> = world.store.roll(&scope, &frame).await.unwrap().try_collect().await.unwrap();
    let by_parameters: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let start = frame.from.plus_micros(i64::from(row.window) * 300_000_000);
            let word = format!("{:?}", row.state).to_lowercase();
            (row.host_name, word, i32::try_from(row.samples).unwrap(), start)
        })
        .collect();
    assert_eq!(as_it_stands.len(), 12);
    assert!(as_it_stands.iter().any(|row| row.1 == "complete"));
    assert_eq!(as_it_stands, by_parameters);
}
