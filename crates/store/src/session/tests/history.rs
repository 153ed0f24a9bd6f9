//! What a host was: told by handshakes and records, in any order.

use proptest::prelude::*;
use rowcall_core::record::{Body, DiskFacts, InterfaceFacts};

use super::*;
use crate::ingest::Incoming;
use crate::testing::record;

/// Facts of a machine with some CPUs and memory [GiB].
pub(super) fn machine(cpus: i32, gib: i64) -> HostFacts {
    HostFacts { cpu_number: Some(cpus), total_mem_kib: Some(gib << 20), ..facts() }
}

/// A Hello that tells a machine.
pub(super) fn hello_of(cpus: i32, gib: i64) -> Hello {
    Hello { facts: machine(cpus, gib), ..telling("node1", 1) }
}

pub(super) fn told_at(
    session: &OpenedSession,
    sequence: u64,
    time: UnixMicros,
    facts: HostFacts,
) -> Incoming {
    record(session, sequence, time, Body::HostFacts(Box::new(facts)))
}

/// The CPUs of each row of the only host's history, with its end, oldest first; after a look whether
/// the rows follow each other without a hole from -infinity to infinity, and the open one is host_info.
pub(super) async fn history(bench: &Bench) -> Vec<(i32, Option<UnixMicros>)> {
    history_of(bench, 1).await
}

pub(super) async fn history_of(bench: &Bench, host: i32) -> Vec<(i32, Option<UnixMicros>)> {
    let wrong = format!(
        "SELECT (SELECT count(*) FROM (
                    SELECT valid_from, first_told_at, last_told_at, valid_to,
                           lag(valid_to, 1, '-infinity') OVER (ORDER BY valid_from) AS before
                      FROM host_info_history WHERE host_id = {host}) AS y
                  WHERE valid_from <> before OR last_told_at >= valid_to
                     OR first_told_at < valid_from OR (valid_from > '-infinity' AND first_told_at <> valid_from))
              + (SELECT count(*) FROM host_info AS h LEFT JOIN host_info_history AS y
                     ON y.host_id = h.id AND y.valid_to = 'infinity'
                  WHERE h.id = {host} AND (y.host_id IS NULL OR h.\"timestamp\" <> y.first_told_at
                     OR rowcall.facts_of(jsonb_populate_record(NULL::host_info_history, to_jsonb(h)))
                        <> rowcall.facts_of(y)))"
    );
    assert_eq!(bench.number(&wrong).await, 0, "a hole, an overlap, or another present");
    let rows = "SELECT cpu_number, nullif(valid_to, 'infinity') FROM host_info_history
        WHERE host_id = $1 ORDER BY valid_from";
    let rows = bench.sql.query(rows, &[&host]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get::<_, Option<Time>>(1).map(|time| time.0))).collect()
}

#[tokio::test]
async fn a_change_closes_a_row_and_what_is_as_it_was_changes_nothing() {
    let bench = Bench::new().await;
    bench.open(&hello_of(8, 16)).await;
    assert_eq!(history(&bench).await, [(8, None)]);
    let before = bench.everything().await;
    // Another process: all is told again.
    let again = Hello { run: RunId::new(2).unwrap(), ..hello_of(8, 16) };
    bench.open(&again).await;
    let rows = bench.everything().await;
    let but_runs = |rows: &[String]| -> Vec<_> {
        rows.iter().filter(|row| !row.starts_with("rowcall.run")).cloned().collect()
    };
    assert_eq!(but_runs(&rows), but_runs(&before));

    let earliest = bench.now().await;
    assert!(bench.open(&hello_of(16, 16)).await.facts_changed);
    let rows = history(&bench).await;
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [8, 16]);
    assert!(rows[0].1.unwrap() >= earliest);
}

#[tokio::test]
async fn a_backlog_tells_when_what_the_handshake_told_began() {
    let bench = Bench::new().await;
    bench.open(&hello_of(8, 16)).await;
    age(&bench, "9 days").await;
    // Away for a while, in which it changed twice.
    let session = bench.open(&hello_of(32, 16)).await;
    let now = bench.now().await;
    let (first, second) = (minutes_before(now, 60), minutes_before(now, 20));
    let backlog = [
        told_at(&session, 1, first, machine(16, 16)),
        told_at(&session, 2, second, machine(32, 16)),
    ];
    for records in [&backlog[..1], &backlog[1..]] {
        bench.store.ingest(records).await.unwrap();
        // The present stays what the handshake said.
        assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 32);
    }
    let expected = [(8, Some(first)), (16, Some(second)), (32, None)];
    assert_eq!(history(&bench).await, expected);
    assert_eq!(changed_at(&bench).await, second.0);
    // Restored from a backup, the database has them sent again.
    bench.sql.batch_execute("UPDATE host_latest SET mark = 0").await.unwrap();
    bench.store.ingest(&backlog).await.unwrap();
    assert_eq!(history(&bench).await, expected);
}

#[tokio::test]
async fn a_change_while_connected_is_told_by_its_record() {
    let bench = Bench::new().await;
    let session = bench.open(&hello_of(8, 16)).await;
    let time = bench.now().await;
    bench.store.ingest(&[told_at(&session, 1, time, machine(8, 32))]).await.unwrap();
    assert_eq!(history(&bench).await, [(8, Some(time)), (8, None)]);
    assert_eq!(bench.number("SELECT total_mem FROM host_info").await, 32 << 20);
}

#[tokio::test]
async fn memory_within_a_percent_is_the_same_and_cannot_creep() {
    let bench = Bench::new().await;
    let mut mem = 16_i64 << 20;
    for _ in 0..5 {
        let facts = HostFacts { total_mem_kib: Some(mem), ..facts() };
        bench.open(&Hello { facts, ..telling("node1", 1) }).await;
        mem += mem / 250;
    }
    // 0.4, 0.8 and 1.2 %: the last is another, and 1.6 % is near that one.
    let sizes = "SELECT array_agg(total_mem ORDER BY valid_from) FROM host_info_history";
    let row = bench.sql.query_one(sizes, &[]).await.unwrap();
    let sizes: Vec<i64> = row.get(0);
    assert_eq!((sizes.len(), sizes[0]), (2, 16 << 20));
    assert_eq!(history(&bench).await.len(), 2);
}

#[tokio::test]
async fn what_becomes_known_is_no_change() {
    let bench = Bench::new().await;
    bench.open(&hello_of(8, 16)).await;
    let mut more = hello_of(8, 16);
    more.facts.virtualization = Some("kvm".into());
    more.facts.memory_mhz = Some(3_200.5);
    more.facts.disks = Some(vec![DiskFacts {
        name: "vda".into(),
        model: None,
        size_kib: Some(1 << 20),
        rotational: Some(false),
    }]);
    let mac = Some("52:54:00:12:34:56".to_owned());
    more.facts.interfaces = Some(vec![InterfaceFacts { name: "eth0".into(), mac, driver: None }]);
    let since = changed_at(&bench).await;
    assert!(bench.open(&more).await.facts_changed);
    assert_eq!(history(&bench).await, [(8, None)]);
    assert_eq!(changed_at(&bench).await, since);
    let known = bench.store.host(&more.host_name).await.unwrap().unwrap().facts;
    let boot_id = Some("b-1".into());
    assert_eq!(known, HostFacts { boot_id, ..more.facts.clone() });
    // Now nothing is written for the same again.
    let before = bench.everything().await;
    assert!(!bench.open(&more).await.facts_changed);
    assert_eq!(bench.everything().await, before);
    // An agent that cannot tell any more takes nothing away.
    bench.open(&hello_of(8, 16)).await;
    assert_eq!(bench.everything().await, before);
}

#[tokio::test]
async fn boots_are_kept_once_each_with_when_they_were_first_told() {
    let bench = Bench::new().await;
    let boot = |run: u64, id: &str, booted: Option<i64>| {
        let facts = HostFacts { booted: booted.map(UnixMicros), ..facts() };
        Hello {
            run: RunId::new(run).unwrap(),
            boot_id: Some(id.into()),
            facts,
            ..telling("node1", 1)
        }
    };
    bench.open(&boot(1, "a", Some(1_000_000))).await;
    bench.open(&boot(2, "a", Some(2_000_000))).await;
    bench.open(&boot(3, "b", None)).await;
    let session = bench.open(&boot(4, "b", Some(9_000_000))).await;
    // Booted while nobody could be told, and the record comes later.
    let away = HostFacts {
        boot_id: Some("between".into()),
        booted: Some(UnixMicros(5_000_000)),
        ..facts()
    };
    let time = minutes_before(bench.now().await, 60);
    bench.store.ingest(&[told_at(&session, 1, time, away)]).await.unwrap();
    let (history, boots) = bench.store.history(&hello("node1", 1).host_name).await.unwrap();
    let boots: Vec<_> =
        boots.into_iter().map(|row| (row.boot_id, row.booted_at.map(|time| time.0))).collect();
    let expected = [("b", 9_000_000), ("between", 5_000_000), ("a", 1_000_000)];
    assert_eq!(boots, expected.map(|(id, time)| (id.to_owned(), Some(time))));
    let present =
        "SELECT count(*) FROM host_info WHERE boot_id = 'b' AND booted_at = to_timestamp(9)";
    assert_eq!(bench.number(present).await, 1);
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].from, history[0].to), (None, None));
    assert_eq!(history[0].facts, HostFacts { booted: None, ..facts() });
    // Of a host that nobody knows, nothing.
    let (rows, boots) = bench.store.history(&hello("other", 1).host_name).await.unwrap();
    assert!(rows.is_empty() && boots.is_empty());
}

#[tokio::test]
async fn history_is_bounded_and_of_one_call_the_newest_are_told() {
    let bench = Bench::new().await;
    let session = bench.open(&hello_of(1, 16)).await;
    age(&bench, "30 days").await;
    let now = bench.now().await;
    let flood: Vec<_> = (1..=100_u64)
        .map(|n| {
            let time = minutes_before(now, 200 - n.cast_signed());
            told_at(&session, n, time, machine(1_000 + i32::try_from(n).unwrap(), 16))
        })
        .collect();
    bench.store.ingest(&flood).await.unwrap();
    let told: Vec<_> = history(&bench).await.into_iter().map(|row| row.0).collect();
    assert_eq!(told, [1, 1_093, 1_094, 1_095, 1_096, 1_097, 1_098, 1_099, 1_100]);
    let more = "SELECT count(rowcall.tell_facts(1, now() - (5000 - n) * interval '1 minute', false,
            jsonb_build_object('cpu_number', n), 'boot ' || n, to_timestamp(n)))
        FROM generate_series(2001, 3100) AS n";
    bench
        .sql
        .batch_execute(
            "DELETE FROM host_info_history WHERE valid_to < 'infinity';
        UPDATE host_info_history SET valid_from = '-infinity'",
        )
        .await
        .unwrap();
    age(&bench, "30 days").await;
    bench.sql.batch_execute(more).await.unwrap();
    let told = history(&bench).await;
    assert_eq!((told.len(), told[0].0, told[999].0), (1_000, 2_101, 3_100));
    assert_eq!(bench.number("SELECT count(*) FROM host_boot").await, 1_000);
}

#[tokio::test]
async fn of_changes_within_a_minute_the_last_one_is_kept() {
    let bench = Bench::new().await;
    let sql = "INSERT INTO host_info (id, hostname) VALUES (1, 'a')";
    bench.sql.execute(sql, &[]).await.unwrap();
    let at = |second: i64| Some(UnixMicros((1_577_836_800 + second) * 1_000_000));
    let flapping: Vec<_> =
        (0..59_i32).map(|second| (100 + i64::from(second), 2 + second % 2, 1)).collect();
    tell(&bench, 1, &[(0, 1, 1)]).await;
    tell(&bench, 1, &flapping).await;
    assert_eq!(history(&bench).await, [(1, at(100)), (2, None)]);
    // Told again, and out of order, it is no other.
    tell(&bench, 1, &flapping).await;
    tell(&bench, 1, &[(130, 9, 1)]).await;
    assert_eq!(history(&bench).await, [(1, at(100)), (2, None)]);
    assert_eq!(bench.number("SELECT cpu_number::bigint FROM host_info").await, 2);
    tell(&bench, 1, &[(160, 3, 1)]).await;
    assert_eq!(history(&bench).await, [(1, at(100)), (2, at(160)), (3, None)]);
}

/// Where the parts of the only host's lists lie that are too long for a row.
async fn lists_lie_at(bench: &Bench) -> Vec<String> {
    let mut lie_at = Vec::new();
    for table in ["host_info", "host_info_history"] {
        let toast = format!(
            "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{table}'::regclass"
        );
        let toast: String = bench.sql.query_one(&toast, &[]).await.unwrap().get(0);
        let rows = format!("SELECT '{table} ' || ctid FROM {toast} ORDER BY ctid");
        let rows = bench.sql.query(&rows, &[]).await.unwrap();
        lie_at.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    lie_at
}

#[tokio::test]
async fn lists_that_are_as_they_were_are_not_written_again() {
    let bench = Bench::new().await;
    let mut hello = hello_of(8, 16);
    let noise = |n: u64| format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let disk = |n| DiskFacts { name: noise(n), model: Some(noise(n << 20)), ..Default::default() };
    let interface = |n: u64| InterfaceFacts { name: noise(n << 30), ..Default::default() };
    hello.facts.disks = Some((0..200).map(disk).collect());
    hello.facts.interfaces = Some((0..200).map(interface).collect());
    let session = bench.open(&hello).await;
    age(&bench, "1 day").await;
    let now = bench.now().await;
    let facts = |kernel: &str| HostFacts { kernel: Some(kernel.into()), ..HostFacts::default() };
    bench
        .store
        .ingest(&[told_at(&session, 1, minutes_before(now, 9), facts("7.0"))])
        .await
        .unwrap();
    let before = lists_lie_at(&bench).await;
    assert!(before.len() > 10, "{before:?}");
    // Confirmed, changed within the minute, and filled in.
    let mut filled = facts("7.1");
    filled.firmware = Some("new".into());
    for (n, facts) in (2_u64..).zip([facts("7.0"), facts("7.1"), filled, hello.facts]) {
        let time = minutes_before(now, 9).plus_micros(n.cast_signed() * 1_000_000);
        bench.store.ingest(&[told_at(&session, n, time, facts)]).await.unwrap();
    }
    assert_eq!(lists_lie_at(&bench).await, before);
    let told = "SELECT count(*) FROM host_info WHERE kernel = '6.1' AND firmware = 'new'";
    assert_eq!(bench.number(told).await, 1);
}

/// Makes what is known of the only host so old.
async fn age(bench: &Bench, age: &str) {
    let sql = format!(
        "UPDATE host_info_history SET first_told_at = now() - interval '{age}', last_told_at = now() - interval '{age}';
         UPDATE host_info SET \"timestamp\" = now() - interval '{age}'"
    );
    bench.sql.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_and_records_at_once_leave_one_history() {
    let bench = Bench::new().await;
    let session = bench.open(&hello_of(1, 16)).await;
    let now = bench.now().await;
    let opens = (1..=20).map(|n| {
        let store = bench.store.clone();
        async move { store.opened(&hello_of(n % 4, 16), MINUTE).await.map(drop) }
    });
    let flushes = (1..=20_u64).map(|n| {
        let store = bench.store.clone();
        let facts = machine(i32::try_from(n % 5).unwrap(), 16);
        let records = [told_at(&session, n, minutes_before(now, 30 - n.cast_signed()), facts)];
        async move { store.ingest(&records).await.map(drop) }
    });
    let (opens, flushes) = tokio::join!(join_all(opens), join_all(flushes));
    for result in opens.into_iter().chain(flushes) {
        result.unwrap();
    }
    assert!(!history(&bench).await.is_empty());
}

/// Tells a host's facts at seconds of 2020.
async fn tell(bench: &Bench, host: i32, told: &[(i64, i32, i64)]) {
    let times: Vec<f64> =
        told.iter().map(|(second, ..)| 1_577_836_800.0 + *second as f64).collect();
    let facts: Vec<String> = told
        .iter()
        .map(|(_, cpus, mem)| format!("{{\"cpu_number\": {cpus}, \"total_mem\": {mem}}}"))
        .collect();
    let sql = "SELECT rowcall.tell_facts($1, to_timestamp(t.time), false, t.facts::jsonb, NULL, NULL)
        FROM unnest($2::float8[], $3::text[]) WITH ORDINALITY AS t (time, facts, place) ORDER BY place";
    bench.sql.query(sql, &[&host, &times, &facts]).await.unwrap();
}

/// A life of a machine: at each second what it has then, of each stretch one to three times. Memory
/// wavers by less than half a percent.
fn life(returns: bool) -> impl Strategy<Value = Vec<(i64, i32, i64)>> {
    let stretch = (1..4_usize, 1..3_i32, prop::collection::vec(0..4_000_i64, 3));
    prop::collection::vec(stretch, 1..7).prop_map(move |stretches| {
        let (mut told, mut cpus) = (Vec::new(), 0);
        for (times, more, wavers) in stretches {
            cpus = if returns { (cpus + more) % 3 } else { cpus + more };
            for waver in &wavers[..times] {
                told.push((i64::try_from(told.len()).unwrap() * 100, cpus, 1_000_000 + waver));
            }
        }
        told
    })
}

fn in_some_order(told: Vec<(i64, i32, i64)>) -> impl Strategy<Value = Vec<(i64, i32, i64)>> {
    let twice: Vec<_> = told.iter().chain(&told[told.len() / 2..]).copied().collect();
    Just(twice).prop_shuffle()
}

/// What it must come to: CPUs and the end of each row.
fn expected(told: &[(i64, i32, i64)]) -> Vec<(i32, Option<UnixMicros>)> {
    let mut rows: Vec<(i32, Option<UnixMicros>)> = Vec::new();
    for (second, cpus, _) in told {
        match rows.last_mut() {
            Some(row) if row.0 == *cpus => {}
            last => {
                let time = UnixMicros((1_577_836_800 + second) * 1_000_000);
                if let Some(row) = last {
                    row.1 = Some(time);
                }
                rows.push((*cpus, None));
            }
        }
    }
    rows
}

/// Runs a property on hosts of one database.
pub(super) fn check<S: Strategy>(
    cases: u32,
    strategy: S,
    property: impl AsyncFn(&Bench, i32, S::Value),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(Bench::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let number = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |value| {
        number.set(number.get() + 1);
        let host = number.get();
        runtime.block_on(async {
            let name = format!("host{host}");
            let sql = "INSERT INTO host_info (id, hostname) VALUES ($1, $2)";
            bench.sql.execute(sql, &[&host, &name]).await.unwrap();
            property(&bench, host, value).await;
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn the_order_of_telling_and_how_often_do_not_matter() {
    let cases = life(false).prop_flat_map(|told| (Just(told.clone()), in_some_order(told)));
    check(60, cases, async |bench, host, (told, order)| {
        tell(bench, host, &order).await;
        assert_eq!(history_of(bench, host).await, expected(&told), "{order:?}");
    });
}

#[test]
fn a_host_that_went_to_and_fro_is_right_once_all_was_told_in_order() {
    let cases = life(true).prop_flat_map(|told| (Just(told.clone()), in_some_order(told)));
    check(60, cases, async |bench, host, (told, order)| {
        for one in &order {
            tell(bench, host, std::slice::from_ref(one)).await;
            history_of(bench, host).await;
        }
        tell(bench, host, &told).await;
        assert_eq!(history_of(bench, host).await, expected(&told), "{order:?}");
    });
}

/// Facts of which some are known.
fn some_facts() -> impl Strategy<Value = HostFacts> {
    let disk = (0..2_u8, prop::option::of(0..2_u8), prop::option::of(1..3_i64));
    let disks = prop::collection::vec(disk, 0..3);
    let text = || prop::option::of("[ab]");
    let scalars = (
        prop::option::of(1..3_i32),
        prop::option::of(prop::sample::select(vec![100_000_i64, 100_400, 99_600, 200_000])),
        prop::option::of(prop::sample::select(vec![0.1_f64, 3_400.5, 1e300])),
        text(),
        text(),
        prop::option::of(1..3_i32),
        prop::option::of(disks),
    );
    scalars.prop_map(|(cpu_number, total_mem_kib, cpu_mhz, os, board, cpu_cores, disks)| {
        HostFacts {
            cpu_number,
            total_mem_kib,
            cpu_mhz,
            os,
            board,
            cpu_cores,
            disks: disks.map(|list| {
                let disk = |(name, model, size_kib): (u8, Option<u8>, Option<i64>)| DiskFacts {
                    name: format!("sd{name}"),
                    model: model.map(|model| format!("\"{model}\"")),
                    size_kib,
                    rotational: size_kib.map(|size| size > 1),
                };
                list.into_iter().map(disk).collect()
            }),
            ..HostFacts::default()
        }
    })
}

#[test]
fn the_database_and_the_agent_agree_on_what_is_a_change() {
    check(100, (some_facts(), some_facts()), async |bench, _, (known, told)| {
        let sql = "SELECT rowcall.facts_differ(k, t), rowcall.facts_with(k, t) = jsonb_strip_nulls($3::text::jsonb)
            FROM (SELECT jsonb_strip_nulls($1::text::jsonb) AS k, jsonb_strip_nulls($2::text::jsonb) AS t) AS f";
        let with = known.with_told(&told);
        let texts = [&known, &told, &with].map(|facts| super::super::told(facts, None).unwrap());
        let row = bench.sql.query_one(sql, &[&texts[0], &texts[1], &texts[2]]).await.unwrap();
        // What either does not know, the other fills in: that is no change.
        let differ = with.differ_from(&told.with_told(&known));
        assert_eq!((row.get(0), row.get(1)), (differ, true), "{known:?} {told:?}");
    });
}
