//! The dead man's switch: while rows are committed, a URL is called.
//!
//! Whoever waits at its other end raises an alarm when the calls stop coming, whatever the reason:
//! process, database, network, or every agent of the fleet.

mod call;
mod url;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::metrics::Meters;
pub use url::{DeadManUrl, InvalidUrl};

/// Shortest time between two calls. Services of this kind count in minutes.
const EVERY: Duration = Duration::from_secs(60);

/// A call that takes longer has failed; well below [`EVERY`].
const LIMIT: Duration = Duration::from_secs(10);

/// A failure that lasts is said anew after so many calls.
const SAY_AGAIN: u64 = 15;

/// Calls the URL until it is dropped.
pub(crate) async fn run(url: DeadManUrl, commits: watch::Receiver<()>, meters: Arc<Meters>) {
    let mut rhythm = Rhythm { commits, next: Instant::now() };
    let mut failures = 0_u64;
    while rhythm.due().await {
        let result = match timeout(LIMIT, call::get(&url)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        };
        meters.called_dead_man(result.is_ok());
        match result {
            Ok(()) => {
                if failures > 0 {
                    info!(url = %url, failures, "the dead man's switch is reached again");
                }
                failures = 0;
            }
            Err(error) => {
                failures += 1;
                if failures % SAY_AGAIN == 1 {
                    warn!(url = %url, error, failures, "cannot reach the dead man's switch");
                } else {
                    debug!(url = %url, error, failures, "cannot reach the dead man's switch");
                }
            }
        }
    }
}

/// When to call: at the first commit, and then at most once in [`EVERY`], where there was a commit
/// since.
struct Rhythm {
    commits: watch::Receiver<()>,
    next: Instant,
}

impl Rhythm {
    /// Waits until a call is due. False: nobody is left who could commit.
    async fn due(&mut self) -> bool {
        sleep_until(self.next).await;
        let due = self.commits.changed().await.is_ok();
        self.next = Instant::now() + EVERY;
        due
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_called_once_a_minute_and_only_where_something_was_committed_since() {
        let (commits, watched) = watch::channel(());
        let started = Instant::now();
        let watching = tokio::spawn(async move {
            let (mut rhythm, mut at) = (Rhythm { commits: watched, next: started }, Vec::new());
            while rhythm.due().await {
                sleep(Duration::from_secs(1)).await;
                at.push(started.elapsed().as_secs());
            }
            at
        });
        // Commits at 100 s to 300 s, each second, then one at 1,000 s.
        sleep(Duration::from_secs(100)).await;
        for _ in 100..300 {
            commits.send_replace(());
            sleep(Duration::from_secs(1)).await;
        }
        sleep(Duration::from_secs(700)).await;
        commits.send_replace(());
        sleep(Duration::from_secs(1_000)).await;
        drop(commits);
        // The last of the row is for what was committed after the one before it.
        assert_eq!(watching.await.unwrap(), [101, 161, 221, 281, 341, 1_001]);
    }
}
