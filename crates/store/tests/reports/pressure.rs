//! What hosts wait for, what was not read, and reboots.

use futures_util::TryStreamExt as _;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::{BootedRow, IntegrityKind, PressureRow, Scope, Spread, Wait};

use crate::world::{World, at, between};

/// Vitals beside all samples of a host.
async fn vitals(world: &World, host: i32, columns: &str, values: &str) {
    world
        .run(
            &format!(
                "INSERT INTO host_vitals (\"timestamp\", host_id, {columns})
                 SELECT \"timestamp\", host_id, {values} FROM host_usage AS u WHERE host_id = $1"
            ),
            &[&host],
        )
        .await;
}

async fn host(world: &World, name: &str, columns: &str, values: &str) -> i32 {
    let host = world.host(name).await;
    world.samples(host, at(12, 0, 0), 60, 10).await;
    vitals(world, host, columns, values).await;
    host
}

async fn pressure(world: &World, scope: &Scope) -> Vec<PressureRow> {
    let frame = world.frame(scope).await;
    world.store.pressure(scope, &frame).await.unwrap().try_collect().await.unwrap()
}

fn noon() -> Scope {
    between(at(12, 0, 0), at(12, 10, 0))
}

const PSI: &str = "pressure_cpu_some, pressure_memory_some, pressure_io_some";

#[tokio::test]
async fn hosts_that_wait_most_come_first_and_those_that_cannot_tell_last() {
    let world = World::new().await;
    host(&world, "cpu", PSI, "30, 10, 20").await;
    host(&world, "memory", PSI, "1, 50, 50").await;
    // 0 for half of the time, 80 for the other.
    host(&world, "io", PSI, "0, 0, CASE WHEN sequence <= 5 THEN 0 ELSE 80 END").await;
    host(&world, "idle", PSI, "0.99, 0.5, 0").await;
    host(&world, "limit", PSI, "1, 0, 0").await;
    // A kernel that does not measure pressure.
    host(&world, "stolen", "cpu_steal, cpu_iowait", "9, 2").await;
    host(&world, "disk", "cpu_steal, cpu_iowait", "2, 9").await;
    // One that tells nothing of it, an agent without vitals, and a host without samples.
    host(&world, "mute", "load_1", "3").await;
    let old = world.host("old").await;
    world.samples(old, at(12, 3, 0), 60, 3).await;
    world.host("silent").await;
    let rows = pressure(&world, &noon()).await;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.host_name.as_str(), row.waits_for, row.wait_percent, row.samples))
        .collect();
    assert_eq!(
        rows,
        [
            ("memory", Some(Wait::Memory), Some(50.0), 10),
            ("io", Some(Wait::Io), Some(40.0), 10),
            ("cpu", Some(Wait::Cpu), Some(30.0), 10),
            ("disk", Some(Wait::Io), Some(9.0), 10),
            ("stolen", Some(Wait::Cpu), Some(9.0), 10),
            ("limit", Some(Wait::Cpu), Some(1.0), 10),
            ("idle", Some(Wait::Nothing), Some(0.99), 10),
            ("mute", None, None, 10),
            ("old", None, None, 3),
        ]
    );
}

#[tokio::test]
async fn every_number_is_an_average_a_sum_or_the_highest_of_the_range() {
    let world = World::new().await;
    let columns = "pressure_cpu_some, pressure_memory_some, pressure_memory_full, pressure_io_some,
        pressure_io_full, cpu_iowait, cpu_steal, load_1, cpu_busy_max, swap_in_kib, swap_out_kib, oom_kills";
    let odd = "CASE WHEN sequence % 2 = 1 THEN 1 ELSE 3 END";
    let values =
        format!("10 * {odd}, 2, 1, 4, 3, {odd}, NULL, {odd}, 10 * sequence, {odd}, NULL, 1");
    let id = host(&world, "a", columns, &values).await;
    // What a first sample after a start cannot tell counts for nothing.
    world
        .run(
            "UPDATE host_vitals SET pressure_cpu_some = NULL, oom_kills = NULL WHERE host_id = $1
                AND \"timestamp\" = to_timestamp($2::bigint / 1e6)",
            &[&id, &at(12, 1, 0).0],
        )
        .await;
    // Outside the range.
    world.samples(id, at(13, 0, 0), 60, 1).await;
    let rows = pressure(&world, &noon()).await;
    let expected = PressureRow {
        host_name: "a".into(),
        waits_for: Some(Wait::Cpu),
        // 5 of 10 and 4 of 30.
        wait_percent: Some(170.0 / 9.0),
        cpu_some_percent: Some(170.0 / 9.0),
        memory_some_percent: Some(2.0),
        memory_full_percent: Some(1.0),
        io_some_percent: Some(4.0),
        io_full_percent: Some(3.0),
        iowait_percent: Some(2.0),
        steal_percent: None,
        // 2 on 2 CPUs.
        load_per_cpu: Some(1.0),
        cpu_busy_max_percent: Some(100.0),
        swapped_kib: Some(20),
        oom_kills: Some(9),
        samples: 10,
    };
    assert_eq!(rows, [expected]);
    let labelled = Scope { name_glob: "b*".into(), ..noon() };
    assert_eq!(pressure(&world, &labelled).await, []);
}

#[tokio::test]
async fn numbers_next_to_nothing_or_beyond_belief_fail_no_report() {
    let world = World::new().await;
    let columns = "pressure_cpu_some, pressure_memory_some, pressure_memory_full, pressure_io_some,
        pressure_io_full, cpu_iowait, cpu_steal, load_1, cpu_busy_max, disk_busy";
    for (name, number) in [
        ("tiny", "CASE WHEN sequence = 1 THEN 1e-45 ELSE 0 END::real"),
        ("huge", "3.4e38::real"),
        ("negative", "CASE WHEN sequence = 1 THEN -3.4e38 ELSE 3.4e38 END::real"),
    ] {
        host(&world, name, columns, &[number; 10].join(", ")).await;
        let rows = pressure(&world, &noon()).await;
        let row = rows.iter().find(|row| row.host_name == name).unwrap();
        assert_eq!(row.samples, 10, "{name}");
        if name == "tiny" {
            assert_eq!((row.wait_percent, row.load_per_cpu), (Some(0.0), Some(0.0)));
        }
        let frame = world.frame(&noon()).await;
        let windows = world.store.balance(&noon(), &frame).await.unwrap();
        assert_eq!(windows.len(), 2, "{name}");
    }
}

#[tokio::test]
async fn load_is_by_the_cpus_at_the_end_of_the_range() {
    let world = World::new().await;
    let id = host(&world, "a", "cpu_steal, load_1", "0, 8").await;
    for (time, facts) in
        [(at(-20, 0, 0), "{\"cpu_number\": 2}"), (at(12, 30, 0), "{\"cpu_number\": 8}")]
    {
        world
            .run(
                "SELECT rowcall.tell_facts($1, to_timestamp($2::bigint / 1e6), false, $3::text::jsonb, NULL, NULL)",
                &[&id, &time.0, &facts],
            )
            .await;
    }
    assert_eq!(pressure(&world, &noon()).await[0].load_per_cpu, Some(4.0));
    let later = between(at(12, 0, 0), at(13, 0, 0));
    assert_eq!(pressure(&world, &later).await[0].load_per_cpu, Some(1.0));
}

#[tokio::test]
async fn balance_covers_network_and_disk_of_the_hosts_that_tell() {
    let world = World::new().await;
    let columns = "net_rx_bytes, net_tx_bytes, disk_busy";
    // 60 s: 6,000 B are 100 B/s. Half of b's samples tell, and each host counts once.
    host(&world, "a", columns, "4000, 2000, 10").await;
    host(
        &world,
        "b",
        columns,
        "CASE WHEN sequence % 2 = 0 THEN 12000 END, CASE WHEN sequence % 2 = 0 THEN 6000 END, 40",
    )
    .await;
    let old = world.host("old").await;
    world.samples(old, at(12, 0, 0), 60, 10).await;
    world.run("UPDATE host_info SET cpu_number = 6 WHERE hostname = 'b'", &[]).await;
    let scope = Scope { window_s: 600, ..noon() };
    let frame = world.frame(&scope).await;
    let rows = world.store.balance(&scope, &frame).await.unwrap();
    assert_eq!((rows.len(), rows[0].hosts), (1, 3));
    // 100 and 300 B/s; weighted (2 x 100 + 6 x 300) / 8, variance (2 x 150^2 + 6 x 50^2) / 8 = 7,500.
    let net = Spread {
        mean: Some(200.0),
        standard_deviation: Some(100.0),
        min: Some(100.0),
        max: Some(300.0),
        coefficient_of_variation: Some(0.5),
        weighted_mean: Some(250.0),
        weighted_standard_deviation: Some(86.602_54),
    };
    assert_eq!(rows[0].net_bytes_per_s, net);
    // 10 and 40; weighted (2 x 10 + 6 x 40) / 8, variance (2 x 22.5^2 + 6 x 7.5^2) / 8 = 168.75.
    let disk = Spread {
        mean: Some(25.0),
        standard_deviation: Some(15.0),
        min: Some(10.0),
        max: Some(40.0),
        coefficient_of_variation: Some(0.6),
        weighted_mean: Some(32.5),
        weighted_standard_deviation: Some(12.990_381),
    };
    assert_eq!(rows[0].disk_busy_percent, disk);
}

#[tokio::test]
async fn what_agents_could_not_read_is_named_with_how_often_and_when() {
    let world = World::new().await;
    let (a, b) = (world.host("a").await, world.host("b").await);
    let hung = r#"{"collector": "filesystems", "item": "/mnt/x", "reason": "hung", "count": 1}"#;
    let many = r#"{"collector": "interfaces", "item": null, "reason": "limit", "count": 40}"#;
    for (host, minute, skipped) in [
        (a, 0, format!("[{hung}]")),
        (a, 5, format!("[{hung}, {many}]")),
        (a, 10, format!("[{hung}]")),
        (b, 15, format!("[{many}]")),
        // Outside the range.
        (b, 60, format!("[{hung}]")),
    ] {
        world
            .run(
                "INSERT INTO rowcall.device_sample (\"timestamp\", sequence, host_id, epoch_id, skipped)
                 VALUES (to_timestamp($2::bigint / 1e6), 1, $1, $1, $3::text::jsonb)",
                &[&host, &at(12, minute, 0).0, &skipped],
            )
            .await;
    }
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap();
    let rows: Vec<_> = found
        .findings
        .iter()
        .map(|row| (row.host_name.as_str(), row.samples, row.from, row.to, row.detail.as_str()))
        .collect();
    let limit = "interfaces: up to 40 more than the agent reads";
    assert_eq!(
        rows,
        [
            ("a", 3, at(12, 0, 0), at(12, 10, 0), "filesystems /mnt/x: did not answer in time"),
            ("a", 1, at(12, 5, 0), at(12, 5, 0), limit),
            ("b", 1, at(12, 15, 0), at(12, 15, 0), limit),
        ]
    );
    assert!(found.findings.iter().all(|row| row.kind == IntegrityKind::NotRead));
}

#[tokio::test]
async fn of_much_that_was_not_read_the_newest_is_named_and_the_rest_counted() {
    let world = World::new().await;
    let host = world.host("a").await;
    for minute in 0..25 {
        let (collector, item, reason) = match minute {
            24 => ("metrics", "b.prom line 1: no number".to_owned(), "unreadable"),
            23 => ("devices", "readings left out".to_owned(), "limit"),
            _ => ("metrics", format!("c{minute}"), "unreadable"),
        };
        let skipped = format!(
            r#"[{{"collector": "{collector}", "item": "{item}", "reason": "{reason}", "count": 7}}]"#
        );
        world
            .run(
                "INSERT INTO rowcall.device_sample (\"timestamp\", sequence, host_id, epoch_id, skipped)
                 VALUES (to_timestamp($2::bigint / 1e6), $3, $1, $1, $4::text::jsonb)",
                &[&host, &at(12, minute, 0).0, &minute, &skipped],
            )
            .await;
    }
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap();
    let mut rows: Vec<_> =
        found.findings.iter().map(|row| (row.from, row.samples, row.detail.clone())).collect();
    assert_eq!(found.total, 21);
    let rest = "5 more, as the view host_skipped tells".to_owned();
    assert_eq!(rows.pop(), Some((at(12, 0, 0), 0, rest)));
    rows.sort();
    assert_eq!(rows[0], (at(12, 5, 0), 1, "metrics c5: cannot be read or understood".into()));
    assert_eq!(rows[18], (at(12, 23, 0), 1, "devices readings left out, up to 7".into()));
    assert_eq!(rows[19], (at(12, 24, 0), 1, "metrics b.prom line 1: no number".into()));
}

async fn boots(world: &World, scope: &Scope) -> Vec<(String, UnixMicros)> {
    let frame = world.frame(scope).await;
    let rows: Vec<BootedRow> =
        world.store.boots(scope, &frame).await.unwrap().try_collect().await.unwrap();
    rows.into_iter().map(|row| (row.host_name, row.booted_at)).collect()
}

#[tokio::test]
async fn boots_within_the_range_are_told_by_host_and_time() {
    let world = World::new().await;
    let (b, a) = (world.host("b").await, world.host("a").await);
    let boot = async |host: i32, id: &str, time: Option<UnixMicros>| {
        world
            .run(
                "INSERT INTO host_boot (host_id, boot_id, booted_at)
                 VALUES ($1, $2, to_timestamp($3::bigint / 1e6))",
                &[&host, &id, &time.map(|time| time.0)],
            )
            .await;
    };
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    assert_eq!(boots(&world, &scope).await, []);
    for (id, time) in [("2", at(12, 30, 0)), ("1", at(12, 0, 0)), ("3", at(13, 0, 0))] {
        boot(b, id, Some(time)).await;
    }
    boot(a, "1", Some(at(12, 40, 0))).await;
    boot(a, "2", None).await;
    let found = boots(&world, &scope).await;
    let expected = [("a", at(12, 40, 0)), ("b", at(12, 0, 0)), ("b", at(12, 30, 0))];
    assert_eq!(found, expected.map(|(name, time)| (name.to_owned(), time)));
    // A host that boots all the time has the first 100.
    for second in 0..120 {
        boot(a, &format!("loop {second}"), Some(at(12, 50, second))).await;
    }
    let found = boots(&world, &Scope { name_glob: "a".into(), ..scope }).await;
    assert_eq!((found.len(), found[99].1), (100, at(12, 51, 38)));
}
