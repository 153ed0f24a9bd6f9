//! Small work beside what agents send, and the last words of a process that stops.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::RunId;
use tracing::info_span;

use crate::audit::Audit;
use crate::config::{Config, DeadManUrl};
use crate::database::Database;
use crate::farewells::Farewells;
use crate::leases::Leases;
use crate::metrics::Meters;
use crate::registry::Registry;
use crate::revocation::Revocation;
use crate::spans::Spans;
use crate::tasks::Tasks;
use crate::telemetry::writer::Counters;
use crate::{clocks, deadman};

/// Longest that the database is told at the end that the process stops, and which agents did.
const LAST_WORD: Duration = Duration::from_secs(3);

/// What it needs.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) farewells: Arc<Farewells>,
    pub(super) spans: Arc<Spans>,
    pub(super) leases: Arc<Leases>,
    pub(super) revocation: Arc<Revocation>,
    pub(super) audit: Arc<Audit>,
    database: Arc<Database>,
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    meters: Arc<Meters>,
    clock: SharedClock,
    dead_man_url: Option<DeadManUrl>,
}

impl Aside {
    pub(super) fn new(
        config: &Config,
        database: &Arc<Database>,
        registry: &Arc<Registry>,
        counters: &Arc<Counters>,
        meters: &Arc<Meters>,
        clock: &SharedClock,
    ) -> Self {
        let bits = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self {
            farewells: Farewells::new(Arc::clone(database), Arc::clone(clock), config.excuse),
            spans: Arc::new(Spans {
                database: Arc::clone(database),
                meters: Arc::clone(meters),
                name: config.name.to_string(),
                run: RunId::from_random(bits),
                commits: counters.commits(),
                extended: Mutex::default(),
            }),
            leases: Leases::new(Arc::clone(database), Arc::clone(registry), Arc::clone(clock)),
            revocation: Revocation::new(
                Arc::clone(database),
                Arc::clone(registry),
                Arc::clone(clock),
            ),
            audit: Audit::new(Arc::clone(database), Arc::clone(clock), config.name.to_string()),
            database: Arc::clone(database),
            registry: Arc::clone(registry),
            counters: Arc::clone(counters),
            meters: Arc::clone(meters),
            clock: Arc::clone(clock),
            dead_man_url: config.dead_man_url.clone(),
        }
    }

    /// Starts all of it.
    pub(super) fn start(&self, tasks: &Tasks) {
        let spans = Arc::clone(&self.spans);
        drop(tasks.spawn(info_span!("span"), async move { spans.keep().await }));
        drop(tasks.spawn(info_span!("farewells"), Arc::clone(&self.farewells).run()));
        drop(tasks.spawn(info_span!("leases"), Arc::clone(&self.leases).run()));
        drop(tasks.spawn(info_span!("revocation"), Arc::clone(&self.revocation).run()));
        drop(tasks.spawn(info_span!("audit"), Arc::clone(&self.audit).run()));
        let (database, registry) = (Arc::clone(&self.database), Arc::clone(&self.registry));
        let telling = clocks::tell(database, registry, Arc::clone(&self.clock));
        drop(tasks.spawn(info_span!("clocks"), telling));
        if let Some(url) = self.dead_man_url.clone() {
            let calling = deadman::run(url, self.counters.commits(), Arc::clone(&self.meters));
            drop(tasks.spawn(info_span!("dead_man"), calling));
        }
    }

    /// The last words to the database, once all that was started has ended.
    pub(super) async fn last(&self, limit: Duration) {
        // First what is quick, and tells a stop from a crash.
        self.spans.close(limit / 2).await;
        self.leases.last(limit / 6).await;
        self.farewells.last(limit / 6).await;
        self.audit.last(limit / 6).await;
    }
}

/// The part of a stop's deadline that the last words have to themselves, so that a stream that
/// does not end cannot take it.
pub(super) fn last_word(deadline: Duration) -> Duration {
    (deadline / 4).min(LAST_WORD)
}
