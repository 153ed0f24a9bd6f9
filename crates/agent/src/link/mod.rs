//! The link: one stream after another to an aggregator, for as long as the agent runs.
//!
//! - When an aggregator fails the next of the settings is tried at once, see [`turns`]; after a
//!   whole round it waits with full jitter, longer each time; only an acknowledgement starts over.
//!   After a refusal that only people can change it leaves that aggregator alone for minutes. After
//!   a clean Drain it comes back at a random moment within the span it was given, or within two
//!   seconds where that is shorter: an aggregator that drains each stream must not keep it busy.
//!   To one that stops it comes back only where there is no other.
//! - Each reason for having no stream is logged at once and then every ten minutes; one that only
//!   people can change as a warning. After it comes "connected", however soon that was said before.
//! - Nothing is released but by an acknowledgement on the present stream, see
//!   [`rowcall_core::session`].
//! - What waits goes oldest first, in batches; a sample read meanwhile goes after it, since within
//!   a host the order is that of the sequences. No other host waits for that: the aggregator takes
//!   hosts in turn. A mark that is lower than what was acknowledged makes it send again from there,
//!   each time that it is; where that makes no progress the waits between streams grow, whatever is
//!   acknowledged.

mod batch;
mod dial;
mod end;
mod journal;
mod material;
mod open;
mod renew;
mod stream;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::backoff::{Backoff, jitter};
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, RunId};
use rowcall_core::record::EpochOrigin;
use rowcall_core::session::agent::Holdings as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::config::{Config, Endpoint};
use crate::facts::Facts;
use crate::identity::{Note, Notes};
use crate::queue::Queue;
use crate::random;
use crate::sample::host_facts::MachineIds;
use crate::service::{Health, LinkState};

pub(crate) use dial::{Dialer, endpoint as channel_endpoint, remedy};
use end::End;
pub(crate) use end::one_line;
pub(crate) use journal::Journal;
pub(crate) use material::{Expiry, open_to_all};
pub(crate) use renew::{Connected, Renewals};
pub(crate) use turns::Turns;
use turns::When;

/// An aggregator can't send agents away for longer than this.
const LONGEST_DRAIN: Duration = Duration::from_secs(300);

/// Nor call them back sooner: once in a second on average.
const SHORTEST_DRAIN: Duration = Duration::from_secs(2);

/// Longest wait before the next try where another agent has this host's stream; the shortest is half
/// of it.
const TAKEN_WAIT: Duration = Duration::from_secs(60);

/// Streams that work and break within this time are not opened anew at once.
const OFTEN: Duration = Duration::from_secs(10);

/// What the link works with.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
    /// Where streams go now.
    pub(crate) aggregators: Vec<Endpoint>,
    /// Of an enrolled identity.
    pub(crate) renewals: Option<Arc<Renewals>>,
    /// What renewals go through.
    pub(crate) connected: watch::Sender<Option<Connected>>,
    pub(crate) notes: Notes,
    pub(crate) queue: Arc<Queue>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) clock: SharedClock,
    pub(crate) interval: watch::Sender<Duration>,
    pub(crate) machine: MachineIds,
    pub(crate) run: RunId,
    pub(crate) backoff: Backoff,
    pub(crate) turns: Turns,
    pub(crate) health: Arc<Health>,
    pub(crate) course: Course,
}

/// What happened on the streams before this one.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// A new epoch was begun since the last acknowledgement.
    renewed: bool,
    /// Something was acknowledged since the last failure.
    worked: bool,
    /// When a stream that worked failed last.
    broke: Option<Instant>,
    refill: Option<Refill>,
    /// When a certificate came where enrolment is, by the time since boot.
    proven_at: Option<Duration>,
    journal: Journal,
    /// The last word about the connection was why there is none.
    told_why_not: bool,
}

/// A mark that was lower than what was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Refill {
    /// The highest one since the last that was not.
    mark: u64,
    /// How often it got no higher.
    times: u32,
}

impl Refill {
    /// Sent again and again, it leads nowhere.
    fn is_stuck(self) -> bool {
        self.times > 1
    }
}

impl Link {
    /// Runs until `stop` is cancelled, then says Bye and waits for outstanding acknowledgements,
    /// at most [`Config::stop_wait`].
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let end = self.stream(&stop).await;
            self.connected.send_replace(None);
            if stop.is_cancelled() {
                break;
            }
            let Some(wait) = stop.run_until_cancelled(self.wait_after(end)).await else { break };
            self.follow();
            self.health.link.back_within(wait);
            let material = Arc::clone(&self.dialer.material);
            let pause = async {
                tokio::select! {
                    () = sleep(wait) => false,
                    () = material.replaced() => true,
                }
            };
            match stop.run_until_cancelled(pause).await {
                None => break,
                // Enrolled anew: what was refused before says nothing of that.
                Some(true) => self.turns = Turns::new(self.aggregators.len()),
                Some(false) => {}
            }
        }
    }

    async fn wait_after(&mut self, end: End) -> Duration {
        let now = Instant::now();
        let from = self.aggregator();
        let end = match end {
            End::Expired(reason) if self.has_just_renewed() => End::Refused(format!(
                "{reason}; it was renewed just now, and asking again gives no better one: compare \
                 the clocks of the aggregators"
            )),
            End::Expired(reason) => match self.renewed(&reason).await {
                Ok(()) => return Duration::ZERO,
                Err(reason) => End::Refused(reason),
            },
            end => end,
        };
        match end {
            End::Expired(_) => Duration::ZERO,
            End::Stopped => Duration::ZERO,
            End::NewEpoch => self.new_epoch().await,
            End::Drained { within, leaves } => {
                if leaves {
                    self.turns.leaves(now);
                }
                let mut wait = jitter(within.clamp(SHORTEST_DRAIN, LONGEST_DRAIN), random::share());
                if self.course.refill.is_some_and(Refill::is_stuck) {
                    wait = wait.max(self.backoff.next(random::share()));
                }
                self.tell(Level::INFO, &from, "the aggregator asked to come back later", wait);
                wait
            }
            End::Refused(reason) => {
                let least = self.config.refused_wait / 5;
                let rest = least + jitter(self.config.refused_wait - least, random::share());
                let wait = self.wait_until_turn(now, Some(rest));
                let reason = format!("the aggregator refuses this agent: {reason}");
                self.refused(&reason);
                self.tell(Level::WARN, &from, &reason, wait);
                wait
            }
            End::Taken(reason) => {
                let rest = TAKEN_WAIT / 2 + jitter(TAKEN_WAIT / 2, random::share());
                let wait = self.wait_until_turn(now, Some(rest));
                let reason = format!("another agent has this host's stream: {reason}");
                self.refused(&reason);
                self.tell(Level::WARN, &from, &reason, wait);
                wait
            }
            End::NeedsPeople(reason) => {
                let wait = self.wait_until_turn(now, None);
                self.tell(Level::WARN, &from, &format!("no connection: {reason}"), wait);
                wait
            }
            End::Failed(reason) => {
                let wait = self.wait_until_turn(now, None);
                self.tell(Level::INFO, &from, &format!("no connection: {reason}"), wait);
                wait
            }
        }
    }

    fn wait_until_turn(&mut self, now: Instant, rest: Option<Duration>) -> Duration {
        let before = self.course.broke;
        let worked = std::mem::take(&mut self.course.worked);
        if worked {
            self.course.broke = Some(now);
        }
        let breaks_often =
            worked && before.is_some_and(|at| now.saturating_duration_since(at) < OFTEN);
        match self.turns.failed(now, rest) {
            When::AtOnce if !breaks_often => Duration::ZERO,
            When::AtOnce | When::AfterBackoff => self.backoff.next(random::share()),
            When::After(wait) => wait,
        }
    }

    /// Something was acknowledged: what failed before is over. But a database that loses the same
    /// rows again and again gets them less and less often.
    fn progressed(&mut self) {
        if !self.course.refill.is_some_and(Refill::is_stuck) {
            self.backoff.reset();
        }
        self.turns.works();
        self.course.worked = true;
        self.course.renewed = false;
    }

    /// What is unacknowledged goes on under a new epoch.
    async fn new_epoch(&mut self) -> Duration {
        let (before, epoch) = (self.queue.spool.epoch(), Epoch::from_random(random::bits()));
        let spool = self.queue.spool.clone();
        // It waits for the disk.
        let begun = tokio::task::spawn_blocking(move || {
            spool.new_epoch(epoch, EpochOrigin::RolledBack);
        });
        if begun.await.is_err() {
            tracing::error!("the new epoch could not be begun; this is a bug");
        }
        tracing::warn!(
            %before, %epoch,
            "the aggregator knows other records under our epoch, as after a rolled back or copied \
             disk: what is unacknowledged is sent under a new epoch"
        );
        self.course.refill = None;
        // At once the first time; a peer that says so again and again has to wait.
        if std::mem::replace(&mut self.course.renewed, true) {
            self.backoff.next(random::share())
        } else {
            Duration::ZERO
        }
    }

    /// Our certificate has expired: asks for the next one where enrolment is.
    async fn renewed(&mut self, reason: &str) -> Result<(), String> {
        let Some(renewals) = &self.renewals else { return Err(reason.to_owned()) };
        self.health.link.waits_for_others();
        let renewed = renewals.by_proof().await;
        renewed.map_err(|error| format!("{reason}; it is not renewed: {error}"))?;
        self.course.proven_at = Some(self.clock.since_boot());
        Ok(())
    }

    /// Whether a certificate that came where enrolment is cannot be old yet.
    fn has_just_renewed(&self) -> bool {
        let (Some(renewals), Some(at)) = (&self.renewals, self.course.proven_at) else {
            return false;
        };
        self.clock.since_boot().saturating_sub(at) < renewals.least_between()
    }

    /// `status` tells why, whoever asks.
    fn refused(&self, reason: &str) {
        let note = Note { at: self.clock.wall(), text: reason.to_owned() };
        self.notes.change(|told| told.refused = Some(note));
    }

    /// A renewal may have told other aggregators.
    fn follow(&mut self) {
        let aggregators = self.dialer.aggregators();
        if aggregators != self.aggregators {
            self.turns = Turns::new(aggregators.len());
            self.aggregators = aggregators;
        }
    }

    /// The one whose turn it is, as messages name it.
    fn aggregator(&self) -> String {
        self.aggregators.get(self.turns.place()).map(ToString::to_string).unwrap_or_default()
    }

    /// Tells why there is no stream. What goes on for long is worth a warning whatever it is.
    fn tell(&mut self, level: Level, aggregator: &str, text: &str, wait: Duration) {
        let reason = text.strip_prefix("no connection: ").unwrap_or(text);
        self.health.link_is(LinkState::NotConnected(aggregator.to_owned(), reason.to_owned()));
        // The same reason at two of them is two things; digits alone would not tell them apart.
        let place = self.aggregators.iter().position(|a| a.to_string() == aggregator);
        let key = format!("{}{text}", ".".repeat(place.unwrap_or(0)));
        let Some(repeated) = self.course.journal.note(&key, Instant::now()) else {
            tracing::debug!(%aggregator, "{text}");
            return;
        };
        self.course.told_why_not = true;
        let next_try_s = wait.as_millis().div_ceil(1000);
        if level == Level::WARN || repeated.goes_on() {
            tracing::warn!(%aggregator, next_try_s, "{text}{repeated}");
        } else {
            tracing::info!(%aggregator, next_try_s, "{text}{repeated}");
        }
    }
}
