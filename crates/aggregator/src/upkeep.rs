//! What keeps the database fit while others use it: signs of life, days made ahead, old days
//! dropped, and a schema that vanished made anew.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::throttle::Throttle;
use rowcall_store::{Kind, SchemaId, Settings, Store};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::Error;
use crate::database::{Database, Finder};
use crate::metrics::Meters;
use crate::registry::{End, Registry};

/// How often the database is asked for a sign of life.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often days are made ahead and old ones dropped.
const DAYS_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often it is looked which ephemeral hosts were silent for too long.
const EPHEMERAL_INTERVAL: Duration = Duration::from_secs(60);
/// A schema that somebody misses is looked for no more often than this.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);

/// A schema that is gone and that we may not make.
const LOST: &str = "the database has lost its schema, and migrate is off: run \
                    `rowcall-aggregator migrate`";

/// The task's state.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) database: Arc<Database>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) settings: Settings,
    /// Whether the schema may be changed.
    pub(crate) migrate: bool,
    pub(crate) clock: SharedClock,
    /// For lines about a database that goes back again and again.
    pub(crate) lines: Mutex<Throttle>,
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
        store.expect_schema(schema);
        store.guard_marks(Arc::<Registry>::clone(&self.registry));
        info!("agents are welcome");
        self.ready.send_replace(true);
        let (mut looks, mut days) = (every(LOOK_INTERVAL), every(DAYS_INTERVAL));
        let (mut doubts, mut ephemeral) = (every(DOUBT_INTERVAL), every(EPHEMERAL_INTERVAL));
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let era = self.database.era();
                    let fault = match store.ping().await {
                        Err(error) if !matches!(error.kind(), Kind::Schema | Kind::WentBack) => {
                            Some(error.to_string())
                        }
                        // It lives; a new connection may have found it replaced.
                        result => {
                            result.inspect_err(|error| self.database.doubt(error, era)).ok();
                            self.examine(store, &mut schema).await
                        }
                    };
                    self.database.found(Finder::Look, fault);
                }
                () = self.database.doubted() => {
                    doubts.tick().await;
                    if let Some(fault) = self.examine(store, &mut schema).await {
                        self.database.found(Finder::Look, Some(fault));
                    }
                }
                _ = days.tick() => self.days(store).await,
                _ = ephemeral.tick() => retire(store).await,
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
                if retained.device_days > 0 {
                    info!(days = retained.device_days, "old days of devices and metrics dropped");
                }
                if retained.quarantine_rows > 0 {
                    info!(rows = retained.quarantine_rows, "old quarantined records dropped");
                }
                if retained.old_rows > 0 {
                    info!(
                        rows = retained.old_rows,
                        "old gaps, epochs, intervals and devices dropped"
                    );
                }
            }
            Err(error) => warn!(%error, "cannot drop old days"),
        }
    }

    /// Whether the schema is still the one that all sessions belong to. Where it is gone, it is
    /// made anew. What keeps writes from it, if anything.
    async fn examine(&self, store: &Store, known: &mut Option<SchemaId>) -> Option<String> {
        if let Some(said) = self.database.take_went_back() {
            self.refill(&said).await;
        }
        match store.schema_id().await {
            Ok(now) if now.is_some() && now == *known => None,
            Ok(_) => self.renew(store, known).await.unwrap_or_else(|error| {
                warn!(%error, "cannot make the schema anew, trying again");
                Some(error.to_string())
            }),
            // The next look sees it, and so does whoever needs the database.
            Err(_) => None,
        }
    }

    /// The database lost what it had committed: every agent is to come back, see how far its mark
    /// is now, and send again from there.
    async fn refill(&self, said: &str) {
        // A restored database may have given a host's number to another one since. So nothing that
        // was received before is committed: it is not acknowledged, and comes again.
        let era = self.database.close_era().await;
        era.end();
        let streams = self.registry.end_all(End::Refill);
        self.meters.went_back();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind a balancer over servers that differ, each new connection may find another past.
        if let Some(held_back) = lines.happened(self.clock.monotonic()) {
            warn!(streams, held_back, "{said}: all agents come back and send again what it lost");
        }
    }

    async fn renew(
        &self,
        store: &Store,
        known: &mut Option<SchemaId>,
    ) -> Result<Option<String>, rowcall_store::Error> {
        let era = self.database.close_era().await;
        let now = store.schema_id().await?;
        if now != *known {
            // A number of the old schema may mean another host in the new one. So nobody's number
            // may outlive the old one, whoever makes the new one.
            era.end();
            *known = now;
            store.expect_schema(now);
            let streams = self.registry.end_all(End::Forgotten);
            let gone = now.is_none();
            warn!(streams, gone, "the database lost its schema: all hosts register again");
        }
        if now.is_some() {
            return Ok(None);
        }
        if !self.migrate {
            return Ok(Some(LOST.to_owned()));
        }
        let migration = store.migrate().await?;
        store.ensure_partitions().await?;
        *known = store.schema_id().await?;
        store.expect_schema(*known);
        info!(version = migration.to, "the schema is made anew");
        Ok(None)
    }
}

/// Has hosts retire that were enrolled to do so.
async fn retire(store: &Store) {
    match store.retire_ephemeral().await {
        Ok(hosts) => {
            hosts.iter().for_each(|host| info!(%host, "ephemeral host retired: it was silent"));
        }
        Err(error) => warn!(%error, "cannot retire ephemeral hosts, trying again in a minute"),
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
