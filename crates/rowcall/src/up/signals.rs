//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends the process.

use std::io::Write as _;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that SIGINT ended.
const EXIT_INT: i32 = 130;
/// The same for SIGTERM.
const EXIT_TERM: i32 = 143;

/// A token that the first signal cancels.
pub(super) fn watch() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => EXIT_INT,
                _ = terminate.recv() => EXIT_TERM,
            }
        };
        next().await;
        first.cancel();
        let code = next().await;
        // The guard of PostgreSQL sees our end and stops it.
        drop(writeln!(anstream::stderr(), "rowcall: stopped at once"));
        std::process::exit(code);
    });
    Ok(stop)
}
