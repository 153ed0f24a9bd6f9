//! What each host is.

use futures_util::TryStreamExt as _;
use rowcall_store::reports::{HardwareRow, Scope};

use crate::world::{World, at, between};

async fn hardware(world: &World, scope: &Scope) -> Vec<HardwareRow> {
    let frame = world.frame(scope).await;
    world.store.hardware(scope, &frame).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn most_cpus_come_first_then_most_memory_then_names_and_the_unknown_last() {
    let world = World::new().await;
    world
        .sql
        .batch_execute(
            "INSERT INTO host_info (hostname, cpu_number, total_mem) VALUES
             ('d', 8, 100), ('b', 64, 100), ('a', 64, 200), ('c', 64, 200), ('e', 64, NULL),
             ('f', NULL, 900), ('big', 128, 25769803776)",
        )
        .await
        .unwrap();
    let rows = hardware(&world, &between(at(12, 0, 0), at(13, 0, 0))).await;
    let names: Vec<_> = rows.iter().map(|row| row.host_name.as_str()).collect();
    assert_eq!(names, ["big", "a", "c", "b", "e", "d", "f"]);
    assert_eq!(rows[0].total_mem_kib, Some(24 << 30), "24 TiB fit");
    assert_eq!((rows[4].cpu_number, rows[4].total_mem_kib), (Some(64), None));
    assert_eq!(rows[6].cpu_number, None);
}

#[tokio::test]
async fn every_fact_is_told() {
    let world = World::new().await;
    world
        .sql
        .batch_execute(
            "INSERT INTO host_info (hostname, cpu_number, cpu_architecture, cpu_model, cpu_mhz,
                                    l2_cache, total_mem, \"timestamp\")
             VALUES ('a', 2, 'x86_64', 'Model \"é\"', 3400.5, 1024, 2048, '2026-11-03 11:00:00+00')",
        )
        .await
        .unwrap();
    let rows = hardware(&world, &between(at(12, 0, 0), at(13, 0, 0))).await;
    assert_eq!(
        rows,
        [HardwareRow {
            host_name: "a".into(),
            cpu_number: Some(2),
            total_mem_kib: Some(2_048),
            cpu_architecture: Some("x86_64".into()),
            cpu_model: Some("Model \"é\"".into()),
            cpu_mhz: Some(3_400.5),
            l2_cache_kib: Some(1_024),
            changed_at: at(11, 0, 0),
        }]
    );
}

#[tokio::test]
async fn hosts_retired_before_the_range_are_left_out() {
    let world = World::new().await;
    for (name, time) in [("before", at(12, 0, 0)), ("within", at(12, 0, 1))] {
        let host = world.host(name).await;
        world.retire(host, time).await;
    }
    let rows = hardware(&world, &between(at(12, 0, 0), at(13, 0, 0))).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].host_name, "within");
}
