//! What keeps the database fit while others use it: signs of life, days made ahead, old days
//! dropped, and a schema that vanished made anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rowcall_store::{Settings, Store};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::Error;
use crate::database::{Database, Finder};
use crate::metrics::Meters;
use crate::registry::Registry;

/// How often the database is asked for a sign of life.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often days are made ahead and old ones dropped.
const DAYS_INTERVAL: Duration = Duration::from_secs(3_600);
/// A schema that somebody misses is looked for no more often than this.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);

/// The task's state.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) database: Arc<Database>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) settings: Settings,
    /// Whether the schema may be changed.
    pub(crate) migrate: bool,
    /// Told when the database is open.
    pub(crate) ready: watch::Sender<bool>,
}

impl Upkeep {
    /// Opens the database, then keeps an eye on it.
    ///
    /// # Errors
    /// What waiting does not cure, before the database was there once; never after.
    pub(crate) async fn run(self) -> Result<Infallible, Error> {
        self.database.open(&self.settings, self.migrate).await?;
        let Ok(store) = self.database.store() else { return Err(Error::Task("database")) };
        let mut schema = store.schema_id().await.ok().flatten();
        info!("agents are welcome");
        self.ready.send_replace(true);
        let (mut looks, mut days) = (every(LOOK_INTERVAL), every(DAYS_INTERVAL));
        let mut doubts = every(DOUBT_INTERVAL);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let fault = store.ping().await.err().map(|error| error.to_string());
                    self.database.found(Finder::Look, fault);
                    self.examine(store, &mut schema).await;
                }
                () = self.database.schema_doubted() => {
                    doubts.tick().await;
                    self.examine(store, &mut schema).await;
                }
                _ = days.tick() => self.days(store).await,
            }
        }
    }

    async fn days(&self, store: &Store) {
        if let Err(error) = store.ensure_partitions().await {
            // Some are there for days ahead; the next hour may do better.
            warn!(%error, "cannot make days ahead");
        }
        match store.retain().await {
            Ok(retained) => {
                for day in retained.days {
                    info!(day = day.day, bytes = day.bytes, reason = %day.reason, "day dropped");
                    self.meters.day_dropped(day.reason);
                }
                if retained.quarantine_rows > 0 {
                    info!(rows = retained.quarantine_rows, "old quarantined records dropped");
                }
            }
            Err(error) => warn!(%error, "cannot drop old days"),
        }
    }

    /// Whether the schema is still the one that all sessions belong to. Where it is gone, it is
    /// made anew; where it is another one, all hosts register again: a number of the old one may
    /// mean another host in the new one.
    async fn examine(&self, store: &Store, known: &mut Option<u32>) {
        // An error is seen by the look, and by whoever needs the database.
        if let Ok(now) = store.schema_id().await
            && now != *known
        {
            if let Err(error) = self.renew(store, known).await {
                warn!(%error, "cannot make the schema anew, trying again");
            }
        }
    }

    async fn renew(
        &self,
        store: &Store,
        known: &mut Option<u32>,
    ) -> Result<(), rowcall_store::Error> {
        let era = self.database.close_era().await;
        let mut now = store.schema_id().await?;
        if now.is_none() {
            if !self.migrate {
                self.database.found(
                    Finder::Look,
                    Some(
                        "the database has lost its schema, and migrate is off: run \
                         `rowcall-aggregator migrate`"
                            .to_owned(),
                    ),
                );
                return Ok(());
            }
            warn!("the database has lost its schema; making it anew");
            let migration = store.migrate().await?;
            store.ensure_partitions().await?;
            info!(version = migration.to, "the schema is there again");
            now = store.schema_id().await?;
        }
        if now != *known {
            era.end();
            *known = now;
            let streams = self.registry.forget_all();
            warn!(streams, "the database's schema is a new one: all hosts register again");
        }
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
