//! What the server makes of the statements: which days it reads.

use rowcall_testkit::database::Database;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::template;
use crate::{Settings, Store};

/// Days from 2001-11-01 to 2001-11-05, each with samples. On the third one a window lacks samples
/// that nobody could receive: the roll reads those of its rest again.
async fn five_days() -> (Database, Client) {
    let database = Database::create().await.unwrap();
    let store = Store::connect(&Settings::new(database.url())).await.unwrap();
    store.migrate().await.unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute("INSERT INTO host_info (hostname) VALUES ('a')").await.unwrap();
    for day in 1..=5 {
        let next = day + 1;
        client
            .batch_execute(&format!(
                "CREATE TABLE day_{day} PARTITION OF host_usage
                 FOR VALUES FROM ('2001-11-0{day} 00:00:00+00') TO ('2001-11-0{next} 00:00:00+00');
                 INSERT INTO day_{day} (\"timestamp\", host_id, sequence, delay_s, epoch_id)
                 SELECT '2001-11-0{day} 00:00:00+00'::timestamptz + i * interval '1 minute', 1, i, 0, 1
                   FROM generate_series(1, 1439) AS i"
            ))
            .await
            .unwrap();
    }
    client
        .batch_execute(
            "DELETE FROM host_usage WHERE \"timestamp\" >= '2001-11-03 12:02:00+00'
                                      AND \"timestamp\" < '2001-11-03 12:05:00+00';
             DELETE FROM rowcall.aggregator_span;
             INSERT INTO rowcall.aggregator_span (aggregator, run, from_ts, through_ts)
             VALUES ('a', 1, '-infinity', '2001-11-03 12:01:30+00'),
                    ('a', 2, '2001-11-03 12:05:00+00', 'infinity');
             ANALYZE",
        )
        .await
        .unwrap();
    (database, client)
}

/// The days that a statement reads; a plan may name others and never come to them.
async fn days_read(client: &Client, statement: &str) -> Vec<String> {
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {statement}");
    let mut days: Vec<String> = Vec::new();
    for message in client.simple_query(&explain).await.unwrap() {
        let SimpleQueryMessage::Row(row) = message else { continue };
        let line = row.get(0).unwrap_or_default();
        let scan = line.contains("Scan") && !line.contains("never executed");
        // Of an index scan too, the line names the table after "on".
        let table = line.split(" on ").nth(1).and_then(|rest| rest.split_whitespace().next());
        if let Some(table) = table.filter(|table| scan && table.starts_with("day_")) {
            days.push(table.trim_end_matches("_pkey").to_owned());
        }
    }
    days.sort();
    days.dedup();
    days
}

#[tokio::test]
async fn custom_and_generic_plans_read_only_the_days_of_the_range() {
    let (_database, client) = five_days().await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        client.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.unwrap();
        for (index, file) in
            [template::MEMORY, template::ROLL, template::BALANCE, template::INTEGRITY]
                .into_iter()
                .enumerate()
        {
            let name = format!("q_{index}_{mode}");
            let statement = template::with_parameters(file);
            client.batch_execute(&format!("PREPARE {name} AS {statement}")).await.unwrap();
            for (from, to, days) in [
                ("2001-11-03 12:00:00+00", "2001-11-03 13:00:00+00", &["day_3"][..]),
                ("2001-11-03 23:00:00+00", "2001-11-04 00:00:00+00", &["day_3"]),
                ("2001-11-03 23:30:00+00", "2001-11-04 00:30:00+00", &["day_3", "day_4"]),
            ] {
                let execute = format!(
                    "EXECUTE {name}('{from}', '{to}', 300, NULL, '{{}}', '{{}}', '', now(), NULL)"
                );
                assert_eq!(days_read(&client, &execute).await, days, "{mode} {from} {file}");
            }
        }
    }
}

#[tokio::test]
async fn reports_are_planned_for_their_range_not_compiled_and_hashed_in_memory() {
    let database = Database::create().await.unwrap();
    let store = Store::connect(&Settings::new(database.url())).await.unwrap();
    let connection = store.reports.get().await.unwrap();
    for (setting, value) in
        [("plan_cache_mode", "force_custom_plan"), ("jit", "off"), ("work_mem", "64MB")]
    {
        let row = connection.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{setting}");
    }
}

#[tokio::test]
async fn literals_as_in_the_file_read_only_the_days_of_the_range() {
    let (_database, client) = five_days().await;
    let literal = "WITH params AS NOT MATERIALIZED (SELECT \
         timestamptz '2001-11-05 00:00:00+00' - interval '1 hour' AS from_ts, \
         timestamptz '2001-11-05 00:00:00+00' AS to_ts, interval '5 minutes' AS window_len, \
         NULL::int AS min_samples, '{}'::jsonb AS labels, '' AS name_glob, now() AS now_ts, \
         NULL::timestamptz AS hardware_as_of),";
    for file in [template::MEMORY, template::ROLL, template::BALANCE, template::INTEGRITY] {
        let line = file.lines().find(|line| line.starts_with("WITH params AS")).unwrap();
        // The files as they stand begin at now: nothing is read of these days.
        let none: [&str; 0] = [];
        assert_eq!(days_read(&client, file).await, none);
        assert_eq!(days_read(&client, &file.replace(line, literal)).await, ["day_4"]);
    }
}
