//! The command line.
//!
//! Exit codes: 0 stopped as asked, or what was asked for is printed; 1 the agent could not start
//! or go on; 2 the command line or the configuration is wrong; 128 + N ended at once by a second
//! signal N.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rowcall_core::clock::SystemClock;
use rowcall_core::record::HostFacts;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, Log, LogFormat};
use crate::sample::Reading;
use crate::sample::host_facts::MachineIds;

/// Exit code for a wrong command line or configuration; clap's own too.
const WRONG_CONFIGURATION: u8 = 2;

/// Streams this host's samples to a Rowcall aggregator.
#[derive(Debug, Parser)]
#[command(name = "rowcall-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sample this host and stream to the aggregator until stopped
    Run(Box<RunArgs>),
    /// Print one sample, taken over a second, and the host's facts as JSON; null is unknown
    Sample,
}

/// Every flag is also a key of the file (with _ for -) and a variable (`ROWCALL_MIN_INTERVAL`).
#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file [default: /etc/rowcall/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the aggregator listens, https://HOST:7443
    #[arg(long, value_name = "URL")]
    aggregator: Option<String>,
    /// Name expected in the aggregator's certificate instead of its host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Authorities that may have issued the aggregator's certificate [default: /etc/rowcall/ca.pem]
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// This agent's certificate [default: /etc/rowcall/agent.pem]
    #[arg(long, value_name = "FILE")]
    certificate: Option<String>,
    /// The certificate's private key [default: /etc/rowcall/agent-key.pem]
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Shortest time between samples, whatever an aggregator says [default: 1s]
    #[arg(long, value_name = "TIME")]
    min_interval: Option<String>,
    /// Sample at whole intervals instead of spread by the host's name [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    align: Option<String>,
    /// Most records that wait or are kept for a refill [default: 2880]
    #[arg(long, value_name = "N")]
    queue_records: Option<String>,
    /// Most memory that they take [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    queue_bytes: Option<String>,
    /// Longest wait before the first new try [default: 1s]
    #[arg(long, value_name = "TIME")]
    backoff_min: Option<String>,
    /// Longest wait before any later one [default: 2m]
    #[arg(long, value_name = "TIME")]
    backoff_max: Option<String>,
    /// Longest wait after the aggregator refused this agent [default: 5m]
    #[arg(long, value_name = "TIME")]
    refused_wait: Option<String>,
    /// End a stream when data is in flight and nothing was heard for this long [default: 90s]
    #[arg(long, value_name = "TIME")]
    ack_timeout: Option<String>,
    /// On a stop, longest wait for outstanding acknowledgements [default: 5s]
    #[arg(long, value_name = "TIME")]
    stop_wait: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace, or per module [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Print the configuration in force and exit
    #[arg(long)]
    print_config: bool,
    /// Check the configuration and the certificate files and exit
    #[arg(long)]
    check_config: bool,
}

impl RunArgs {
    fn flags(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("aggregator", &self.aggregator),
            ("server_name", &self.server_name),
            ("ca", &self.ca),
            ("certificate", &self.certificate),
            ("key", &self.key),
            ("min_interval", &self.min_interval),
            ("align", &self.align),
            ("queue_records", &self.queue_records),
            ("queue_bytes", &self.queue_bytes),
            ("backoff_min", &self.backoff_min),
            ("backoff_max", &self.backoff_max),
            ("refused_wait", &self.refused_wait),
            ("ack_timeout", &self.ack_timeout),
            ("stop_wait", &self.stop_wait),
            ("log_format", &self.log_format),
            ("log_level", &self.log_level),
        ];
        given.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect()
    }
}

/// Does what the command line says.
///
/// # Errors
/// Whatever ends the program with code 1.
pub fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Sample => {
            let once = crate::sample_once(SystemClock::shared());
            let (reading, facts) = crate::runtime()?.block_on(once);
            let machine = MachineIds::read(Path::new("/"));
            let host = host_json(&facts, &machine);
            let shown = json!({ "sample": sample_json(&reading), "host": host });
            print(&serde_json::to_string_pretty(&shown)?)
        }
        Command::Run(args) => run(&args),
    }
}

fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let environment = |name: &str| std::env::var(name).ok();
    let config = match Config::load(args.config.as_deref(), environment, &args.flags()) {
        Ok(config) => config,
        Err(problems) => {
            writeln!(io::stderr().lock(), "rowcall-agent: {problems}")?;
            return Ok(ExitCode::from(WRONG_CONFIGURATION));
        }
    };
    if args.print_config {
        return print(config.to_toml().trim_end());
    }
    log_to_stderr(&config.log)?;
    if args.check_config {
        return Ok(match crate::check(&config, SystemClock::shared()) {
            Ok(name) => print(&format!("the configuration is good; this agent is {name}"))?,
            Err(error) => {
                writeln!(io::stderr().lock(), "rowcall-agent: {error}")?;
                ExitCode::from(WRONG_CONFIGURATION)
            }
        });
    }
    crate::runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signals = Box::pin(watch_signals(terminate, interrupt, shutdown.clone()));
        let agent = Box::pin(crate::run(config, SystemClock::shared(), shutdown));
        tokio::select! {
            result = agent => result.map(|()| ExitCode::SUCCESS).map_err(Into::into),
            code = signals => Ok(code),
        }
    })
}

/// The first signal asks to stop, the second ends it.
async fn watch_signals(
    mut terminate: Signal,
    mut interrupt: Signal,
    shutdown: CancellationToken,
) -> ExitCode {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    tracing::info!("asked to stop");
    shutdown.cancel();
    let second = next().await.as_raw_value();
    ExitCode::from(u8::try_from(128 + second).unwrap_or(1))
}

fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    let levels: Targets = log.level.parse()?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(levels);
    match log.format {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init()?;
        }
        LogFormat::Json => registry.with(lines.json()).try_init()?,
    }
    Ok(())
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn sample_json(reading: &Reading) -> Value {
    let sample = &reading.sample;
    json!({
        "time_unix_us": reading.time.0,
        "elapsed_us": sample.elapsed_us,
        "uptime_us": sample.uptime_us,
        "memory_free_kib": sample.memory_free_kib,
        "memory_available_kib": sample.memory_available_kib,
        "cpu_idle_percent": sample.cpu_idle_percent,
        "cpu_kernel_percent": sample.cpu_kernel_percent,
        "disk_io": sample.disk_io,
        "disk_available_kib": sample.disk_available_kib,
    })
}

fn host_json(facts: &HostFacts, machine: &MachineIds) -> Value {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "agent_version": env!("CARGO_PKG_VERSION"),
        "machine_id": known(&machine.machine_id),
        "boot_id": known(&machine.boot_id),
        "cpu_number": facts.cpu_number,
        "cpu_architecture": facts.cpu_architecture,
        "cpu_model": facts.cpu_model,
        "cpu_mhz": facts.cpu_mhz,
        "l2_cache_kib": facts.l2_cache_kib,
        "total_mem_kib": facts.total_mem_kib,
        "os": facts.os,
        "kernel": facts.kernel,
        "kernel_host_name": facts.kernel_host_name,
        "booted_unix_us": facts.booted.map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_key_has_its_flag() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for (key, _) in crate::config::KEYS {
            assert!(run.get_arguments().any(|arg| arg.get_id() == key), "--{key}");
        }
        let args = [("aggregator", "a"), ("align", "true")];
        let line = ["rowcall-agent", "run", "--aggregator", "a", "--align"];
        let Command::Run(given) = Cli::parse_from(line).command else { panic!("not run") };
        assert_eq!(given.flags(), args.map(|(key, text)| (key, text.to_owned())));
    }

    #[test]
    fn unknown_values_are_null() {
        assert_eq!(
            host_json(&HostFacts::default(), &MachineIds::default())["cpu_mhz"],
            Value::Null
        );
    }
}
