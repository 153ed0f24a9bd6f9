//! The life of an aggregator: bind, serve, wait for the database, stop in order.
//!
//! It serves from the start; until the database is there, agents and readers get UNAVAILABLE with
//! the reason, and Status answers. A stop closes the listener, drains all streams, lets the writer
//! finish, and at the deadline cuts whatever is left: nothing unacknowledged is lost by that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::proto::v1::admin_service_server::AdminServiceServer;
use rowcall_core::proto::v1::summary_service_server::SummaryServiceServer;
use rowcall_core::proto::v1::telemetry_service_server::TelemetryServiceServer;
use rowcall_core::proto::{FILE_DESCRIPTOR_SET, MAX_FRAME_BYTES};
use rowcall_core::session::aggregator::silence_limit;
use rowcall_store::{Migration, Settings, Store};
use rowcall_tls::accept::{Acceptor, Limits};
use rowcall_tls::config::server_config;
use rowcall_tls::identity::TrustDomain;
use rowcall_tls::load::Material;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::{error, info, info_span, warn};

use crate::access::Guarded;
use crate::admin::Admin;
use crate::config::{Config, Database as Which};
use crate::connection::Killable;
use crate::database::{Database, Finder};
use crate::registry::Registry;
use crate::summary::Summary;
use crate::tasks::Tasks;
use crate::telemetry::queue::Queue;
use crate::telemetry::writer::{Counters, Writer};
use crate::telemetry::{Shared, Telemetry};
use crate::{CommittedSample, Error};

/// hyper's own defaults would let each stalled peer pin megabytes.
const HTTP2_WINDOW_BYTES: u32 = 64 * 1024;
/// Calls at a time on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 8;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Requests of readers are small.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// How often the database is asked for a sign of life.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often partitions are made ahead.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(3_600);

/// Committed samples that a slow observer may lag behind before it loses some.
const OBSERVER_LAG: usize = 256;

/// The database of an embedded server.
const EMBEDDED_DATABASE: &str = "host_agent";

/// The services whose health is the database's.
const SERVICES: [&str; 3] =
    ["rowcall.v1.TelemetryService", "rowcall.v1.SummaryService", "rowcall.v1.AdminService"];

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every stream was drained and everything received is committed and acknowledged.
    InOrder,
    /// The deadline came first. What was left is unacknowledged, so agents send it again.
    AtDeadline,
    /// All streams ended in time, but the database did not take the last records. They are
    /// unacknowledged, so an agent that lives sends them again.
    Uncommitted {
        /// How many.
        records: u64,
    },
}

/// What others in this process may hold on to.
#[derive(Clone, Debug)]
pub struct Handle {
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    observers: broadcast::Sender<CommittedSample>,
    refused: Arc<AtomicU64>,
}

impl Handle {
    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the database is open and agents are welcome. False: the server ended before.
    pub async fn ready(&mut self) -> bool {
        self.ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Calls and Hellos that were refused since the start, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What is committed from now on, replays included. Lossy: whoever lags loses the oldest and is told how many.
    #[must_use]
    pub fn samples(&self) -> broadcast::Receiver<CommittedSample> {
        self.observers.subscribe()
    }
}

/// An aggregator that is bound to its address and not yet running.
#[derive(Debug)]
pub struct Server {
    config: Config,
    clock: SharedClock,
    listener: TcpListener,
    tls: Arc<arc_swap::ArcSwap<ServerConfig>>,
    trust_domain: TrustDomain,
    handle: Handle,
    ready: watch::Sender<bool>,
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

impl Server {
    /// Reads the certificates and binds the address. Needs no database.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Certificates`] and [`Error::Listen`].
    pub async fn bind(config: Config, clock: SharedClock) -> Result<Self, Error> {
        config.validate()?;
        let (tls, trust_domain) = certificates(&config, &clock)?;
        let failed = |error| Error::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (ready, ready_seen) = watch::channel(false);
        let (observers, _) = broadcast::channel(OBSERVER_LAG);
        let handle = Handle { address, ready: ready_seen, observers, refused: Arc::default() };
        let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
        Ok(Self { config, clock, listener, tls, trust_domain, handle, ready })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
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
        let Self { config, clock, listener, tls, trust_domain, handle, ready } = self;
        let kill = CancellationToken::new();
        let _cut_when_dropped = kill.clone().drop_guard();
        let (stop_accepting, draining, finish) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());

        let database = Database::new();
        let counters = Counters::new();
        let registry =
            Registry::new(Arc::clone(&clock), config.interval, silence_limit(config.interval));
        let (queue, work) = Queue::new();
        let writer = Writer {
            database: Arc::clone(&database),
            clock: Arc::clone(&clock),
            counters: Arc::clone(&counters),
            observers: handle.observers.clone(),
            flush_rows: config.flush_rows,
            flush_after: config.flush_after,
            draining: draining.clone(),
            finish: finish.clone(),
        };
        let shared = Arc::new(Shared {
            database: Arc::clone(&database),
            registry: Arc::clone(&registry),
            queue,
            clock: Arc::clone(&clock),
            interval: config.interval,
            openings: Semaphore::new(config.ingest_connections.saturating_sub(1).max(1)),
            draining: draining.clone(),
            tasks: Tasks::new(kill.clone()),
            refused: Arc::clone(&handle.refused),
        });
        let health = HealthReporter::new();
        let admin = Admin {
            database: Arc::clone(&database),
            registry: Arc::clone(&registry),
            counters: Arc::clone(&counters),
            clock: Arc::clone(&clock),
            started_at: clock.wall(),
        };
        let tasks = Tasks::new(kill.clone());
        let reports = Tasks::new(kill.clone());
        let summary = Summary { database: Arc::clone(&database), tasks: reports };
        let routes = services(Telemetry(Arc::clone(&shared)), summary, admin, &health);
        let guarded = Guarded::new(routes, Arc::clone(&handle.refused));

        let acceptor = Acceptor::new(listener, tls, trust_domain).with_limits(Limits {
            handshake_deadline: config.handshake_timeout,
            in_flight: config.max_handshakes,
            in_flight_per_source: config.max_handshakes_per_source,
        });
        let incoming = acceptor.start(&stop_accepting);
        let connections = {
            let kill = kill.clone();
            incoming.map(move |io| io.map(|io| Killable::new(io, kill.clone())))
        };
        let stopping = stop_accepting.clone().cancelled_owned();
        let serving = tonic::transport::Server::builder()
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .serve_with_incoming_shutdown(guarded, connections, stopping);
        info!(address = %handle.address, interval = ?config.interval, "listening");

        let mut serving = tasks.spawn(info_span!("server"), serving);
        let mut writing = tasks.spawn(info_span!("writer"), writer.run(work));
        drop(tasks.spawn(info_span!("health"), mirror(Arc::clone(&database), health.clone())));
        let keeping = keep(Arc::clone(&database), settings.clone(), config.migrate, ready);
        let mut keeping = tasks.spawn(info_span!("database"), keeping);

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
            // Whoever watches health would keep its connection open.
            let mut health = health;
            for service in SERVICES.into_iter().chain([""]) {
                health.clear_service_status(service).await;
            }
            drop(serving.await);
        };
        let stopped = match timeout(config.drain_deadline, in_order).await {
            Ok(()) => match counters.uncommitted.load(Ordering::Relaxed) {
                0 => Stopped::InOrder,
                records => Stopped::Uncommitted { records },
            },
            Err(_) => Stopped::AtDeadline,
        };
        let left = shared.tasks.len();
        kill.cancel();
        tasks.ended().await;
        match stopped {
            Stopped::InOrder => info!("stopped in order: all that was received is acknowledged"),
            Stopped::Uncommitted { records } => warn!(
                records,
                "stopped without the database: what it did not take is not acknowledged"
            ),
            Stopped::AtDeadline => warn!(
                streams_cut = left,
                "stopped at the deadline: agents send again what was not acknowledged"
            ),
        }
        Ok(stopped)
    }
}

fn services(
    telemetry: Telemetry,
    summary: Summary,
    admin: Admin,
    health: &HealthReporter,
) -> Routes {
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let built = "the descriptor sets are compiled in";
    Routes::new(
        TelemetryServiceServer::new(telemetry)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES),
    )
    .add_service(SummaryServiceServer::new(summary).max_decoding_message_size(MAX_REQUEST_BYTES))
    .add_service(AdminServiceServer::new(admin).max_decoding_message_size(MAX_REQUEST_BYTES))
    .add_service(health)
    .add_service(reflection().build_v1().expect(built))
    .add_service(reflection().build_v1alpha().expect(built))
}

/// Opens the database, then keeps an eye on it.
async fn keep(
    database: Arc<Database>,
    settings: Settings,
    migrate: bool,
    ready: watch::Sender<bool>,
) -> Result<std::convert::Infallible, Error> {
    database.open(&settings, migrate).await?;
    info!("agents are welcome");
    ready.send_replace(true);
    let every = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut looks, mut partitions) = (every(LOOK_INTERVAL), every(PARTITIONS_INTERVAL));
    loop {
        let Ok(store) = database.store() else { return Err(Error::Task("database")) };
        tokio::select! {
            _ = looks.tick() => {
                let fault = store.ping().await.err().map(|error| error.to_string());
                database.found(Finder::Look, fault);
            }
            _ = partitions.tick() => {
                if let Err(error) = store.ensure_partitions().await {
                    // Some are there for days ahead; the next hour may do better.
                    warn!(%error, "cannot make partitions ahead");
                }
            }
        }
    }
}

/// Health follows the database; the empty name says that the process lives.
async fn mirror(database: Arc<Database>, health: HealthReporter) {
    let mut reachable = database.reachable();
    loop {
        let status = if *reachable.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            health.set_service_status(service, status).await;
        }
        if reachable.changed().await.is_err() {
            return;
        }
    }
}

fn certificates(
    config: &Config,
    clock: &SharedClock,
) -> Result<(ServerConfig, TrustDomain), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Certificates(error.to_string());
    let material = Material::load(&config.files).map_err(|error| failed(&error))?;
    if let Err(error) = material.check_dates(clock.wall()) {
        // The clock may be wrong and be set later; peers decide by their own.
        warn!(%error, "the server certificate is out of date");
    }
    let trust_domain = match &config.trust_domain {
        Some(domain) => domain.clone(),
        None => trust_domain_of(&config.files.authorities)?,
    };
    Ok((server_config(&material).map_err(|error| failed(&error))?, trust_domain))
}

/// The trust domain that the first client authority names.
fn trust_domain_of(path: &std::path::Path) -> Result<TrustDomain, Error> {
    let unnamed = |error: &dyn std::fmt::Display| {
        Error::Certificates(format!(
            "trust_domain is not set, and the first certificate in {} does not name one: {error}; \
             set trust_domain to NAME, as in the spiffe://NAME/agent/... of the clients",
            path.display()
        ))
    };
    let der = CertificateDer::from_pem_file(path).map_err(|error| unnamed(&error))?;
    TrustDomain::from_authority(&der).map_err(|error| unnamed(&error))
}

/// Starts the embedded server where there is to be one; and the settings to connect with.
async fn embedded(config: &Config) -> Result<(Option<rowcall_postgres::Server>, Settings), Error> {
    let settings = |url: String| Settings {
        url,
        ingest_connections: config.ingest_connections,
        report_connections: config.report_connections,
        statement_timeout: config.statement_timeout,
        pool_wait: config.pool_wait,
        ..Settings::default()
    };
    match &config.database {
        Which::Url(url) => Ok((None, settings(url.clone()))),
        Which::Embedded => {
            let options =
                rowcall_postgres::Server::options(&config.data_dir).database(EMBEDDED_DATABASE);
            let started = tokio::task::spawn_blocking(move || options.start()).await;
            let server = started.map_err(|_| Error::Task("embedded database"))??;
            let url = server.url(EMBEDDED_DATABASE);
            Ok((Some(server), settings(url)))
        }
    }
}
