//! What runs out: connections of the database, locks, file descriptors.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_testkit::database::{Client, Database, connect};
use rowcall_testkit::server::OwnServer;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::host::within;
use crate::scene::{Outcome, Say, Scene};
use crate::stack::{Aggregator, TRUST_DOMAIN, serve};

/// Idle clients take every connection of the server, those of the aggregator too; later they go.
///
/// # Errors
/// When samples don't come back.
pub async fn no_connection_left(lasts: Duration, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(2, "20ms", say)?;
    let server = OwnServer::start(&[("max_connections", "25")]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let admin = connect(&url).await?;
    let mut idle: Vec<Client> = Vec::new();
    // As soon as one of the aggregator's sessions has ended, an idle client has its place.
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE application_name = 'rowcall-aggregator'";
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        while let Ok(client) = connect(&url).await {
            idle.push(client);
        }
        admin.query_one(ended, &[]).await?;
    }
    say(&format!("{} idle clients have all connections", idle.len()));
    idle.clear();
    drop(admin);
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// Somebody holds a lock on the big table that keeps all rows out.
///
/// # Errors
/// When samples don't come back.
pub async fn locked_out(lasts: Duration, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(2, "20ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let mut sql = database.connect().await?;
    let lock = sql.transaction().await?;
    lock.batch_execute("LOCK TABLE host_usage IN ACCESS EXCLUSIVE MODE").await?;
    say(&format!("host_usage is locked for {lasts:?}"));
    sleep(lasts).await;
    lock.commit().await?;
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// An aggregator that may open 256 files, and more connections than that which say nothing.
///
/// # Errors
/// When samples don't come back, or it spends its time on what it cannot accept.
pub async fn few_files(lasts: Duration, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(2, "20ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let mut command = serve(&scene.site.server()?, TRUST_DOMAIN, &url, "20ms")?;
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "off"]);
    let limit = ["prlimit", "--nofile=256", "--"].map(str::to_owned);
    let Aggregator { process, address } = Aggregator::of(&mut within(&limit, command)).await?;
    scene.start(&[address])?;
    scene.recovered(&url).await?;
    let mut silent = Vec::new();
    for _ in 0..400 {
        // The kernel takes what the aggregator doesn't.
        silent.push(TcpStream::connect(address).await?);
    }
    let (begun, before) = (Instant::now(), cpu(process.pid())?);
    sleep(lasts).await;
    let share = (cpu(process.pid())? - before) / begun.elapsed().as_secs_f64();
    // Whoever is connected already goes on.
    scene.recovered(&url).await?;
    say(&format!("with 400 silent connections it takes {:.0} % of a CPU", share * 100.0));
    ensure!(share < 0.9, "with 400 silent connections it takes {share} of a CPU");
    drop(silent);
    scene.outcome.faults += 1;
    scene.outcome.notes.push(format!("256 files: {:.0} % of a CPU", share * 100.0));
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// CPU time that a process has spent, in seconds.
fn cpu(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<_> =
        stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).context("a stat line")?.parse::<u32>().context("ticks");
    Ok(f64::from(ticks(11)? + ticks(12)?) / 100.0)
}
