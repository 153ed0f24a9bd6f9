//! The life of an aggregator: bind, serve, wait for the database, stop in order.
//!
//! It serves from the start; until the database is there, agents and readers get UNAVAILABLE with
//! the reason, and Status answers. A stop closes the listener, drains all streams, lets the writer
//! finish, and at the deadline cuts whatever is left: nothing unacknowledged is lost by that.

mod aside;
mod handle;
mod listeners;
mod services;
mod store;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use rowcall_core::clock::SharedClock;
use rowcall_core::session::aggregator::silence_limit;
use rowcall_store::{Migration, Settings, Store};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, info_span};

use crate::Error;
use crate::access::Guarded;
use crate::admin::Admin;
use crate::certificates::{self, Certificates};
use crate::config::{Config, Database as Which};
use crate::connections::Connections;
use crate::database::Database;
use crate::enrollment::{self, Enrollment};
use crate::http::{self, Pages};
use crate::metrics::{Meters, Metrics, Sources};
use crate::notify::Notifier;
use crate::pulse::Pulse;
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::summary::{Summary, Turns};
use crate::tasks::Tasks;
use crate::telemetry::queue::Queue;
use crate::telemetry::writer::{Counters, Writer};
use crate::telemetry::{Pace, Shared, Telemetry};
use crate::upkeep::Upkeep;
use aside::Aside;
pub use handle::{Handle, Stopped};
use listeners::{Listeners, Places};
use services::{SERVICES, mirror, services};
use store::{embedded, store_settings};

/// Committed samples that a slow observer may lag behind before it loses some.
const OBSERVER_LAG: usize = 256;

/// An aggregator that is bound to its address and not yet running.
#[derive(Debug)]
pub struct Server {
    config: Config,
    clock: SharedClock,
    listeners: Listeners,
    certificates: Arc<Certificates>,
    handle: Handle,
    ready: watch::Sender<bool>,
    notifies: bool,
}

/// Binds and runs; see [`Server`].
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`].
pub async fn serve(
    config: Config,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<Stopped, Error> {
    Server::bind(config, clock).await?.run(shutdown).await
}

/// Brings the schema up to date and makes the partitions ahead, once.
///
/// # Errors
/// What the database says; an absent database is not waited for.
pub async fn migrate(config: &Config) -> Result<Migration, Error> {
    let (_embedded, settings) = embedded(config).await?;
    let store = Store::connect(&settings).await?;
    let migration = store.migrate().await?;
    store.ensure_partitions().await?;
    Ok(migration)
}

/// Checks what can be checked without a database and without listening: settings, certificate,
/// key, authorities, trust domain, the database's URL and the files that it names.
///
/// # Errors
/// [`Error::Config`], [`Error::Certificates`] and [`Error::Database`].
pub fn check(config: &Config, clock: &SharedClock) -> Result<(), Error> {
    config.validate()?;
    certificates::check(config, clock)?;
    if let Which::Url(url) = &config.database {
        store_settings(config, url.clone()).check()?;
    }
    Ok(())
}

impl Server {
    /// Reads the certificates and binds the addresses. Needs no database.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Certificates`] and [`Error::Listen`].
    pub async fn bind(config: Config, clock: SharedClock) -> Result<Self, Error> {
        config.validate()?;
        let certificates = Certificates::load(&config, &clock)?;
        let listeners = Listeners::bind(&config).await?;
        let (ready, ready_seen) = watch::channel(false);
        let (observers, _) = broadcast::channel(OBSERVER_LAG);
        let handle = Handle {
            address: listeners.stream.1,
            enroll_address: listeners.enrollment.as_ref().map(|(_, address)| *address),
            http_address: listeners.http.as_ref().map(|(_, address)| *address),
            certificates: Arc::clone(&certificates),
            ready: ready_seen,
            observers,
            refusals: Refusals::new(Arc::clone(&clock)),
        };
        let notifies = false;
        Ok(Self { config, clock, listeners, certificates, handle, ready, notifies })
    }

    /// Also tells the service manager that started this process how it fares, where one did: the
    /// environment has `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if it wants signs of life.
    #[must_use]
    pub fn notifying(mut self) -> Self {
        self.notifies = true;
        self
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.handle.address
    }

    /// To learn when it is ready, and to watch what it commits.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown` is cancelled, then stops in order within
    /// [`Config::drain_deadline`]. Dropping the future stops at once: connections are cut, and an
    /// embedded database stops by itself.
    ///
    /// # Errors
    /// [`Error::Embedded`] and [`Error::Database`] for what waiting does not cure.
    pub async fn run(self, shutdown: CancellationToken) -> Result<Stopped, Error> {
        let (embedded, settings) = embedded(&self.config).await?;
        let stopped = self.run_with(&settings, shutdown).await;
        if let Some(server) = embedded {
            // Blocks until PostgreSQL has written everything out.
            let stopping = tokio::task::spawn_blocking(move || drop(server));
            if let Err(error) = stopping.await {
                error!(%error, "cannot stop the embedded database");
            }
        }
        stopped
    }

    async fn run_with(
        self,
        settings: &Settings,
        shutdown: CancellationToken,
    ) -> Result<Stopped, Error> {
        let Self { config, clock, listeners, certificates, handle, ready, notifies } = self;
        let started_at = clock.wall();
        let kill = CancellationToken::new();
        let _cut_when_dropped = kill.clone().drop_guard();
        let (stop_accepting, draining, finish) =
            (CancellationToken::new(), CancellationToken::new(), kill.child_token());

        let database = Database::new();
        let counters = Counters::new();
        let meters = Meters::new();
        let refusals = Arc::clone(&handle.refusals);
        let pulse = Pulse::new(Arc::clone(&clock));
        let registry =
            Registry::new(Arc::clone(&clock), config.interval, silence_limit(config.interval));
        let (queue, work) = Queue::new();
        let aside = Aside::new(&config, &database, &registry, &counters, &meters, &clock);
        let writer = Writer {
            database: Arc::clone(&database),
            spans: Arc::clone(&aside.spans),
            revocation: Arc::clone(&aside.revocation),
            clock: Arc::clone(&clock),
            counters: Arc::clone(&counters),
            meters: Arc::clone(&meters),
            pulse: Arc::clone(&pulse),
            observers: handle.observers.clone(),
            flush_rows: config.flush_rows,
            flush_after: config.flush_after,
            refills_said: Mutex::default(),
            draining: draining.clone(),
            finish: finish.clone(),
        };
        let shared = Arc::new(Shared {
            database: Arc::clone(&database),
            registry: Arc::clone(&registry),
            queue: queue.clone(),
            clock: Arc::clone(&clock),
            interval: config.interval,
            pace: Pace::new(Arc::clone(&clock)),
            openings: Semaphore::new(config.ingest_connections.saturating_sub(1).max(1)),
            draining: draining.clone(),
            tasks: Tasks::new(kill.clone()),
            refusals: Arc::clone(&refusals),
            meters: Arc::clone(&meters),
            farewells: Arc::clone(&aside.farewells),
            leases: Arc::clone(&aside.leases),
            name: config.name.to_string(),
            run: aside.spans.run,
            credentials: Arc::clone(&certificates) as _,
        });
        let health = HealthReporter::new();
        let admin = Admin {
            database: Arc::clone(&database),
            registry: Arc::clone(&registry),
            counters: Arc::clone(&counters),
            clock: Arc::clone(&clock),
            started_at,
            audit: Arc::clone(&aside.audit),
            revocation: Arc::clone(&aside.revocation),
            credentials: Arc::clone(&certificates) as _,
        };
        let tasks = Tasks::new(kill.clone());
        let reports = Tasks::new(kill.clone());
        let summary = Summary {
            database: Arc::clone(&database),
            tasks: reports,
            turns: Turns::new(config.report_connections, config.pool_wait),
            refusals: Arc::clone(&refusals),
        };
        let enrollment = enrollment::Shared::new(
            &config,
            handle.address.port(),
            &database,
            &certificates,
            &clock,
            &refusals,
            &meters,
        );
        let renewals = Enrollment::known(&enrollment);
        let routes = services(Telemetry(Arc::clone(&shared)), summary, admin, renewals, &health);
        let guarded = Guarded::new(routes, Arc::clone(&refusals), Arc::clone(&aside.audit));

        let places = Places::of(&config, listeners.enrollment.is_some());
        let first_call = config.handshake_timeout;
        let guests = Connections::new(places.connections, first_call, Arc::clone(&refusals));
        let strangers = Connections::of_strangers(
            places.strangers,
            first_call,
            Arc::clone(&refusals),
            config.exempt_sources.clone(),
        );
        let tokens = (&stop_accepting, &kill);
        let (incoming, counts) =
            listeners::streams(listeners.stream.0, &config, places, &certificates, &guests, tokens);
        let mut handshakes = vec![("stream", counts)];
        let serving = listeners::http2().serve_with_incoming_shutdown(
            guarded,
            incoming,
            stop_accepting.clone().cancelled_owned(),
        );
        certificates.announce();
        let mut enrolling = None;
        if let Some((listener, address)) = listeners.enrollment
            && let Some((serving, counts)) = listeners::enrollment(
                listener,
                &config,
                places,
                &certificates,
                &enrollment,
                &strangers,
                tokens,
            )
        {
            handshakes.push(("enrollment", counts));
            info!(enrollment = %address, "nodes may enrol");
            enrolling = Some(tasks.spawn(info_span!("enrollment"), serving));
        }
        info!(
            address = %handle.address, name = %config.name, run = aside.spans.run.as_i64(),
            interval = ?config.interval, max_connections = places.connections, "listening"
        );

        let mut serving = tasks.spawn(info_span!("server"), serving);
        let mut writing = tasks.spawn(info_span!("writer"), writer.run(work));
        let watching = Arc::clone(&certificates).watch(Arc::clone(&guests));
        drop(tasks.spawn(info_span!("certificates"), watching));
        drop(tasks.spawn(info_span!("refusals"), Arc::clone(&refusals).tell_the_rest()));
        drop(tasks.spawn(info_span!("health"), mirror(Arc::clone(&database), health.clone())));
        let beside = Tasks::new(finish.clone());
        aside.start(&beside);
        if let Some((listener, address)) = listeners.http {
            let sources = Sources {
                started_at,
                certificates: Arc::clone(&certificates),
                revocation: Arc::clone(&aside.revocation),
                enrollment,
                strangers,
                registry: Arc::clone(&registry),
                counters: Arc::clone(&counters),
                handshakes,
                connections: Arc::clone(&guests),
                refusals: Arc::clone(&refusals),
                database: Arc::clone(&database),
                farewells: Arc::clone(&aside.farewells),
                queue,
            };
            let pages =
                Pages::new(Arc::clone(&database), Metrics::new(&meters, sources), draining.clone());
            info!(http = %address, "probes and metrics");
            http::warn_if_public(address);
            let serving = http::serve(listener, pages, Tasks::new(kill.clone()));
            drop(tasks.spawn(info_span!("http"), serving));
        }
        if notifies {
            let notifier = Notifier {
                database: Arc::clone(&database),
                registry: Arc::clone(&registry),
                pulse,
                stopping: draining.clone(),
            };
            drop(tasks.spawn(info_span!("notify"), notifier.run()));
        }
        let upkeep = Upkeep {
            database: Arc::clone(&database),
            registry: Arc::clone(&registry),
            meters,
            settings: settings.clone(),
            migrate: config.migrate,
            clock: Arc::clone(&clock),
            lines: Mutex::default(),
            ready,
        };
        let mut keeping = tasks.spawn(info_span!("database"), upkeep.run());

        tokio::select! {
            () = shutdown.cancelled() => {}
            // A panic or a bug: better to end than to serve half.
            _ = &mut serving => return Err(Error::Task("server")),
            _ = &mut writing => return Err(Error::Task("writer")),
            kept = &mut keeping => return Err(match kept {
                Ok(Some(Err(error))) => error,
                Ok(Some(Ok(never))) => match never {},
                Ok(None) | Err(_) => Error::Task("database"),
            }),
        }

        info!(streams = shared.tasks.len(), deadline = ?config.drain_deadline, "stopping");
        let in_order = async {
            stop_accepting.cancel();
            for service in SERVICES {
                health.set_service_status(service, ServingStatus::NotServing).await;
            }
            draining.cancel();
            shared.tasks.ended().await;
            finish.cancel();
            drop(writing.await);
            beside.ended().await;
            // Whoever watches health would keep its connection open.
            let mut health = health;
            for service in SERVICES.into_iter().chain([""]) {
                health.clear_service_status(service).await;
            }
            drop(serving.await);
            if let Some(enrolling) = enrolling {
                drop(enrolling.await);
            }
        };
        let last_word = aside::last_word(config.drain_deadline);
        let stopped = match timeout(config.drain_deadline - last_word, in_order).await {
            Ok(()) => match counters.uncommitted.load(Ordering::Relaxed) {
                0 => Stopped::InOrder,
                records => Stopped::Uncommitted { records },
            },
            Err(_) => Stopped::AtDeadline,
        };
        finish.cancel();
        aside.last(last_word).await;
        let left = shared.tasks.len();
        kill.cancel();
        tasks.ended().await;
        stopped.say(left);
        Ok(stopped)
    }
}
