//! Databases that crash, hang, forget, or are gone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rowcall_postgres::Shutdown;
use rowcall_testkit::database::connect;
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rowcall_testkit::server::{OwnServer, either_url, signal};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::oracle::Verdict;
use crate::scene::{Outcome, Say, Scene};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Crashes {
    /// Agents that are connected all the time.
    pub hosts: usize,
    /// Crashes of the server.
    pub rounds: u64,
    /// For the moments.
    pub seed: u64,
}

/// Whether a COMMIT that is answered is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// As in production.
    Durable,
    /// The control: as with `synchronous_commit = off`, which a trigger switches off in each
    /// transaction that moves a mark.
    Lazy,
}

/// Switches `synchronous_commit` off for each transaction that moves a mark.
const LAZY: &str = "
    CREATE FUNCTION lazy() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('synchronous_commit', 'off', true); RETURN NULL; END $$;
    CREATE TRIGGER lazy AFTER INSERT OR UPDATE ON host_latest FOR EACH STATEMENT EXECUTE FUNCTION lazy()";

/// Stops the server as a crash would, over and over, and kills sessions of the aggregator's.
///
/// After each crash, while the aggregator is halted so that nothing can be sent again, all that
/// was acknowledged must be there: what is not counts in the note, and as lost where commits are
/// durable.
///
/// # Errors
/// When samples don't come back.
pub async fn crashed(size: Crashes, commits: Commits, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "10ms", say)?;
    // What is not forced to disk at a COMMIT stays in the server's memory as long as it may.
    let mut server = OwnServer::start(&[("wal_writer_delay", "10s")]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    if commits == Commits::Lazy {
        connect(&url).await?.batch_execute(LAZY).await?;
    }
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let mut dice = Dice::new(size.seed);
    let mut lost_at_once = 0;
    for round in 1..=size.rounds {
        sleep(dice.millis(100, 900)).await;
        if dice.below(4) == 0 {
            // PostgreSQL ends all sessions and recovers when one dies.
            let sessions = server.sessions("rowcall-aggregator").await?;
            let chosen = dice.below(u64::try_from(sessions.len().max(1))?);
            if let Some(session) = sessions.get(usize::try_from(chosen)?) {
                signal(*session, Signal::KILL);
                scene.outcome.kills += 1;
            }
            scene.recovered(&url).await?;
        }
        aggregator.process.signal(Signal::STOP);
        server.stop(Shutdown::Immediate).await?;
        server.start_again().await?;
        let verdict = Verdict::of_rows(&mut scene.hosts, &url).await?;
        lost_at_once += verdict.acknowledged_lost;
        ensure!(
            commits == Commits::Lazy || verdict.acknowledged_lost == 0,
            "acknowledged and not there after a crash: {verdict}"
        );
        aggregator.process.signal(Signal::CONT);
        scene.recovered(&url).await?;
        scene.outcome.faults += 1;
        if round % 10 == 0 {
            say(&format!("{round} crashes of PostgreSQL"));
        }
    }
    let note = format!("{lost_at_once} acknowledged samples were not there after a crash");
    if commits == Commits::Lazy {
        ensure!(lost_at_once > 0, "the control sees no loss: {note}");
        connect(&url).await?.batch_execute("DROP FUNCTION lazy() CASCADE").await?;
        let note = format!("control, commits not durable: {note}, and were sent again");
        scene.outcome.notes.push(note);
        // A host that is refilled again and again is kept away for longer each time.
        scene.outcome.recoveries.clear();
    }
    scene.settle(&url).await
}

/// How much is forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Forgets {
    /// Agents that are connected all the time.
    pub hosts: usize,
    /// Samples of each host that are acknowledged and then forgotten.
    pub samples: u64,
}

/// A replica that stopped receiving is promoted after the server's crash; the old server comes
/// back at its place as a read-only standby. The aggregator knows both.
///
/// # Errors
/// When samples don't come back.
pub async fn failed_over(size: Forgets, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "10ms", say)?;
    let mut first = OwnServer::start(&[]).await?;
    let replica = first.replica(&[]).await?;
    let aggregator = scene.aggregator(&either_url(&[&first, &replica])).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&first.url()).await?;
    replica.hold_behind().await?;
    let behind = acknowledged(&mut scene)?;
    more_acknowledged(&mut scene, behind, size.samples).await?;
    say(&format!("the replica is {} samples of each host behind", size.samples));
    first.stop(Shutdown::Immediate).await?;
    replica.promote().await?;
    let forgot = Verdict::of_rows(&mut scene.hosts, &replica.url()).await?.acknowledged_lost;
    scene.outcome.faults += 1;
    first.become_standby()?;
    first.start_again().await?;
    scene.recovered(&replica.url()).await?;
    let note = format!("failover: {forgot} acknowledged samples were not on the replica");
    scene.outcome.notes.push(note);
    ensure!(forgot > 0, "the replica had everything");
    // None is stuck where nothing can be written.
    wait_for("no session on the standby", DEADLINE, || async {
        first.sessions("rowcall-aggregator").await.ok()?.is_empty().then_some(())
    })
    .await;
    scene.settle(&replica.url()).await
}

/// A base backup is put back after more samples were acknowledged.
///
/// # Errors
/// When samples don't come back.
pub async fn restored(size: Forgets, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "10ms", say)?;
    let mut server = OwnServer::start(&[]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let backup = server.get().data_dir().with_extension("backup");
    server.base_backup(Path::new(&backup), false).await?;
    let behind = acknowledged(&mut scene)?;
    more_acknowledged(&mut scene, behind, size.samples).await?;
    say(&format!("the backup lacks {} samples of each host", size.samples));
    server.stop(Shutdown::Immediate).await?;
    server.put_back(&backup)?;
    server.start_again().await?;
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// The database is dropped under the aggregator and made again, empty.
///
/// # Errors
/// When samples don't come back.
pub async fn made_again(size: Forgets, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "10ms", say)?;
    let server = OwnServer::start(&[]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    more_acknowledged(&mut scene, 0, size.samples).await?;
    let admin = connect(&server.get().url("postgres")).await?;
    admin.batch_execute("DROP DATABASE mine WITH (FORCE)").await?;
    admin.batch_execute("CREATE DATABASE mine").await?;
    scene.outcome.faults += 1;
    say("the database is made again, empty");
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// Every process of the server halts, and goes on after a while.
///
/// # Errors
/// When samples don't come back.
pub async fn halted(hosts: usize, lasts: Duration, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(hosts, "10ms", say)?;
    let server = OwnServer::start(&[]).await?;
    let url = server.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.recovered(&url).await?;
    let paused = server.pause()?;
    say(&format!("PostgreSQL halts for {lasts:?}"));
    sleep(lasts).await;
    drop(paused);
    scene.outcome.faults += 1;
    scene.recovered(&url).await?;
    scene.settle(&url).await
}

/// The fewest samples that any host has seen acknowledged.
fn acknowledged(scene: &mut Scene<'_>) -> Result<u64> {
    let mut least = u64::MAX;
    for host in &mut scene.hosts {
        let samples = host.said()?.samples().values();
        let acknowledged = samples.filter(|sample| sample.acknowledged).count();
        least = least.min(u64::try_from(acknowledged)?);
    }
    Ok(least)
}

/// Waits until every host has seen this many more acknowledged.
async fn more_acknowledged(scene: &mut Scene<'_>, before: u64, more: u64) -> Result<()> {
    let hosts = u64::try_from(scene.hosts.len())?;
    scene.produced((before + more) * hosts).await?;
    let begun = std::time::Instant::now();
    while acknowledged(scene)? < before + more {
        let tail = scene.hosts.first().context("no host")?.tail();
        ensure!(begun.elapsed() < Duration::from_secs(180), "no acknowledgements: {tail}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
