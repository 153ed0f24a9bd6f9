//! The link: one stream after another to the aggregator, for as long as the agent runs.
//!
//! - After a failure it waits with full jitter, longer each time; only an acknowledgement starts
//!   over. After a refusal that only people can change it waits minutes. After a clean Drain it
//!   comes back at a random moment within the span it was given, or within two seconds where that
//!   is shorter: an aggregator that drains each stream must not keep it busy.
//! - Each reason for having no stream is logged at once and then every ten minutes; one that only
//!   people can change as a warning.
//! - Nothing is released but by an acknowledgement on the present stream, see
//!   [`rowcall_core::session`].

mod dial;
mod end;
mod journal;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::backoff::{Backoff, jitter};
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, RunId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::config::Config;
use crate::queue::{Queue, Spool};
use crate::random;
use crate::sample::host_facts::MachineIds;
use crate::sampler::Facts;
use crate::service::{Health, LinkState};

pub(crate) use dial::Dialer;
use end::End;
pub(crate) use journal::Journal;

/// An aggregator can't send agents away for longer than this.
const LONGEST_DRAIN: Duration = Duration::from_secs(300);

/// Nor call them back sooner: once in a second on average.
const SHORTEST_DRAIN: Duration = Duration::from_secs(2);

/// What the link works with.
#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
    pub(crate) queue: Arc<Queue<S>>,
    pub(crate) facts: Arc<Facts<S>>,
    pub(crate) clock: SharedClock,
    pub(crate) interval: watch::Sender<Duration>,
    pub(crate) machine: MachineIds,
    pub(crate) run: RunId,
    pub(crate) backoff: Backoff,
    /// A new epoch was begun since the last acknowledgement.
    pub(crate) renewed: bool,
    pub(crate) health: Arc<Health>,
    pub(crate) journal: Journal,
}

impl<S: Spool> Link<S> {
    /// Runs until `stop` is cancelled, then says Bye and waits for outstanding acknowledgements,
    /// at most [`Config::stop_wait`].
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let end = self.stream(&stop).await;
            if stop.is_cancelled() {
                break;
            }
            let wait = self.wait_after(end);
            self.health.link.back_within(wait);
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
        }
        let left = self.queue.with(|spool| spool.status().unacknowledged_records);
        tracing::info!(unacknowledged_records = left, "stopped");
    }

    fn wait_after(&mut self, end: End) -> Duration {
        match end {
            End::Stopped => Duration::ZERO,
            End::NewEpoch => {
                let epoch = Epoch::from_random(random::bits());
                let before = self.queue.with(|spool| {
                    let before = spool.epoch();
                    spool.new_epoch(epoch);
                    before
                });
                tracing::warn!(
                    %before, %epoch,
                    "the aggregator knows other records under our epoch, as after a rolled back or \
                     copied disk: what is unacknowledged is sent under a new epoch"
                );
                // At once the first time; a peer that says so again and again has to wait.
                if std::mem::replace(&mut self.renewed, true) {
                    self.backoff.next(random::share())
                } else {
                    Duration::ZERO
                }
            }
            End::Drained(within) => {
                let wait = jitter(within.clamp(SHORTEST_DRAIN, LONGEST_DRAIN), random::share());
                self.tell(Level::INFO, "the aggregator asked to come back later", wait);
                wait
            }
            End::Refused(reason) => {
                let least = self.config.refused_wait / 5;
                let wait = least + jitter(self.config.refused_wait - least, random::share());
                self.tell(
                    Level::WARN,
                    &format!("the aggregator refuses this agent: {reason}"),
                    wait,
                );
                wait
            }
            End::NeedsPeople(reason) => {
                let wait = self.backoff.next(random::share());
                self.tell(Level::WARN, &format!("no connection: {reason}"), wait);
                wait
            }
            End::Failed(reason) => {
                let wait = self.backoff.next(random::share());
                self.tell(Level::INFO, &format!("no connection: {reason}"), wait);
                wait
            }
        }
    }

    /// Tells why there is no stream. What goes on for long is worth a warning whatever it is.
    fn tell(&mut self, level: Level, text: &str, wait: Duration) {
        let reason = text.strip_prefix("no connection: ").unwrap_or(text);
        self.health.link_is(LinkState::NotConnected(reason.to_owned()));
        let Some(repeated) = self.journal.note(text, Instant::now()) else {
            tracing::debug!("{text}");
            return;
        };
        let aggregator = &self.config.aggregator;
        let next_try_s = wait.as_millis().div_ceil(1000);
        if level == Level::WARN || repeated.goes_on() {
            tracing::warn!(%aggregator, next_try_s, "{text}{repeated}");
        } else {
            tracing::info!(%aggregator, next_try_s, "{text}{repeated}");
        }
    }
}
