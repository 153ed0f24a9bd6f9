//! The bash script that cron runs, with psql and a password in its line.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use procfs::process::Process;
use rowcall_testkit::database::Client;
use tokio::time::sleep;

use super::relay::Relay;
use crate::measure::{millis, real};
use crate::stage::Stage;

const SCRIPT: &str = include_str!("cron.sh");

/// Runs the script $2 times; then keeps the time used by it and its children to be looked at.
const LOOP: &str = "for ((i = 0; i < $2; i++)); do bash \"$1\" \"$3\"; done; echo ready; read -r _";

/// As such scripts made them: an id, and the values.
const TABLES: &str = "
    CREATE TABLE cron_info (id serial PRIMARY KEY, hostname varchar NOT NULL UNIQUE);
    CREATE TABLE cron_usage (\"timestamp\" timestamp NOT NULL, host_id integer NOT NULL REFERENCES cron_info (id),
        memory_free integer, cpu_idle integer, cpu_kernel integer, disk_io integer, disk_available integer);
    CREATE INDEX ON cron_usage (host_id, \"timestamp\")";

/// Values in a row.
pub(super) const VALUES: usize = 5;

/// What one run costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) cpu_ms: f64,
    /// In PostgreSQL.
    pub(super) server_ms: f64,
    pub(super) wire_bytes: f64,
}

/// The database that it writes to.
pub(super) async fn prepare(stage: &Stage) -> Result<Client> {
    stage.admin().await?.batch_execute("CREATE DATABASE bench_cron").await?;
    let client = stage.connect("bench_cron").await?;
    client.batch_execute(TABLES).await?;
    let name = Command::new("hostname").output().context("run hostname")?.stdout;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    client.execute("INSERT INTO cron_info (hostname) VALUES ($1)", &[&name]).await?;
    Ok(client)
}

/// Runs it so often, over a relay that counts.
pub(super) async fn measure(stage: &Stage, client: &Client, runs: usize) -> Result<Cost> {
    let script = stage.folder().join("cron.sh");
    std::fs::write(&script, SCRIPT).context("write the script")?;
    // A socket's path is short.
    let folder = tempfile::Builder::new().prefix("rb-").tempdir_in("/tmp")?;
    let relay = Relay::unix(&folder.path().join(".s.PGSQL.5432"), stage.postgres_socket())?;
    let line = format!("host={} port=5432 user=rowcall dbname=bench_cron", folder.path().display());
    let rows = "SELECT count(*) FROM cron_usage";
    let before: i64 = client.query_one(rows, &[]).await?.try_get(0)?;
    let server_before = children_time(stage.postgres_pid()?)?;
    let mut command = Command::new("bash");
    command.args(["-c", LOOP, "cron"]).arg(&script).arg(runs.to_string()).arg(&line);
    let (mut shell, used) = tokio::task::spawn_blocking(move || timed(&mut command)).await??;
    drop(shell.stdin.take());
    shell.wait()?;
    // PostgreSQL counts a connection's time once its process has ended.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'bench_cron'";
    while client.query_one(open, &[]).await?.try_get::<_, i64>(0)? > 1 {
        sleep(Duration::from_millis(10)).await;
    }
    let server = children_time(stage.postgres_pid()?)?.saturating_sub(server_before);
    let after: i64 = client.query_one(rows, &[]).await?.try_get(0)?;
    let stored = usize::try_from(after - before)?;
    ensure!(stored == runs, "the script stored {stored} rows in {runs} runs");
    let runs = real(runs)?;
    Ok(Cost {
        cpu_ms: millis(used) / runs,
        server_ms: millis(server) / runs,
        wire_bytes: real(relay.passed())? / runs,
    })
}

/// Waits until the loop is through; what its children used.
fn timed(command: &mut Command) -> Result<(Child, Duration)> {
    let mut shell =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start bash")?;
    let mut line = String::new();
    let output = shell.stdout.take().context("bash has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line == "ready\n", "the script failed: {line:?}");
    let used = children_time(shell.id())?;
    Ok((shell, used))
}

/// User and system time of all children that have ended and been waited for.
fn children_time(pid: u32) -> Result<Duration> {
    let stat = Process::new(i32::try_from(pid)?)?.stat()?;
    let ticks = u32::try_from(stat.cutime + stat.cstime).context("clock ticks")?;
    let per_second = u32::try_from(procfs::ticks_per_second()).context("clock ticks a second")?;
    Ok(Duration::from_secs(1) * ticks / per_second)
}

/// Heap and index of such rows over a day.
pub(super) async fn bytes_per_day(client: &Client) -> Result<f64> {
    // A day of rows, so that half-filled pages don't count.
    client
        .batch_execute(
            "CREATE TABLE cron_day (LIKE cron_usage INCLUDING ALL);
             INSERT INTO cron_day SELECT '2026-01-01'::timestamp + n * interval '1 minute', 1, 20000 + n, 90, 5,
                 900 + n, 300000 - n FROM generate_series(1, 1440) AS n",
        )
        .await?;
    let query = "SELECT pg_total_relation_size('cron_day')::float8";
    Ok(client.query_one(query, &[]).await?.try_get(0)?)
}
