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

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use health::{Health, LinkState};
pub(crate) use notifier::Notifier;

use crate::queue::Queue;
use crate::utc::Utc;

/// At most this often, unless the link's state changes.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// Between two tries to tell what must arrive.
const AGAIN: Duration = Duration::from_millis(500);

/// Bytes of a status; systemd shows it on a line.
const MAX_STATUS_BYTES: usize = 400;

/// Tells the service manager how this agent is.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) notifier: Notifier,
    pub(crate) health: Arc<Health>,
    pub(crate) queue: Arc<Queue>,
    /// The one that is tried first, as the status names it.
    pub(crate) aggregator: String,
}

impl Service {
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
        let status = self.queue.spool.status();
        // From earlier processes, too.
        let acknowledged = match status.acknowledged {
            None => "nothing acknowledged yet".to_owned(),
            Some((_, at)) => format!("last acknowledged {}", Utc(at)),
        };
        let mut holds = match status.unacknowledged_records {
            1 => "1 record waiting".to_owned(),
            records => format!("{records} records waiting"),
        };
        if let Some(fault) = status.fault {
            holds = format!("{holds}, not safe from a crash: {}", crate::spool::in_words(fault));
        }
        match self.health.counts().refills {
            0 => {}
            refills => holds = format!("{holds}; sent again what was lost there {refills} times"),
        }
        match link {
            _ if is_stopping => format!("stopping; {acknowledged}; {holds}"),
            LinkState::Connecting => {
                format!("connecting to {}; {acknowledged}; {holds}", self.aggregator)
            }
            LinkState::Connected(aggregator) => {
                format!("connected to {aggregator}; {acknowledged}; {holds}")
            }
            LinkState::NotConnected(aggregator, reason) => {
                // A line break would begin another message to the service manager.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                let mut reason: String = reason.chars().map(clean).collect();
                reason.truncate(reason.floor_char_boundary(MAX_STATUS_BYTES));
                format!("not connected to {aggregator}; {holds}; {acknowledged}; {reason}")
            }
        }
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

#[cfg(test)]
mod tests;
