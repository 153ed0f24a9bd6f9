//! What an aggregator that does not own the tables may do, and what not.

mod doings;

use futures_util::TryStreamExt as _;
use rowcall_core::record::{Body, Gap, GapCause, GapState};
use rowcall_testkit::database::{connect, test_options};
use tokio_postgres::Client;

use super::*;
use crate::Store;
use crate::reports::Scope;
use crate::testing::{Bench, actor, facts, hello, minutes_before, record, sample};
use doings::{changes_access, tells_of_devices};

/// What people read devices by.
const VIEWS: &[&str] = &[
    "public.host_filesystem",
    "public.host_disk",
    "public.host_interface",
    "public.host_sensor",
    "public.host_md_array",
    "public.host_memory_controller",
    "public.host_cgroup",
    "public.host_process",
    "public.host_skipped",
];

/// Settings under which another role works. The private server lets only its own role in; that
/// becomes the other one right at the start.
pub(super) fn as_role(url: &str, role: &str) -> Settings {
    let separator = if url.contains('?') { '&' } else { '?' };
    Settings::new(format!("{url}{separator}options=-c%20role%3D{role}"))
}

/// A login role that may what `rowcall_aggregator` may.
async fn service(bench: &Bench) -> String {
    let name = format!("service_{}", bench.database.name());
    let script = format!("CREATE ROLE {name} LOGIN; GRANT rowcall_aggregator TO {name}");
    bench.sql.batch_execute(&script).await.unwrap();
    name
}

/// The SQLSTATE with which a statement fails.
async fn failure(client: &Client, sql: &str) -> String {
    let Err(error) = client.batch_execute(sql).await else { panic!("{sql} is possible") };
    error.code().map(|code| code.code().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_service_role_does_all_that_the_store_does() {
    let bench = Bench::new().await;
    let mut settings = as_role(&bench.database.url(), &service(&bench).await);
    settings.max_database_bytes = Some(u64::MAX);
    let store = Store::connect(&settings).await.unwrap();
    store.ping().await.unwrap();
    store.check_schema().await.unwrap();
    // Nothing is left to migrate: also that is no error.
    assert_eq!(store.migrate().await.unwrap().from, STEPS.last().unwrap().version);
    bench.sql.batch_execute("DROP TABLE host_usage_in_a_week").await.unwrap_err();
    let drop = "DO $$ BEGIN EXECUTE format('DROP TABLE host_usage_%s',
        to_char((now() AT TIME ZONE 'UTC')::date + 7, 'YYYYMMDD')); END $$";
    bench.sql.batch_execute(drop).await.unwrap();
    assert_eq!(store.ensure_partitions().await.unwrap(), 1);

    let now = bench.now().await;
    let interval = crate::testing::MINUTE;
    let session = store.opened(&hello("a", 1), interval).await.unwrap();
    let gap = Gap {
        through: session_sequence(5),
        ticks: 1,
        state: GapState::Dropped,
        cause: GapCause::Age,
        from: now,
        to: now,
    };
    let records = [
        sample(&session, 1, now),
        sample(&session, 2, minutes_before(now, 20 * 1_440)),
        sample(&session, 3, minutes_before(now, 90 * 1_440)),
        record(&session, 4, now, Body::Gap(gap)),
        record(&session, 6, now.plus_micros(9), Body::HostFacts(Box::new(facts()))),
        record(&session, 7, now, Body::Invalid("nonsense")),
    ];
    let committed = store.ingest(&records).await.unwrap();
    assert_eq!((committed.samples, committed.gaps, committed.facts), (2, 1, 1));
    tells_of_devices(&bench, &store).await;
    assert_eq!(committed.quarantined, 2);
    assert_eq!(store.ingest(&records).await.unwrap().duplicates, 5);
    // Another epoch, and the first one again.
    for epoch in [2, 1] {
        store.opened(&hello("a", epoch), interval * 2).await.unwrap();
    }

    let run = hello("a", 1).run;
    store.end_run(session.host_id, run, interval, interval).await.unwrap();
    store.opened(&hello("a", 1), interval).await.unwrap();
    for stopping in [false, true] {
        store.observed("a", run, stopping).await.unwrap();
    }
    let clock = minutes_before(now, 9);
    let told = crate::ToldClock { host_id: session.host_id, clock, waited: interval };
    store.told_clocks(&[told, told]).await.unwrap();
    store.told_clocks(&[told]).await.unwrap();

    let name = hello("a", 1).host_name;
    let labels = [("rack".to_owned(), "r1".to_owned())].into();
    store.label_host(&actor(), &name, &labels, &[]).await.unwrap().unwrap();
    store.label_host(&actor(), &name, &[].into(), &["rack".to_owned()]).await.unwrap().unwrap();
    assert!(store.retire_host(&actor(), &name).await.unwrap().unwrap().retired_at.is_some());
    store.restore_host(&actor(), &name).await.unwrap().unwrap();
    store.opened(&hello("a", 1), interval).await.unwrap();
    assert_eq!(store.list_hosts(&crate::hosts::Filter::default(), None, 9).await.unwrap().len(), 1);

    changes_access(&store, &session).await;

    let scope = Scope::default();
    let frame = store.frame(&scope).await.unwrap();
    store.hardware(&scope, &frame).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    store.memory(&scope, &frame).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    store.roll(&scope, &frame).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    store.balance(&scope, &frame).await.unwrap();
    store.integrity(&scope, &frame).await.unwrap();

    let old = "SELECT rowcall.create_days(ARRAY[(now() AT TIME ZONE 'UTC')::date - 35]);
        UPDATE rowcall.quarantine SET received_at = now() - interval '31 days';
        UPDATE rowcall.gap SET to_ts = now() - interval '61 days', received_at = now() - interval '61 days'";
    bench.sql.batch_execute(old).await.unwrap();
    let retained = store.retain().await.unwrap();
    assert_eq!((retained.days.len(), retained.quarantine_rows, retained.old_rows), (1, 2, 1));
}

fn session_sequence(number: u64) -> rowcall_core::id::Sequence {
    rowcall_core::id::Sequence::new(number).unwrap()
}

#[tokio::test]
async fn a_service_role_can_do_nothing_else() {
    let bench = Bench::new().await;
    bench
        .sql
        .batch_execute(
            "CREATE SCHEMA payroll; CREATE TABLE payroll.salary (n int); CREATE TABLE public.mine (n int)",
        )
        .await
        .unwrap();
    let service = service(&bench).await;
    bench.sql.batch_execute(&format!("SET ROLE {service}")).await.unwrap();
    for sql in [
        "CREATE TABLE public.extra (n int)",
        "CREATE TABLE rowcall.extra (n int)",
        "CREATE SCHEMA extra",
        "CREATE FUNCTION rowcall.extra() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE ROLE extra",
        "DROP TABLE host_label",
        "DROP TABLE rowcall.gap",
        "DROP FUNCTION rowcall.create_days(date[])",
        "ALTER TABLE host_usage ADD extra int",
        "ALTER TABLE host_info ALTER hostname DROP NOT NULL",
        "ALTER FUNCTION rowcall.drop_day(double precision, bigint) RESET ALL",
        "CREATE OR REPLACE FUNCTION rowcall.kept_from() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "TRUNCATE host_usage",
        "DELETE FROM host_usage",
        "UPDATE host_usage SET cpu_idle = 0",
        "UPDATE host_vitals SET load_1 = 0",
        "DELETE FROM host_vitals",
        "DELETE FROM host_metric",
        "UPDATE host_metric SET value = 0",
        "UPDATE rowcall.device_sample SET disks = NULL",
        "DELETE FROM rowcall.device_sample",
        "DELETE FROM host_device",
        "UPDATE host_device SET name = ''",
        "UPDATE host_device SET attributes = '{}'",
        "INSERT INTO host_info_history SELECT * FROM host_info_history",
        "UPDATE host_info_history SET total_mem = 0",
        "DELETE FROM host_info_history",
        "INSERT INTO host_boot SELECT * FROM host_boot",
        "UPDATE host_boot SET booted_at = NULL",
        "DELETE FROM host_boot",
        "INSERT INTO rowcall.facts_anchor SELECT * FROM rowcall.facts_anchor",
        "DELETE FROM rowcall.facts_anchor",
        "ALTER TABLE rowcall.device_sample ADD extra int",
        "DELETE FROM host_info",
        "DELETE FROM host_latest",
        "DELETE FROM rowcall.quarantine",
        "UPDATE rowcall.quarantine SET reason = ''",
        "DELETE FROM rowcall.quarantine_day",
        "DELETE FROM rowcall.gap",
        "DELETE FROM rowcall.epoch",
        "INSERT INTO rowcall.dropped_day (day, reason, bytes) VALUES (now(), 'age', 1)",
        "UPDATE rowcall.schema SET oldest_compatible = 99",
        "UPDATE rowcall.audit SET result = 'ok'",
        "DELETE FROM rowcall.audit",
        "TRUNCATE rowcall.audit",
        "INSERT INTO rowcall.audit (at, identity, peer, aggregator, action, target, result, detail)
            VALUES ('2020-01-01', '', '', '', '', '', '', '')",
        "ALTER TABLE rowcall.audit DISABLE TRIGGER only_added_to",
        "DROP TRIGGER only_added_to ON rowcall.audit",
        "DELETE FROM rowcall.token",
        "UPDATE rowcall.token SET uses = 100",
        "UPDATE rowcall.token SET expires_at = 'infinity'",
        "UPDATE rowcall.token SET secret_sha256 = ''",
        "DELETE FROM rowcall.certificate",
        "UPDATE rowcall.certificate SET host_id = 1",
        "DELETE FROM rowcall.host_access",
        "DELETE FROM rowcall.conflict",
        "UPDATE rowcall.host_alias SET host_id = 1",
        "CREATE OR REPLACE FUNCTION rowcall.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DELETE FROM rowcall.migration",
        "SELECT * FROM payroll.salary",
        "SELECT * FROM public.mine",
        "GRANT rowcall_aggregator TO rowcall_reader",
    ] {
        assert_eq!(failure(&bench.sql, sql).await, "42501", "{sql}");
    }
    let detach =
        "DO $$ BEGIN EXECUTE format('ALTER TABLE host_usage DETACH PARTITION host_usage_%s',
        to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$";
    assert_eq!(failure(&bench.sql, detach).await, "42501");
}

#[tokio::test]
async fn the_owners_functions_do_no_more_than_they_are_for_whatever_they_are_given() {
    let bench = Bench::new().await;
    let old = "SELECT rowcall.create_days(ARRAY[(now() AT TIME ZONE 'UTC')::date - 3])";
    bench.sql.batch_execute(old).await.unwrap();
    // A partition whose name is a statement, with the bounds of a day that may be dropped.
    let odd = r#"DO $$ DECLARE day timestamptz := date_trunc('day', now() - interval '60 days', 'UTC'); BEGIN
        EXECUTE format('CREATE TABLE %I PARTITION OF host_usage FOR VALUES FROM (%L) TO (%L)',
            'host_usage_' || to_char(day, 'YYYYMMDD') || '; DROP TABLE host_label; --', day, day + interval '1 day');
        END $$"#;
    bench.sql.batch_execute(odd).await.unwrap();
    let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'host_usage'::regclass";
    let before = bench.number(days).await;

    let service = service(&bench).await;
    bench.sql.batch_execute(&format!("SET ROLE {service}")).await.unwrap();
    // What stands in the way of a careless search path.
    let planted = "CREATE TEMP TABLE host_usage (n int); CREATE TEMP TABLE pg_inherits (n int);
        CREATE TEMP TABLE dropped_day (n int); CREATE TEMP TABLE pg_class (n int);
        CREATE TEMP TABLE gap (n int); CREATE TEMP TABLE epoch (n int);
        CREATE TEMP TABLE host_device (n int); CREATE TEMP TABLE device_sample (n int);
        SET search_path = pg_temp, pg_catalog, public; SET datestyle = 'German'; SET timezone = 'Pacific/Kiritimati'";
    bench.sql.batch_execute(planted).await.unwrap();

    for sql in [
        "SELECT rowcall.create_days(ARRAY['infinity'::date])",
        "SELECT rowcall.create_days(ARRAY['-infinity'::date])",
        "SELECT rowcall.create_days(ARRAY['4000-01-01'::date])",
        "SELECT rowcall.create_days(ARRAY[current_date, current_date + 40])",
        "SELECT rowcall.create_days(ARRAY[current_date - 3700])",
        "SELECT * FROM rowcall.drop_day(0, NULL)",
        "SELECT * FROM rowcall.drop_day(-1, 1)",
        "SELECT * FROM rowcall.drop_day('-infinity', NULL)",
        "SELECT * FROM rowcall.drop_day('infinity', NULL)",
        "SELECT * FROM rowcall.drop_day('nan', NULL)",
        "SELECT * FROM rowcall.drop_device_day(0, 86400)",
        "SELECT * FROM rowcall.drop_device_day(86400, 0)",
        "SELECT * FROM rowcall.drop_device_day('infinity', 'nan')",
        "SELECT rowcall.forget_devices(0)",
        "SELECT rowcall.forget_devices('-infinity')",
        "SELECT rowcall.forget_devices('infinity')",
        "SELECT rowcall.forget_devices('nan')",
        "SELECT rowcall.forget_old(0)",
        "SELECT rowcall.forget_old('-infinity')",
        "SELECT rowcall.forget_old('infinity')",
        "SELECT rowcall.forget_old('nan')",
    ] {
        let code = failure(&bench.sql, sql).await;
        assert!(code.starts_with("22"), "{code}: {sql}");
    }
    for sql in [
        "SELECT rowcall.create_days(NULL)",
        "SELECT rowcall.create_days('{}')",
        "SELECT rowcall.create_days(ARRAY[NULL::date])",
        "SELECT * FROM rowcall.drop_day(NULL, NULL)",
        "SELECT * FROM rowcall.drop_device_day(NULL, NULL)",
        "SELECT rowcall.forget_devices(NULL)",
        "SELECT rowcall.forget_old(NULL)",
        "SELECT rowcall.forget_old(86400)",
        "SELECT * FROM rowcall.drop_day(2592000, NULL)",
        "SELECT * FROM rowcall.drop_day(2592000, 9223372036854775807)",
    ] {
        bench.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
    }
    let looker = bench.database.connect().await.unwrap();
    let now: i64 = looker.query_one(days, &[]).await.unwrap().get(0);
    assert_eq!(now, before);

    // The most that can be had: every day before yesterday, one by one.
    for _ in 0..20 {
        bench.sql.batch_execute("SELECT * FROM rowcall.drop_day(86400, 1)").await.unwrap();
    }
    bench.sql.batch_execute("SELECT rowcall.create_days(ARRAY[current_date + 9])").await.unwrap();
    let clean = "RESET ROLE; RESET search_path; DISCARD TEMP; SET timezone = 'UTC'";
    bench.sql.batch_execute(clean).await.unwrap();
    let left = "SELECT count(*) FROM rowcall.partitions_of_usage() AS p
        WHERE p.from_ts >= date_trunc('day', now(), 'UTC') - interval '1 day'";
    assert_eq!(bench.number(left).await, 10, "yesterday to a week ahead, and the new one");
    assert_eq!(bench.number("SELECT count(*) FROM rowcall.partitions_of_usage()").await, 11);
    assert_eq!(bench.number("SELECT count(*) FROM host_label").await, 0, "it is still there");
}

#[tokio::test]
async fn a_reader_sees_every_table_and_may_call_nothing_that_changes_one() {
    let bench = Bench::new().await;
    // Days are read through their tables.
    let tables = "SELECT format('%s.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE relkind IN ('r', 'v', 'p')
        AND relnamespace IN ('rowcall'::regnamespace, 'public'::regnamespace)
        AND NOT relispartition";
    let rows = bench.sql.query(tables, &[]).await.unwrap();
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 34, "{tables:?}");
    for role in ["rowcall_reader", "rowcall_aggregator"] {
        bench.sql.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        for table in &tables {
            // The views for people are theirs.
            if role == "rowcall_aggregator" && VIEWS.contains(&table.as_str()) {
                continue;
            }
            let columns =
                if role == "rowcall_reader" && table == "rowcall.token" { "id" } else { "*" };
            bench.sql.query(&format!("SELECT {columns} FROM {table}"), &[]).await.unwrap();
        }
    }
    bench.sql.batch_execute("SET ROLE rowcall_reader").await.unwrap();
    let hidden = ["*", "secret_sha256", "t", "to_jsonb(t)", "octet_length(secret_sha256)"];
    for columns in hidden {
        let sql = format!("SELECT {columns} FROM rowcall.token AS t");
        assert_eq!(failure(&bench.sql, &sql).await, "42501", "{sql}");
    }
    let shown = "SELECT id, host_glob, labels, uses, used, created_at, created_by, expires_at,
        last_used_at, revoked_at, ephemeral_s, may_replace FROM rowcall.token";
    bench.sql.batch_execute(shown).await.unwrap();
    bench.sql.batch_execute("SELECT rowcall.kept_from()").await.unwrap();
    bench.sql.batch_execute("SELECT * FROM rowcall.partitions_of_usage()").await.unwrap();
    for report in crate::reports::FILES {
        bench.sql.batch_execute(report).await.unwrap();
    }
    for rates in ["host_disk_rates", "host_interface_rates", "host_cgroup_rates"] {
        let sql = format!("SELECT * FROM {rates}(now() - interval '1 hour', now())");
        bench.sql.batch_execute(&sql).await.unwrap();
    }
    for sql in [
        "SELECT rowcall.create_days('{}')",
        "SELECT rowcall.make_days('{}')",
        "SELECT rowcall.drop_day(2592000, NULL)",
        "SELECT rowcall.drop_device_day(2592000, 604800)",
        "SELECT rowcall.forget_devices(604800)",
        "SELECT rowcall.tell_facts(1, now(), true, '{}', NULL, NULL)",
        "INSERT INTO host_vitals SELECT * FROM host_vitals",
        "INSERT INTO host_metric SELECT * FROM host_metric",
        "SELECT rowcall.forget_refused()",
        "SELECT rowcall.forget_old(2592000)",
        "SELECT rowcall.forget_access()",
        "INSERT INTO rowcall.gap SELECT * FROM rowcall.gap",
    ] {
        assert_eq!(failure(&bench.sql, sql).await, "42501", "{sql}");
    }
}

#[tokio::test]
async fn tables_of_later_steps_are_readable_too() {
    let bench = Bench::new().await;
    let mut steps = STEPS.to_vec();
    let version = steps.last().unwrap().version + 1;
    let sql = "CREATE TABLE rowcall.later (n int)";
    steps.push(Step { version, name: "later", sql, oldest_compatible: 1 });
    migrate(&Settings::new(bench.database.url()), &steps).await.unwrap();
    bench.sql.batch_execute("SET ROLE rowcall_reader; SELECT * FROM rowcall.later").await.unwrap();
}

#[tokio::test]
async fn a_usual_start_of_the_owner_writes_nothing() {
    let bench = Bench::new().await;
    let written = "SELECT pg_current_xact_id_if_assigned() IS NULL";
    let mut client = bench.database.connect().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(ROLES).await.unwrap();
    assert!(transaction.query_one(written, &[]).await.unwrap().get::<_, bool>(0));
    // Also on a server that only reads.
    transaction.batch_execute("SET TRANSACTION READ ONLY").await.unwrap();
    transaction.batch_execute(ROLES).await.unwrap();
}

#[tokio::test]
async fn where_roles_could_not_be_made_a_later_migration_gives_them_their_rights() {
    // Roles belong to the whole server: this takes one of its own.
    let start = move || test_options().start();
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let admin = connect(&server.url("postgres")).await.unwrap();
    admin.batch_execute("CREATE ROLE owner LOGIN").await.unwrap();
    admin.batch_execute("CREATE DATABASE d OWNER owner").await.unwrap();
    let settings = as_role(&server.url("d"), "owner");
    migrate(&settings, STEPS).await.unwrap();
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'rowcall\\_%'";
    let made: i64 = admin.query_one(roles, &[]).await.unwrap().get(0);
    assert_eq!(made, 0);
    // The owner itself needs neither.
    Store::connect(&settings).await.unwrap().ensure_partitions().await.unwrap();

    let roles = "CREATE ROLE rowcall_aggregator NOLOGIN; CREATE ROLE rowcall_reader NOLOGIN;
        CREATE ROLE service LOGIN; GRANT rowcall_aggregator TO service";
    admin.batch_execute(roles).await.unwrap();
    let service = Store::connect(&as_role(&server.url("d"), "service")).await.unwrap();
    let error = service.check_schema().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("permission denied for schema rowcall"), "{error}");
    migrate(&settings, STEPS).await.unwrap();
    service.check_schema().await.unwrap();
    service.ensure_partitions().await.unwrap();
    let session = service.opened(&hello("a", 1), crate::testing::MINUTE).await.unwrap();
    let now: i64 = admin
        .query_one("SELECT (extract(epoch FROM now()) * 1e6)::bigint", &[])
        .await
        .unwrap()
        .get(0);
    let records = [sample(&session, 1, rowcall_core::id::UnixMicros(now))];
    assert_eq!(service.ingest(&records).await.unwrap().samples, 1);
    drop(service);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[tokio::test]
async fn what_a_superuser_migrates_belongs_to_the_tables_owner() {
    let bench = Bench::empty().await;
    let owner = format!("owner_{}", bench.database.name());
    let script = format!(
        "CREATE ROLE {owner} LOGIN; ALTER DATABASE {} OWNER TO {owner}",
        bench.database.name()
    );
    bench.sql.batch_execute(&script).await.unwrap();
    let mut client = connect_alone(&as_role(&bench.database.url(), &owner)).await.unwrap();
    client.batch_execute(PREPARE).await.unwrap();
    for step in &STEPS[..2] {
        apply(&mut client, step).await.unwrap();
    }
    bench.store.migrate().await.unwrap();
    let foreign = format!(
        "SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'rowcall'::regnamespace
                    AND proowner <> '{owner}'::regrole)
              + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                    AND proowner <> '{owner}'::regrole)
              + (SELECT count(*) FROM pg_class
                  WHERE relnamespace IN ('rowcall'::regnamespace, 'public'::regnamespace)
                    AND relowner <> '{owner}'::regrole)"
    );
    assert_eq!(bench.number(&foreign).await, 0);
    bench.store.ensure_partitions().await.unwrap();
    let partitions = format!(
        "SELECT count(*) FROM pg_class WHERE relname ~ '^host_usage_' AND relkind = 'r'
            AND relowner = '{owner}'::regrole"
    );
    assert_eq!(bench.number(&partitions).await, 9);
}
