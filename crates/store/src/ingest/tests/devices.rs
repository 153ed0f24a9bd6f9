//! Readings of devices, and values of drop-in files.

mod growth;

use std::collections::BTreeSet;

use rowcall_core::devices::{
    Cgroup, Devices, Disk, Filesystem, Interface, MdArray, MemoryController, Metric, Process,
    Sensor, SkipReason, Skipped,
};

use super::*;
use crate::ingest::devices::MOST_OF_A_KIND;

pub(super) const DEVICES: &str = "SELECT count(*) FROM host_device";
const READINGS: &str = "SELECT count(*) FROM rowcall.device_sample";

pub(super) fn reading(
    session: &OpenedSession,
    sequence: u64,
    time: UnixMicros,
    devices: Devices,
) -> Incoming {
    record(session, sequence, time, Body::Devices(Box::new(devices)))
}

pub(super) fn disk(name: &str, counted_since: u32, count: i64) -> Disk {
    Disk {
        name: name.into(),
        counted_since,
        reads: count,
        writes: count,
        read_bytes: count * 4_096,
        written_bytes: count * 512,
        read_ms: count * 3,
        write_ms: count * 5,
        busy_ms: count * 6,
        ..Disk::default()
    }
}

pub(super) fn disks(disks: impl IntoIterator<Item = Disk>) -> Devices {
    Devices { disks: disks.into_iter().collect(), ..Devices::default() }
}

/// What a query gives, row by row as JSON.
pub(super) async fn rows(bench: &Bench, sql: &str) -> Vec<serde_json::Value> {
    let sql = format!("SELECT to_jsonb(t)::text FROM ({sql}) AS t");
    let rows = bench.sql.query(&sql, &[]).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
}

/// One of each kind, with what is hard to write.
fn one_of_each() -> Devices {
    Devices {
        filesystems: vec![Filesystem {
            mount: "/srv/with space".into(),
            source: Some("/dev/vda1".into()),
            kind: Some("xfs".into()),
            read_only: true,
            size_kib: Some(1 << 40),
            available_kib: Some(0),
            inodes: None,
            inodes_free: Some(7),
        }],
        disks: vec![Disk { in_flight: 3, busy_max_percent: Some(99.5), ..disk("vda", 9, 1 << 40) }],
        interfaces: vec![Interface {
            name: "eth0".into(),
            counted_since: u32::MAX,
            rx_bytes: 1,
            tx_bytes: 2,
            rx_packets: 3,
            tx_packets: 4,
            rx_errors: 5,
            tx_errors: 6,
            rx_drops: 7,
            tx_drops: i64::MAX,
            speed_mbit: Some(1_000),
            up: Some(true),
            rx_max_bytes_per_s: Some(10),
            tx_max_bytes_per_s: None,
        }],
        sensors: vec![
            Sensor { name: "acpitz".into(), temperature_mc: 0, critical_mc: None },
            Sensor { name: "outside".into(), temperature_mc: -1, critical_mc: Some(105_500) },
        ],
        md_arrays: vec![MdArray {
            name: "md0".into(),
            level: Some("raid1".into()),
            state: Some("clean".into()),
            disks: 2,
            disks_active: 1,
            disks_failed: 1,
            disks_spare: 0,
            sync_percent: Some(12.5),
        }],
        memory_controllers: vec![MemoryController {
            name: "mc0".into(),
            counted_since: 1,
            corrected_errors: 4,
            uncorrected_errors: 0,
        }],
        cgroups: vec![Cgroup {
            name: "system.slice".into(),
            counted_since: 5,
            cpu_us: Some(1_000_000),
            throttled_us: None,
            memory_kib: Some(2_048),
            read_bytes: None,
            written_bytes: Some(0),
            processes: Some(40),
            oom_kills: Some(0),
        }],
        processes: vec![Process {
            command: "postgres".into(),
            pid: 4_000_000,
            cpu_percent: Some(399.99),
            memory_kib: Some((3 << 30) + 1_023),
            read_bytes_per_s: Some(1_048_576),
            written_bytes_per_s: None,
        }],
        metrics: vec![Metric {
            name: "backup_age_seconds".into(),
            labels: vec![("job".into(), "nightly".into())],
            value: 12.5,
        }],
        skipped: vec![Skipped {
            collector: "filesystems".into(),
            item: Some("/mnt/nfs".into()),
            reason: SkipReason::Hung,
            count: 1,
        }],
    }
}

#[tokio::test]
async fn a_reading_becomes_rows_of_the_views_in_their_units() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let records = [reading(&session, 1, bench.now().await, one_of_each())];
    let committed = bench.store.ingest(&records).await.unwrap();
    let expected = Committed { device_rows: 1, metric_rows: 1, ..Committed::default() };
    assert_eq!(committed, expected);
    assert_eq!(mark(&bench, &session).await.0, 1);
    let gib = 1_i64 << 40;
    for (view, expected) in [
        (
            "host_filesystem",
            serde_json::json!({"mount": "/srv/with space", "source": "/dev/vda1", "type": "xfs",
            "read_only": true, "size_kib": gib, "available_kib": 0, "inodes": null, "inodes_free": 7}),
        ),
        (
            "host_disk",
            serde_json::json!({"name": "vda", "counted_since": 9, "reads": gib, "writes": gib,
            "read_bytes": gib * 4_096, "written_bytes": gib * 512, "read_ms": gib * 3, "write_ms": gib * 5,
            "busy_ms": gib * 6, "in_flight": 3, "busy_max_percent": 99.5}),
        ),
        (
            "host_interface",
            serde_json::json!({"name": "eth0", "counted_since": u32::MAX, "up": true,
            "speed_mbit": 1000, "rx_bytes": 1, "tx_bytes": 2, "rx_packets": 3, "tx_packets": 4, "rx_errors": 5,
            "tx_errors": 6, "rx_drops": 7, "tx_drops": i64::MAX, "rx_max_bytes_per_s": 10,
            "tx_max_bytes_per_s": null}),
        ),
        (
            "host_md_array",
            serde_json::json!({"name": "md0", "level": "raid1", "state": "clean", "disks": 2,
            "disks_active": 1, "disks_failed": 1, "disks_spare": 0, "sync_percent": 12.5}),
        ),
        (
            "host_memory_controller",
            serde_json::json!({"name": "mc0", "counted_since": 1, "corrected_errors": 4,
            "uncorrected_errors": 0}),
        ),
        (
            "host_cgroup",
            serde_json::json!({"name": "system.slice", "counted_since": 5, "cpu_us": 1_000_000,
            "throttled_us": null, "memory_kib": 2048, "read_bytes": null, "written_bytes": 0, "processes": 40,
            "oom_kills": 0}),
        ),
        (
            "host_process",
            serde_json::json!({"command": "postgres", "pid": 4_000_000, "cpu_percent": 399.99,
            "memory_mib": 3 << 20, "read_kib_per_s": 1024, "written_kib_per_s": null}),
        ),
        (
            "host_skipped",
            serde_json::json!({"collector": "filesystems", "item": "/mnt/nfs", "reason": "hung",
            "count": 1}),
        ),
        (
            "host_metric",
            serde_json::json!({"name": "backup_age_seconds", "labels": {"job": "nightly"},
            "value": 12.5}),
        ),
    ] {
        let mut found = rows(&bench, &format!("SELECT * FROM {view}")).await;
        assert_eq!(found.len(), 1, "{view}");
        let row = found[0].as_object_mut().unwrap();
        assert!(row.remove("timestamp").is_some());
        assert_eq!(row.remove("host_id").unwrap(), session.host_id.0);
        assert_eq!(row.remove("hostname").unwrap_or_else(|| "node1".into()), "node1");
        // Where there are counters, their order.
        assert_eq!(row.remove("sequence").is_some(), row.contains_key("counted_since"), "{view}");
        assert_eq!(row.remove("epoch_id").is_some(), row.contains_key("counted_since"), "{view}");
        assert_eq!(found[0], expected, "{view}");
    }
    let sensors = rows(
        &bench,
        "SELECT name, temperature_celsius, critical_celsius FROM host_sensor ORDER BY 1",
    )
    .await;
    let cold =
        serde_json::json!({"name": "acpitz", "temperature_celsius": 0, "critical_celsius": null});
    assert_eq!(sensors[0], cold);
    assert_eq!(
        sensors[1],
        serde_json::json!({"name": "outside", "temperature_celsius": -0.001, "critical_celsius": 105.5})
    );
}

#[tokio::test]
async fn a_replay_changes_nothing_and_an_empty_reading_is_one() {
    let bench = Bench::new().await;
    let (one, two) = (bench.host("node1").await, bench.host("node2").await);
    let now = minutes_before(bench.now().await, 9);
    let records = [
        reading(&one, 1, now, one_of_each()),
        reading(&one, 2, now.plus_micros(1), one_of_each()),
        reading(&one, 3, now.plus_micros(2), Devices::default()),
        reading(&two, 1, now, one_of_each()),
        sample(&two, 2, now),
        reading(&one, 4, UnixMicros(0), one_of_each()),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    let expected = Committed {
        samples: 1,
        device_rows: 4,
        metric_rows: 3,
        quarantined: 1,
        ..Committed::default()
    };
    assert_eq!(committed, expected);
    assert_eq!(bench.number(DEVICES).await, 2 * 9);
    let before = bench.everything().await;
    for part in [&records[..], &records[1..2], &records[3..]] {
        let again = bench.store.ingest(part).await.unwrap();
        let duplicates = u64::try_from(part.len()).unwrap();
        assert_eq!(again, Committed { duplicates, ..Committed::default() });
        assert_eq!(bench.everything().await, before);
    }
    let ledger = "SELECT count(*) FROM rowcall.ledger WHERE difference <> 0";
    assert_eq!(bench.number(ledger).await, 0);
}

#[tokio::test]
async fn readings_out_of_range_are_put_aside_and_old_ones_are_counted_only() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let times = [0, 7 * 1_440 - 5, 7 * 1_440 + 5, 29 * 1_440, 31 * 1_440, -11, -9];
    let records: Vec<_> = (1..)
        .zip(times)
        .map(|(n, ago)| reading(&session, n, minutes_before(now, ago), one_of_each()))
        .collect();
    let committed = bench.store.ingest(&records).await.unwrap();
    let expected = Committed {
        device_rows: 3,
        metric_rows: 3,
        expired: 2,
        quarantined: 2,
        ..Committed::default()
    };
    assert_eq!(committed, expected);
    assert_eq!(mark(&bench, &session).await.0, 7);
    let reasons = "SELECT count(*) FROM rowcall.quarantine
        WHERE (sequence = 5 AND reason = 'timestamp is older than retention')
           OR (sequence = 6 AND reason = 'timestamp is more than 10 minutes in the future')";
    assert_eq!(bench.number(reasons).await, 2);
    let again = bench.store.ingest(&records).await.unwrap();
    assert_eq!(again, Committed { duplicates: 7, ..Committed::default() });

    // Two with one time: the first is a row.
    let twins: Vec<_> =
        (8..10).map(|n| reading(&session, n, now.plus_micros(1), one_of_each())).collect();
    let committed = bench.store.ingest(&twins).await.unwrap();
    assert_eq!((committed.device_rows, committed.quarantined), (1, 1));
}

#[tokio::test]
async fn a_reading_that_the_database_does_not_take_is_put_aside_and_its_neighbours_are_stored() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("ALTER TABLE host_device ADD CHECK (name <> 'bad')").await.unwrap();
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 9);
    let zero = Metric { name: "a".into(), labels: vec![("l".into(), "\0".into())], value: 1.0 };
    let records = [
        reading(&session, 1, now, disks([disk("good", 1, 1)])),
        reading(&session, 2, now.plus_micros(1), disks([disk("bad", 1, 1)])),
        sample(&session, 3, now),
        reading(&session, 4, now.plus_micros(2), disks([disk("a\0b", 1, 1)])),
        reading(
            &session,
            5,
            now.plus_micros(3),
            Devices { metrics: vec![zero], ..Devices::default() },
        ),
        reading(&session, 6, now.plus_micros(4), disks([disk("good", 1, 2)])),
    ];
    let committed = bench.store.ingest(&records).await.unwrap();
    let expected = Committed { samples: 1, device_rows: 2, quarantined: 3, ..Committed::default() };
    assert_eq!(committed, expected);
    assert_eq!(mark(&bench, &session).await.0, 6);
    assert_eq!(bench.number(DEVICES).await, 1);
}

#[tokio::test]
async fn names_of_any_kind_stay_what_they_are() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let names: Vec<String> = [
        "{1,2}",
        "\"quoted\"",
        "back\\slash",
        "NULL",
        "null",
        "a,b",
        "{}",
        "'; DROP TABLE host_device;--",
        "שלום \u{1f600}",
        "$1",
        "(other)",
        "%s",
    ]
    .map(String::from)
    .into_iter()
    .chain(["x".repeat(256)])
    .collect();
    let devices = Devices {
        filesystems: names
            .iter()
            .map(|name| Filesystem {
                mount: name.clone(),
                source: Some(name.clone()),
                ..Filesystem::default()
            })
            .collect(),
        disks: names.iter().map(|name| disk(name, 1, 1)).collect(),
        processes: names
            .iter()
            .map(|name| Process { command: name.clone(), ..Process::default() })
            .collect(),
        metrics: (0_u8..)
            .zip(&names)
            .map(|(n, name)| Metric {
                name: "m".into(),
                labels: vec![("of".into(), name.clone())],
                value: n.into(),
            })
            .collect(),
        skipped: names
            .iter()
            .map(|name| Skipped {
                collector: name.clone(),
                item: Some(name.clone()),
                reason: SkipReason::Unreadable,
                count: 1,
            })
            .collect(),
        ..Devices::default()
    };
    let records = [reading(&session, 1, bench.now().await, devices)];
    assert_eq!(bench.store.ingest(&records).await.unwrap().metric_rows, 13);
    let expected: BTreeSet<_> = names.into_iter().collect();
    for sql in [
        "SELECT mount FROM host_filesystem WHERE source = mount",
        "SELECT name FROM host_disk",
        "SELECT command FROM host_process",
        "SELECT labels ->> 'of' FROM host_metric",
        "SELECT collector FROM host_skipped WHERE item = collector",
    ] {
        let found = bench.sql.query(sql, &[]).await.unwrap();
        let found: BTreeSet<String> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregators_with_the_same_new_devices_at_once_name_each_once() {
    let bench = Bench::new().await;
    let sessions = join_all((0..12).map(|n| bench.host_named(n))).await;
    let start = minutes_before(bench.now().await, 200);
    let rounds: Vec<Vec<Incoming>> = (1..=10_u64)
        .map(|n| {
            let time = minutes_before(start, -n.cast_signed());
            let devices = |s: &OpenedSession| {
                let names = (0..n).map(|d| disk(&format!("sd{d}"), 1, s.host_id.0.into()));
                reading(s, n, time, disks(names))
            };
            let mut round: Vec<_> = sessions.iter().map(devices).collect();
            if n % 2 == 0 {
                round.reverse();
            }
            round
        })
        .collect();
    let other = Store::connect(&Settings::new(bench.database.url())).await.unwrap();
    let stores = [bench.store.clone(), other.clone(), bench.store.clone(), other];
    let writers = stores.into_iter().map(|store| {
        let rounds = rounds.clone();
        tokio::spawn(async move {
            let mut stored = 0;
            for round in &rounds {
                stored += store.ingest(round).await.unwrap().device_rows;
            }
            stored
        })
    });
    let stored: u64 = join_all(writers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(stored, 120);
    assert_eq!(bench.number(READINGS).await, 120);
    assert_eq!(bench.number(DEVICES).await, 12 * 10);
    let mixed_up = "SELECT count(*) FROM host_disk WHERE reads <> host_id";
    assert_eq!(bench.number(mixed_up).await, 0);
    assert_eq!(bench.number("SELECT count(*) FROM host_disk").await, 12 * 55);
    let waited = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(bench.number(waited).await, 0);
}

#[tokio::test]
async fn a_host_with_1000_interfaces_and_one_that_has_new_ones_all_the_time() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 60);
    let named = |n: u64, names: std::ops::Range<i64>| {
        let interface = |name: i64| Interface {
            name: format!("veth{name}"),
            counted_since: 3,
            rx_bytes: name,
            ..Interface::default()
        };
        let devices = Devices { interfaces: names.map(interface).collect(), ..Devices::default() };
        reading(&session, n, minutes_before(now, -n.cast_signed()), devices)
    };
    bench.store.ingest(&[named(1, 0..1_000)]).await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM host_interface").await, 1_000);
    for n in 2..=7_u64 {
        // Each name twice.
        let from = n.cast_signed() / 2 * 1_000 + 1_000;
        let committed = bench.store.ingest(&[named(n, from..from + 1_000)]).await.unwrap();
        assert_eq!(committed.device_rows, 1);
    }
    bench.store.ingest(&[reading(&session, 8, now, disks([disk("vda", 1, 1)]))]).await.unwrap();
    assert_eq!(bench.number(DEVICES).await, MOST_OF_A_KIND + 1);
    let others = "SELECT count(*) FROM host_interface WHERE name = '(other)'";
    assert_eq!(bench.number(others).await, 2 * (3_000 - (MOST_OF_A_KIND - 1 - 1_000)));
    // Each is there once, whatever it is called.
    assert_eq!(bench.number("SELECT count(*) FROM host_interface").await, 7_000);
    let sum = "SELECT sum(rx_bytes)::bigint FROM host_interface";
    assert_eq!(
        bench.number(sum).await,
        (0..1_000_i64).sum::<i64>() + 2 * (2_000..5_000_i64).sum::<i64>()
    );
    let rates = "SELECT count(*) FROM host_interface_rates('-infinity', now())";
    assert_eq!(bench.number(rates).await, MOST_OF_A_KIND - 1 - 1_000);
}

#[tokio::test]
async fn a_day_that_only_devices_lack_is_made() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    for (n, table) in (1..).zip(["rowcall.device_sample", "host_metric"]) {
        let drop = format!(
            "DO $$ DECLARE name text; BEGIN
                FOR name IN SELECT p.id::regclass FROM rowcall.partitions() AS p
                     WHERE parent = '{table}'::regclass
                LOOP EXECUTE format('DROP TABLE %s', name); END LOOP; END $$"
        );
        bench.sql.batch_execute(&drop).await.unwrap();
        let records = [reading(&session, n, now.plus_micros(n.cast_signed()), one_of_each())];
        let committed = bench.store.ingest(&records).await.unwrap();
        assert_eq!((committed.device_rows, committed.quarantined), (1, 0), "{table}");
    }
}
