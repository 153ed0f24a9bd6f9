//! rowcall-bench: Rowcall's figures, from one run on one machine.
//!
//! Real programs in real processes, real TLS, a PostgreSQL server of its own with `fsync` on. Only
//! the agents are simulated, but for the figures of the agent itself. Everything shares the
//! machine's cores: figures say what this machine does, ratios within one run say more.
//!
//! The table goes to standard output, progress to standard error. Exit codes: 0 all was measured,
//! whether aims are met or not; 1 something could not be measured; 2 the command line is wrong.

mod coverage;
mod exporter;
mod fleet;
mod machine;
mod measure;
mod reference;
mod report;
mod resources;
mod soak;
mod stage;
mod stats;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use measure::Sizes;
use report::{Found, Report};
use stage::Stage;

/// Measure Rowcall on this machine and print the figures as a table
///
/// The database is put into the system's folder for temporary files; TMPDIR names another one, on
/// the disk that is to be measured.
#[derive(Debug, Parser)]
#[command(name = "rowcall-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only these, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Small sizes, to see that everything works; the figures mean nothing then
    #[arg(long)]
    quick: bool,
    /// Also write the figures to a file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Agents that come back, in the part return [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    hosts: Option<usize>,
    /// How long each attack takes [default: 60]
    #[arg(long, value_name = "SECONDS")]
    attack_seconds: Option<u64>,
    /// Only these attacks, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ATTACK")]
    attacks: Vec<String>,
    /// Where rowcall-aggregator and rowcall-agent are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What gives no figures.
#[derive(Debug, Subcommand)]
enum Other {
    /// Which metrics of node_exporter Rowcall has
    Coverage,
    /// Ten samples a second for a long time: the agent must not grow, and nothing be lost
    Soak {
        /// How long, 3 or more
        #[arg(long, default_value_t = 30)]
        minutes: usize,
    },
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Rows per second from stream to COMMIT, and directly
    Ingest,
    /// From sample to acknowledgement
    Latency,
    /// Memory of the aggregator per stream
    Memory,
    /// A fleet that comes back after a week, beside one that samples on
    Replay,
    /// The agent with each profile beside node_exporter and a script: CPU, memory, bytes
    Node,
    /// The agent with a full spool
    Spool,
    /// Bytes per row
    Storage,
    /// Rows and bytes of a host in a day, by profile
    Profiles,
    /// Time that Summary takes
    Summary,
    /// What a new connection costs
    Handshakes,
    /// A fleet whose aggregator was killed
    Return,
    /// From a host's revocation to the end of its stream
    Revoke,
    /// Honest agents beside an attacker with a certificate, 15 minutes; only where it is named
    Attacks,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Result<()> {
    match cli.other {
        Some(Other::Coverage) => return coverage::run().await,
        Some(Other::Soak { minutes }) => {
            let stage = Stage::new(cli.programs.as_deref()).await?;
            return Box::pin(soak::run(&stage, minutes)).await;
        }
        None => {}
    }
    let mut sizes = if cli.quick { Sizes::QUICK } else { Sizes::FULL };
    sizes.return_hosts = cli.hosts.unwrap_or(sizes.return_hosts);
    sizes.attack_time = cli.attack_seconds.map_or(sizes.attack_time, Duration::from_secs);
    let stage = Arc::new(Stage::new(cli.programs.as_deref()).await?);
    let mut report = Report::new(machine::describe(&stage, cli.quick).await?);
    for part in Part::value_variants() {
        let unasked = cli.only.is_empty() && *part != Part::Attacks;
        if !unasked && !cli.only.contains(part) {
            continue;
        }
        progress(&format!("{part:?} ..."));
        let found = match part {
            Part::Ingest => Box::pin(measure::ingest::run(&stage, &sizes)).await.map(Found::from),
            Part::Latency => Box::pin(measure::latency::run(&stage, &sizes)).await.map(Found::from),
            Part::Memory => Box::pin(measure::memory::run(&stage, &sizes)).await.map(Found::from),
            Part::Replay => Box::pin(measure::replay::run(&stage, &sizes)).await.map(Found::from),
            Part::Node => Box::pin(measure::node::run(&stage, &sizes)).await,
            Part::Spool => Box::pin(measure::spool::run(&stage, &sizes)).await.map(Found::from),
            Part::Storage => Box::pin(measure::storage::run(&stage, &sizes)).await.map(Found::from),
            Part::Profiles => Box::pin(measure::profiles::run(&stage, &sizes)).await,
            Part::Summary => Box::pin(measure::summary::run(&stage, &sizes)).await.map(Found::from),
            Part::Handshakes => {
                Box::pin(measure::handshakes::run(&stage, &sizes)).await.map(Found::from)
            }
            Part::Return => Box::pin(measure::comeback::run(&stage, &sizes)).await.map(Found::from),
            Part::Revoke => Box::pin(measure::revoke::run(&stage, &sizes)).await.map(Found::from),
            Part::Attacks => Box::pin(measure::attacks::run(&stage, &sizes, &cli.attacks)).await,
        };
        report.add(found.with_context(|| format!("measure {part:?}"))?);
    }
    std::io::stdout().lock().write_all(report.to_string().as_bytes())?;
    if let Some(path) = &cli.json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// A line for whoever waits.
pub(crate) fn progress(text: &str) {
    // Nobody may be there to read it.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
