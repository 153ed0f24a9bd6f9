//! What a host takes in the database in a day.

use rowcall_core::devices::{Cgroup, Devices, Disk, Filesystem, Interface, Process, Sensor};
use rowcall_core::vitals::Vitals;

use super::*;

const HOSTS: u32 = 8;
const MINUTES: i64 = 1_440;
/// Minutes between two readings of devices.
const DEVICES_EVERY: i64 = 5;
/// What a host of the default profile may take in a day.
const MOST_BYTES: i64 = 1_000_000;
const MOST_ROWS: i64 = 8_640;

/// A number below `below` that differs from minute to minute.
fn vary(minute: i64, what: i64, below: i64) -> i64 {
    let mixed = (minute.wrapping_mul(1_103_515_245) ^ what.wrapping_mul(12_345))
        .wrapping_mul(2_654_435_761);
    (mixed >> 8).rem_euclid(below)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn percent(minute: i64, what: i64) -> f32 {
    vary(minute, what, 10_000) as f32 / 100.0
}

/// All that a machine of today tells: every field is there.
fn vitals(minute: i64) -> Vitals {
    let mut what = 0;
    let mut vitals = Vitals::default();
    macro_rules! number {
        (share) => {
            percent(minute, what)
        };
        (real) => {
            percent(minute, what)
        };
        ($other:ident) => {
            vary(minute, what, 20_000_000)
        };
    }
    macro_rules! fill {
        ($($kind:ident $name:ident,)*) => {
            $(what += 1; vitals.$name = Some(number!($kind));)*
        };
    }
    rowcall_core::for_each_vital!(fill);
    vitals
}

/// A server: 4 filesystems, 2 disks, 2 interfaces, 8 sensors, 3 control groups, and 6 processes that
/// are worth a word, other ones each hour.
fn devices(minute: i64) -> Devices {
    let counter = |what: i64| minute * 1_000_000 + vary(minute, what, 1_000_000) + (what << 36);
    let named = |name: &str, n: i64| format!("{name}{n}");
    Devices {
        filesystems: (0..4)
            .map(|n| Filesystem {
                mount: named("/srv/data", n),
                source: Some(named("/dev/sda", n)),
                kind: Some("ext4".into()),
                read_only: false,
                size_kib: Some(100 << 20),
                available_kib: Some(counter(n)),
                inodes: Some(6_553_600),
                inodes_free: Some(vary(minute, n, 6_553_600)),
            })
            .collect(),
        disks: (0..2)
            .map(|n| Disk {
                name: named("sd", n),
                counted_since: 7,
                reads: counter(n),
                writes: counter(n + 1),
                read_bytes: counter(n + 2),
                written_bytes: counter(n + 3),
                read_ms: counter(n + 4),
                write_ms: counter(n + 5),
                busy_ms: counter(n + 6),
                in_flight: vary(minute, n, 9),
                busy_max_percent: Some(percent(minute, n)),
            })
            .collect(),
        interfaces: (0..2)
            .map(|n| Interface {
                name: named("eth", n),
                counted_since: 7,
                rx_bytes: counter(n),
                tx_bytes: counter(n + 1),
                rx_packets: counter(n + 2),
                tx_packets: counter(n + 3),
                speed_mbit: Some(10_000),
                up: Some(true),
                rx_max_bytes_per_s: Some(counter(n + 4)),
                tx_max_bytes_per_s: Some(counter(n + 5)),
                ..Interface::default()
            })
            .collect(),
        sensors: (0..8)
            .map(|n| Sensor {
                name: named("coretemp Core ", n),
                temperature_mc: 40_000 + i32::try_from(vary(minute, n, 30_000)).unwrap(),
                critical_mc: Some(100_000),
            })
            .collect(),
        cgroups: (0..3)
            .map(|n| Cgroup {
                name: named("slice", n),
                counted_since: 7,
                cpu_us: Some(counter(n)),
                throttled_us: Some(0),
                memory_kib: Some(vary(minute, n, 1 << 24)),
                read_bytes: Some(counter(n)),
                written_bytes: Some(counter(n)),
                processes: Some(vary(minute, n, 500)),
                oom_kills: Some(0),
            })
            .collect(),
        processes: (0..6)
            .map(|n| Process {
                command: named("worker", n + minute / 60),
                pid: i32::try_from(vary(minute, n, 4_000_000)).unwrap(),
                cpu_percent: Some(percent(minute, n)),
                memory_kib: Some(vary(minute, n, 1 << 24)),
                read_bytes_per_s: Some(vary(minute, n, 1 << 24)),
                written_bytes_per_s: Some(vary(minute, n, 1 << 24)),
            })
            .collect(),
        ..Devices::default()
    }
}

#[tokio::test]
async fn a_host_takes_less_than_a_megabyte_and_8640_rows_a_day() {
    let bench = Bench::new().await;
    let sessions = join_all((0..HOSTS).map(|n| bench.host_named(n))).await;
    // All of yesterday, UTC.
    let begin = "SELECT (extract(epoch FROM date_trunc('day', now(), 'UTC') - interval '1 day') * 1e6)::bigint";
    let begin = UnixMicros(bench.number(begin).await);
    let mut records = Vec::new();
    let mut numbers = vec![0_u64; sessions.len()];
    for minute in 0..MINUTES {
        for (slot, (session, number)) in (0_i64..).zip(sessions.iter().zip(&mut numbers)) {
            let time = begin.plus_micros(minute * 60_000_000 + slot * 7_000_000);
            *number += 1;
            let mut incoming = sample(session, *number, time);
            if let Body::Sample(sample) = &mut incoming.record.body {
                sample.vitals = Some(Box::new(vitals(minute)));
            }
            records.push(incoming);
            if minute % DEVICES_EVERY == 0 {
                *number += 1;
                let body = Body::Devices(Box::new(devices(minute)));
                records.push(record(session, *number, time.plus_micros(100_000), body));
            }
        }
        if minute % 20 == 19 {
            bench.store.ingest(&std::mem::take(&mut records)).await.unwrap();
        }
    }
    let hosts = i64::from(HOSTS);
    let rows = "SELECT (SELECT count(*) FROM host_usage) + (SELECT count(*) FROM host_vitals)
        + (SELECT count(*) FROM rowcall.device_sample) + (SELECT count(*) FROM host_metric)";
    let rows = bench.number(rows).await / hosts;
    assert_eq!(rows, 2 * MINUTES + MINUTES / DEVICES_EVERY);
    assert!(rows <= MOST_ROWS, "{rows} rows");
    // Indexes and what is stored out of line included; devices and the newest sample are not of a day,
    // but counted here.
    let sizes = "SELECT t.name::text, coalesce(sum(pg_total_relation_size(d.id)), 0)::bigint
           FROM rowcall.day_tables() AS t
           JOIN rowcall.made_days() AS d ON d.parent = t.id
          WHERE d.day = (now() AT TIME ZONE 'UTC')::date - 1 GROUP BY 1
          UNION ALL SELECT t, pg_total_relation_size(t::regclass)
           FROM unnest(ARRAY['host_device', 'host_latest']) AS t";
    let sizes = bench.sql.query(sizes, &[]).await.unwrap();
    let sizes: Vec<(String, i64)> =
        sizes.iter().map(|row| (row.get(0), row.get::<_, i64>(1) / hosts)).collect();
    let all: i64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    assert!(all <= MOST_BYTES, "{all} bytes: {sizes:?}");
}
