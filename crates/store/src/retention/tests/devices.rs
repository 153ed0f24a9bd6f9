//! Days of readings of devices, which go sooner, and devices without any.

use rowcall_core::devices::{Devices, Disk};
use rowcall_core::record::Body;

use super::*;
use crate::testing::record;

/// Days that tables have, oldest first, as days ago; from before yesterday on.
async fn ago(bench: &Bench, table: &str) -> Vec<i32> {
    let sql = format!(
        "SELECT (now() AT TIME ZONE 'UTC')::date - day AS ago FROM rowcall.made_days()
          WHERE parent = '{table}'::regclass AND day < (now() AT TIME ZONE 'UTC')::date - 1
          ORDER BY day"
    );
    bench.sql.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn days_of_devices_go_sooner_and_those_of_vitals_with_their_samples() {
    let bench = Bench::new().await;
    make_days(&bench, 12, 4).await;
    let mut settings = Settings::new(bench.database.url());
    settings.retention = Duration::from_secs(10 * 86_400);
    settings.device_retention = Duration::from_secs(6 * 86_400);
    let store = Store::connect(&settings).await.unwrap();
    let retained = store.retain().await.unwrap();
    // Of 12 and 11 days ago all tables; of 10 to 7 days ago two each.
    assert_eq!((retained.days.len(), retained.device_days), (2, 8));
    for (table, left) in [
        ("host_usage", vec![10, 9, 8, 7, 6, 5, 4]),
        ("host_vitals", vec![10, 9, 8, 7, 6, 5, 4]),
        ("rowcall.device_sample", vec![6, 5, 4]),
        ("host_metric", vec![6, 5, 4]),
    ] {
        assert_eq!(ago(&bench, table).await, left, "{table}");
    }
    // Nothing before is refused for it.
    assert_eq!(samples_of_days(&bench, &[8]).await.samples, 1);
    assert_eq!(store.retain().await.unwrap(), Retained::default());
}

#[tokio::test]
async fn above_the_size_a_day_goes_from_all_tables() {
    let bench = Bench::new().await;
    make_days(&bench, 3, 2).await;
    let retained = store(&bench, 30, Some(1)).await.retain().await.unwrap();
    assert_eq!(retained.days.len(), 2);
    for table in ["host_usage", "host_vitals", "rowcall.device_sample", "host_metric"] {
        assert_eq!(ago(&bench, table).await, Vec::<i32>::new(), "{table}");
    }
}

#[tokio::test]
async fn devices_without_readings_are_forgotten_unless_their_host_is_held() {
    let mut bench = Bench::new().await;
    let (one, two) = (bench.host("node1").await, bench.host("node2").await);
    let disks = ["old", "young", "today"].map(|name| Disk { name: name.into(), ..Disk::default() });
    let devices = Devices { disks: disks.into(), ..Devices::default() };
    let now = bench.now().await;
    let readings = [&one, &two]
        .map(|session| record(session, 1, now, Body::Devices(Box::new(devices.clone()))));
    bench.store.ingest(&readings).await.unwrap();
    let age = "UPDATE host_device SET seen_on = seen_on - 39 WHERE name = 'old';
        UPDATE host_device SET seen_on = seen_on - 37 WHERE name = 'young';
        INSERT INTO host_device (host_id, id, kind, name, counted_since, seen_on)
        SELECT 2, 10 + n, 'interface', 'veth' || n, 1, (now() AT TIME ZONE 'UTC')::date - n
          FROM generate_series(0, 10) AS n CROSS JOIN (VALUES (0)) AS v;
        INSERT INTO host_device (host_id, id, kind, name, counted_since)
        SELECT 2, 100 + n, 'interface', 'eth' || n, 1 FROM generate_series(1, 1000) AS n";
    bench.sql.batch_execute(age).await.unwrap();
    // A flush of the first host is at it.
    let held = bench.sql.transaction().await.unwrap();
    held.execute("SELECT FROM host_latest WHERE host_id = 1 FOR NO KEY UPDATE", &[]).await.unwrap();
    // The old one, and of 1,011 interfaces those of 9 and 10 days ago.
    assert_eq!(bench.store.retain().await.unwrap().old_rows, 1 + 2);
    held.rollback().await.unwrap();
    assert_eq!(bench.store.retain().await.unwrap().old_rows, 1);
    let left = "SELECT count(*) FROM host_device WHERE kind = 'disk' AND name <> 'old'";
    assert_eq!(bench.number(left).await, 4);

    // Seen again it is young, and its id is what it was.
    let again = record(&one, 2, now.plus_micros(1), readings[0].record.body.clone());
    bench.store.ingest(&[again]).await.unwrap();
    let seen = "SELECT count(*) FROM host_device WHERE host_id = 1 AND kind = 'disk'
        AND seen_on = (now() AT TIME ZONE 'UTC')::date";
    assert_eq!(bench.number(seen).await, 3);
    assert_eq!(bench.number("SELECT count(*) FROM host_disk WHERE name = 'young'").await, 3);
}
