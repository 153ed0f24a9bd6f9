//! Hosts whose clock is off: the database is told, so that reports call them *skewed*.

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::throttle::Throttle;
use rowcall_store::ToldClock;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::database::Database;
use crate::registry::Registry;

/// How often what agents told is looked through. They tell at most once a minute.
const LOOK: Duration = Duration::from_secs(10);

/// Hosts in one statement.
const AT_A_TIME: usize = 1_000;

/// Tells the database about clocks that are off by more than half the interval of ours, until it is
/// dropped. Which of them are off by its own clock, it decides itself.
pub(crate) async fn tell(database: Arc<Database>, registry: Arc<Registry>, clock: SharedClock) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = Throttle::new();
    loop {
        looks.tick().await;
        let Ok(store) = database.store() else { continue };
        // Of sessions that were opened before: numbers of this era, or none.
        let era = database.era();
        let told: Vec<_> = registry
            .take_clocks()
            .into_iter()
            .map(|(host_id, clock, waited)| ToldClock { host_id, clock, waited })
            .collect();
        for hosts in told.chunks(AT_A_TIME) {
            let _turn = database.aside().await;
            let Some(_era) = database.hold_era(era).await else { break };
            let Err(error) = store.told_clocks(hosts).await else { continue };
            database.doubt(&error, era);
            // They tell again within a minute or so.
            if let Some(held_back) = said.happened(clock.monotonic()) {
                warn!(%error, hosts = told.len(), held_back, "cannot record clocks that are off");
            }
            break;
        }
    }
}
