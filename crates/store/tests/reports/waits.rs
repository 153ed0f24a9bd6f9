//! Bounds of what hosts wait for, of how network and disks spread, and of what was not read.

use futures_util::TryStreamExt as _;
use rowcall_store::reports::{IntegrityKind::NotRead, PressureRow, Scope, Wait};

use crate::world::{World, at, between};

/// Vitals beside all samples of a host.
async fn vitals(world: &World, host: i32, columns: &str, values: &str) {
    let sql = format!(
        "INSERT INTO host_vitals (\"timestamp\", host_id, {columns})
         SELECT \"timestamp\", host_id, {values} FROM host_usage AS u WHERE host_id = $1"
    );
    world.run(&sql, &[&host]).await;
}

async fn pressure(world: &World, scope: &Scope) -> Vec<PressureRow> {
    let frame = world.frame(scope).await;
    world.store.pressure(scope, &frame).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn of_equal_waits_memory_comes_before_io_and_io_before_the_cpu() {
    let world = World::new().await;
    let columns =
        "pressure_cpu_some, pressure_memory_some, pressure_io_some, cpu_steal, cpu_iowait";
    for (name, values) in [
        ("all", "50, 50, 50, 1, 1"),
        ("cpu-io", "50, 2, 50, 1, 1"),
        ("cpu-memory", "50, 50, 2, 1, 1"),
        // Where pressure is measured, neither steal nor iowait is what it waits for.
        ("measured", "5, 2, 2, 80, 90"),
        ("steal-iowait", "NULL, NULL, NULL, 4, 4"),
    ] {
        let host = world.host(name).await;
        world.samples(host, at(12, 0, 0), 60, 5).await;
        vitals(&world, host, columns, values).await;
    }
    let rows = pressure(&world, &between(at(12, 0, 0), at(12, 5, 0))).await;
    let found: Vec<_> =
        rows.iter().map(|row| (row.host_name.as_str(), row.waits_for, row.wait_percent)).collect();
    assert_eq!(
        found,
        [
            ("all", Some(Wait::Memory), Some(50.0)),
            ("cpu-io", Some(Wait::Io), Some(50.0)),
            ("cpu-memory", Some(Wait::Memory), Some(50.0)),
            ("measured", Some(Wait::Cpu), Some(5.0)),
            ("steal-iowait", Some(Wait::Io), Some(4.0)),
        ]
    );
}

#[tokio::test]
async fn pressure_counts_from_the_start_of_the_range_to_before_its_end() {
    let world = World::new().await;
    let (both, out) = (world.host("both").await, world.host("out").await);
    // At 12:00, 12:05 and 12:10.
    for host in [both, out] {
        world.samples(host, at(12, 0, 0), 300, 3).await;
    }
    let wait = "CASE sequence WHEN 1 THEN 30 WHEN 2 THEN 10 ELSE 90 END";
    let columns = "pressure_io_some, swap_in_kib, swap_out_kib, cpu_busy_max";
    vitals(&world, both, columns, &format!("{wait}, 1, 20, {wait}")).await;
    vitals(&world, out, columns, &format!("{wait}, NULL, 20, {wait}")).await;
    // One that tells nothing has the samples of that time.
    let mute = world.host("mute").await;
    world.samples(mute, at(12, 0, 0), 300, 3).await;
    let rows = pressure(&world, &between(at(12, 0, 0), at(12, 10, 0))).await;
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            let numbers = (row.wait_percent, row.swapped_kib, row.cpu_busy_max_percent);
            (row.host_name.as_str(), numbers, row.samples)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("both", (Some(20.0), Some(42), Some(30.0)), 2),
            ("out", (Some(20.0), Some(40), Some(30.0)), 2),
            ("mute", (None, None, None), 2),
        ]
    );
}

#[tokio::test]
async fn network_and_disks_are_averages_over_each_window_alone() {
    let world = World::new().await;
    let host = world.host("a").await;
    // Every 30 s: 10 in each window.
    world.samples(host, at(12, 0, 0), 30, 21).await;
    let first = "sequence <= 10";
    let odd = "sequence % 2 = 1";
    let disk = format!(
        "CASE WHEN {first} THEN CASE WHEN {odd} THEN 10 ELSE 30 END
              WHEN {odd} THEN 40 ELSE 80 END"
    );
    // 100 and 300 B/s, then 1,000 and 3,000.
    let net =
        format!("CASE WHEN {first} THEN 3000 ELSE 30000 END * CASE WHEN {odd} THEN 1 ELSE 3 END");
    vitals(&world, host, "disk_busy, net_rx_bytes, net_tx_bytes", &format!("{disk}, {net}, 0"))
        .await;
    let scope = between(at(12, 0, 0), at(12, 10, 0));
    let frame = world.frame(&scope).await;
    let rows = world.store.balance(&scope, &frame).await.unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.start, row.disk_busy_percent.mean, row.net_bytes_per_s.mean))
        .collect();
    assert_eq!(
        found,
        [(at(12, 0, 0), Some(20.0), Some(200.0)), (at(12, 5, 0), Some(60.0), Some(2_000.0)),]
    );
}

#[tokio::test]
async fn what_was_not_read_is_counted_by_readings_with_its_reason_in_words() {
    let world = World::new().await;
    let host = world.host("a").await;
    let thing = |collector: &str, item: &str, reason: &str, count: i64| {
        format!(
            r#"{{"collector": "{collector}", "item": {item}, "reason": "{reason}", "count": {count}}}"#
        )
    };
    let limit = |count| thing("interfaces", "null", "limit", count);
    let odd = thing("disks", "\"sda\"", "unreadable", 1);
    let new = thing("sensors", "\"\"", "melted", 1);
    for (minute, things) in [
        // From the first moment of the range on.
        (0, vec![limit(7), odd.clone()]),
        // Two of one name are one reading in which it was missed.
        (5, vec![limit(40), odd.clone(), odd.clone()]),
        (10, vec![limit(12), new.clone()]),
    ] {
        let sql = "INSERT INTO rowcall.device_sample (\"timestamp\", sequence, host_id, epoch_id, skipped)
            VALUES (to_timestamp($2::bigint / 1e6), 1, $1, $1, $3::text::jsonb)";
        world.run(sql, &[&host, &at(12, minute, 0).0, &format!("[{}]", things.join(","))]).await;
    }
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap().findings;
    assert!(found.iter().all(|row| row.kind == NotRead));
    let found: Vec<_> =
        found.iter().map(|row| (row.samples, row.from, row.detail.as_str())).collect();
    assert_eq!(
        found,
        [
            (3, at(12, 0, 0), "interfaces: up to 40 more than the agent reads"),
            (2, at(12, 0, 0), "disks sda: cannot be read or understood"),
            (1, at(12, 10, 0), "sensors: melted"),
        ]
    );
    // Of hosts that nobody asked for nothing.
    let others = Scope { name_glob: "b*".into(), ..scope };
    let frame = world.frame(&others).await;
    assert_eq!(world.store.integrity(&others, &frame).await.unwrap().findings, []);
}

#[tokio::test]
async fn a_number_that_its_type_cannot_hold_is_unknown() {
    let world = World::new().await;
    let number = async |sql: &str| -> Option<String> {
        let sql = format!("SELECT ({sql})::text");
        world.sql.query_one(&sql, &[]).await.unwrap().get(0)
    };
    for (real, expected) in [
        ("1e-31", Some("0")),
        ("-1e-45", Some("0")),
        ("-2.5", Some("-2.5")),
        ("9e37", Some("9e+37")),
        ("1e39", None),
        ("-1e300", None),
        ("'nan'", None),
        ("'-infinity'", None),
        ("NULL", None),
    ] {
        let found = number(&format!("rowcall.as_real({real}::float8)")).await;
        assert_eq!(found.as_deref(), expected, "{real}");
    }
    for (integer, expected) in [
        ("2147483647", Some("2147483647")),
        ("2147483648", None),
        ("-2147483648", Some("-2147483648")),
        ("-2147483649", None),
        ("NULL", None),
    ] {
        let found = number(&format!("rowcall.as_integer(({integer})::bigint)")).await;
        assert_eq!(found.as_deref(), expected, "{integer}");
    }
}
