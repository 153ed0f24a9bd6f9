//! `make chaos`: faults at full size, and what the oracle finds after each. Its size stands in the
//! environment:
//!
//! - `CHAOS_ONLY=agents,crashes`: these parts alone
//! - `CHAOS_PERCENT=10`: a tenth of each size
//! - `CHAOS_SEED=7`: the moments of an earlier run
//!
//! Prints progress and each part's outcome to standard error, and the sum of all to standard
//! output. The exit code is 1 where anything was lost, doubled or did not add up.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rowcall_core::clock::SystemClock;
use rowcall_e2e::faults::backlog::Backlog;
use rowcall_e2e::faults::databases::{Commits, Crashes, Forgets};
use rowcall_e2e::faults::links::Lasts;
use rowcall_e2e::faults::spools::FullDisk;
use rowcall_e2e::faults::{agents, aggregators, backlog, databases, limits, links, slow, spools};
use rowcall_e2e::scene::Outcome;

/// The parts, in the order in which they run.
const PARTS: [&str; 18] = [
    "agents",
    "aggregators",
    "turns",
    "crashes",
    "control",
    "failover",
    "restore",
    "dropped",
    "halt",
    "unread",
    "replay",
    "full-disk",
    "rolled-back",
    "connections",
    "lock",
    "files",
    "slow",
    "links",
];

/// What the environment says.
#[derive(Clone, Copy, Debug)]
struct Size {
    percent: u64,
    seed: u64,
}

impl Size {
    /// This share of a number, at least 1.
    fn of(self, full: u64) -> u64 {
        (full * self.percent).div_ceil(100).max(1)
    }

    fn seconds(self, full: u64) -> Duration {
        Duration::from_millis(self.of(full * 1000))
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let (only, size) = settings()?;
    say(&format!("CHAOS_SEED={}", size.seed));
    let begun = Instant::now();
    let mut all = Outcome::default();
    let mut failed = Vec::new();
    for part in PARTS {
        if !only.is_empty() && !only.iter().any(|name| name == part) {
            continue;
        }
        let part_begun = Instant::now();
        match run(part, size).await {
            Ok(None) => say(&format!("{part}: skipped, not permitted here (it takes root)")),
            Ok(Some(outcome)) => {
                say(&format!("{part}: {outcome}, in {} s", part_begun.elapsed().as_secs()));
                if let Err(error) = outcome.check() {
                    say(&format!("{part}: FAILED: {error:#}"));
                    failed.push(part);
                }
                all.add(outcome);
            }
            Err(error) => {
                say(&format!("{part}: FAILED: {error:#}"));
                failed.push(part);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{all}\nin {} s", begun.elapsed().as_secs())?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "FAILED: {}; again: CHAOS_SEED={}", failed.join(", "), size.seed)?;
    Ok(ExitCode::FAILURE)
}

fn settings() -> Result<(Vec<String>, Size)> {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no whole number")),
        Err(_) => Ok(default),
    };
    let only = std::env::var("CHAOS_ONLY").unwrap_or_default();
    let only: Vec<_> =
        only.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    for part in &only {
        let all = PARTS.join(", ");
        ensure!(PARTS.contains(&part.as_str()), "CHAOS_ONLY: {part:?} is none of {all}");
    }
    let now = SystemClock::shared().wall().0.unsigned_abs();
    let size = Size { percent: number("CHAOS_PERCENT", 100)?, seed: number("CHAOS_SEED", now)? };
    ensure!((1..=10_000).contains(&size.percent), "CHAOS_PERCENT is not between 1 and 10000");
    Ok((only, size))
}

/// Runs one part; none where it is not permitted.
async fn run(part: &'static str, size: Size) -> Result<Option<Outcome>> {
    let seed = size.seed;
    let told = |text: &str| say(&format!("{part}: {text}"));
    let crashes = |rounds| Crashes { hosts: 5, rounds: size.of(rounds), seed };
    // At the default interval: an hour is 60 samples, 20 minutes are 20; here many times that.
    let forgets = |samples| Forgets { hosts: 5, samples: size.of(samples) };
    let outcome = match part {
        "agents" => {
            let longest = Duration::from_secs(8);
            let kills = agents::Kills { hosts: 20, each: size.of(50), longest, seed };
            agents::killed(kills, &told).await?
        }
        "aggregators" => {
            let kills = aggregators::Kills { hosts: 25, kills: size.of(200), seed };
            aggregators::killed(kills, &told).await?
        }
        "turns" => {
            let kills = aggregators::Kills { hosts: 10, kills: size.of(30), seed };
            aggregators::taking_turns(kills, &told).await?
        }
        "crashes" => databases::crashed(crashes(50), Commits::Durable, &told).await?,
        "control" => databases::crashed(crashes(3), Commits::Lazy, &told).await?,
        "failover" => databases::failed_over(forgets(1_200), &told).await?,
        "restore" => databases::restored(forgets(3_600), &told).await?,
        "dropped" => databases::made_again(forgets(1_200), &told).await?,
        "halt" => databases::halted(10, size.seconds(60), &told).await?,
        "unread" => links::unread(size.seconds(60), &told).await?,
        "replay" => {
            let backlog = Backlog { hosts: 20, samples: size.of(10_080), halts: size.seconds(60) };
            backlog::replayed(backlog, &told).await?
        }
        "full-disk" => {
            // Fewer fit into what is allocated ahead, and nothing is given up.
            let samples = size.of(6_000).max(1_500);
            let disk = FullDisk { bytes: 2 << 20, samples };
            return spools::full_disk(disk, &told).await;
        }
        "rolled-back" => spools::rolled_back(size.of(1_000), &told).await?,
        "connections" => limits::no_connection_left(size.seconds(20), &told).await?,
        "lock" => limits::locked_out(size.seconds(60), &told).await?,
        "files" => limits::few_files(size.seconds(15), &told).await?,
        // Of five kinds each: with both ends here, what fits under 20,000 open files.
        "slow" => slow::peers(u32::try_from(size.of(2_000))?, &told).await?,
        _ => {
            let Some(mut outcome) = links::agents_link(Lasts::UntilNoticed, &told).await? else {
                return Ok(None);
            };
            let database = links::databases_link(Lasts::UntilNoticed, &told).await?;
            outcome.add(database.context("a second network could not be made")?);
            outcome
        }
    };
    Ok(Some(outcome))
}

/// A line for whoever waits.
fn say(text: &str) {
    // Nobody may be there to read it.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
