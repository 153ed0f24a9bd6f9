//! How evenly load spreads.

use rowcall_store::reports::{BalanceRow, Spread};

use crate::world::{World, at, between};

async fn balance(world: &World) -> Vec<BalanceRow> {
    let scope = between(at(12, 0, 0), at(12, 10, 0));
    let frame = world.frame(&scope).await;
    world.store.balance(&scope, &frame).await.unwrap()
}

/// A host with some CPUs, samples every some seconds, idle and free memory [MiB of 1,024].
async fn host(world: &World, name: &str, cpus: Option<i32>, every_s: i64, idle: i32, free: i32) {
    let host = world.host(name).await;
    world.run("UPDATE host_info SET cpu_number = $2 WHERE id = $1", &[&host, &cpus]).await;
    world.samples(host, at(12, 0, 0), every_s, 300 / every_s).await;
    let columns = format!("cpu_idle = {idle}, memory_free = {free}");
    world.set(host, at(12, 0, 0), at(12, 5, 0), &columns).await;
}

#[tokio::test]
async fn each_host_counts_once_or_as_often_as_it_has_cpus() {
    let world = World::new().await;
    host(&world, "a", Some(1), 60, 80, 768).await;
    // Six times as many samples weigh no more.
    host(&world, "b", Some(3), 10, 40, 256).await;
    let rows = balance(&world).await;
    // Busy 20 and 60; weighted (20 + 3 x 60) / 4, variance (30^2 + 3 x 10^2) / 4 = 300.
    // Used 25 and 75; weighted (25 + 3 x 75) / 4 = 62.5, variance (37.5^2 + 3 x 12.5^2) / 4 = 468.75.
    assert_eq!(
        rows,
        [BalanceRow {
            start: at(12, 0, 0),
            hosts: 2,
            cpu_busy_percent: Spread {
                mean: Some(40.0),
                standard_deviation: Some(20.0),
                min: Some(20.0),
                max: Some(60.0),
                coefficient_of_variation: Some(0.5),
                weighted_mean: Some(50.0),
                weighted_standard_deviation: Some(17.320_509),
            },
            memory_used_percent: Spread {
                mean: Some(50.0),
                standard_deviation: Some(25.0),
                min: Some(25.0),
                max: Some(75.0),
                coefficient_of_variation: Some(0.5),
                weighted_mean: Some(62.5),
                weighted_standard_deviation: Some(21.650_635),
            },
            net_bytes_per_s: Spread::default(),
            disk_busy_percent: Spread::default(),
        }]
    );
}

#[tokio::test]
async fn without_load_there_is_no_coefficient_of_variation() {
    let world = World::new().await;
    host(&world, "a", Some(1), 60, 100, 1_024).await;
    let rows = balance(&world).await;
    assert_eq!(rows[0].cpu_busy_percent.mean, Some(0.0));
    assert_eq!(rows[0].cpu_busy_percent.standard_deviation, Some(0.0));
    assert_eq!(rows[0].cpu_busy_percent.coefficient_of_variation, None);
    assert_eq!(rows[0].memory_used_percent.coefficient_of_variation, None);
}

#[tokio::test]
async fn what_no_host_can_tell_is_absent() {
    let world = World::new().await;
    host(&world, "a", None, 60, 90, 512).await;
    world.run("UPDATE host_usage SET memory_free = NULL", &[]).await;
    let rows = balance(&world).await;
    assert_eq!(rows[0].hosts, 1);
    assert_eq!(rows[0].memory_used_percent, Spread::default());
    assert_eq!(rows[0].cpu_busy_percent.mean, Some(10.0));
    assert_eq!(rows[0].cpu_busy_percent.weighted_mean, None);
    assert_eq!(rows[0].cpu_busy_percent.weighted_standard_deviation, None);
}

#[tokio::test]
async fn windows_without_samples_have_no_row() {
    let world = World::new().await;
    world.host("silent").await;
    assert_eq!(balance(&world).await, []);
}
