//! Average used memory.

use futures_util::TryStreamExt as _;
use rowcall_store::reports::{MemoryRow, Scope};

use crate::world::{World, at, between};

async fn memory(world: &World, scope: &Scope) -> Vec<(String, u32, Option<f32>, Option<f32>)> {
    let frame = world.frame(scope).await;
    let rows: Vec<MemoryRow> =
        world.store.memory(scope, &frame).await.unwrap().try_collect().await.unwrap();
    let row =
        |row: MemoryRow| (row.host_name, row.window, row.used_percent, row.unavailable_percent);
    rows.into_iter().map(row).collect()
}

#[tokio::test]
async fn used_is_the_average_over_the_window_in_percent_of_total() {
    let world = World::new().await;
    // 1 GiB: 256 MiB free are 75 % used, 512 MiB available are 50 % unavailable.
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), 60, 7).await;
    world.set(host, at(12, 0, 0), at(12, 1, 0), "memory_free = 768").await;
    world
        .set(host, at(12, 6, 0), at(12, 7, 0), "memory_free = NULL, memory_available = 1024")
        .await;
    assert_eq!(
        memory(&world, &between(at(12, 0, 0), at(12, 15, 0))).await,
        [
            // (4 x 75 + 25) / 5
            ("a".to_owned(), 0, Some(65.0), Some(50.0)),
            // A sample that could not tell counts for nothing.
            ("a".to_owned(), 1, Some(75.0), Some(25.0)),
        ]
    );
}

#[tokio::test]
async fn windows_without_samples_have_no_row_and_hosts_without_total_no_value() {
    let world = World::new().await;
    let host = world.host("b").await;
    world.samples(host, at(12, 10, 0), 60, 1).await;
    world.run("UPDATE host_info SET total_mem = NULL", &[]).await;
    let host = world.host("a").await;
    world.samples(host, at(12, 0, 0), 60, 1).await;
    // More free than there is: not hidden.
    world.set(host, at(12, 0, 0), at(12, 5, 0), "memory_free = 1536").await;
    world.host("silent").await;
    assert_eq!(
        memory(&world, &between(at(12, 0, 0), at(12, 15, 0))).await,
        [("a".to_owned(), 0, Some(-50.0), Some(50.0)), ("b".to_owned(), 2, None, None),]
    );
}

#[tokio::test]
async fn hosts_of_different_sizes_are_each_measured_by_their_own() {
    let world = World::new().await;
    for (name, total) in [("large", 24_i64 << 30), ("small", 512 << 10)] {
        let host = world.host(name).await;
        world.run("UPDATE host_info SET total_mem = $2 WHERE id = $1", &[&host, &total]).await;
        world.samples(host, at(12, 0, 0), 60, 5).await;
    }
    world.run("UPDATE host_usage SET memory_free = 12 << 20 WHERE host_id = 1", &[]).await;
    assert_eq!(
        memory(&world, &between(at(12, 0, 0), at(12, 5, 0))).await,
        [
            ("large".to_owned(), 0, Some(50.0), Some(99.99796)),
            ("small".to_owned(), 0, Some(50.0), Some(0.0)),
        ]
    );
}
