use futures_util::future::join_all;
use rowcall_core::id::Sequence;
use rowcall_core::record::{Gap, GapCause, GapState, HostFacts, Sample};

use super::*;
use crate::testing::{Bench, facts, hello, minutes_before, record, sample};
use crate::time::Time;
use crate::{OpenedSession, Settings};

mod budget;
mod devices;
mod fallen;
mod kept;
mod ledger;
mod numbers;
mod rates;
mod refused;
mod vitals;
mod wal;

/// The mark of a host, and the time at it.
async fn mark(bench: &Bench, session: &OpenedSession) -> (i64, Option<UnixMicros>) {
    let sql = "SELECT mark, mark_time FROM host_latest WHERE host_id = $1";
    let row = bench.sql.query_one(sql, &[&session.host_id.0]).await.unwrap();
    (row.get(0), row.get::<_, Option<Time>>(1).map(|time| time.0))
}

fn gap(through: u64, time: UnixMicros) -> Body {
    Body::Gap(Gap {
        through: Sequence::new(through).unwrap(),
        ticks: 3,
        state: GapState::Dropped,
        cause: GapCause::Age,
        from: time,
        to: time.plus_micros(2),
    })
}

#[tokio::test]
async fn a_sample_becomes_a_row_in_the_units_of_the_table() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let time = minutes_before(bench.now().await, 2);
    let body = Body::Sample(Sample {
        elapsed_us: Some(59_500_000),
        uptime_us: Some(3_600_999_999),
        memory_free_kib: Some((4 << 20) + 1_023),
        memory_available_kib: Some(24 << 30),
        cpu_idle_percent: Some(75.25),
        cpu_kernel_percent: Some(f64::MAX),
        disk_io: Some(120),
        disk_available_kib: Some(1_023),
        clock_shift_us: None,
        vitals: None,
    });
    let committed = bench.store.ingest(&[record(&session, 1, time, body)]).await.unwrap();
    assert_eq!(committed, Committed { samples: 1, ..Committed::default() });

    let row = bench.sql.query_one("SELECT * FROM host_usage", &[]).await.unwrap();
    assert_eq!(row.get::<_, Time>("timestamp").0, time);
    assert_eq!(row.get::<_, i32>("host_id"), session.host_id.0);
    assert_eq!(row.get::<_, i32>("epoch_id"), session.epoch_id.0);
    assert_eq!(row.get::<_, i64>("sequence"), 1);
    assert_eq!(row.get::<_, i64>("memory_free"), 4 << 10);
    assert_eq!(row.get::<_, i64>("memory_available"), 24 << 20);
    assert_eq!(row.get::<_, i64>("disk_available"), 0);
    assert_eq!(row.get::<_, i64>("disk_io"), 120);
    assert_eq!(row.get::<_, f32>("elapsed_s").to_bits(), 59.5_f32.to_bits());
    assert_eq!(row.get::<_, f32>("cpu_idle").to_bits(), 75.25_f32.to_bits());
    assert_eq!(row.get::<_, Option<f32>>("cpu_kernel"), None, "too large for a real");
    let delay = row.get::<_, f32>("delay_s");
    assert!((120.0..180.0).contains(&delay), "{delay}");

    let row = bench.sql.query_one("SELECT * FROM host_latest", &[]).await.unwrap();
    assert_eq!(row.get::<_, Time>("timestamp").0, time);
    assert_eq!(row.get::<_, Time>("joined_at").0, time, "older than the handshake");
    assert_eq!(row.get::<_, i64>("memory_free"), 4 << 10);
    assert_eq!(row.get::<_, i64>("uptime_s"), 3_600);
    assert_eq!(mark(&bench, &session).await, (1, Some(time)));
}

#[tokio::test]
async fn what_could_not_be_read_is_null_and_not_0() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let body = Body::Sample(Sample::default());
    bench.store.ingest(&[record(&session, 1, bench.now().await, body)]).await.unwrap();
    let sql = "SELECT num_nulls(memory_free, memory_available, disk_io, disk_available, cpu_idle,
        cpu_kernel, elapsed_s)::bigint FROM host_usage";
    assert_eq!(bench.number(sql).await, 7);
}

#[tokio::test]
async fn a_clock_ahead_gives_a_negative_delay() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let time = minutes_before(bench.now().await, -9);
    bench.store.ingest(&[sample(&session, 1, time)]).await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM host_usage WHERE delay_s < -500").await, 1);
}

#[tokio::test]
async fn a_replay_changes_nothing_and_is_counted() {
    let bench = Bench::new().await;
    let (one, two) = (bench.host("node1").await, bench.host("node2").await);
    let start = minutes_before(bench.now().await, 100);
    let mut records = Vec::new();
    for n in 1..=50_u64 {
        for session in [&one, &two] {
            records.push(sample(session, n, minutes_before(start, -n.cast_signed())));
        }
    }
    records.push(record(&one, 51, start, gap(60, start)));
    records.push(record(&two, 51, start, Body::Invalid("nonsense")));
    records.push(sample(&two, 52, UnixMicros(0)));
    let first = bench.store.ingest(&records).await.unwrap();
    let expected = Committed { samples: 100, gaps: 1, quarantined: 2, ..Committed::default() };
    assert_eq!(first, expected);
    let before = bench.everything().await;
    for part in [&records[..], &records[..7], &records[40..], &records[100..]] {
        let again = bench.store.ingest(part).await.unwrap();
        let duplicates = u64::try_from(part.len()).unwrap();
        assert_eq!(again, Committed { duplicates, ..Committed::default() });
        assert_eq!(bench.everything().await, before);
    }
}

#[tokio::test]
async fn a_late_sample_does_not_move_the_newest_one_or_the_mark_back() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    // Number 4 has another time when it comes again.
    let first: Vec<_> =
        (1..=5).map(|n| sample(&session, n, now.plus_micros(n.cast_signed()))).collect();
    bench.store.ingest(&first).await.unwrap();
    let latest = "SELECT (to_jsonb(l) - 'duplicates')::text FROM host_latest AS l";
    let before: String = bench.sql.query_one(latest, &[]).await.unwrap().get(0);
    let late = Body::Sample(Sample { memory_free_kib: Some(1), ..Sample::default() });
    // Just after the handshake, so that joined_at need not move.
    let joined: Time =
        bench.sql.query_one("SELECT joined_at FROM host_latest", &[]).await.unwrap().get(0);
    let committed = bench.store.ingest(&[record(&session, 4, joined.0, late)]).await.unwrap();
    assert_eq!(committed.samples, 1);
    assert_eq!(bench.sql.query_one(latest, &[]).await.unwrap().get::<_, String>(0), before);
}

#[tokio::test]
async fn a_clock_that_steps_back_moves_the_mark_and_keeps_the_newest_time() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let back = minutes_before(now, 60);
    bench.store.ingest(&[sample(&session, 1, now), sample(&session, 2, back)]).await.unwrap();
    assert_eq!(mark(&bench, &session).await, (2, Some(back)));
    let row = bench.sql.query_one("SELECT \"timestamp\" FROM host_latest", &[]).await.unwrap();
    assert_eq!(row.get::<_, Time>(0).0, now);
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 2);
}

#[tokio::test]
async fn nothing_of_a_superseded_epoch_is_stored_and_its_neighbours_are() {
    let bench = Bench::new().await;
    let old = bench.host("node1").await;
    let new = bench.open(&hello("node1", 2)).await;
    let other = bench.host("node2").await;
    let unknown = OpenedSession { host_id: HostId(999), epoch_id: EpochId(999), ..other.clone() };
    let now = bench.now().await;
    let before = |n| minutes_before(now, n);
    let superseded = vec![(old.host_id, old.epoch_id), (unknown.host_id, unknown.epoch_id)];

    let samples = [
        sample(&old, 1, before(1)),
        sample(&new, 1, before(2)),
        sample(&unknown, 1, before(3)),
        sample(&other, 1, before(4)),
        sample(&old, 2, UnixMicros(0)),
    ];
    let committed = bench.store.ingest(&samples).await.unwrap();
    let expected = Committed { samples: 2, superseded: superseded.clone(), ..Committed::default() };
    assert_eq!(committed, expected);

    let mixed = [
        record(&old, 3, before(5), gap(4, before(5))),
        record(&new, 2, before(6), gap(4, before(6))),
        record(&old, 5, before(5), Body::Invalid("nonsense")),
        record(&old, 6, before(-1), Body::HostFacts(Box::new(facts()))),
        sample(&unknown, 2, before(7)),
        sample(&other, 2, before(8)),
    ];
    let committed = bench.store.ingest(&mixed).await.unwrap();
    let expected = Committed { samples: 1, gaps: 1, superseded, ..Committed::default() };
    assert_eq!(committed, expected);
    let foreign = format!(
        "SELECT (SELECT count(*) FROM host_usage WHERE epoch_id = {0})
            + (SELECT count(*) FROM rowcall.gap WHERE epoch_id = {0})
            + (SELECT count(*) FROM rowcall.quarantine)
            + (SELECT count(*) FROM host_info WHERE cpu_number IS NOT NULL)",
        old.epoch_id.0
    );
    assert_eq!(bench.number(&foreign).await, 0);
    // By itself it changes nothing either, not even the mark.
    let untouched = bench.everything().await;
    let alone = bench.store.ingest(&[sample(&old, 99, before(9))]).await.unwrap();
    let superseded = vec![(old.host_id, old.epoch_id)];
    assert_eq!(alone, Committed { superseded, ..Committed::default() });
    assert_eq!(bench.everything().await, untouched);
    assert_eq!(mark(&bench, &new).await.0, 4);
    assert_eq!(mark(&bench, &other).await.0, 2);
}

#[tokio::test]
async fn a_gap_moves_the_mark_to_its_end_and_nothing_else() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let (a, b) = (minutes_before(now, 9), minutes_before(now, 5));
    let records = [sample(&session, 1, a), record(&session, 2, b, gap(40, a))];
    let committed = bench.store.ingest(&records).await.unwrap();
    assert_eq!(committed, Committed { samples: 1, gaps: 1, ..Committed::default() });
    assert_eq!(mark(&bench, &session).await, (40, Some(b)));
    let row = bench.sql.query_one("SELECT * FROM rowcall.gap", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>("sequence"), row.get::<_, i64>("through_sequence")), (2, 40));
    assert_eq!((row.get::<_, &str>("state"), row.get::<_, &str>("cause")), ("dropped", "age"));
    assert_eq!(row.get::<_, i64>("ticks"), 3);
    assert_eq!(row.get::<_, Time>("to_ts").0, a.plus_micros(2));
    let newest = bench.sql.query_one("SELECT \"timestamp\" FROM host_latest", &[]).await.unwrap();
    assert_eq!(newest.get::<_, Time>(0).0, a);
}

#[tokio::test]
async fn facts_told_in_the_stream_change_the_host_unless_they_are_older_than_what_is_known() {
    let bench = Bench::new().await;
    // After one record.
    let next = Sequence::new(2).unwrap();
    let hello = rowcall_core::convert::Hello { facts: facts(), next, ..hello("node1", 1) };
    let session = bench.open(&hello).await;
    let told = |mem: i64| {
        Body::HostFacts(Box::new(HostFacts { total_mem_kib: Some(mem), ..HostFacts::default() }))
    };
    let memory = "SELECT total_mem FROM host_info";

    let stale = record(&session, 1, minutes_before(bench.now().await, 60), told(1));
    let committed = bench.store.ingest(&[stale]).await.unwrap();
    assert_eq!(committed, Committed { facts: 1, ..Committed::default() });
    assert_eq!(bench.number(memory).await, 16 << 20);
    assert_eq!(mark(&bench, &session).await.0, 1);
    let changed = "SELECT (extract(epoch FROM \"timestamp\") * 1e6)::bigint FROM host_info";
    let handshake = bench.number(changed).await;

    let now = bench.now().await;
    let records = [
        record(&session, 2, now, told(2)),
        sample(&session, 3, now),
        record(&session, 4, now.plus_micros(1), told(3)),
    ];
    assert_eq!(bench.store.ingest(&records).await.unwrap().facts, 2);
    assert_eq!(bench.number(memory).await, 3);
    assert_eq!(bench.number("SELECT count(*) FROM host_info WHERE cpu_number = 8").await, 1);
    // Within a minute of the change that the handshake told they take its place.
    assert_eq!(bench.number(changed).await, handshake);
    let before = bench.everything().await;
    bench.store.ingest(&records).await.unwrap();
    assert_eq!(bench.everything().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_hosts_at_once_lose_and_double_nothing() {
    let bench = Bench::new().await;
    let sessions = join_all((0..20).map(|n| bench.host_named(n))).await;
    let gaps = bench.host("gaps").await;
    let start = minutes_before(bench.now().await, 200);
    let rounds: Vec<Vec<Incoming>> = (1..=30_u64)
        .map(|n| {
            let time = minutes_before(start, -n.cast_signed());
            let mut round: Vec<_> = sessions.iter().map(|s| sample(s, n, time)).collect();
            // Some flushes with a gap as well, which take their locks first.
            if n % 5 == 0 {
                round.push(record(&gaps, n / 5, time, gap(n / 5, time)));
            }
            if n % 2 == 0 {
                round.reverse();
            }
            round
        })
        .collect();
    let other = Store::connect(&Settings::new(bench.database.url())).await.unwrap();
    let stores = [bench.store.clone(), other, bench.store.clone(), bench.store.clone()];
    let writers = stores.into_iter().map(|store| {
        let rounds = rounds.clone();
        tokio::spawn(async move {
            let mut stored = 0;
            for round in &rounds {
                stored += store.ingest(round).await.unwrap().samples;
            }
            stored
        })
    });
    let stored: u64 = join_all(writers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(stored, 600);
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 600);
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.gap").await, 6);
    assert_eq!(bench.number("SELECT max(mark) FROM host_latest").await, 30);
    let at_6 = "SELECT count(*) FROM host_latest WHERE mark < 30 AND mark = 6";
    assert_eq!(bench.number(at_6).await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM host_latest WHERE mark < 30").await, 1);
    // A deadlock would be settled by trying again, but costs a second: there is none.
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(bench.number(deadlocks).await, 0);
}

#[tokio::test]
async fn sessions_and_flushes_of_one_host_at_once_do_not_block_each_other_for_good() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let now = bench.now().await;
    let flushes = (1..=40_u64).map(|n| {
        let records = [
            sample(&session, n, minutes_before(now, n.cast_signed())),
            record(
                &session,
                n,
                now.plus_micros(n.cast_signed()),
                Body::HostFacts(Box::new(facts())),
            ),
        ];
        let store = bench.store.clone();
        async move { store.ingest(&records).await.map(drop) }
    });
    let opens = (1..=40_u64).map(|n| {
        let store = bench.store.clone();
        let hello = hello("node1", 1 + n % 3);
        async move { store.opened(&hello, crate::testing::MINUTE).await.map(drop) }
    });
    let (flushes, opens) = tokio::join!(join_all(flushes), join_all(opens));
    for result in flushes.into_iter().chain(opens) {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_only_reads_is_a_reason_to_try_elsewhere_and_heals() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let alter = |value: &str| {
        format!(
            "ALTER DATABASE {} SET default_transaction_read_only = {value}",
            bench.database.name()
        )
    };
    bench.sql.batch_execute(&alter("on")).await.unwrap();
    // New connections only read from now on; the pool's are thrown away.
    bench
        .sql
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    let records = [sample(&session, 1, bench.now().await)];
    let error = crate::testing::failure_of_kind(&bench.store, &records, Kind::ReadOnly).await;
    assert!(error.is_transient());
    assert_eq!(error.sqlstate(), Some("25006"));
    bench.sql.batch_execute(&alter("off")).await.unwrap();
    // The connection that saw the error is gone, the next one may write.
    assert_eq!(bench.store.ingest(&records).await.unwrap().samples, 1);
}

#[tokio::test]
async fn connections_that_the_server_cut_are_replaced() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for n in 1..=5_u64 {
        bench.number(cut).await;
        let records =
            [sample(&session, n, minutes_before(bench.now().await, 10 - n.cast_signed()))];
        // Whatever the pool still holds is found broken, said to be transient, and replaced.
        let stored = loop {
            match bench.store.ingest(&records).await {
                Ok(committed) => break committed.samples + committed.duplicates,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        };
        assert_eq!(stored, 1);
    }
    assert_eq!(bench.number("SELECT count(*) FROM host_usage").await, 5);
}

#[tokio::test]
async fn sql_written_for_the_two_classic_tables_gives_right_answers() {
    let bench = Bench::new().await;
    let tell = |name: &str, cpus: i32, mem_kib: i64| rowcall_core::convert::Hello {
        facts: HostFacts { cpu_number: Some(cpus), total_mem_kib: Some(mem_kib), ..facts() },
        ..hello(name, 1)
    };
    // 8 GiB and 32 GiB.
    let small = bench.open(&tell("small", 2, 8 << 20)).await;
    let large = bench.open(&tell("large", 8, 32 << 20)).await;
    // Minutes of one whole hour, which lies in the past.
    let hour = UnixMicros((bench.now().await.0 / 3_600_000_000 - 2) * 3_600_000_000);
    let free = |session: &OpenedSession, n: u64, mib: i64| {
        let body = Body::Sample(Sample { memory_free_kib: Some(mib << 10), ..Sample::default() });
        record(session, n, minutes_before(hour, 1 - n.cast_signed()), body)
    };
    // small: 25 % used in the first five minutes, then two samples of 50 %; large: 75 % all along.
    let mut records: Vec<_> = (1..=5).map(|n| free(&small, n, 6_144)).collect();
    records.extend((6..=7).map(|n| free(&small, n, 4_096)));
    records.extend((1..=10).map(|n| free(&large, n, 8_192)));
    assert_eq!(bench.store.ingest(&records).await.unwrap().samples, 17);

    let by_size = "SELECT cpu_number, id, total_mem FROM host_info
        GROUP BY id, cpu_number ORDER BY total_mem DESC";
    let rows = bench.sql.query(by_size, &[]).await.unwrap();
    let rows: Vec<(i32, i64)> = rows.iter().map(|row| (row.get(0), row.get(2))).collect();
    assert_eq!(rows, [(8, 32 << 20), (2, 8 << 20)]);

    let used = "SELECT i.hostname,
            date_bin('5 minutes', u.\"timestamp\", 'epoch') AS ts,
            round(avg((i.total_mem / 1024 - u.memory_free) * 100.0 / (i.total_mem / 1024)))::int,
            count(*)
        FROM host_usage u JOIN host_info i ON u.host_id = i.id
        GROUP BY i.hostname, ts ORDER BY i.hostname, ts";
    let rows = bench.sql.query(used, &[]).await.unwrap();
    let rows: Vec<(&str, i64, i32, i64)> = rows
        .iter()
        .map(|row| {
            let minute = row.get::<_, Time>(1).0.since(hour) / 60_000_000;
            (row.get(0), minute, row.get(2), row.get(3))
        })
        .collect();
    let expected =
        [("large", 0, 75, 5), ("large", 5, 75, 5), ("small", 0, 25, 5), ("small", 5, 50, 2)];
    assert_eq!(rows, expected);

    let few = "SELECT host_id, date_bin('5 minutes', \"timestamp\", 'epoch') AS ts, count(*)
        FROM host_usage GROUP BY host_id, ts HAVING count(*) < 3";
    let rows = bench.sql.query(few, &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].get::<_, i32>(0), rows[0].get::<_, i64>(2)), (small.host_id.0, 2));
}
