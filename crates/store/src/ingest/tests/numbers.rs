//! Each number of a device in a column of its own, and the bounds of rates for each kind.

use rowcall_core::devices::{Cgroup, Devices, Disk, Interface, MdArray, MemoryController, Process};
use serde_json::{Value, json};

use super::devices::{reading, rows};
use super::*;

/// Two devices of each kind with counters, and no two numbers of one that are the same: those of the
/// first from `from` on in steps of `step`.
fn two_of_each(from: i64, step: i64) -> Devices {
    let of = |second: bool| move |n: i64| from + n * step + if second { 5_000 } else { 0 };
    let name = |second: bool| if second { "b".to_owned() } else { "a".to_owned() };
    let disk = |second| {
        let n = of(second);
        Disk {
            name: name(second),
            counted_since: 1,
            reads: n(1),
            writes: n(2),
            read_bytes: n(3),
            written_bytes: n(4),
            read_ms: n(5),
            write_ms: n(6),
            busy_ms: n(7),
            in_flight: 8,
            busy_max_percent: Some(77.5),
        }
    };
    let interface = |second| {
        let n = of(second);
        Interface {
            name: name(second),
            counted_since: 1,
            rx_bytes: n(1),
            tx_bytes: n(2),
            rx_packets: n(3),
            tx_packets: n(4),
            rx_errors: n(5),
            tx_errors: n(6),
            rx_drops: n(7),
            tx_drops: n(8),
            rx_max_bytes_per_s: Some(9),
            tx_max_bytes_per_s: Some(10),
            up: Some(true),
            speed_mbit: Some(1_000),
        }
    };
    let cgroup = |second| {
        let n = of(second);
        Cgroup {
            name: name(second),
            counted_since: 1,
            cpu_us: Some(n(1)),
            throttled_us: Some(n(2)),
            read_bytes: Some(n(3)),
            written_bytes: Some(n(4)),
            oom_kills: Some(n(5)),
            memory_kib: Some(6),
            processes: Some(7),
        }
    };
    Devices {
        disks: [false, true].map(disk).into(),
        interfaces: [false, true].map(interface).into(),
        cgroups: [false, true].map(cgroup).into(),
        ..Devices::default()
    }
}

/// The rows of the second device, without whose and when they are.
async fn second(bench: &Bench, from: &str) -> Vec<Value> {
    let mut rows = rows(bench, &format!("SELECT * FROM {from} WHERE name = 'b'")).await;
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        row.retain(|name, _| {
            !["timestamp", "host_id", "hostname", "name"].contains(&name.as_str())
        });
    }
    rows
}

#[tokio::test]
async fn no_two_numbers_of_a_device_share_a_column() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let arrays = ["a", "b"].map(|name| MdArray {
        name: name.into(),
        disks: 9,
        disks_active: 4,
        disks_failed: 3,
        disks_spare: 2,
        sync_percent: Some(1.5),
        level: None,
        state: None,
    });
    let controllers = ["a", "b"].map(|name| MemoryController {
        name: name.into(),
        counted_since: 3,
        corrected_errors: 4,
        uncorrected_errors: 5,
    });
    let processes = ["a", "b"].map(|name| Process {
        command: name.into(),
        pid: 11,
        cpu_percent: Some(12.5),
        memory_kib: Some(13 << 10),
        read_bytes_per_s: Some(14 << 10),
        written_bytes_per_s: Some(15 << 10),
    });
    let devices = Devices {
        md_arrays: arrays.into(),
        memory_controllers: controllers.into(),
        processes: processes.into(),
        ..two_of_each(0, 1)
    };
    bench.store.ingest(&[reading(&session, 1, bench.now().await, devices)]).await.unwrap();
    let order = |mut row: Value| {
        row["counted_since"] = json!(1);
        row["epoch_id"] = json!(session.epoch_id.0);
        row["sequence"] = json!(1);
        row
    };
    let n = |n: i64| n + 5_000;
    for (view, expected) in [
        (
            "host_disk",
            order(json!({"reads": n(1), "writes": n(2), "read_bytes": n(3), "written_bytes": n(4),
                "read_ms": n(5), "write_ms": n(6), "busy_ms": n(7), "in_flight": 8,
                "busy_max_percent": 77.5})),
        ),
        (
            "host_interface",
            order(
                json!({"rx_bytes": n(1), "tx_bytes": n(2), "rx_packets": n(3), "tx_packets": n(4),
                "rx_errors": n(5), "tx_errors": n(6), "rx_drops": n(7), "tx_drops": n(8),
                "rx_max_bytes_per_s": 9, "tx_max_bytes_per_s": 10, "up": true, "speed_mbit": 1000}),
            ),
        ),
        (
            "host_cgroup",
            order(json!({"cpu_us": n(1), "throttled_us": n(2), "read_bytes": n(3),
                "written_bytes": n(4), "oom_kills": n(5), "memory_kib": 6, "processes": 7})),
        ),
        (
            "host_md_array",
            json!({"level": null, "state": null, "disks": 9, "disks_active": 4, "disks_failed": 3,
                "disks_spare": 2, "sync_percent": 1.5}),
        ),
        (
            "host_memory_controller",
            json!({"counted_since": 3, "corrected_errors": 4, "uncorrected_errors": 5,
                "epoch_id": session.epoch_id.0, "sequence": 1}),
        ),
        (
            "(SELECT command AS name, * FROM host_process) AS p",
            json!({"command": "b", "pid": 11, "cpu_percent": 12.5, "memory_mib": 13,
                "read_kib_per_s": 14, "written_kib_per_s": 15}),
        ),
    ] {
        assert_eq!(second(&bench, view).await, [expected], "{view}");
    }
}

#[tokio::test]
async fn each_rate_is_of_its_own_counter() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let begin = minutes_before(bench.now().await, 90);
    let records = [
        reading(&session, 1, begin, two_of_each(0, 0)),
        // 100 s later; the counters of the n-th column are n x 6,000 higher.
        reading(&session, 2, begin.plus_micros(100_000_000), two_of_each(0, 6_000)),
    ];
    bench.store.ingest(&records).await.unwrap();
    for (rates, expected) in [
        (
            "host_disk_rates",
            // 66,000 ms for 18,000 requests; busy for 42 s.
            json!({"reads_per_s": 60, "writes_per_s": 120, "read_bytes_per_s": 180,
                "written_bytes_per_s": 240, "await_ms": 3.667, "busy_percent": 42, "in_flight": 8,
                "busy_max_percent": 77.5}),
        ),
        (
            "host_interface_rates",
            json!({"rx_bytes_per_s": 60, "tx_bytes_per_s": 120, "rx_packets_per_s": 180,
                "tx_packets_per_s": 240, "rx_errors": 30_000, "tx_errors": 36_000,
                "rx_drops": 42_000, "tx_drops": 48_000, "rx_max_bytes_per_s": 9,
                "tx_max_bytes_per_s": 10, "up": true, "speed_mbit": 1000}),
        ),
        (
            "host_cgroup_rates",
            // 6 ms and 12 ms of 100 s.
            json!({"cpu_percent": 0.01, "throttled_percent": 0.01, "read_bytes_per_s": 180,
                "written_bytes_per_s": 240, "oom_kills": 30_000, "memory_kib": 6, "processes": 7}),
        ),
    ] {
        let mut found = second(&bench, &format!("{rates}('-infinity', now())")).await;
        assert_eq!(found.len(), 1, "{rates}");
        assert_eq!(found[0].as_object_mut().unwrap().remove("elapsed_s"), Some(json!(100)));
        assert_eq!(found[0], expected, "{rates}");
    }
    // In percent of one CPU and of the time.
    let shares = "SELECT cpu_percent, throttled_percent FROM host_cgroup_rates('-infinity', now()) WHERE name = 'c'";
    let of = |count: i64| Devices {
        cgroups: vec![Cgroup {
            name: "c".into(),
            cpu_us: Some(count * 150_000_000),
            throttled_us: Some(count * 25_000_000),
            ..Cgroup::default()
        }],
        ..Devices::default()
    };
    let records = [3_u64, 4].map(|n| {
        reading(&session, n, begin.plus_micros(n.cast_signed() * 100_000_000), of(n.cast_signed()))
    });
    bench.store.ingest(&records).await.unwrap();
    let expected = json!({"cpu_percent": 150, "throttled_percent": 25});
    assert_eq!(rows(&bench, shares).await, [expected]);
}

const RATES: [&str; 3] = ["host_disk_rates", "host_interface_rates", "host_cgroup_rates"];

/// A disk, an interface and a control group in one life of their counters, all of which stand at a
/// number.
fn one_of_each(counted_since: u32, count: i64) -> Devices {
    let mut devices = two_of_each(count, 0);
    devices.disks.truncate(1);
    devices.interfaces.truncate(1);
    devices.cgroups.truncate(1);
    devices.disks[0].counted_since = counted_since;
    devices.interfaces[0].counted_since = counted_since;
    devices.cgroups[0].counted_since = counted_since;
    devices
}

/// The spans of all rates of a range, oldest first.
async fn spans(bench: &Bench, rates: &str, range: &str) -> Vec<i64> {
    let sql = format!("SELECT elapsed_s FROM {rates}({range}) ORDER BY \"timestamp\"");
    rows(bench, &sql).await.iter().map(|row| row["elapsed_s"].as_i64().unwrap()).collect()
}

const ALL: &str = "'-infinity', now()";

#[tokio::test]
async fn for_no_kind_is_there_a_rate_over_what_cannot_be_compared() {
    let bench = Bench::new().await;
    let begin = minutes_before(bench.now().await, 90);
    let at = |second: i64| begin.plus_micros(second * 1_000_000);
    // A clock that is set back between the second and the third.
    let session = bench.host("node1").await;
    let times = [(1, 0), (2, 70), (3, 40), (4, 90)];
    let records =
        times.map(|(n, second)| reading(&session, n, at(second), one_of_each(1, n.cast_signed())));
    bench.store.ingest(&records).await.unwrap();
    for rates in RATES {
        assert_eq!(spans(&bench, rates, ALL).await, [70, 50], "{rates}");
    }
    // Another spool of the host, with its own order.
    let session = bench.open(&hello("node1", 2)).await;
    let records =
        [1_u64, 2].map(|n| reading(&session, n, at(100 * n.cast_signed()), one_of_each(1, 9)));
    bench.store.ingest(&records).await.unwrap();
    for rates in RATES {
        assert_eq!(spans(&bench, rates, ALL).await, [70, 50, 100], "{rates}");
    }
    // Counters that began anew and stand higher already.
    let records = [(3, 300, 10), (4, 320, 20)]
        .map(|(n, second, count)| reading(&session, n, at(second), one_of_each(2, count)));
    bench.store.ingest(&records).await.unwrap();
    for rates in RATES {
        assert_eq!(spans(&bench, rates, ALL).await, [70, 50, 100, 20], "{rates}");
    }
    // Another host with a device of that name.
    let other = bench.host("node2").await;
    bench.store.ingest(&[reading(&other, 1, at(330), one_of_each(2, 30))]).await.unwrap();
    for rates in RATES {
        assert_eq!(spans(&bench, rates, ALL).await, [70, 50, 100, 20], "{rates}");
    }
    // What stands for many devices.
    let many = "UPDATE host_device SET counted_since = -1 WHERE counted_since = 1";
    bench.sql.batch_execute(many).await.unwrap();
    for rates in RATES {
        assert_eq!(spans(&bench, rates, ALL).await, [20], "{rates}");
    }
}

#[tokio::test]
async fn rates_begin_at_the_start_of_a_range_and_end_before_its_end() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    // In whole seconds, so that the bounds are exact.
    let second = bench.number("SELECT extract(epoch FROM now())::bigint - 3600").await;
    let begin = UnixMicros(second * 1_000_000);
    let records = [1_u64, 2, 3].map(|n| {
        let time = begin.plus_micros(60_000_000 * n.cast_signed());
        reading(&session, n, time, one_of_each(1, n.cast_signed()))
    });
    bench.store.ingest(&records).await.unwrap();
    for (from, to, expected) in [(1, 3, 1), (1, 4, 2), (2, 4, 1), (2, 3, 0)] {
        let [from, to] = [from, to].map(|minute| second + 60 * minute);
        let range = format!("to_timestamp({from}), to_timestamp({to})");
        for rates in RATES {
            assert_eq!(
                spans(&bench, rates, &range).await,
                vec![60; expected],
                "{rates} {from} {to}"
            );
        }
    }
}

#[tokio::test]
async fn one_counter_that_fell_is_enough_for_no_rate() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let begin = minutes_before(bench.now().await, 90);
    // Of the n-th device the n-th counter falls; of the last none.
    let first = two_of_each(0, 0);
    let named = |n: usize| format!("n{n}");
    let of = |falls: bool| {
        let base = if falls { 200 } else { 100 };
        let value = |device: usize, counter: usize| {
            if falls && device == counter { 50 } else { base }
        };
        let disk = |n: usize| {
            let v = |counter| value(n, counter);
            Disk {
                name: named(n),
                reads: v(0),
                writes: v(1),
                read_bytes: v(2),
                written_bytes: v(3),
                read_ms: v(4),
                write_ms: v(5),
                busy_ms: v(6),
                ..first.disks[0].clone()
            }
        };
        let interface = |n: usize| {
            let v = |counter| value(n, counter);
            Interface {
                name: named(n),
                rx_bytes: v(0),
                tx_bytes: v(1),
                rx_packets: v(2),
                tx_packets: v(3),
                rx_errors: v(4),
                tx_errors: v(5),
                rx_drops: v(6),
                tx_drops: v(7),
                ..first.interfaces[0].clone()
            }
        };
        let cgroup = |n: usize| {
            let v = |counter| Some(value(n, counter));
            Cgroup {
                name: named(n),
                cpu_us: v(0),
                throttled_us: v(1),
                read_bytes: v(2),
                written_bytes: v(3),
                oom_kills: v(4),
                ..first.cgroups[0].clone()
            }
        };
        Devices {
            disks: (0..8).map(disk).collect(),
            interfaces: (0..9).map(interface).collect(),
            cgroups: (0..6).map(cgroup).collect(),
            ..Devices::default()
        }
    };
    let records = [
        reading(&session, 1, begin, of(false)),
        reading(&session, 2, begin.plus_micros(60_000_000), of(true)),
    ];
    bench.store.ingest(&records).await.unwrap();
    for (rates, last) in RATES.into_iter().zip([7, 8, 5]) {
        let found = rows(&bench, &format!("SELECT name FROM {rates}({ALL})")).await;
        assert_eq!(found, [json!({ "name": named(last) })], "{rates}");
    }
}
