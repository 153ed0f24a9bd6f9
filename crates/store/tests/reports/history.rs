//! Reports that ask what hosts were at the time.

use futures_util::TryStreamExt as _;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::IntegrityKind::{HardwareChanged, Impossible};
use rowcall_store::reports::{HardwareRow, MemoryRow, Scope};

use crate::world::{World, at, between};

/// Tells facts of a host at a time of the day, as a record in the stream does.
async fn told(world: &World, host: i32, time: UnixMicros, facts: &str) {
    world
        .run(
            "SELECT rowcall.tell_facts($1, to_timestamp($2::bigint / 1e6), false,
                                       $3::text::jsonb, NULL, NULL)",
            &[&host, &time.0, &facts],
        )
        .await;
}

/// A host of 2 CPUs and 1 GiB, of 4 CPUs and 2 GiB since a time.
async fn grown(world: &World, name: &str, time: UnixMicros) -> i32 {
    let host = world.host(name).await;
    told(world, host, at(-20, 0, 0), r#"{"cpu_number": 2, "total_mem": 1048576}"#).await;
    told(world, host, time, r#"{"cpu_number": 4, "total_mem": 2097152}"#).await;
    host
}

async fn used(world: &World, scope: &Scope) -> Vec<(u32, Option<f32>, Option<f32>)> {
    let frame = world.frame(scope).await;
    let rows: Vec<MemoryRow> =
        world.store.memory(scope, &frame).await.unwrap().try_collect().await.unwrap();
    rows.into_iter().map(|row| (row.window, row.used_percent, row.unavailable_percent)).collect()
}

#[tokio::test]
async fn memory_is_in_percent_of_what_the_host_had_then() {
    let world = World::new().await;
    let host = grown(&world, "a", at(12, 0, 0)).await;
    // 256 MiB free all along, 512 MiB available: of 1 GiB, then of 2 GiB.
    world.samples(host, at(11, 55, 0), 60, 10).await;
    let before_and_after = [(0, Some(75.0), Some(50.0)), (1, Some(87.5), Some(75.0))];
    assert_eq!(used(&world, &between(at(11, 55, 0), at(12, 5, 0))).await, before_and_after);
    // A range in which nothing changed is no other.
    assert_eq!(used(&world, &between(at(11, 55, 0), at(12, 0, 0))).await, before_and_after[..1]);
    let after = [(0, Some(87.5), Some(75.0))];
    assert_eq!(used(&world, &between(at(12, 0, 0), at(12, 5, 0))).await, after);
}

#[tokio::test]
async fn within_a_window_each_sample_is_measured_by_its_own_total() {
    let world = World::new().await;
    let host = grown(&world, "a", at(12, 2, 0)).await;
    world.samples(host, at(12, 0, 0), 60, 5).await;
    // (2 x 75 + 3 x 87.5) / 5 and (2 x 50 + 3 x 75) / 5.
    let expected = [(0, Some(82.5), Some(65.0))];
    assert_eq!(used(&world, &between(at(12, 0, 0), at(12, 5, 0))).await, expected);
}

#[tokio::test]
async fn balance_weighs_with_the_cpus_and_the_memory_of_the_time() {
    let world = World::new().await;
    let host = grown(&world, "a", at(12, 0, 0)).await;
    let other = world.host("b").await;
    for host in [host, other] {
        world.samples(host, at(11, 55, 0), 60, 10).await;
    }
    world.set(other, at(11, 0, 0), at(13, 0, 0), "cpu_idle = 45").await;
    let scope = between(at(11, 55, 0), at(12, 5, 0));
    let frame = world.frame(&scope).await;
    let rows = world.store.balance(&scope, &frame).await.unwrap();
    let spreads: Vec<_> = rows
        .iter()
        .map(|row| (row.cpu_busy_percent.weighted_mean, row.memory_used_percent.weighted_mean))
        .collect();
    // Busy 25 and 55: with 2 CPUs each, then 4 against 2. Used 75 and 75, then 87.5 and 75.
    let third = 250.0_f32 / 3.0;
    assert_eq!(spreads, [(Some(40.0), Some(75.0)), (Some(35.0), Some(third))]);
}

#[tokio::test]
async fn free_memory_is_impossible_only_above_the_total_of_its_time() {
    let world = World::new().await;
    let host = world.host("shrunk").await;
    told(&world, host, at(-20, 0, 0), r#"{"total_mem": 1048576}"#).await;
    told(&world, host, at(12, 30, 0), r#"{"total_mem": 524288}"#).await;
    world.samples(host, at(12, 0, 0), 60, 60).await;
    // 256 MiB free and 512 MiB available fit both; 600 MiB fit until half past.
    world.set(host, at(12, 0, 0), at(12, 40, 0), "memory_free = 600").await;
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap().findings;
    let found: Vec<_> = found
        .into_iter()
        .map(|row| (row.kind, row.samples, row.from, row.to, row.detail))
        .collect();
    let words = "memory_free in 10".to_owned();
    let changed = "memory 1.0 GiB -> 512.0 MiB".to_owned();
    assert_eq!(
        found,
        [
            (Impossible, 10, at(12, 30, 0), at(12, 39, 0), words),
            (HardwareChanged, 0, at(12, 30, 0), at(12, 30, 0), changed),
        ]
    );
}

async fn hardware(world: &World, as_of: Option<UnixMicros>) -> Vec<HardwareRow> {
    let scope = Scope { hardware_as_of: as_of, ..between(at(20, 0, 0), at(21, 0, 0)) };
    let frame = world.frame(&scope).await;
    world.store.hardware(&scope, &frame).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn hardware_is_told_as_of_a_time() {
    let world = World::new().await;
    grown(&world, "a", at(12, 0, 0)).await;
    world.host_joined("late", at(11, 0, 0)).await;
    let retired = world.host("retired").await;
    world.retire(retired, at(13, 0, 0)).await;
    let told = async |as_of| -> Vec<_> {
        let rows = hardware(&world, as_of).await;
        rows.into_iter().map(|row| (row.host_name, row.cpu_number, row.total_mem_kib)).collect()
    };
    let a = |cpus: u32| ("a".to_owned(), Some(cpus), Some(u64::from(cpus) << 19));
    let other = |name: &str| (name.to_owned(), Some(2), Some(1 << 20));
    assert_eq!(told(None).await, [a(4), other("late")]);
    assert_eq!(told(Some(at(12, 0, 0))).await, [a(4), other("late"), other("retired")]);
    assert_eq!(told(Some(at(11, 59, 59))).await, [a(2), other("late"), other("retired")]);
    assert_eq!(told(Some(at(10, 59, 59))).await, [a(2), other("retired")]);
    assert_eq!(told(Some(at(13, 0, 0))).await, [a(4), other("late")]);
    assert_eq!(told(Some(at(-25, 0, 0))).await, []);
    let changed_at = hardware(&world, Some(at(11, 0, 0))).await[0].changed_at;
    assert_eq!(changed_at, at(-24, 0, 0));
}

#[tokio::test]
async fn an_as_of_that_no_clock_shows_is_refused() {
    let world = World::new().await;
    for time in [-1, i64::MAX] {
        let scope = Scope { hardware_as_of: Some(UnixMicros(time)), ..Scope::default() };
        let error = world.store.frame(&scope).await.unwrap_err();
        assert!(error.to_string().contains("as of 1970 to 9999"), "{error}");
    }
}

#[tokio::test]
async fn each_change_is_told_in_words() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.run("UPDATE host_info SET cpu_number = NULL, total_mem = NULL", &[]).await;
    let steps = [
        r#"{"cpu_number": 8, "total_mem": 16777216, "os": "Debian 11", "kernel": "5.10",
            "disks": [{"name": "sda", "size_kib": 104857600, "model": "QEMU"}],
            "interfaces": [{"name": "eth0", "mac": "52:54:00:00:00:01", "driver": "virtio_net"}]}"#,
        r#"{"total_mem": 33554432, "disks": [
               {"name": "sda", "size_kib": 104857600, "model": "QEMU"},
               {"name": "sdb", "size_kib": 1932735283, "model": "WDC", "rotational": true}]}"#,
        // Less than 1 %: nothing.
        r#"{"total_mem": 33300000}"#,
        // Not known before: nothing.
        r#"{"virtualization": "kvm"}"#,
        r#"{"os": "Debian 12", "kernel": "6.1"}"#,
        r#"{"cpu_number": 16, "disks": [{"name": "sda", "size_kib": 209715200, "model": "QEMU"}],
            "interfaces": []}"#,
    ];
    for (minute, facts) in (0..).zip(steps) {
        told(&world, host, at(12, minute, 0), facts).await;
    }
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap();
    let rows: Vec<_> =
        found.findings.iter().map(|row| (row.kind, row.from, row.detail.as_str())).collect();
    let expected = [
        (
            HardwareChanged,
            at(12, 1, 0),
            "memory 16.0 GiB -> 32.0 GiB; disk sdb added (1.8 TiB, WDC, spins)",
        ),
        (HardwareChanged, at(12, 4, 0), "system Debian 11 -> Debian 12; kernel 5.10 -> 6.1"),
        (
            HardwareChanged,
            at(12, 5, 0),
            "CPUs 8 -> 16; disk sda (100.0 GiB, QEMU) -> (200.0 GiB, QEMU); disk sdb removed \
             (1.8 TiB, WDC, spins); interface eth0 removed (52:54:00:00:00:01, virtio_net)",
        ),
    ];
    assert_eq!(rows, expected);
    assert_eq!(found.total, 3);
}

#[tokio::test]
async fn of_a_host_that_changes_all_the_time_the_newest_changes_are_told() {
    let world = World::new().await;
    let (host, other) = (world.host("a").await, grown(&world, "b", at(12, 0, 0)).await);
    assert_ne!(host, other);
    let flood = "SELECT count(rowcall.tell_facts($1, to_timestamp($2::bigint / 1e6) + n * interval '2 minutes',
            false, jsonb_build_object('kernel', n::text), NULL, NULL)) FROM generate_series(0, 300) AS n";
    world.run(flood, &[&host, &at(10, 0, 0).0]).await;
    let scope = between(at(0, 0, 0), at(24, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap();
    let of_a: Vec<_> = found.findings.iter().filter(|row| row.host_name == "a").collect();
    let told = |place: usize| (of_a[place].from, of_a[place].to, of_a[place].detail.as_str());
    assert_eq!((of_a.len(), found.total), (21, 22));
    assert_eq!(told(0), (at(10, 2, 0), at(19, 20, 0), "280 changes before"));
    assert_eq!(told(1), (at(19, 22, 0), at(19, 22, 0), "kernel 280 -> 281"));
    assert_eq!(told(20), (at(20, 0, 0), at(20, 0, 0), "kernel 299 -> 300"));
}

#[tokio::test]
async fn of_a_host_that_leaves_out_much_the_newest_is_told() {
    let world = World::new().await;
    let (host, other) = (world.host("a").await, world.host("b").await);
    let skipped = "INSERT INTO rowcall.device_sample (\"timestamp\", sequence, host_id, epoch_id, skipped)
        SELECT to_timestamp($2::bigint / 1e6) + n * interval '1 second', n, $1, 1,
               (SELECT jsonb_agg(jsonb_build_object('collector', 'x', 'item', i::text, 'reason', 'hung', 'count', 1))
                  FROM generate_series(1, $3::integer) AS i)
          FROM generate_series(1, 300) AS n";
    world.run(skipped, &[&host, &at(12, 0, 0).0, &100_i32]).await;
    world.run(skipped, &[&other, &at(12, 0, 0).0, &1_i32]).await;
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap();
    let rows: Vec<_> =
        found.findings.iter().map(|row| (row.host_name.as_str(), row.samples, row.from)).collect();
    let mut expected = vec![("b", 300, at(12, 0, 1))];
    expected.extend([("a", 100, at(12, 3, 21)); 20]);
    // The other 80 are one finding.
    expected.push(("a", 0, at(12, 3, 21)));
    assert_eq!(rows, expected);
}
