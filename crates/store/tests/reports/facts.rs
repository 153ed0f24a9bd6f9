//! Each single fact: filled in, changed, told of the time, and in words.

use futures_util::TryStreamExt as _;
use rowcall_core::id::UnixMicros;
use rowcall_store::reports::{HardwareRow, IntegrityKind::HardwareChanged, Scope};

use crate::world::{World, at, between};

/// Every column of facts, what is in it first and then, and what the integrity report says of that.
const FACTS: [(&str, &str, &str, &str); 18] = [
    ("total_mem", "1048576", "2147483648", "memory 1.0 GiB -> 2.0 TiB"),
    ("cpu_number", "8", "16", "CPUs 8 -> 16"),
    ("cpu_sockets", "1", "2", "CPU sockets 1 -> 2"),
    ("cpu_cores", "4", "6", "CPU cores 4 -> 6"),
    ("cpu_model", "\"A\"", "\"B\"", "CPU A -> B"),
    ("cpu_mhz", "1000.5", "2000", "CPU clock 1000.5 MHz -> 2000 MHz"),
    ("l2_cache", "512", "2048", "L2 cache 512 KiB -> 2.0 MiB"),
    ("cpu_architecture", "\"x86_64\"", "\"aarch64\"", "architecture x86_64 -> aarch64"),
    ("memory_mhz", "2400", "3200.5", "memory clock 2400 MHz -> 3200.5 MHz"),
    ("board", "\"M1\"", "\"M2\"", "board M1 -> M2"),
    ("firmware", "\"F1\"", "\"F2\"", "firmware F1 -> F2"),
    ("virtualization", "\"none\"", "\"kvm\"", "virtualization none -> kvm"),
    ("os", "\"Debian 11\"", "\"Debian 12\"", "system Debian 11 -> Debian 12"),
    ("kernel", "\"5.10\"", "\"6.1\"", "kernel 5.10 -> 6.1"),
    ("kernel_host_name", "\"k1\"", "\"k2\"", "kernel's host name k1 -> k2"),
    ("machine_id", "\"1a\"", "\"2b\"", "machine id 1a -> 2b"),
    (
        "disks",
        r#"[{"name": "sda"}]"#,
        r#"[{"name": "sda"}, {"name": "sdb", "model": "WDC", "size_kib": 1048576}]"#,
        "disk sdb added (1.0 GiB, WDC)",
    ),
    (
        "interfaces",
        r#"[{"name": "eth0", "driver": "igb"}]"#,
        r#"[{"name": "eth0", "driver": "ice"}, {"name": "eth1", "mac": "52:54:00:00:00:01"}]"#,
        "interface eth0 (igb) -> (ice); interface eth1 added (52:54:00:00:00:01)",
    ),
];

/// Tells facts of a host at a time of the day, as a record in the stream does.
async fn told(world: &World, host: i32, time: UnixMicros, facts: &str) {
    let sql = "SELECT rowcall.tell_facts($1, to_timestamp($2::bigint / 1e6), false, $3::text::jsonb, NULL, NULL)";
    world.run(sql, &[&host, &time.0, &facts]).await;
}

/// A host of which nothing is known.
async fn unknown(world: &World, name: &str) -> i32 {
    let host = world.host(name).await;
    let nothing = "UPDATE host_info SET cpu_number = NULL, total_mem = NULL WHERE id = $1";
    world.run(nothing, &[&host]).await;
    host
}

/// The columns of a host's rows in `host_info_history`, oldest first, and at last in `host_info`.
async fn known(world: &World, host: i32, column: &str) -> Vec<Option<serde_json::Value>> {
    let sql = format!(
        "SELECT to_jsonb({column})::text, valid_from FROM host_info_history WHERE host_id = $1
          UNION ALL SELECT to_jsonb({column})::text, NULL FROM host_info WHERE id = $1
          ORDER BY valid_from NULLS LAST"
    );
    let rows = world.sql.query(&sql, &[&host]).await.unwrap();
    let text = |row: &tokio_postgres::Row| row.get::<_, Option<String>>(0);
    rows.iter().map(|row| text(row).map(|text| serde_json::from_str(&text).unwrap())).collect()
}

async fn changes(world: &World) -> Vec<(String, UnixMicros, String)> {
    let scope = between(at(12, 0, 0), at(13, 0, 0));
    let frame = world.frame(&scope).await;
    let found = world.store.integrity(&scope, &frame).await.unwrap().findings;
    let changes = found.into_iter().filter(|row| row.kind == HardwareChanged);
    changes.map(|row| (row.host_name, row.from, row.detail)).collect()
}

#[tokio::test]
async fn every_fact_is_filled_in_changed_and_told_in_words() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for (column, before, after, words) in FACTS {
        let host = unknown(&world, column).await;
        let value = |text: &str| Some(serde_json::from_str::<serde_json::Value>(text).unwrap());
        let other = if column == "os" { r#"{"kernel": "1"}"# } else { r#"{"os": "x"}"# };
        told(&world, host, at(-20, 0, 0), other).await;
        assert_eq!(known(&world, host, column).await, [None, None], "{column}");
        // What becomes known is no change.
        told(&world, host, at(-19, 0, 0), &format!("{{\"{column}\": {before}}}")).await;
        assert_eq!(known(&world, host, column).await, [value(before), value(before)], "{column}");
        told(&world, host, at(12, 0, 0), &format!("{{\"{column}\": {after}}}")).await;
        let now = [value(before), value(after), value(after)];
        assert_eq!(known(&world, host, column).await, now, "{column}");
        expected.push((column.to_owned(), at(12, 0, 0), words.to_owned()));
        // The end of the range belongs to the next one.
        told(&world, host, at(13, 0, 0), &format!("{{\"{column}\": {before}}}")).await;
    }
    expected.sort();
    assert_eq!(changes(&world).await, expected);
}

#[tokio::test]
async fn a_long_list_of_changes_is_cut() {
    let world = World::new().await;
    let host = unknown(&world, "a").await;
    told(&world, host, at(-20, 0, 0), r#"{"disks": []}"#).await;
    let disks: Vec<_> = (100..200).map(|n| format!("{{\"name\": \"sd{n}\"}}")).collect();
    told(&world, host, at(12, 30, 0), &format!("{{\"disks\": [{}]}}", disks.join(","))).await;
    let found = changes(&world).await;
    let words = &found[0].2;
    assert!(words.starts_with("disk sd100 added; disk sd101 added; "), "{words}");
    assert!(words.ends_with(" ..."), "{words}");
    assert_eq!(words.len(), 1_004);
}

#[tokio::test]
async fn of_what_is_told_of_one_moment_the_first_counts() {
    let world = World::new().await;
    let host = unknown(&world, "a").await;
    for (minute, kernel) in [(0, "1"), (30, "1"), (30, "2"), (0, "2")] {
        told(&world, host, at(12, minute, 0), &format!("{{\"kernel\": \"{kernel}\"}}")).await;
    }
    let one = Some(serde_json::Value::from("1"));
    assert_eq!(known(&world, host, "kernel").await, [one.clone(), one]);
}

#[tokio::test]
async fn nothing_that_is_told_is_no_history() {
    let world = World::new().await;
    let host = unknown(&world, "a").await;
    let sql = "SELECT rowcall.tell_facts($1, now(), $2, '{\"os\": null}', 'boot', NULL)";
    for is_now in [true, false] {
        world.run(sql, &[&host, &is_now]).await;
    }
    assert_eq!(known(&world, host, "os").await, [None], "host_info alone");
}

#[tokio::test]
async fn hardware_as_of_a_time_has_every_fact_of_then() {
    let world = World::new().await;
    let host = world.host_joined("a", at(11, 0, 0)).await;
    let facts = |cpus: i32, text: &str| {
        format!(
            r#"{{"cpu_number": {cpus}, "total_mem": {cpus}00, "cpu_architecture": "{text}",
                "cpu_model": "{text}", "cpu_mhz": {cpus}, "l2_cache": {cpus}}}"#
        )
    };
    world.run("UPDATE host_info SET cpu_number = NULL, total_mem = NULL", &[]).await;
    told(&world, host, at(11, 0, 0), &facts(2, "then")).await;
    told(&world, host, at(12, 0, 0), &facts(4, "later")).await;
    told(&world, host, at(13, 0, 0), &facts(8, "now")).await;
    let row = |cpus: u16, text: &str, changed_at| HardwareRow {
        host_name: "a".into(),
        cpu_number: Some(cpus.into()),
        total_mem_kib: Some(u64::from(cpus) * 100),
        cpu_architecture: Some(text.into()),
        cpu_model: Some(text.into()),
        cpu_mhz: Some(cpus.into()),
        l2_cache_kib: Some(cpus.into()),
        changed_at,
    };
    let (then, later) = (row(2, "then", at(11, 0, 0)), row(4, "later", at(12, 0, 0)));
    let now = row(8, "now", at(13, 0, 0));
    for (time, expected) in [
        (at(10, 59, 59), None),
        // From the moment at which it joined.
        (at(11, 0, 0), Some(&then)),
        (at(11, 59, 59), Some(&then)),
        (at(12, 0, 0), Some(&later)),
        (at(12, 59, 59), Some(&later)),
        (at(13, 0, 0), Some(&now)),
    ] {
        let scope = Scope { hardware_as_of: Some(time), ..Scope::default() };
        let frame = world.frame(&scope).await;
        let rows: Vec<HardwareRow> =
            world.store.hardware(&scope, &frame).await.unwrap().try_collect().await.unwrap();
        assert_eq!(rows.first(), expected);
    }
}

#[tokio::test]
async fn a_boot_keeps_the_time_that_was_first_told_of_it_and_the_newest_boots_stay() {
    let world = World::new().await;
    let host = world.host("a").await;
    world.run("UPDATE host_info SET boot_id = 'now'", &[]).await;
    let boot = async |id: &str, second: Option<i64>| {
        let sql = "SELECT rowcall.tell_facts($1, now(), false, '{}', $2, to_timestamp($3::bigint))";
        world.run(sql, &[&host, &id, &second]).await;
    };
    let time = async |sql: &str| -> Option<i64> {
        let sql = format!("SELECT extract(epoch FROM booted_at)::bigint FROM {sql}");
        world.sql.query_one(&sql, &[]).await.unwrap().get(0)
    };
    boot("now", None).await;
    // Of another boot: the host's own has no time yet.
    boot("before", Some(1_000)).await;
    assert_eq!(time("host_info").await, None);
    for second in [2_000, 3_000] {
        boot("now", Some(second)).await;
        boot("before", Some(second)).await;
    }
    assert_eq!(time("host_info").await, Some(2_000));
    assert_eq!(time("host_boot WHERE boot_id = 'now'").await, Some(2_000));
    assert_eq!(time("host_boot WHERE boot_id = 'before'").await, Some(1_000));
    let many = "INSERT INTO host_boot (host_id, boot_id, booted_at, seen_at)
        SELECT $1, 'old ' || n, to_timestamp(n), to_timestamp(n) FROM generate_series(1, 998) AS n";
    world.run(many, &[&host]).await;
    boot("newest", Some(4_000)).await;
    let gone = "host_boot WHERE boot_id LIKE 'old %' ORDER BY booted_at LIMIT 1";
    assert_eq!(time(gone).await, Some(2));
    assert_eq!(time("host_boot WHERE boot_id = 'newest'").await, Some(4_000));
}
