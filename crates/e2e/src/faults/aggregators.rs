//! Aggregators that are killed, and agents that go to another one.

use anyhow::Result;
use rowcall_testkit::database::{Client, Database};
use rowcall_testkit::poll::{DEADLINE, wait_for};
use rowcall_testkit::proxy::Proxy;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::scene::{Outcome, Say, Scene};

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// Agents that are connected all the time.
    pub hosts: usize,
    /// Kills of the aggregator.
    pub kills: u64,
    /// For the moments.
    pub seed: u64,
}

/// All marks together: it grows with each commit.
const MARKS: &str = "SELECT coalesce(sum(mark), 0)::int8 FROM host_latest";

/// Kills the aggregator with SIGKILL and starts another one. Every other kill falls between a
/// COMMIT and its acknowledgement: answers are held back until rows have come in meanwhile.
///
/// # Errors
/// When samples don't come back.
pub async fn killed(size: Kills, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "50ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let sql = database.connect().await?;
    let mut aggregator = scene.aggregator(&url).await?;
    let proxy = Proxy::to(aggregator.address).await?;
    scene.start(&[proxy.address()])?;
    scene.recovered(&url).await?;
    let mut dice = Dice::new(size.seed);
    for kill in 1..=size.kills {
        if kill % 2 == 0 {
            proxy.hold_answers(true);
            committed(&sql, 1).await;
        } else {
            sleep(dice.millis(1, 300)).await;
        }
        aggregator.process.kill().await;
        aggregator = scene.aggregator(&url).await?;
        proxy.retarget(aggregator.address);
        proxy.hold_answers(false);
        proxy.cut();
        scene.recovered(&url).await?;
        scene.outcome.kills += 1;
        if kill % 20 == 0 {
            say(&format!("{kill} kills of the aggregator"));
        }
    }
    scene.settle(&url).await
}

/// Waits for this many more records to be committed.
async fn committed(sql: &Client, more: i64) {
    let marks = || async { Some(sql.query_one(MARKS, &[]).await.ok()?.get::<_, i64>(0)) };
    let before = wait_for("the marks", DEADLINE, marks).await;
    wait_for("commits", DEADLINE, || async { marks().await.filter(|sum| *sum >= before + more) })
        .await;
}

/// Two aggregators over one database, and agents that know both: each is killed in turn, and the
/// other one serves on. Before each kill the connections are cut while no row can be written, so
/// that both have the same samples in hand.
///
/// # Errors
/// When samples don't come back.
pub async fn taking_turns(size: Kills, say: Say<'_>) -> Result<Outcome> {
    let mut scene = Scene::new(size.hosts, "20ms", say)?;
    let database = Database::create().await?;
    let url = database.url();
    let (one, two) = (scene.aggregator(&url).await?, scene.aggregator(&url).await?);
    let proxies = [Proxy::to(one.address).await?, Proxy::to(two.address).await?];
    let mut aggregators = [one, two];
    scene.start(&[proxies[0].address(), proxies[1].address()])?;
    scene.recovered(&url).await?;
    let mut sql = database.connect().await?;
    let watch = database.connect().await?;
    let mut turn = 0;
    for kill in 1..=size.kills {
        let lock = sql.transaction().await?;
        lock.batch_execute("LOCK TABLE host_usage IN EXCLUSIVE MODE").await?;
        // Agents find their way to the other one while the first still has their samples in hand.
        let here = &proxies[turn];
        writers_wait(&watch, 1).await;
        here.close();
        writers_wait(&watch, 2).await;
        lock.commit().await?;
        scene.recovered(&url).await?;
        aggregators[turn].process.kill().await;
        aggregators[turn] = scene.aggregator(&url).await?;
        here.retarget(aggregators[turn].address);
        here.open();
        scene.outcome.kills += 1;
        scene.outcome.faults += 1;
        turn = 1 - turn;
        if kill % 10 == 0 {
            say(&format!("{kill} changes of the aggregator"));
        }
    }
    scene.settle(&url).await
}

/// Waits until this many aggregators want to write rows and may not.
async fn writers_wait(sql: &Client, writers: i64) {
    let waiting = "
        SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE NOT l.granted AND a.datname = current_database()";
    wait_for(format!("{writers} aggregators with rows in hand"), DEADLINE, || async {
        let row = sql.query_one(waiting, &[]).await.ok()?;
        (row.get::<_, i64>(0) >= writers).then_some(())
    })
    .await;
}
