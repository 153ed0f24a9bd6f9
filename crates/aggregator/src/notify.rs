//! What the service manager is told: ready, stopping, a line of status, and that we live.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent. The process is ready once it
//! listens: a database that is away is a matter of its status, not of its life.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::database::Database;
use crate::pulse::Pulse;
use crate::registry::Registry;

/// How often the status is made anew; it is sent where it differs.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Stands in for a watchdog that nobody asked for.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// What the status is made of.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) database: Arc<Database>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) stopping: CancellationToken,
}

impl Notifier {
    /// Tells the service manager until it is dropped.
    pub(crate) async fn run(self) {
        let watchdog = sd_notify::watchdog_enabled().filter(|period| !period.is_zero());
        let mut beats = interval(watchdog.map_or(NEVER, |period| period / 2));
        let mut looks = interval(STATUS_INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reachable = self.database.reachable();
        let mut status = self.status();
        let (mut stopping, mut stuck) = (false, false);
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = reachable.changed() => {}
                () = self.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    tell(&[NotifyState::Stopping]);
                }
                _ = beats.tick() => {
                    let alive = self.pulse.is_alive();
                    if alive && watchdog.is_some() {
                        tell(&[NotifyState::Watchdog]);
                    } else if !alive && !stuck {
                        error!("the writer makes no progress; the watchdog is not fed any more");
                    }
                    stuck = !alive;
                }
            }
            let now = self.status();
            if now != status {
                tell(&[NotifyState::Status(&now)]);
                status = now;
            }
        }
    }

    fn status(&self) -> String {
        let agents = self.registry.connected();
        let agents = format!("{agents} {} connected", if agents == 1 { "agent" } else { "agents" });
        if self.stopping.is_cancelled() {
            return format!("stopping, {agents}");
        }
        match self.database.error() {
            // One line: a line break would begin another field.
            Some(error) => {
                let error = error.replace(['\n', '\r'], " ");
                format!("waiting for the database, {agents}: {error}")
            }
            None => agents,
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager does not listen");
    }
}
