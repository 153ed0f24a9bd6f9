//! What a service manager is told: ready, status, alive, stopping.
//!
//! - *Ready* is an agent that samples. Whether an aggregator answers has no part in it: an outage
//!   must not make the service manager end the agents of a fleet.
//! - *Alive* is told from the runtime that does all the work, so silence means that it hangs; and
//!   only while sampling and link come back from their waits, see [`health::Pulse`].
//! - Without a service manager nothing of this runs.

mod health;
mod notifier;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::id::UnixMicros;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use health::{Health, LinkState};
pub(crate) use notifier::Notifier;

use crate::queue::{Queue, Spool};

/// At most this often, unless the link's state changes.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// Between two tries to tell what must arrive.
const AGAIN: Duration = Duration::from_millis(500);

/// Bytes of a status; systemd shows it on a line.
const MAX_STATUS_BYTES: usize = 400;

/// Tells the service manager how this agent is.
#[derive(Debug)]
pub(crate) struct Service<S> {
    pub(crate) notifier: Notifier,
    pub(crate) health: Arc<Health>,
    pub(crate) queue: Arc<Queue<S>>,
    /// As the status names it.
    pub(crate) aggregator: String,
}

impl<S: Spool> Service<S> {
    /// Never ends by itself.
    pub(crate) async fn run(self, stop: CancellationToken) -> Infallible {
        let mut state = self.health.state();
        let mut started = self.health.started();
        let ready = async {
            // Its other end lives as long as we do.
            drop(started.wait_for(|started| *started).await);
            self.tell_surely("READY=1\n").await;
        };
        stop.run_until_cancelled(ready).await;
        let mut is_stopping = false;
        let mut status_due = Instant::now();
        let beat = self.notifier.watchdog.map(|watchdog| watchdog / 2);
        let mut beat_due = Instant::now();
        let mut told_hanging = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.tell("STOPPING=1\n");
                    status_due = Instant::now();
                }
                () = sleep_until(beat_due), if beat.is_some() => {
                    match self.health.hangs(Instant::now()) {
                        None => self.tell("WATCHDOG=1\n"),
                        Some(task) if !told_hanging => {
                            told_hanging = true;
                            tracing::error!(task, "a task makes no progress: this is a bug; the service manager's watchdog will restart the agent");
                        }
                        Some(_) => {}
                    }
                    beat_due = Instant::now() + beat.unwrap_or(STATUS_EVERY);
                }
                Ok(()) = state.changed() => status_due = Instant::now(),
                () = sleep_until(status_due) => {
                    let link = state.borrow_and_update().clone();
                    self.tell(&format!("STATUS={}\n", self.status(&link, is_stopping)));
                    status_due = Instant::now() + STATUS_EVERY;
                }
            }
        }
    }

    fn status(&self, link: &LinkState, is_stopping: bool) -> String {
        let acknowledged = match self.health.last_acknowledged() {
            None => "nothing acknowledged yet".to_owned(),
            Some(at) => format!("last acknowledged {}", Utc(at)),
        };
        let waiting = match self.queue.with(|spool| spool.status().unacknowledged_records) {
            1 => "1 record waiting".to_owned(),
            records => format!("{records} records waiting"),
        };
        let link = match link {
            _ if is_stopping => "stopping".to_owned(),
            LinkState::Connecting => format!("connecting to {}", self.aggregator),
            LinkState::Connected => format!("connected to {}", self.aggregator),
            LinkState::NotConnected(reason) => {
                // A line break would begin another message to the service manager.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                let mut reason: String = reason.chars().map(clean).collect();
                reason.truncate(reason.floor_char_boundary(MAX_STATUS_BYTES));
                return format!("not connected; {waiting}; {acknowledged}; {reason}");
            }
        };
        format!("{link}; {acknowledged}; {waiting}")
    }

    /// What gets lost now is told again soon.
    fn tell(&self, lines: &str) {
        if let Err(error) = self.notifier.tell(lines) {
            tracing::debug!(%error, lines, "the service manager could not be told");
        }
    }

    async fn tell_surely(&self, lines: &str) {
        let mut is_new = true;
        while let Err(error) = self.notifier.tell(lines) {
            if std::mem::take(&mut is_new) {
                tracing::warn!("the service manager could not be told {}: {error}", lines.trim());
            }
            sleep(AGAIN).await;
        }
    }
}

/// An instant to the second, in UTC.
struct Utc(UnixMicros);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March put the odd day at their end; 400 of them have 146,097 days.
        let day_of_era = (days + 719_468).rem_euclid(146_097);
        let era = (days + 719_468).div_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests;
