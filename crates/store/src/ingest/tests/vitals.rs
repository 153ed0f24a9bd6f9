//! What stands beside a sample.

use rowcall_core::vitals::Vitals;

use super::*;

fn with_vitals(mut incoming: Incoming, vitals: Vitals) -> Incoming {
    if let Body::Sample(sample) = &mut incoming.record.body {
        sample.vitals = Some(Box::new(vitals));
    }
    incoming
}

fn loaded(session: &OpenedSession, sequence: u64, time: UnixMicros, load: f32) -> Incoming {
    let vitals = Vitals { load_1: Some(load), ..Vitals::default() };
    with_vitals(sample(session, sequence, time), vitals)
}

const COUNT: &str = "SELECT count(*) FROM host_vitals";

/// The column of a field.
fn column(field: &str) -> String {
    if field == "clock_offset_us" {
        return "clock_offset_s".into();
    }
    let in_mib =
        ["memory_", "huge_pages", "swap_used"].iter().any(|start| field.starts_with(start));
    let name = if in_mib { field.strip_suffix("_kib") } else { field.strip_suffix("_percent") };
    name.unwrap_or(field).into()
}

#[tokio::test]
async fn each_field_has_its_parameter_and_its_column() {
    let text = include_str!("../../../../../sql/queries/ingest/vitals.sql");
    let names = text.split("AS v (").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let names: Vec<_> = names.split(',').map(str::trim).collect();
    let key = ["host_id", "epoch_id", "sequence", "\"timestamp\"", "uptime_s"];
    assert_eq!(names, [&key[..], Vitals::NAMES].concat());

    let bench = Bench::new().await;
    let columns = "SELECT attname::text FROM pg_attribute
        WHERE attrelid = 'host_vitals'::regclass AND attnum > 0";
    let rows = bench.sql.query(columns, &[]).await.unwrap();
    let mut columns: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut expected: Vec<_> = Vitals::NAMES.iter().map(|name| column(name)).collect();
    expected.extend(["timestamp", "host_id", "uptime_s"].map(String::from));
    columns.sort();
    expected.sort();
    assert_eq!(columns, expected);
    let without = "SELECT count(*) FROM pg_attribute AS a
        WHERE attrelid IN ('host_vitals'::regclass, 'host_device'::regclass, 'host_metric'::regclass,
                'rowcall.device_sample'::regclass, 'host_disk'::regclass, 'host_interface'::regclass,
                'host_filesystem'::regclass, 'host_sensor'::regclass, 'host_md_array'::regclass,
                'host_memory_controller'::regclass, 'host_cgroup'::regclass, 'host_process'::regclass,
                'host_skipped'::regclass)
          AND attnum > 0 AND col_description(attrelid, attnum) IS NULL
          AND attname NOT IN ('host_id')";
    assert_eq!(bench.number(without).await, 0, "a column without a comment");
}

/// Each field has a number of its own, which no other field would have in its column.
#[tokio::test]
async fn every_field_becomes_its_own_column_in_its_unit() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let mut place = 0_u8;
    macro_rules! number {
        (share) => {
            f32::from(place) + 0.5
        };
        (real) => {
            f32::from(place) + 0.5
        };
        ($other:ident) => {
            i64::from(place) * 3_000_000
        };
    }
    let mut vitals = Vitals::default();
    macro_rules! fill {
        ($($kind:ident $name:ident,)*) => {
            $(place += 1; vitals.$name = Some(number!($kind));)*
        };
    }
    rowcall_core::for_each_vital!(fill);
    let time = minutes_before(bench.now().await, 1);
    let records = [with_vitals(sample(&session, 1, time), vitals.clone())];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 1, ..Committed::default() });

    let row = bench.sql.query_one("SELECT to_jsonb(v)::text FROM host_vitals AS v", &[]).await;
    let row: serde_json::Value = serde_json::from_str(row.unwrap().get(0)).unwrap();
    assert_eq!(row["uptime_s"], 3_600);
    assert_eq!(row["host_id"], session.host_id.0);
    for (name, value) in vitals.values() {
        let (column, mut value) = (column(name), value.unwrap());
        if name.ends_with("_kib") && !column.ends_with("_kib") {
            value = (value / 1024.0).floor();
        }
        if name == "clock_offset_us" {
            value /= 1e6;
        }
        let stored = row[&column].as_f64().unwrap_or_else(|| panic!("{column}: {row}"));
        assert!((stored - value).abs() < 1e-3, "{column}: {stored} is not {value}");
    }
    let key = "SELECT count(*) FROM host_usage JOIN host_vitals USING (\"timestamp\", host_id)";
    assert_eq!(bench.number(key).await, 1);
}

#[tokio::test]
async fn what_the_kernel_lacks_or_no_column_holds_is_null() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let large = Vitals {
        forks: Some(1 << 31),
        net_rx_bytes: Some(i64::MAX),
        memory_cached_kib: Some(i64::MAX),
        clock_offset_us: Some(i64::MIN),
        ..Vitals::default()
    };
    let records = [
        with_vitals(sample(&session, 1, minutes_before(now, 2)), Vitals::default()),
        with_vitals(sample(&session, 2, minutes_before(now, 1)), large),
        sample(&session, 3, now),
    ];
    assert_eq!(bench.store.ingest(&records).await.unwrap().samples, 3);
    assert_eq!(bench.number(COUNT).await, 2, "an agent that tells none has none");
    let known = "SELECT count(*) FROM host_vitals AS v, jsonb_each(to_jsonb(v)) AS f
        WHERE f.value <> 'null' AND f.key NOT IN ('timestamp', 'host_id', 'uptime_s')";
    assert_eq!(bench.number(known).await, 2);
    assert_eq!(bench.number("SELECT max(net_rx_bytes) FROM host_vitals").await, i64::MAX);
}

#[tokio::test]
async fn vitals_come_with_their_sample_or_not_at_all() {
    let bench = Bench::new().await;
    let old = bench.host("node1").await;
    let session = bench.open(&hello("node1", 2)).await;
    let other = bench.host("node2").await;
    let now = minutes_before(bench.now().await, 10);
    let records = [
        loaded(&session, 1, now, 1.0),
        // Of the same time; too old; of an epoch that is over; beyond a hole.
        loaded(&session, 2, now, 2.0),
        loaded(&session, 3, UnixMicros(0), 3.0),
        loaded(&old, 1, now.plus_micros(1), 4.0),
        loaded(&other, 9, now.plus_micros(2), 5.0),
    ];
    let extra = record(&session, 4, now, Body::Invalid("nonsense"));
    for more in [None, Some(extra)] {
        let records: Vec<_> = records.iter().cloned().chain(more).collect();
        bench.store.ingest(&records).await.unwrap();
        assert_eq!(bench.number("SELECT sum(load_1)::bigint FROM host_vitals").await, 1);
    }
    // Another sample has that time already: what came with the later one belongs to no row.
    let later = [loaded(&session, 5, now, 6.0), loaded(&session, 6, now.plus_micros(3), 7.0)];
    let committed = bench.store.ingest(&later).await.unwrap();
    assert_eq!((committed.samples, committed.duplicates), (1, 1));
    assert_eq!(bench.number("SELECT sum(load_1)::bigint FROM host_vitals").await, 1 + 7);
    // Nor does it where the earlier one had none.
    let bare = sample(&session, 7, now.plus_micros(4));
    assert_eq!(bench.store.ingest(&[bare]).await.unwrap().samples, 1);
    let later_still = loaded(&session, 8, now.plus_micros(4), 8.0);
    assert_eq!(bench.store.ingest(&[later_still]).await.unwrap().duplicates, 1);
    assert_eq!(bench.number("SELECT sum(load_1)::bigint FROM host_vitals").await, 1 + 7);
    // Again: nothing changes.
    let before = bench.everything().await;
    for part in [&records[..2], &later[..]] {
        bench.store.ingest(part).await.unwrap();
        assert_eq!(bench.everything().await, before);
    }
}

#[tokio::test]
async fn a_day_that_only_vitals_lack_is_made() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let drop = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT p.name FROM rowcall.partitions() AS p WHERE parent = 'host_vitals'::regclass
        LOOP EXECUTE format('DROP TABLE public.%I', name); END LOOP; END $$";
    bench.sql.batch_execute(drop).await.unwrap();
    let records = [loaded(&session, 1, bench.now().await, 1.0)];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 1, ..Committed::default() });
    assert_eq!(bench.number(COUNT).await, 1);
    // The others are missing still, and are made with the next days.
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 8);
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
}

#[tokio::test]
async fn vitals_that_the_database_does_not_take_cost_their_sample_only() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("ALTER TABLE host_vitals ADD CHECK (load_1 <> 666)").await.unwrap();
    let session = bench.host("node1").await;
    let now = minutes_before(bench.now().await, 90);
    let records: Vec<_> = (1..=9_u64)
        .map(|n| {
            let load = if n == 4 { 666.0 } else { 1.0 };
            loaded(&session, n, minutes_before(now, -n.cast_signed()), load)
        })
        .collect();
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 8, quarantined: 1, ..Committed::default() });
    assert_eq!(bench.number(COUNT).await, 8);
    assert_eq!(mark(&bench, &session).await.0, 9);
}
