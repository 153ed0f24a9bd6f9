//! The program: its commands, logs, signals, and what it ends with.

mod command;
mod sample;
mod signals;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use rowcall_core::clock::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, Log, LogFormat, Problems};
use crate::service::Notifier;
use crate::status::{self, Report};
use crate::{Error, check, enroll};

pub use command::command;
pub(crate) use sample::{Shown, skipped};

/// Exit code for a wrong command line, configuration or certificate; clap's own too.
const WRONG_CONFIGURATION: u8 = 2;

/// Does what the command line ([`command()`]) says.
///
/// # Errors
/// Whatever ends the program with code 1.
pub fn main(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand() {
        Some(("run", matches)) => run(matches),
        Some(("status", matches)) => status(matches),
        Some(("enroll", matches)) => enroll(matches),
        Some(("check", matches)) => check(matches),
        Some(("sample", matches)) => sample(matches),
        _ => Ok(ExitCode::from(WRONG_CONFIGURATION)),
    }
}

fn sample(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = match load(matches) {
        Ok((config, _)) => config,
        Err(problems) => return wrong(&problems),
    };
    let reading = crate::sample_once(&config.collect, SystemClock::shared());
    let shown = crate::block_on(reading)?.without_peaks();
    if matches.get_flag("json") {
        print(&serde_json::to_string_pretty(&sample::json(&shown))?)
    } else {
        print(sample::text(&shown, sample::width()).trim_end())
    }
}

/// The settings in force, and how they are shown.
fn load(matches: &ArgMatches) -> Result<(Config, String), Problems> {
    let file = matches.get_one::<PathBuf>("config").map(PathBuf::as_path);
    // What is no UTF-8 must not pass for unset: it is judged as the value that it is.
    let environment =
        |name: &str| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    Config::load(file, environment, &command::flags(matches))
}

fn status(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = match load(matches) {
        Ok((config, _)) => config,
        Err(problems) => return wrong(&problems),
    };
    let report = Report::gather(&config, SystemClock.wall());
    if matches.get_flag("json") {
        print(&serde_json::to_string_pretty(&status::json(&report))?)?;
    } else {
        print(status::text(&report).trim_end())?;
    }
    Ok(ExitCode::from(report.verdict().exit_code()))
}

fn enroll(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = match load(matches) {
        Ok((config, _)) => config,
        Err(problems) => return wrong(&problems),
    };
    log_to_stderr(&config.log)?;
    let arguments = command::enrolment(matches);
    let clock = SystemClock::shared();
    match crate::block_on(enroll::command(&config, &arguments, &clock))? {
        Ok(text) => print(text.trim_end()),
        Err(error) => {
            writeln!(io::stderr().lock(), "rowcall-agent: {error}")?;
            Ok(ExitCode::from(error.why.exit_code()))
        }
    }
}

fn check(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = match load(matches) {
        Ok((config, _)) => config,
        Err(problems) => return wrong(&problems),
    };
    let report = crate::block_on(check::look(&config, SystemClock::shared()))?;
    if matches.get_flag("json") {
        print(&serde_json::to_string_pretty(&report.json())?)?;
    } else {
        print(report.text().trim_end())?;
    }
    Ok(ExitCode::from(u8::from(report.has_failed())))
}

fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (config, shown) = match load(matches) {
        Ok(loaded) => loaded,
        Err(problems) => return wrong(&problems),
    };
    if matches.get_flag("print-config") {
        return print(shown.trim_end());
    }
    log_to_stderr(&config.log)?;
    if matches.get_flag("check-config") {
        return match crate::check_config(&config, SystemClock::shared()) {
            Ok(Some(name)) => print(&format!("the configuration is good; this agent is {name}")),
            Ok(None) => print("the configuration is good; this node enrols when the agent starts"),
            Err(error) => wrong(&error),
        };
    }
    let ended = crate::block_on(serve(config))?;
    match ended {
        Err(Ended::Start(error)) if error.is_configuration() => wrong(&error),
        Err(Ended::Start(error)) => Err(error.into()),
        Err(Ended::Signals(error)) => Err(error.into()),
        Ok(code) => Ok(code),
    }
}

enum Ended {
    Signals(io::Error),
    Start(Error),
}

async fn serve(config: Config) -> Result<ExitCode, Ended> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(Ended::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Ended::Signals)?;
    let next = async move || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    let signals = Box::pin(signals::watch(next, shutdown.clone()));
    let notifier = Notifier::from_environment();
    let agent = crate::run_as_service(config, SystemClock::shared(), shutdown, notifier);
    tokio::select! {
        result = Box::pin(agent) => result.map(|()| ExitCode::SUCCESS).map_err(Ended::Start),
        code = signals => Ok(code),
    }
}

fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    let levels: Targets = log.level.parse()?;
    // A reader of standard error that is gone is no reason to end.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
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
    match writeln!(io::stdout().lock(), "{text}") {
        // Who reads has enough, as head(1) does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => Ok(written.map(|()| ExitCode::SUCCESS)?),
    }
}

/// Says what people have to change.
fn wrong(problem: &dyn std::fmt::Display) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr().lock(), "rowcall-agent: {problem}")?;
    Ok(ExitCode::from(WRONG_CONFIGURATION))
}
