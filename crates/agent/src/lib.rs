//! rowcall-agent: reads its host at each tick, keeps the samples in a spool on disk, and streams
//! them to an aggregator over mutual TLS.
//!
//! [`run`] is the whole agent; the binary and `rowcall up` both call it. Inside, two tasks share
//! one spool: sampling fills it and waits neither for the disk nor for the network, the link empties
//! it and never waits for a reading. Reading and writing happen on a thread each. Everything else
//! runs on the caller's runtime, which should be a current-thread one: it is the smallest.

mod check;
pub mod cli;
pub mod collect;
pub mod config;
pub mod devices;
mod enroll;
mod error;
mod facts;
mod identity;
mod link;
mod metrics;
mod queue;
mod random;
pub mod sample;
mod sampler;
mod service;
mod spool;
mod status;
#[cfg(test)]
mod testing;
mod ticks;
mod utc;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use rowcall_core::backoff::Backoff;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostName, RunId};
use rowcall_spool::Settings;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use cli::command;
use collect::Collect;
use config::{Config, DEFAULT_INTERVAL, Source};
use devices::{DeviceReader, Peaks};
pub use error::Error;
use facts::Facts;
use identity::Notes;
use link::{Course, Dialer, Link, Renewals, Turns};
use metrics::Metrics;
use queue::Queue;
use sample::host_facts::{FactsReader, MachineIds};
use sample::{Reader, Sampler};
use sampler::{Readings, Sampling};
use service::{Health, Notifier, Service};

/// Where the running system's /proc, /sys and /etc are.
const ROOT: &str = "/";

/// Longest wait for the spool's thread, when all that can be sent is sent.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Runs an agent until `shutdown` is cancelled; then it says Bye and waits for outstanding
/// acknowledgements, at most [`Config::stop_wait`]. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// [`Error`] when it cannot start: certificate, key or authorities don't load, the certificate
/// names no agent, or the spool cannot be used. Once started it goes on whatever the disk, the
/// network and the aggregator do.
pub async fn run(
    config: Config,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    Box::pin(run_as_service(config, clock, shutdown, None)).await
}

/// The same for the process of its own that a service manager started.
async fn run_as_service(
    config: Config,
    clock: SharedClock,
    shutdown: CancellationToken,
    notifier: Option<Notifier>,
) -> Result<(), Error> {
    let enrolled = enroll::until_enrolled(&config, &clock, &shutdown, notifier.as_ref());
    if !Box::pin(enrolled).await? {
        return Ok(());
    }
    let dialer = Dialer::load(&config, Arc::clone(&clock))?;
    let identity_dir = match &config.source {
        Source::Enrolled(dir) => Some(dir.as_path()),
        Source::Files(_) => None,
    };
    let notes = Notes::in_folder(identity_dir);
    let backoff = Backoff::new(config.backoff_min, config.backoff_max)?;
    let name = dialer.name().clone();
    let machine = MachineIds::read(Path::new(ROOT));
    let settings = Settings { owner: name.to_string(), ..config.spool.clone() };
    let opening = spool::open(settings, Arc::clone(&clock), machine.boot_id.clone());
    let Some(opened) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let (spool, opened) = opened?;
    let reader = Reader::start(ROOT, &config.collect, Arc::clone(&clock)).map_err(Error::Thread)?;
    let queue = Arc::new(Queue::new(spool));
    let health = Arc::new(Health::default());
    let (connected, connected_seen) = watch::channel(None);
    let renewals = identity_dir.map(|dir| {
        let servers = &config.enroll_servers;
        Arc::new(Renewals::new(dir, &dialer, servers, &clock, &notes, &health))
    });
    let aggregators: Vec<_> = dialer.aggregators().iter().map(ToString::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), host = %name, aggregators = aggregators.join(", "),
        spool = %config.spool.dir.display(), epoch = %queue.spool.status().epoch,
        unacknowledged_records = opened.unacknowledged_records,
        "agent starts"
    );
    let facts_clock = Arc::clone(&clock);
    let first_facts =
        Facts::start(reader.clone(), Arc::clone(&queue), facts_clock, opened.boot_is_new);
    let Some(facts) = shutdown.run_until_cancelled(first_facts).await else { return Ok(()) };
    let facts = Arc::new(facts);
    let interval = opened.last.and_then(|last| last.interval).unwrap_or(DEFAULT_INTERVAL);
    let (interval, interval_seen) = watch::channel(interval.max(config.min_interval));
    let service = notifier.map(|notifier| Service {
        notifier,
        health: Arc::clone(&health),
        queue: Arc::clone(&queue),
        aggregator: aggregators.first().cloned().unwrap_or_default(),
    });
    let metrics = config.metrics_listen.map(|address| {
        let sources = metrics::Sources {
            queue: Arc::clone(&queue),
            health: Arc::clone(&health),
            expiry: dialer.expiry(),
            notes: notes.clone(),
            host: name.to_string(),
            is_enrolled: renewals.is_some(),
        };
        let metrics = Metrics::new(sources);
        metrics::serve(address, metrics)
    });
    let devices = DeviceReader::with_clock(ROOT, config.collect.clone(), Arc::clone(&clock));
    let readings = Readings::new(devices, reader.clone(), &config.collect, &name, config.align);
    let sampling = Sampling {
        reader,
        queue: Arc::clone(&queue),
        facts: Arc::clone(&facts),
        clock: Arc::clone(&clock),
        interval: interval_seen,
        name,
        align: config.align,
        earlier: opened.last,
        health: Arc::clone(&health),
    };
    let link = Link {
        turns: Turns::new(aggregators.len()),
        aggregators: dialer.aggregators(),
        config,
        dialer,
        renewals: renewals.clone(),
        connected,
        notes,
        queue: Arc::clone(&queue),
        facts,
        clock,
        interval,
        machine,
        run: RunId::from_random(random::bits()),
        backoff,
        health,
        course: Course::default(),
    };
    let service = async {
        match service {
            Some(service) => service.run(shutdown.clone()).await,
            None => std::future::pending().await,
        }
    };
    let metrics = async {
        match metrics {
            Some(metrics) => metrics.await,
            None => std::future::pending().await,
        }
    };
    let renewing = async {
        match renewals {
            Some(renewals) => renewals.run(connected_seen).await,
            None => std::future::pending().await,
        }
    };
    let link = Box::pin(link.run(shutdown.clone()));
    let sampling = Box::pin(shutdown.run_until_cancelled(sampling.run(readings)));
    let ended = tokio::select! {
        biased;
        Some(Err(gone)) = sampling => Err(gone.into()),
        never = Box::pin(service) => match never {},
        never = Box::pin(metrics) => match never {},
        never = Box::pin(renewing) => match never {},
        () = link => Ok(()),
    };
    close(&queue).await;
    ended
}

/// Everything that was read stays on disk.
async fn close(queue: &Queue) {
    let spool = queue.spool.clone();
    let closed = tokio::task::spawn_blocking(move || {
        let closed = spool.close(CLOSE_WAIT);
        (closed, spool.status().unacknowledged_records)
    });
    match closed.await {
        Ok((true, left)) => tracing::info!(unacknowledged_records = left, "stopped"),
        Ok((false, left)) => {
            tracing::warn!(
                unacknowledged_records = left,
                "stopped; not everything could be written to disk"
            );
        }
        Err(error) => tracing::error!(%error, "closing the spool failed; this is a bug"),
    }
}

/// Checks that an agent could start with this configuration: the name that it would have, or none
/// where it would enrol first. Logs what would be a warning.
///
/// # Errors
/// What [`run`] would return at once.
pub fn check_config(config: &Config, clock: SharedClock) -> Result<Option<HostName>, Error> {
    match Dialer::load(config, clock) {
        Ok(dialer) => {
            spool::check(&config.spool.dir, dialer.name())?;
            Ok(Some(dialer.name().clone()))
        }
        Err(Error::NotEnrolled(_)) if config.token_file.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// `/etc/machine-id`, or empty.
fn machine_id() -> String {
    MachineIds::read(Path::new(ROOT)).machine_id
}

/// Runs an agent on a thread and a runtime of its own, for a process that does other things too.
///
/// # Errors
/// When the system gives no thread. What [`run`] returns is the thread's result.
pub fn spawn_thread(
    config: Config,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> io::Result<thread::JoinHandle<Result<(), Error>>> {
    thread::Builder::new()
        .name("rowcall-agent".into())
        .spawn(move || block_on(run(config, clock, shutdown)).map_err(Error::Thread)?)
}

/// Runs a future to its end, and leaves behind what hangs in a name lookup or a file system.
fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}

/// The runtime that an agent is happy with.
///
/// # Errors
/// What the system says.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // For name lookups and reading the certificate again, one at a time, and the spool's stop.
        .max_blocking_threads(3)
        .thread_stack_size(512 * 1024)
        .build()
}

/// One sample over at least a second, devices with it, and what the host is. Blocks the thread while
/// it reads, and sleeps in between.
async fn sample_once(collect: &Collect, clock: SharedClock) -> cli::Shown {
    let mut sampler = Sampler::new(ROOT, collect);
    let mut devices = DeviceReader::with_clock(ROOT, collect.clone(), Arc::clone(&clock));
    let has_devices = collect.devices_every.is_some();
    if has_devices {
        // What a process takes is known from the second reading on.
        devices.read(Peaks::default()).await;
    }
    sampler.prime(clock.as_ref());
    let facts = FactsReader::new(ROOT).read();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reading = sampler.sample(clock.as_ref());
    let devices = if has_devices { Some(devices.read(sampler.take_peaks()).await) } else { None };
    cli::Shown { reading, devices, facts, machine: MachineIds::read(Path::new(ROOT)) }
}
