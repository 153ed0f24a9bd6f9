//! What many new devices cost the database, which must not grow faster than their number.

use super::*;

const NEW_DEVICES: &str = include_str!("../../../../../../sql/queries/ingest/new_devices.sql");

/// Pages that the statement touched, and rows that its plan handled, joins thrown away included.
async fn cost(bench: &Bench, hosts: i64, of_each: i64) -> i64 {
    let sql = &bench.sql;
    sql.batch_execute("BEGIN").await.unwrap();
    let arguments = format!(
        "SELECT format('%L, %L, %L, %L, %L, 1000000', array_agg(h.id), array_agg('interface'::text),
                       array_agg('veth' || n), array_agg(7::bigint), array_agg('{{}}'::text))
           FROM (SELECT id FROM host_info ORDER BY id LIMIT {hosts}) AS h
          CROSS JOIN generate_series(1, {of_each}) AS n"
    );
    let arguments: String = sql.query_one(&arguments, &[]).await.unwrap().get(0);
    let explain =
        format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE new_devices ({arguments})");
    let answer = sql.simple_query(&explain).await.unwrap();
    sql.batch_execute("ROLLBACK").await.unwrap();
    let plan = answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = serde_json::from_str(plan.unwrap()).unwrap();
    let top = &plan[0]["Plan"];
    work(top) + number(top, "Shared Hit Blocks") + number(top, "Shared Read Blocks")
}

fn number(node: &serde_json::Value, name: &str) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "counts of a test's rows")]
    let whole = node[name].as_f64().unwrap_or(0.0) as i64;
    whole
}

/// Rows that the nodes of a plan handled.
fn work(node: &serde_json::Value) -> i64 {
    let loops = number(node, "Actual Loops");
    let own =
        ["Actual Rows", "Rows Removed by Join Filter", "Rows Removed by Filter", "Heap Fetches"];
    let own: i64 = own.map(|name| number(node, name) * loops).iter().sum();
    own + node["Plans"].as_array().into_iter().flatten().map(work).sum::<i64>()
}

#[tokio::test]
async fn four_times_the_new_devices_cost_four_times_as_much() {
    let bench = Bench::new().await;
    for n in 0..40 {
        bench.host(&format!("node{n}")).await;
    }
    // As the pool of ingest prepares it.
    let prepare = format!(
        "SET plan_cache_mode = force_generic_plan;
         PREPARE new_devices (integer[], text[], text[], bigint[], text[], bigint) AS {NEW_DEVICES}"
    );
    bench.sql.batch_execute(&prepare).await.unwrap();
    for (few, many) in [((1, 500), (1, 2_000)), ((10, 50), (40, 50))] {
        let (less, more) = (cost(&bench, few.0, few.1).await, cost(&bench, many.0, many.1).await);
        assert!(more < less * 5, "{few:?} hosts and devices: {less}; {many:?}: {more}");
    }
}
