//! Faults at a small size, each held to the oracle; `make chaos` does the same at full size.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use rowcall_e2e::faults::backlog::Backlog;
use rowcall_e2e::faults::databases::{Commits, Crashes, Forgets};
use rowcall_e2e::faults::links::Lasts;
use rowcall_e2e::faults::spools::FullDisk;
use rowcall_e2e::faults::{agents, aggregators, backlog, databases, limits, links, slow, spools};
use rowcall_e2e::oracle::Verdict;
use rowcall_e2e::scene::{Outcome, Scene};
use rowcall_e2e::stack::{Aggregator, TRUST_DOMAIN, serve};
use rowcall_testkit::database::{Database, connect};
use rowcall_testkit::server::OwnServer;

fn quiet(_: &str) {}

/// Where a fault could not be made, says so; else everything must be as it must.
fn checked(outcome: Option<Outcome>) -> Result<()> {
    match outcome {
        Some(outcome) => outcome.check(),
        None => Ok(writeln!(std::io::stderr(), "skipped: it takes root")?),
    }
}

#[tokio::test]
async fn agents_killed_at_any_moment_lose_and_double_nothing() -> Result<()> {
    let longest = Duration::from_secs(1);
    let kills = agents::Kills { hosts: 4, each: 8, longest, seed: 1 };
    let outcome = agents::killed(kills, &quiet).await?;
    assert_eq!(outcome.kills, 32);
    outcome.check()
}

#[tokio::test]
async fn an_aggregator_killed_between_commit_and_acknowledgement_loses_and_doubles_nothing()
-> Result<()> {
    let kills = aggregators::Kills { hosts: 4, kills: 4, seed: 1 };
    aggregators::killed(kills, &quiet).await?.check()
}

#[tokio::test]
async fn two_aggregators_serve_the_same_agents_in_turn_and_double_nothing() -> Result<()> {
    let kills = aggregators::Kills { hosts: 3, kills: 3, seed: 1 };
    let outcome = aggregators::taking_turns(kills, &quiet).await?;
    assert!(outcome.verdict.duplicates > 0, "nothing came twice: {outcome}");
    outcome.check()
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_crash_of_the_database() -> Result<()> {
    let crashes = Crashes { hosts: 3, rounds: 4, seed: 1 };
    databases::crashed(crashes, Commits::Durable, &quiet).await?.check()
}

#[tokio::test]
async fn the_oracle_sees_what_is_lost_where_commits_are_not_durable() -> Result<()> {
    let crashes = Crashes { hosts: 3, rounds: 2, seed: 1 };
    databases::crashed(crashes, Commits::Lazy, &quiet).await?.check()
}

#[tokio::test]
async fn the_oracle_sees_a_row_too_few_one_too_many_and_one_that_differs() -> Result<()> {
    let mut scene = Scene::new(1, "10ms", &quiet)?;
    let database = Database::create().await?;
    let url = database.url();
    let aggregator = scene.aggregator(&url).await?;
    scene.start(&[aggregator.address])?;
    scene.produced(20).await?;
    scene.hosts[0].stop().await?;
    Verdict::of(&mut scene.hosts, &url).await?.check()?;
    let tamper = "
        CREATE TEMP TABLE picked AS
            SELECT row_number() OVER (ORDER BY \"timestamp\") AS n, * FROM host_usage;
        DELETE FROM host_usage u USING picked p WHERE p.n = 3 AND p.\"timestamp\" = u.\"timestamp\";
        UPDATE host_usage u SET memory_free = u.memory_free + 1 FROM picked p
         WHERE p.n = 5 AND p.\"timestamp\" = u.\"timestamp\";
        INSERT INTO host_usage (\"timestamp\", sequence, host_id, delay_s, epoch_id)
            SELECT \"timestamp\" + interval '1 microsecond', sequence, host_id, delay_s, epoch_id
              FROM picked WHERE n = 7;
        DELETE FROM host_vitals v USING picked p WHERE p.n = 9 AND p.\"timestamp\" = v.\"timestamp\";";
    database.connect().await?.batch_execute(tamper).await?;
    let found = Verdict::of_rows(&mut scene.hosts, &url).await?;
    assert_eq!((found.lost.count, found.acknowledged_lost), (1, 1), "{found}");
    assert_eq!((found.changed.count, found.doubled, found.invented.count), (1, 1, 1), "{found}");
    // Those of the deleted row, none beside the added one, and those that were deleted.
    assert_eq!(found.vitals.count, 3, "{found}");
    found.check().unwrap_err();
    Ok(())
}

#[tokio::test]
async fn a_promoted_replica_that_lagged_is_filled_again() -> Result<()> {
    databases::failed_over(Forgets { hosts: 3, samples: 100 }, &quiet).await?.check()
}

#[tokio::test]
async fn a_restored_base_backup_is_filled_again() -> Result<()> {
    databases::restored(Forgets { hosts: 3, samples: 100 }, &quiet).await?.check()
}

#[tokio::test]
async fn a_database_dropped_and_made_again_is_filled_again() -> Result<()> {
    databases::made_again(Forgets { hosts: 3, samples: 100 }, &quiet).await?.check()
}

#[tokio::test]
async fn a_database_that_halts_and_goes_on_loses_and_doubles_nothing() -> Result<()> {
    databases::halted(3, Duration::from_secs(3), &quiet).await?.check()
}

#[tokio::test]
async fn days_of_samples_replayed_while_the_database_halts_are_no_flood() -> Result<()> {
    let backlog = Backlog { hosts: 3, samples: 2_000, halts: Duration::from_secs(2) };
    backlog::replayed(backlog, &quiet).await?.check()
}

#[tokio::test]
async fn peers_that_do_not_read_lose_and_double_nothing() -> Result<()> {
    links::unread(Duration::from_secs(2), &quiet).await?.check()
}

#[tokio::test]
async fn zones_of_agents_aggregator_and_database_change_no_time() -> Result<()> {
    let mut scene = Scene::new(3, "20ms", &quiet)?;
    let server = OwnServer::start(&[("timezone", "America/New_York")]).await?;
    let url = server.url();
    let mut command = serve(&scene.site.server()?, TRUST_DOMAIN, &url, "20ms")?;
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "off"]);
    let aggregator = Aggregator::of(command.env("TZ", "Asia/Kolkata")).await?;
    for (host, zone) in scene.hosts.iter_mut().zip(["Europe/London", "Pacific/Kiritimati", ""]) {
        host.settings.push(("TZ".into(), zone.into()));
    }
    scene.start(&[aggregator.address])?;
    scene.produced(100).await?;
    let outcome = scene.settle(&url).await?;
    let delays = "SELECT count(*) FROM host_usage WHERE abs(delay_s) > 60";
    assert_eq!(connect(&url).await?.query_one(delays, &[]).await?.get::<_, i64>(0), 0);
    outcome.check()
}

#[tokio::test]
async fn a_full_disk_under_a_spool_loses_nothing_without_a_count() -> Result<()> {
    let disk = FullDisk { bytes: 2 << 20, samples: 1_500 };
    checked(spools::full_disk(disk, &quiet).await?)
}

#[tokio::test]
async fn a_spool_that_was_put_back_begins_a_new_epoch_and_loses_nothing() -> Result<()> {
    spools::rolled_back(100, &quiet).await?.check()
}

#[tokio::test]
async fn a_database_without_a_connection_to_spare_loses_and_doubles_nothing() -> Result<()> {
    limits::no_connection_left(Duration::from_secs(3), &quiet).await?.check()
}

#[tokio::test]
async fn a_lock_on_the_big_table_loses_and_doubles_nothing() -> Result<()> {
    limits::locked_out(Duration::from_secs(3), &quiet).await?.check()
}

#[tokio::test]
async fn an_aggregator_without_a_file_to_spare_goes_on_and_does_not_spin() -> Result<()> {
    limits::few_files(Duration::from_secs(2), &quiet).await?.check()
}

#[tokio::test]
async fn a_link_that_swallows_everything_loses_and_doubles_nothing() -> Result<()> {
    checked(links::agents_link(Lasts::For(Duration::from_secs(3)), &quiet).await?)
}

#[tokio::test]
async fn a_link_to_the_database_that_swallows_everything_loses_and_doubles_nothing() -> Result<()> {
    checked(links::databases_link(Lasts::For(Duration::from_secs(3)), &quiet).await?)
}

#[tokio::test]
async fn slow_connections_are_over_by_themselves_and_keep_nobody_out() -> Result<()> {
    slow::peers(60, &quiet).await?.check()
}
