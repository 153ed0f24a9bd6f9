//! The two commands: settings, logs, signals, and what the process ends with.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ArgMatches;
use rowcall_aggregator::config::{Database, LogFormat, Problems};
use rowcall_aggregator::{Config, Error, Server, Stopped};
use rowcall_core::clock::SystemClock;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Wrong usage, settings or certificates.
pub(crate) const USAGE: u8 = 2;
const FAILED: u8 = 1;
const AT_DEADLINE: u8 = 3;
const AT_ONCE: u8 = 130;

/// For threads that still do something after everything has ended in order.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs what was asked for.
pub(crate) fn run(matches: &ArgMatches) -> Result<u8> {
    let (name, matches) = matches.subcommand().context("no command")?;
    let migrates = name == "migrate";
    let load = if migrates { Config::load_for_database } else { Config::load };
    let (config, shown) = load(matches, &environment)?;
    if matches.get_flag("print-config") {
        say(&shown);
        return Ok(0);
    }
    if matches.get_flag("check-config") {
        start_logs(&config);
        if !migrates {
            rowcall_aggregator::check(&config, &SystemClock::shared())?;
        }
        check_database(&config)?;
        let what = if migrates { "settings" } else { "settings, certificates" };
        say(&format!("{what} and database URL are fine; nothing was connected to\n"));
        return Ok(0);
    }
    start_logs(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.workers)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = if migrates {
        runtime.block_on(rowcall_aggregator::migrate(&config)).map_err(Into::into).map(
            |migration| {
                say(&format!("schema version {} (was {})\n", migration.to, migration.from));
                0
            },
        )
    } else {
        runtime.block_on(serve(config))
    };
    // A thread that reads from a file system which hangs would hold the end for ever.
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

/// The database's URL and the files that it names.
fn check_database(config: &Config) -> Result<(), Error> {
    if let Database::Url(url) = &config.database {
        rowcall_store::Settings::new(url.clone()).check()?;
    }
    Ok(())
}

/// What is no UTF-8 is shown as such where it is refused.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|text| text.to_string_lossy().into_owned())
}

async fn serve(config: Config) -> Result<u8> {
    let mut interrupts = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terms = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangups = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    let shutdown = CancellationToken::new();
    let server = Server::bind(config, SystemClock::shared()).await?.notifying();
    let handle = server.handle();
    // For as long as the process lives: without a handler a SIGHUP would end it.
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            info!("SIGHUP: looking at the certificates");
            handle.reload();
        }
    });
    let running = server.run(shutdown.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(code(ended?)),
        () = any(&mut interrupts, &mut terms) => shutdown.cancel(),
    }
    tokio::select! {
        ended = running => Ok(code(ended?)),
        () = any(&mut interrupts, &mut terms) => {
            info!("stopped at once by a second signal");
            // Without running anybody's destructor: an embedded database's guard stops it.
            std::process::exit(i32::from(AT_ONCE))
        }
    }
}

async fn any(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

fn code(stopped: Stopped) -> u8 {
    match stopped {
        Stopped::InOrder => 0,
        Stopped::AtDeadline | Stopped::Uncommitted { .. } => AT_DEADLINE,
    }
}

/// What the process ends with for an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let ours = error.downcast_ref::<Error>();
    let settings = matches!(ours, Some(Error::Config(_) | Error::Certificates(_)));
    if settings || error.is::<Problems>() { USAGE } else { FAILED }
}

/// Says on standard error why it ends.
pub(crate) fn complain(text: &str) {
    // If that is closed, nobody can be told.
    drop(writeln!(std::io::stderr().lock(), "rowcall-aggregator: {text}"));
}

fn say(text: &str) {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

fn start_logs(config: &Config) {
    let filter = EnvFilter::try_new(&config.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
    // Where standard error fails there is nowhere to say so, and to try would be a panic.
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match config.log_format {
        LogFormat::Text => {
            logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
