//! Rates between readings of devices, and shares of what a device was then.

use rowcall_core::devices::{Cgroup, Devices, Disk, Filesystem, Interface};

use super::devices::{DEVICES, disk, disks, reading, rows};
use super::*;

#[tokio::test]
async fn no_rate_is_made_across_a_reboot_or_a_counter_that_fell_or_of_many_in_one() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 90);
    let at =
        |n: u64, devices| reading(&session, n, minutes_before(now, -5 * n.cast_signed()), devices);
    let records = [
        at(1, disks([disk("vda", 1, 1_000), disk("vdb", 1, 9_000)])),
        at(2, disks([disk("vda", 1, 4_000), disk("vdb", 1, 8_000)])),
        // A reboot, and counters that are higher already.
        at(3, disks([disk("vda", 2, 5_000)])),
        // A disk that was away.
        at(4, disks([disk("vdb", 1, 8_600)])),
        at(5, disks([disk("vda", 2, 5_300)])),
    ];
    bench.store.ingest(&records).await.unwrap();
    let sql = "SELECT name, elapsed_s, reads_per_s, read_bytes_per_s, await_ms, busy_percent, extract(minute FROM
            \"timestamp\" - lag(\"timestamp\") OVER (PARTITION BY name ORDER BY \"timestamp\")) AS since
        FROM host_disk_rates(now() - interval '1 day', now()) ORDER BY name, \"timestamp\"";
    let found = rows(&bench, sql).await;
    let expected = |name: &str, elapsed: i32, reads: f64, busy: f64| {
        (name.to_owned(), f64::from(elapsed), reads, reads * 4_096.0, 4.0, busy)
    };
    let found: Vec<_> = found
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_f64().unwrap();
            let name = row["name"].as_str().unwrap().to_owned();
            let (bytes, wait) = (number("read_bytes_per_s"), number("await_ms"));
            (name, number("elapsed_s"), number("reads_per_s"), bytes, wait, number("busy_percent"))
        })
        .collect();
    assert_eq!(
        found,
        [
            expected("vda", 300, 10.0, 6.0),
            expected("vda", 600, 0.5, 0.3),
            expected("vdb", 600, 1.0, 0.6),
        ]
    );
    // Nothing was done: no request, no time a request took.
    let idle: Vec<_> = (6..8).map(|n| at(n, disks([disk("idle", 1, 7)]))).collect();
    bench.store.ingest(&idle).await.unwrap();
    let sql = "SELECT busy_percent, await_ms FROM host_disk_rates(now() - interval '1 day', now()) WHERE name = 'idle'";
    assert_eq!(rows(&bench, sql).await, [serde_json::json!({"busy_percent": 0, "await_ms": null})]);
}

#[tokio::test]
async fn interfaces_and_control_groups_have_rates() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 90);
    let records: Vec<_> = (1..=2_u64)
        .map(|n| {
            let count = n.cast_signed() * 300;
            let interface = Interface {
                name: "eth0".into(),
                rx_bytes: count * 1_000,
                tx_bytes: count,
                rx_errors: count,
                // Goes up and down: still the same counters.
                up: Some(n == 1),
                speed_mbit: (n == 1).then_some(1_000),
                ..Interface::default()
            };
            let cgroup =
                Cgroup { name: "a".into(), cpu_us: Some(count * 2_000_000), ..Cgroup::default() };
            let devices = Devices {
                interfaces: vec![interface],
                cgroups: vec![cgroup, Cgroup { name: "b".into(), ..Cgroup::default() }],
                ..Devices::default()
            };
            reading(&session, n, minutes_before(now, -5 * n.cast_signed()), devices)
        })
        .collect();
    bench.store.ingest(&records).await.unwrap();
    let sql = "SELECT rx_bytes_per_s, tx_bytes_per_s, rx_errors, tx_errors, up, speed_mbit
        FROM host_interface_rates(now() - interval '1 day', now())";
    let expected = serde_json::json!({"rx_bytes_per_s": 1000, "tx_bytes_per_s": 1, "rx_errors": 300,
        "tx_errors": 0, "up": false, "speed_mbit": null});
    assert_eq!(rows(&bench, sql).await, [expected]);
    let sql = "SELECT name, cpu_percent, read_bytes_per_s FROM host_cgroup_rates(now() - interval '1 day', now()) ORDER BY 1";
    let expected = [
        serde_json::json!({"name": "a", "cpu_percent": 200, "read_bytes_per_s": null}),
        serde_json::json!({"name": "b", "cpu_percent": null, "read_bytes_per_s": null}),
    ];
    assert_eq!(rows(&bench, sql).await, expected);
}

#[tokio::test]
async fn a_rate_looks_at_one_host_by_its_key() {
    let bench = Bench::new().await;
    let sql = "EXPLAIN (COSTS OFF) SELECT name, busy_percent FROM host_disk_rates(now() - interval '1 hour', now())
        WHERE host_id = 7";
    let plan = bench.sql.query(sql, &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(!plan.contains("Function Scan on host_disk_rates"), "{plan}");
    assert!(plan.contains("host_id = 7"), "{plan}");
    assert!(plan.contains("Subplans Removed"), "other days are not opened: {plan}");
}

/// An interface that passes 1,000 B/s all the time, after so many minutes.
fn steady(session: &OpenedSession, sequence: u64, time: UnixMicros, minutes: u64) -> Incoming {
    let interface = Interface {
        name: "eth0".into(),
        counted_since: 1,
        rx_bytes: minutes.cast_signed() * 60_000,
        ..Interface::default()
    };
    let devices = Devices { interfaces: vec![interface], ..Devices::default() };
    reading(session, sequence, time, devices)
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_rate_wrong() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let begin = minutes_before(bench.now().await, 90);
    // Set back by 10 min 45 s: the later readings fall between the earlier ones.
    let back = |n: u64| if n > 30 { 645_000_000 } else { 0 };
    let time = |n: u64| begin.plus_micros(n.cast_signed() * 60_000_000 - back(n));
    let records: Vec<_> = (1..=60).map(|n| steady(&session, n, time(n), n)).collect();
    bench.store.ingest(&records).await.unwrap();
    let rates = "SELECT rx_bytes_per_s AS rate, count(*) AS readings
        FROM host_interface_rates(now() - interval '1 day', now()) GROUP BY 1";
    // 60 readings, and none over the moment at which the clock was set.
    assert_eq!(rows(&bench, rates).await, [serde_json::json!({"rate": 1000, "readings": 58})]);
}

#[tokio::test]
async fn readings_of_two_spools_have_no_order_and_no_rate() {
    let bench = Bench::new().await;
    let begin = minutes_before(bench.now().await, 90);
    let at = |n: u64| begin.plus_micros(n.cast_signed() * 60_000_000);
    for epoch in [1, 2] {
        let session = bench.open(&hello("node1", epoch)).await;
        let minutes = epoch * 2;
        let records = [0, 1].map(|n| steady(&session, n + 1, at(minutes + n), minutes + n));
        assert_eq!(bench.store.ingest(&records).await.unwrap().device_rows, 2);
    }
    let rates = "SELECT rx_bytes_per_s AS rate FROM host_interface_rates('-infinity', now())";
    let expected = serde_json::json!({"rate": 1000});
    assert_eq!(rows(&bench, rates).await, [expected.clone(), expected]);
}

#[tokio::test]
async fn counters_as_high_as_they_go_fail_nobodys_query() {
    let bench = Bench::new().await;
    let (wild, tame) = (bench.host("wild").await, bench.host("tame").await);
    let begin = minutes_before(bench.now().await, 90);
    let top = i64::MAX;
    let all = |count: i64| Devices {
        disks: vec![Disk {
            name: "sda".into(),
            reads: count,
            writes: count,
            read_bytes: count,
            written_bytes: count,
            read_ms: count,
            write_ms: count,
            busy_ms: count,
            ..Disk::default()
        }],
        interfaces: vec![Interface {
            name: "eth0".into(),
            rx_bytes: count,
            tx_bytes: count,
            rx_packets: count,
            tx_packets: count,
            rx_errors: count,
            tx_errors: count,
            rx_drops: count,
            tx_drops: count,
            ..Interface::default()
        }],
        cgroups: vec![Cgroup {
            name: "a".into(),
            cpu_us: Some(count),
            throttled_us: Some(count),
            memory_kib: Some(count),
            read_bytes: Some(count),
            written_bytes: Some(count),
            processes: Some(count),
            oom_kills: Some(count),
            ..Cgroup::default()
        }],
        ..Devices::default()
    };
    // 1 us apart, as parts of a reading are: no rate can be higher.
    for (session, count) in [(&wild, top), (&tame, 1)] {
        let records = [
            reading(session, 1, begin, all(0)),
            reading(session, 2, begin.plus_micros(1), all(count)),
        ];
        bench.store.ingest(&records).await.unwrap();
    }
    for rates in ["host_disk_rates", "host_interface_rates", "host_cgroup_rates"] {
        let sql = format!("SELECT * FROM {rates}('-infinity', now())");
        assert_eq!(rows(&bench, &sql).await.len(), 2, "{rates}");
    }
    let waits = "SELECT await_ms FROM host_disk_rates('-infinity', now())";
    assert_eq!(rows(&bench, waits).await, vec![serde_json::json!({"await_ms": 1}); 2]);
}

#[tokio::test]
async fn rates_have_as_many_digits_as_people_read() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let begin = minutes_before(bench.now().await, 90);
    let records = [
        reading(&session, 1, begin, disks([disk("sda", 1, 0)])),
        reading(&session, 2, begin.plus_micros(300_000_017), disks([disk("sda", 1, 100_003)])),
    ];
    bench.store.ingest(&records).await.unwrap();
    let expected = serde_json::json!({"elapsed_s": 300, "reads_per_s": 333.34, "read_bytes_per_s": 1_365_374,
        "await_ms": 4, "busy_percent": 100});
    let sql = "SELECT elapsed_s, reads_per_s, read_bytes_per_s, await_ms, busy_percent
        FROM host_disk_rates('-infinity', now())";
    assert_eq!(rows(&bench, sql).await, [expected]);
}

#[tokio::test]
async fn a_filesystem_that_grows_keeps_its_old_percentages() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 60);
    let of_size = |n: u64, size: i64, available: i64| {
        let filesystem = Filesystem {
            mount: "/".into(),
            size_kib: Some(size),
            available_kib: Some(available),
            ..Filesystem::default()
        };
        let devices = Devices { filesystems: vec![filesystem], ..Devices::default() };
        reading(&session, n, minutes_before(now, -5 * n.cast_signed()), devices)
    };
    let records = [of_size(1, 100, 25), of_size(2, 100, 20), of_size(3, 1_000, 900)];
    bench.store.ingest(&records).await.unwrap();
    let used = "SELECT round(100 - 100.0 * available_kib / size_kib)::int AS used
        FROM host_filesystem ORDER BY \"timestamp\"";
    let used: Vec<_> =
        rows(&bench, used).await.iter().map(|row| row["used"].as_i64().unwrap()).collect();
    assert_eq!(used, [75, 80, 10]);
    assert_eq!(bench.number(DEVICES).await, 1, "what grows is the same device");
}
