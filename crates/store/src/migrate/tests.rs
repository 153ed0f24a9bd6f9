use futures_util::future::join_all;

use super::*;
use crate::testing::{Bench, sample};

#[path = "rights.rs"]
mod rights;

fn settings(bench: &Bench) -> Settings {
    Settings::new(bench.database.url())
}

fn latest() -> u32 {
    STEPS.last().unwrap().version
}

#[test]
fn versions_count_from_1_without_holes() {
    for (index, step) in STEPS.iter().enumerate() {
        assert_eq!(step.version, u32::try_from(index).unwrap() + 1);
        assert!(step.name.starts_with(&format!("V{:04}__", step.version)), "{}", step.name);
        assert!(step.oldest_compatible <= step.version);
    }
}

#[test]
fn a_checksum_tells_an_edit_and_ignores_line_ends() {
    assert_eq!(checksum("a\nb\n"), checksum("a\r\nb\r\n"));
    assert_ne!(checksum("a\nb\n"), checksum("a\nb"));
}

#[tokio::test]
async fn an_empty_database_gets_the_whole_schema_and_then_stays() {
    let bench = Bench::empty().await;
    assert_eq!(bench.store.migrate().await.unwrap(), Migration { from: 0, to: latest() });
    let again = bench.store.migrate().await.unwrap();
    assert_eq!(again, Migration { from: latest(), to: latest() });
    let applied = bench.number("SELECT count(*) FROM rowcall.migration").await;
    assert_eq!(applied, i64::from(latest()));
}

#[tokio::test]
async fn a_populated_database_keeps_its_rows_through_a_further_step() {
    let bench = Bench::new().await;
    let session = bench.host("node1").await;
    bench.store.ingest(&[sample(&session, 1, bench.now().await)]).await.unwrap();
    let before = bench.everything().await;
    let mut steps = STEPS.to_vec();
    steps.push(Step {
        version: latest() + 1,
        name: "further",
        sql: "CREATE TABLE rowcall.further (n int); ALTER TABLE host_info ADD extra text",
        oldest_compatible: 1,
    });
    let migration = migrate(&settings(&bench), &steps).await.unwrap();
    assert_eq!(migration, Migration { from: latest(), to: latest() + 1 });
    // The column is new; everything else is as it was.
    bench.sql.batch_execute("ALTER TABLE host_info DROP extra").await.unwrap();
    assert_eq!(bench.everything().await, before);
    // The older program still works with it.
    let older = bench.store.migrate().await.unwrap();
    assert_eq!(older, Migration { from: latest() + 1, to: latest() + 1 });
}

#[tokio::test]
async fn processes_that_migrate_at_once_all_succeed() {
    let bench = Bench::empty().await;
    let settings = settings(&bench);
    let results = join_all((0..8).map(|_| migrate(&settings, STEPS))).await;
    let made = results.into_iter().map(Result::unwrap).filter(|done| done.from == 0).count();
    assert_eq!(made, 1, "one of them did the work");
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_and_names_itself() {
    let bench = Bench::new().await;
    let mut steps = STEPS.to_vec();
    steps.push(Step {
        version: latest() + 1,
        name: "V9999__broken",
        sql: "CREATE TABLE rowcall.half (n int); SELECT 1 / 0",
        oldest_compatible: 1,
    });
    let error = migrate(&settings(&bench), &steps).await.unwrap_err();
    assert!(
        error.to_string().starts_with("migration V9999__broken: database: division"),
        "{error}"
    );
    let half = "SELECT count(*) FROM pg_class WHERE relname = 'half'";
    assert_eq!(bench.number(half).await, 0);
    assert_eq!(bench.store.migrate().await.unwrap().to, latest());
}

#[tokio::test]
async fn a_newer_schema_is_refused_only_below_its_oldest_compatible_version() {
    let bench = Bench::new().await;
    let set = |version: u32, oldest: u32| {
        format!("UPDATE rowcall.schema SET version = {version}, oldest_compatible = {oldest}")
    };
    bench.sql.batch_execute(&set(99, latest())).await.unwrap();
    assert_eq!(bench.store.migrate().await.unwrap(), Migration { from: 99, to: 99 });
    bench.sql.batch_execute(&set(99, 98)).await.unwrap();
    let error = bench.store.migrate().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Schema);
    let text = error.to_string();
    assert!(text.contains("version 99"), "{text}");
    let known = format!("98 or later; this one knows {}", latest());
    assert!(text.contains(&known), "{text}");
}

#[tokio::test]
async fn a_later_step_does_not_let_old_programs_in_again() {
    let bench = Bench::empty().await;
    let mut steps = STEPS.to_vec();
    for (name, oldest_compatible) in [("breaks", latest() + 1), ("harmless", 1)] {
        let version = steps.last().unwrap().version + 1;
        steps.push(Step { version, name, sql: "SELECT 1", oldest_compatible });
    }
    migrate(&settings(&bench), &steps).await.unwrap();
    let error = bench.store.migrate().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Schema);
}

#[tokio::test]
async fn a_migration_changed_after_it_was_applied_is_refused_by_name() {
    let bench = Bench::new().await;
    let mut steps = STEPS.to_vec();
    steps[0].sql = "SELECT 1";
    let error = migrate(&settings(&bench), &steps).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Schema);
    assert!(error.to_string().contains("V0001__hosts_and_usage"), "{error}");
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_to_do_and_needs_none_afterwards() {
    let bench = Bench::empty().await;
    let user = format!("plain_{}", bench.database.name());
    bench.sql.batch_execute(&format!("CREATE ROLE {user} LOGIN")).await.unwrap();
    let settings = rights::as_role(&bench.database.url(), &user);
    let error = migrate(&settings, STEPS).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("run `rowcall-aggregator migrate` once"), "{error}");

    bench.store.migrate().await.unwrap();
    let grant = format!(
        "GRANT USAGE ON SCHEMA rowcall TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA rowcall TO {user}"
    );
    bench.sql.batch_execute(&grant).await.unwrap();
    assert_eq!(migrate(&settings, STEPS).await.unwrap().from, latest());
}

#[tokio::test]
async fn the_owner_without_createrole_migrates_and_the_missing_role_is_no_error() {
    let bench = Bench::empty().await;
    let user = format!("owner_{}", bench.database.name());
    let database = bench.database.name();
    let script = format!("CREATE ROLE {user} LOGIN; ALTER DATABASE {database} OWNER TO {user}");
    bench.sql.batch_execute(&script).await.unwrap();
    // Whether the role exists on this server already depends on the other tests; either way it
    // must not be an error.
    let settings = rights::as_role(&bench.database.url(), &user);
    assert_eq!(migrate(&settings, STEPS).await.unwrap().to, latest());
}

#[tokio::test]
async fn a_reader_can_select_and_nothing_else() {
    let bench = Bench::new().await;
    bench.sql.batch_execute("SET ROLE rowcall_reader").await.unwrap();
    for table in [
        "host_info",
        "host_usage",
        "host_latest",
        "host_label",
        "rowcall.host_interval",
        "rowcall.ledger",
        "rowcall.run",
        "rowcall.aggregator_span",
        "rowcall.clock_span",
        "rowcall.tick",
        "rowcall.ticks(1, current_date)",
        "rowcall.unobserved('-infinity', now())",
    ] {
        bench.sql.query(&format!("SELECT * FROM {table}"), &[]).await.unwrap();
    }
    let error = bench.sql.batch_execute("DELETE FROM host_label").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42501");
}

#[tokio::test]
async fn every_query_can_be_prepared() {
    let bench = Bench::new().await;
    let own =
        [READY, APPLIED, VERSION, RECORD, SET_VERSION, crate::SERVER, crate::identity::IDENTITY];
    let mut sets: Vec<&[&str]> = vec![
        &own,
        crate::session::QUERIES,
        crate::partitions::QUERIES,
        crate::hosts::QUERIES,
        crate::retention::QUERIES,
        crate::guard::QUERIES,
        crate::watch::QUERIES,
    ];
    sets.extend(crate::access::QUERIES);
    sets.extend(crate::ingest::QUERIES);
    let mut count = 0;
    for sql in sets.into_iter().flatten() {
        bench.sql.prepare(sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
        count += 1;
    }
    // prepare.sql and roles.sql are scripts; reports have a test of their own.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/queries");
    let mut files = 0;
    for folder in
        ["access", "hosts", "ingest", "migrate", "partitions", "retention", "session", "watch"]
    {
        files += std::fs::read_dir(format!("{root}/{folder}")).unwrap().count();
    }
    assert_eq!(count + 2, files, "a query file that no test prepares");
}

#[tokio::test]
async fn the_sql_in_the_readme_runs() {
    let bench = Bench::new().await;
    let readme = include_str!("../../../../sql/README.md");
    let blocks: Vec<_> =
        readme.split("```sql\n").skip(1).map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for sql in blocks.into_iter().flatten() {
        bench.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
    }
}

#[tokio::test]
async fn a_database_of_version_2_keeps_its_rows_and_goes_on() {
    let bench = Bench::empty().await;
    let mut client = connect_alone(&settings(&bench)).await.unwrap();
    client.batch_execute(PREPARE).await.unwrap();
    for step in &STEPS[..2] {
        apply(&mut client, step).await.unwrap();
    }
    let rows = "SELECT rowcall.create_days(ARRAY(
            SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-40, 7) AS n));
        INSERT INTO host_info (hostname, total_mem) VALUES ('a', 1024), ('b', 2048);
        INSERT INTO rowcall.epoch (host_id, epoch) VALUES (1, 1), (2, 77);
        INSERT INTO host_latest (host_id, epoch_id, mark) SELECT id, id, 4000 FROM host_info;
        INSERT INTO rowcall.host_interval VALUES (1, now(), 60000);
        INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
            SELECT now() - n * interval '1 day', 1, 100 - n, 1, 0 FROM generate_series(0, 39) AS n;
        INSERT INTO rowcall.gap VALUES (1, 1, 1, 9, 9, 'dropped', 'age', now(), now());
        INSERT INTO rowcall.quarantine
            SELECT 2, 2, n, now(), now(), 'too old' FROM generate_series(1, 1200) AS n";
    bench.sql.batch_execute(rows).await.unwrap();
    let told = |error: Error| (error.kind(), error.to_string());
    let (kind, words) = told(bench.store.check_schema().await.unwrap_err());
    assert_eq!(kind, Kind::Schema);
    let needed = format!("has version 2, this program needs {}: run `rowcall-aggregator", latest());
    assert!(words.contains(&needed), "{words}");
    let tables = ["host_info", "host_usage", "host_latest", "rowcall.epoch", "rowcall.quarantine"];
    let mut before = Vec::new();
    for table in tables {
        before.push(bench.number(&format!("SELECT count(*) FROM {table}")).await);
    }

    assert_eq!(bench.store.migrate().await.unwrap(), Migration { from: 2, to: latest() });
    bench.store.check_schema().await.unwrap();
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(bench.number(&format!("SELECT count(*) FROM {table}")).await, before, "{table}");
    }
    // The days made before are known, and dropped when their time has come.
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    let session = bench.host("a").await;
    assert_eq!(session.mark.map(|mark| mark.through.as_i64()), None, "its time is not known");
    let stored = bench.store.ingest(&[sample(&session, 4_001, bench.now().await)]).await.unwrap();
    assert_eq!(stored.samples, 1);
    assert_eq!(bench.store.retain().await.unwrap().days.len(), 10);
    // Its thousand of the day is used up.
    let other = bench.open(&crate::testing::hello("b", 77)).await;
    let refused = sample(&other, 4_001, rowcall_core::id::UnixMicros(0));
    assert_eq!(bench.store.ingest(&[refused]).await.unwrap().quarantined, 1);
    let state = "SELECT kept * 10000 + counted FROM rowcall.quarantine_day WHERE host_id = 2";
    assert_eq!(bench.number(state).await, 12_000_001);
}

#[tokio::test]
async fn a_database_of_version_3_keeps_its_rows_and_counts_from_then_on() {
    let bench = Bench::empty().await;
    let mut client = connect_alone(&settings(&bench)).await.unwrap();
    client.batch_execute(PREPARE).await.unwrap();
    for step in &STEPS[..3] {
        apply(&mut client, step).await.unwrap();
    }
    let rows = "SELECT rowcall.create_days(ARRAY[(now() AT TIME ZONE 'UTC')::date]);
        INSERT INTO host_info (hostname, boot_id) VALUES ('a', 'boot');
        INSERT INTO rowcall.epoch (host_id, epoch, closed_at) VALUES (1, 9, now()), (1, 1, NULL);
        INSERT INTO host_latest (host_id, epoch_id, mark, mark_time) VALUES (1, 2, 41, now());
        INSERT INTO rowcall.host_interval VALUES (1, now(), 60000);
        INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
            VALUES (now(), 1, 41, 2, 0)";
    bench.sql.batch_execute(rows).await.unwrap();
    let files =
        "SELECT array_agg(pg_relation_filenode(c.oid)::bigint ORDER BY relname) FROM pg_class AS c
        WHERE relname ~ '^host_(latest|usage_)' AND relkind = 'r'";
    let files_of =
        || async { bench.sql.query_one(files, &[]).await.unwrap().get::<_, Vec<i64>>(0) };
    let before = files_of().await;
    let migration = bench.store.migrate().await.unwrap();
    assert_eq!(migration, Migration { from: 3, to: latest() });
    assert_eq!(files_of().await, before, "no table was written anew");
    bench.store.check_schema().await.unwrap();

    // Nobody recorded it, so nothing before was unobserved; nor was the agent seen to start.
    let holes = "SELECT count(*) FROM rowcall.unobserved('-infinity', now())";
    assert_eq!(bench.number(holes).await, 0);
    let session = bench.host("a").await;
    assert_eq!(session.started, Some(crate::Started::First));
    let mark = session.mark.unwrap();
    assert_eq!((mark.through.as_i64(), mark.due_ticks), (41, 0));
    let next = sample(&session, 42, bench.now().await);
    assert_eq!(bench.store.ingest(&[next]).await.unwrap().samples, 1);
    let ledger = "SELECT count(*) FROM rowcall.ledger WHERE origin = 'unknown' AND due = 0 AND difference = 0";
    assert_eq!(bench.number(ledger).await, 2);
    // A program of before would let in those whose access ended.
    let oldest = "SELECT oldest_compatible::bigint FROM rowcall.schema";
    assert_eq!(bench.number(oldest).await, 5);
}

#[tokio::test]
async fn a_database_of_version_5_gets_days_for_all_tables_and_no_table_is_written_anew() {
    let bench = Bench::empty().await;
    let mut client = connect_alone(&settings(&bench)).await.unwrap();
    client.batch_execute(PREPARE).await.unwrap();
    for step in &STEPS[..5] {
        apply(&mut client, step).await.unwrap();
    }
    let rows = "SELECT rowcall.create_days(ARRAY(
            SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-20, 7) AS n));
        INSERT INTO host_info (hostname) VALUES ('a');
        INSERT INTO rowcall.epoch (host_id, epoch) VALUES (1, 1);
        INSERT INTO host_latest (host_id, epoch_id, mark) VALUES (1, 1, 20);
        INSERT INTO host_usage (\"timestamp\", host_id, sequence, epoch_id, delay_s)
            SELECT now() - n * interval '1 day', 1, 21 - n, 1, 0 FROM generate_series(1, 20) AS n";
    bench.sql.batch_execute(rows).await.unwrap();
    let files = "SELECT array_agg(pg_relation_filenode(oid)::bigint ORDER BY relname) FROM pg_class
        WHERE relname ~ '^host_(latest|info|usage_.*)$' AND relkind = 'r'";
    let files_of =
        || async { bench.sql.query_one(files, &[]).await.unwrap().get::<_, Vec<i64>>(0) };
    let before = files_of().await;
    bench.store.migrate().await.unwrap();
    assert_eq!(files_of().await, before);
    // From yesterday on they are there; others are made when something needs them.
    assert_eq!(bench.store.ensure_partitions().await.unwrap(), 0);
    let days = "SELECT count(*) FROM rowcall.made_days() WHERE parent = ";
    assert_eq!(bench.number(&format!("{days} 'host_vitals'::regclass")).await, 9);
    let session = bench.host("a").await;
    let late = bench.now().await.plus_micros(-15 * 86_400_000_000);
    let mut with_vitals = sample(&session, 21, late);
    if let rowcall_core::record::Body::Sample(sample) = &mut with_vitals.record.body {
        sample.vitals = Some(Box::default());
    }
    assert_eq!(bench.store.ingest(&[with_vitals]).await.unwrap().samples, 1);
    assert_eq!(bench.number(&format!("{days} 'host_vitals'::regclass")).await, 10);
    assert_eq!(bench.number("SELECT count(*) FROM host_vitals").await, 1);
}

#[tokio::test]
async fn the_schema_is_checked_without_changing_it() {
    let bench = Bench::empty().await;
    let error = bench.store.check_schema().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Schema);
    let needed = format!("has version 0, this program needs {}", latest());
    assert!(error.to_string().contains(&needed), "{error}");
    assert_eq!(
        bench.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'rowcall'").await,
        0
    );
    bench.store.migrate().await.unwrap();
    bench.store.check_schema().await.unwrap();
    let newer = "UPDATE rowcall.schema SET version = 99, oldest_compatible = ";
    bench.sql.batch_execute(&format!("{newer} 4")).await.unwrap();
    bench.store.check_schema().await.unwrap();
    bench.sql.batch_execute(&format!("{newer} 98")).await.unwrap();
    let error = bench.store.check_schema().await.unwrap_err();
    let known = format!("98 or later; this one knows {}: install a newer", latest());
    assert!(error.to_string().contains(&known), "{error}");
}

#[tokio::test]
async fn a_database_of_version_6_begins_histories_with_what_is_known() {
    let bench = Bench::empty().await;
    let mut client = connect_alone(&settings(&bench)).await.unwrap();
    client.batch_execute(PREPARE).await.unwrap();
    for step in &STEPS[..6] {
        apply(&mut client, step).await.unwrap();
    }
    let rows = "INSERT INTO host_info (hostname, cpu_number, total_mem, boot_id, booted_at, \"timestamp\")
            VALUES ('a', 8, 1024, 'b', '2001-01-01Z', '2001-02-01Z'), ('b', NULL, NULL, NULL, NULL, now());
        INSERT INTO rowcall.run (host_id, run, how, boot_id, started_at)
            VALUES (1, 1, 'first', 'a', '2000-01-01Z'), (1, 2, 'reboot', 'b', '2001-01-02Z'),
                   (1, 3, 'restart', 'b', '2001-01-03Z'), (2, 1, 'first', NULL, now())";
    bench.sql.batch_execute(rows).await.unwrap();
    bench.store.migrate().await.unwrap();
    let history = "SELECT count(*) FROM host_info_history WHERE host_id = 1 AND valid_from = '-infinity'
        AND valid_to = 'infinity' AND first_told_at = '2001-02-01Z' AND cpu_number = 8 AND total_mem = 1024";
    assert_eq!(bench.number(history).await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM host_info_history").await, 1);
    let boots = "SELECT count(*) FROM host_boot WHERE host_id = 1
        AND (boot_id = 'a' AND seen_at = '2000-01-01Z' AND booted_at IS NULL
             OR boot_id = 'b' AND seen_at = '2001-01-02Z' AND booted_at = '2001-01-01Z')";
    assert_eq!(bench.number(boots).await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM host_boot").await, 2);
}
