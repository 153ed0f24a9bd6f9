//! Whose what is stored is: which devices were seen, beside which sample vitals stand, and which days
//! of readings go.

use std::time::Duration;

use rowcall_core::devices::{Cgroup, Devices, Filesystem, Interface};
use rowcall_core::vitals::Vitals;

use super::devices::{disk, disks, reading, rows};
use super::*;
use crate::Store;

#[tokio::test]
async fn a_device_is_young_again_only_where_it_was_seen_itself() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 9);
    let both = disks([disk("seen", 1, 1), disk("gone", 1, 1)]);
    bench.store.ingest(&[reading(&session, 1, now, both)]).await.unwrap();
    bench.sql.batch_execute("UPDATE host_device SET seen_on = seen_on - 9").await.unwrap();
    let one = disks([disk("seen", 1, 2)]);
    bench.store.ingest(&[reading(&session, 2, now.plus_micros(1), one)]).await.unwrap();
    let ago = "SELECT name, (now() AT TIME ZONE 'UTC')::date - seen_on AS days FROM host_device ORDER BY id";
    let ago = rows(&bench, ago).await;
    let expected = [
        serde_json::json!({"name": "gone", "days": 9}),
        serde_json::json!({"name": "seen", "days": 0}),
    ];
    assert_eq!(ago, expected);
}

#[tokio::test]
async fn vitals_of_another_spool_stand_beside_no_sample_of_the_old_one() {
    let bench = Bench::new().await;
    let old = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 9);
    bench.store.ingest(&[sample(&old, 1, now)]).await.unwrap();
    let new = bench.open(&hello("node1", 2)).await;
    assert_ne!(old.epoch_id, new.epoch_id);
    // The same host, time and sequence.
    let mut again = sample(&new, 1, now);
    if let Body::Sample(sample) = &mut again.record.body {
        sample.vitals = Some(Box::new(Vitals { load_1: Some(2.0), ..Vitals::default() }));
    }
    let committed = bench.store.ingest(&[again]).await.unwrap();
    assert_eq!((committed.samples, committed.duplicates), (0, 1));
    assert_eq!(bench.number("SELECT count(*) FROM host_vitals").await, 0);
}

/// Days that tables have before yesterday, as days ago, oldest first.
async fn ago(bench: &Bench, table: &str) -> Vec<i32> {
    let sql = format!(
        "SELECT (now() AT TIME ZONE 'UTC')::date - day AS ago FROM rowcall.made_days()
          WHERE parent = '{table}'::regclass AND day < (now() AT TIME ZONE 'UTC')::date - 1
          ORDER BY day"
    );
    bench.sql.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn days_of(bench: &Bench, days: &str) {
    let sql = format!(
        "SELECT rowcall.create_days(ARRAY(SELECT (now() AT TIME ZONE 'UTC')::date - n FROM unnest(ARRAY[{days}]) AS n))"
    );
    bench.sql.batch_execute(&sql).await.unwrap();
}

/// Drops the days of `host_usage` some days ago, as nothing of ours does without the others.
async fn without_usage(bench: &Bench, days: &[i32]) {
    for day in days {
        let sql = format!(
            "DO $$ BEGIN EXECUTE format('DROP TABLE host_usage_%s',
                to_char((now() AT TIME ZONE 'UTC')::date - {day}, 'YYYYMMDD')); END $$"
        );
        bench.sql.batch_execute(&sql).await.unwrap();
    }
}

async fn retaining(bench: &Bench, days: u64, device_days: u64) -> Store {
    let mut settings = Settings::new(bench.database.url());
    settings.retention = Duration::from_secs(days * 86_400);
    settings.device_retention = Duration::from_secs(device_days * 86_400);
    Store::connect(&settings).await.unwrap()
}

#[tokio::test]
async fn vitals_go_by_the_retention_of_samples_and_only_without_their_samples() {
    let bench = Bench::new().await;
    days_of(&bench, "12, 9, 8, 5").await;
    without_usage(&bench, &[12, 8]).await;
    // Twelve days ago they are too old; eight days ago devices are.
    let retained = retaining(&bench, 10, 6).await.retain().await.unwrap();
    assert_eq!(retained.days, []);
    assert_eq!(ago(&bench, "host_vitals").await, [9, 8, 5]);
    assert_eq!(ago(&bench, "rowcall.device_sample").await, [5]);
    assert_eq!(ago(&bench, "host_metric").await, [5]);
    assert_eq!(retained.device_days, 1 + 3 + 3);
}

#[tokio::test]
async fn a_day_beside_samples_goes_oldest_first_and_never_before_its_samples() {
    let bench = Bench::new().await;
    days_of(&bench, "9, 8, 7, 6, 4").await;
    without_usage(&bench, &[8, 7]).await;
    // The first number is the samples', the second devices': what is shorter counts for these.
    let drop = "SELECT (now() AT TIME ZONE 'UTC')::date - dropped AS ago
        FROM rowcall.drop_device_day(5 * 86400, 30 * 86400)";
    let mut dropped = Vec::new();
    while let Some(row) = bench.sql.query_opt(drop, &[]).await.unwrap() {
        dropped.push(row.get::<_, i32>(0));
    }
    assert_eq!(dropped, [9, 9, 8, 8, 8, 7, 7, 7, 6, 6]);
    // Of nine and six days ago the samples are still there.
    assert_eq!(ago(&bench, "host_vitals").await, [9, 6, 4]);
    assert_eq!(ago(&bench, "host_usage").await, [9, 6, 4]);
    assert_eq!(ago(&bench, "rowcall.device_sample").await, [4]);
}

#[tokio::test]
async fn a_device_is_found_again_by_its_kind_its_life_and_its_attributes() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 9);
    // All of one name.
    let of = |life: u32, up: bool| Devices {
        disks: vec![disk("a", life, 1)],
        filesystems: vec![Filesystem { mount: "a".into(), ..Filesystem::default() }],
        interfaces: vec![Interface {
            name: "a".into(),
            counted_since: 1,
            up: Some(up),
            ..Interface::default()
        }],
        cgroups: vec![Cgroup { name: "a".into(), counted_since: 1, ..Cgroup::default() }],
        ..Devices::default()
    };
    for (n, life, up) in [(1_u64, 1, true), (2, 2, false), (3, 1, true)] {
        let time = now.plus_micros(n.cast_signed());
        bench.store.ingest(&[reading(&session, n, time, of(life, up))]).await.unwrap();
    }
    assert_eq!(bench.number("SELECT count(*) FROM host_device").await, 6);
    for (kind, list, lives) in [
        ("disk", "disks", [1, 2, 1]),
        ("filesystem", "filesystems", [0, 0, 0]),
        ("interface", "interfaces", [1, 1, 1]),
        ("cgroup", "cgroups", [1, 1, 1]),
    ] {
        let found = format!(
            "SELECT d.kind, d.counted_since AS life FROM rowcall.device_sample AS s
               JOIN host_device AS d ON d.host_id = s.host_id AND d.id = s.{list}[1] ORDER BY s.sequence"
        );
        let expected = lives.map(|life| serde_json::json!({"kind": kind, "life": life}));
        assert_eq!(rows(&bench, &found).await, expected, "{list}");
    }
    let up = rows(&bench, "SELECT up FROM host_interface ORDER BY sequence").await;
    assert_eq!(up, [true, false, true].map(|up| serde_json::json!({ "up": up })));
}

#[tokio::test]
async fn a_kind_that_is_full_is_one_device_more_and_leaves_other_kinds_and_hosts_their_names() {
    let bench = Bench::new().await;
    let (full, other) = (bench.host("node1").await, bench.host("node2").await);
    let now = minutes_before(bench.now().await, 9);
    let many = "INSERT INTO host_device (host_id, id, kind, name, counted_since)
        SELECT (SELECT id FROM host_info WHERE hostname = 'node1'), n, 'interface', 'veth' || n, 1
          FROM generate_series(1, 1999) AS n";
    bench.sql.batch_execute(many).await.unwrap();
    let interface = |name: &str, up: Option<bool>| Interface {
        name: name.into(),
        counted_since: 1,
        up,
        ..Interface::default()
    };
    let devices = Devices {
        interfaces: vec![
            interface("x", Some(true)),
            interface("y", Some(false)),
            interface("z", None),
        ],
        ..disks([disk("sda", 1, 1)])
    };
    let records = [&full, &other].map(|session| reading(session, 1, now, devices.clone()));
    bench.store.ingest(&records).await.unwrap();
    let named = "SELECT h.hostname, d.kind, d.name, d.id > 1999 AS is_late, count(*) AS number
        FROM host_device AS d JOIN host_info AS h ON h.id = d.host_id
        WHERE d.name NOT LIKE 'veth%' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3";
    let row = |host: &str, kind: &str, name: &str| {
        serde_json::json!({"hostname": host, "kind": kind, "name": name, "is_late": host == "node1",
            "number": 1})
    };
    assert_eq!(
        rows(&bench, named).await,
        [
            row("node1", "disk", "sda"),
            row("node1", "interface", "(other)"),
            row("node2", "disk", "sda"),
            row("node2", "interface", "x"),
            row("node2", "interface", "y"),
            row("node2", "interface", "z"),
        ]
    );
    let of_many = "SELECT count(*) FROM host_interface WHERE name = '(other)' AND up IS NULL";
    assert_eq!(bench.number(of_many).await, 3);
}
