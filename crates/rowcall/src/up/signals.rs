//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second ends the process.
//!
//! A wrapper (`make`, `timeout`, a shell) often passes on the Ctrl-C that the terminal has given to
//! the whole process group already. So signals that come together are one.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use rowcall_core::clock::SharedClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that SIGINT ended.
const EXIT_INT: i32 = 130;
/// The same for SIGTERM.
const EXIT_TERM: i32 = 143;
/// Signals within this time after the first are the first: quicker than fingers.
const TOGETHER: Duration = Duration::from_millis(200);

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Stop in order.
    Stop,
    /// The same signal on another way.
    Same,
    /// End at once.
    AtOnce,
}

/// The signals so far.
#[derive(Debug, Default)]
struct Signals {
    first: Option<Duration>,
}

impl Signals {
    /// One has come, at this time of a clock that nobody sets.
    fn came(&mut self, now: Duration) -> Meaning {
        match self.first {
            None => {
                self.first = Some(now);
                Meaning::Stop
            }
            Some(first) if now.saturating_sub(first) < TOGETHER => Meaning::Same,
            Some(_) => Meaning::AtOnce,
        }
    }
}

/// A token that the first signal cancels.
pub(super) fn watch(clock: SharedClock) -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let mut signals = Signals::default();
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => EXIT_INT,
                _ = terminate.recv() => EXIT_TERM,
            };
            match signals.came(clock.monotonic()) {
                Meaning::Stop => first.cancel(),
                Meaning::Same => {}
                Meaning::AtOnce => {
                    // The guard of PostgreSQL sees our end and stops it.
                    drop(writeln!(anstream::stderr(), "rowcall: stopped at once"));
                    std::process::exit(code);
                }
            }
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_together_are_one_and_a_later_one_ends_at_once() {
        let mut signals = Signals::default();
        let mut at = |millis| signals.came(Duration::from_millis(5_000_u64 + millis));
        assert_eq!(at(0), Meaning::Stop);
        assert_eq!(at(0), Meaning::Same);
        assert_eq!(at(199), Meaning::Same);
        assert_eq!(at(200), Meaning::AtOnce);
    }
}
