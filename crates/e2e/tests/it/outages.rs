//! A database that goes away in mid-stream and comes back, or is kept busy, with real agents.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rowcall_postgres::Shutdown;
use rowcall_testkit::database::{connect, test_options};
use rowcall_testkit::poll::wait_for;
use rowcall_testkit::process::Process;

use crate::stack::{Stack, TRUST_DOMAIN, agent, command};
use rowcall_testkit::poll::DEADLINE;

/// Rows, numbers among them that stand once, the highest number, records that tell of samples
/// missed, and epochs.
const BOOKS: &str = "
    SELECT count(*), count(DISTINCT u.sequence), max(u.sequence),
           (SELECT coalesce(sum(through_sequence - sequence + 1), 0)::int8 FROM rowcall.gap)
             + (SELECT count(*) FROM rowcall.device_sample),
           (SELECT count(*) FROM rowcall.epoch), (SELECT mark FROM host_latest)
    FROM host_usage u";

/// An aggregator with HTTP: the process, and where it takes agents and answers probes.
async fn aggregator(stack: &Stack, database: &str) -> Result<(Process, SocketAddr, SocketAddr)> {
    let files = stack.site.server()?;
    let mut command = command("rowcall-aggregator")?;
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .args(["--interval", "20ms", "--trust-domain", TRUST_DOMAIN])
        .env("ROWCALL_DATABASE", database)
        .env("ROWCALL_CERTIFICATE", &files.certificate)
        .env("ROWCALL_KEY", &files.key)
        .env("ROWCALL_CLIENT_CA", &files.authorities);
    let process = Process::start("rowcall-aggregator", &mut command)?;
    let address = |line: String, key: &str| {
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(key));
        found.with_context(|| format!("no {key} in {line:?}"))?.parse().context("an address")
    };
    let grpc = address(process.line("listening").await, "address=")?;
    let http = address(process.line("probes and metrics").await, "http=")?;
    process.line("agents are welcome").await;
    Ok((process, grpc, http))
}

/// Status line and body of a page.
fn get(http: SocketAddr, page: &str) -> Result<String> {
    let mut stream = TcpStream::connect(http)?;
    write!(stream, "GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Waits until the aggregator holds at least this many records that are not committed.
async fn queued(http: SocketAddr, least: u64) {
    wait_for(format!("{least} records to wait"), DEADLINE, || async {
        let page = get(http, "/metrics").ok()?;
        let line = page.lines().find_map(|line| line.strip_prefix("rowcall_queue_records "))?;
        line.parse::<u64>().ok().filter(|records| *records >= least)
    })
    .await;
}

async fn ready(http: SocketAddr, is: bool) {
    let status = if is { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
    wait_for(format!("readiness to be {status}"), DEADLINE, || async {
        get(http, "/readyz").ok()?.starts_with(status).then_some(())
    })
    .await;
}

/// Waits until there are at least this many rows; how many there are.
async fn rows(database: &str, least: i64) -> i64 {
    wait_for(format!("{least} rows"), DEADLINE, || async {
        let sql = connect(database).await.ok()?;
        let row = sql.query_one("SELECT count(*) FROM host_usage", &[]).await.ok()?;
        Some(row.get(0)).filter(|rows| *rows >= least)
    })
    .await
}

#[tokio::test]
async fn a_database_restarted_in_mid_stream_loses_and_doubles_nothing() -> Result<()> {
    let stack = Stack::new().await?;
    let start = || test_options().database("mine").start();
    let mut server = tokio::task::spawn_blocking(start).await??;
    let url = server.url("mine");
    let (aggregator, address, http) = aggregator(&stack, &url).await?;
    let agent = agent(&stack.site.client("agent", "node1")?, address)?;
    let mut count = rows(&url, 5).await;
    for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Immediate] {
        server = tokio::task::spawn_blocking(move || server.stop(how).map(|()| server)).await??;
        ready(http, false).await;
        assert!(get(http, "/livez")?.starts_with("HTTP/1.1 200"), "it lives without a database");
        queued(http, 10).await;
        server = tokio::task::spawn_blocking(move || server.start().map(|()| server)).await??;
        count = rows(&url, count + 10).await;
        ready(http, true).await;
    }
    aggregator.line("the database takes no writes; agents keep their samples").await;
    aggregator.line("the database takes writes").await;
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    agent.line("stopped unacknowledged_records=0").await;

    let row = connect(&url).await?.query_one(BOOKS, &[]).await?;
    let number = |n: usize| row.get::<_, i64>(n);
    let (rows, once, last, others) = (number(0), number(1), number(2), number(3));
    assert_eq!(rows, once, "a sample stands twice");
    assert_eq!(rows + others, number(5), "records of the mark are nowhere: the last row is {last}");
    assert_eq!(number(4), 1, "the agent began anew");
    assert_eq!(aggregator.stop().await, Some(0), "{}", aggregator.output());
    tokio::task::spawn_blocking(move || drop(server)).await?;
    Ok(())
}

#[tokio::test]
async fn an_agent_started_while_the_database_is_away_is_told_why_and_gets_in_later() -> Result<()> {
    let stack = Stack::new().await?;
    let start = || test_options().database("mine").start();
    let mut server = tokio::task::spawn_blocking(start).await??;
    let url = server.url("mine");
    let (aggregator, address, http) = aggregator(&stack, &url).await?;
    let stop = move || server.stop(Shutdown::Immediate).map(|()| server);
    server = tokio::task::spawn_blocking(stop).await??;
    ready(http, false).await;
    let agent = agent(&stack.site.client("agent", "node1")?, address)?;
    agent.line("cannot reach PostgreSQL").await;
    server = tokio::task::spawn_blocking(move || server.start().map(|()| server)).await??;
    rows(&url, 5).await;
    assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
    agent.line("stopped unacknowledged_records=0").await;
    assert_eq!(aggregator.stop().await, Some(0), "{}", aggregator.output());
    tokio::task::spawn_blocking(move || drop(server)).await?;
    Ok(())
}

#[tokio::test]
async fn samples_are_committed_while_reports_are_asked_for_without_a_pause() -> Result<()> {
    const READERS: usize = 6;
    let stack = Stack::new().await?;
    let (aggregator, address, _) = aggregator(&stack, &stack.database.url()).await?;
    let names = ["a", "b", "c"];
    let agents = names.map(|name| stack.agent(name, address).expect("start an agent"));
    let count = "SELECT count(*) FROM host_usage";
    let before = stack.number(count, "rows", |n| n >= 10).await?;
    let enough = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for n in 0..READERS {
        let (files, enough) = (stack.site.client("viewer", &format!("v{n}"))?, Arc::clone(&enough));
        readers.push(tokio::spawn(async move {
            let mut reports = 0;
            while !enough.load(Ordering::Relaxed) {
                let server = format!("localhost:{}", address.port());
                let mut command = command("rowcall")?;
                command.args(["summary", "--from", "-7d", "--server", &server]);
                command.arg("--ca").arg(&files.authorities);
                command.arg("--cert").arg(&files.certificate).arg("--key").arg(&files.key);
                let output = tokio::process::Command::from(command).kill_on_drop(true).output();
                let output = output.await?;
                let said = String::from_utf8_lossy(&output.stderr);
                // With more readers than connections for reports, one may have to come again.
                assert!(output.status.success() || said.contains(" busy"), "{said}");
                reports += u32::from(output.status.success());
            }
            anyhow::Ok(reports)
        }));
    }
    stack.number(count, "rows while reports are made", |n| n >= before + 300).await?;
    enough.store(true, Ordering::Relaxed);
    let mut reports = 0;
    for reader in readers {
        reports += reader.await??;
    }
    assert!(reports > 0, "no report was made meanwhile");
    for agent in agents {
        assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
        agent.line("stopped unacknowledged_records=0").await;
    }
    assert_eq!(aggregator.stop().await, Some(0), "{}", aggregator.output());
    Ok(())
}

/// All of a folder, with the modes that a server wants.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = std::process::Command::new("cp");
    anyhow::ensure!(copy.arg("-a").arg(from).arg(to).status()?.success(), "cp -a {from:?} {to:?}");
    Ok(())
}

#[tokio::test]
async fn a_data_directory_put_back_under_open_streams_is_filled_again_without_holes() -> Result<()>
{
    let stack = Stack::new().await?;
    let start = || test_options().database("mine").start();
    let mut server = tokio::task::spawn_blocking(start).await??;
    let url = server.url("mine");
    let (aggregator, address, http) = aggregator(&stack, &url).await?;
    let agents = ["a", "b"].map(|name| stack.agent(name, address).expect("an agent"));
    rows(&url, 20).await;
    server = tokio::task::spawn_blocking(move || -> Result<_> {
        server.stop(Shutdown::Fast)?;
        copy(server.data_dir(), &server.data_dir().with_extension("old"))?;
        server.start()?;
        Ok(server)
    })
    .await??;
    let before = rows(&url, 20).await;
    // Acknowledged, and then lost.
    let lost = rows(&url, before + 200).await;
    server = tokio::task::spawn_blocking(move || -> Result<_> {
        server.stop(Shutdown::Immediate)?;
        std::fs::remove_dir_all(server.data_dir())?;
        std::fs::rename(server.data_dir().with_extension("old"), server.data_dir())?;
        server.start()?;
        Ok(server)
    })
    .await??;
    ready(http, true).await;
    let back = "the database went back in time: it lacks what it had committed of 2 hosts";
    aggregator.line(back).await;
    rows(&url, lost + 20).await;
    for agent in agents {
        assert_eq!(agent.stop().await, Some(0), "{}", agent.output());
        agent.line("stopped unacknowledged_records=0").await;
    }
    assert_eq!(aggregator.output().matches(back).count(), 1, "{}", aggregator.output());

    // Of each host: rows, numbers among them that stand once, records that tell of samples missed or
    // of devices.
    let books = "
        SELECT l.mark, count(*), count(DISTINCT u.sequence),
               (SELECT coalesce(sum(through_sequence - sequence + 1), 0)::int8 FROM rowcall.gap g
                 WHERE g.host_id = l.host_id)
                 + (SELECT count(*) FROM rowcall.device_sample d WHERE d.host_id = l.host_id)
        FROM host_latest l JOIN host_usage u USING (host_id) GROUP BY l.host_id, l.mark";
    let hosts = connect(&url).await?.query(books, &[]).await?;
    assert_eq!(hosts.len(), 2);
    for row in hosts {
        let number = |n: usize| row.get::<_, i64>(n);
        let (mark, rows, once, others) = (number(0), number(1), number(2), number(3));
        assert_eq!(rows, once, "a sample stands twice");
        assert_eq!(rows + others, mark, "records below the mark are nowhere");
    }
    let anew = "SELECT (SELECT count(*) FROM rowcall.epoch),
                       (SELECT count(*) FROM rowcall.gap WHERE state = 'forgotten')";
    let row = connect(&url).await?.query_one(anew, &[]).await?;
    assert_eq!(row.get::<_, i64>(0), 2, "an agent began anew");
    assert_eq!(row.get::<_, i64>(1), 0, "the agents held it all");
    assert_eq!(aggregator.stop().await, Some(0), "{}", aggregator.output());
    tokio::task::spawn_blocking(move || drop(server)).await?;
    Ok(())
}
