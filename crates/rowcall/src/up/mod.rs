//! `rowcall up`: PostgreSQL, certificates, aggregator and agent for this machine, in one process
//! and one directory.
//!
//! | path in the directory | what |
//! |---|---|
//! | `postgres*` | the private PostgreSQL, see `rowcall_postgres`; its lock is ours too |
//! | `pki/` | authorities, certificates and keys: the folder of `rowcall pki` |
//! | `client.toml` | how `rowcall summary` and `rowcall status` get here |
//! | `spool/` | what this machine's agent keeps until it is committed |
//! | `host-name` | this machine's name in the database, as it was at the first start |
//! | `listen` | the address taken at the last start, for the next |
//! | `http-listen`, `enroll-listen` | the same for probes and metrics, and for nodes that enrol |
//!
//! Started in this order and stopped in reverse: the agent says Bye, the aggregator drains,
//! PostgreSQL writes everything out. A second signal ends the process at once, and as after any
//! other sudden death PostgreSQL's guard stops PostgreSQL; nothing acknowledged is lost by that.
//! When the reader of its standard output goes (`| head`), it stops in order too.

mod advice;
mod database;
mod dir;
mod listen;
mod pki;
mod reads;
mod samples;
mod signals;
mod steps;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rowcall_aggregator::{Handle, Stopped};
use rowcall_core::clock::{SharedClock, SystemClock};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cli::UpArgs;
use crate::client::{ClientError, Surroundings};
use crate::text;

use database::Database;
use dir::Dir;
use listen::Choices;
use pki::Pki;
use reads::Reads;
use samples::Samples;
use steps::{OpenLine, Steps};

/// The database in the private server.
const DATABASE: &str = "host_agent";
/// Longest wait for the agent's end; its own limit for outstanding acknowledgements is 5 s.
const AGENT_END: Duration = Duration::from_secs(10);
/// The aggregator is next door: come back quickly when it was away.
const AGENT_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// As quickly it comes back after a `rowcall host restore`.
const AGENT_REFUSED_WAIT: Duration = Duration::from_secs(10);
/// What waits for the aggregator, in the directory.
const AGENT_SPOOL: &str = "spool";
/// How often to look whether a certificate is nearly over.
const RENEW_LOOK: Duration = Duration::from_secs(3_600);
/// The agent's own lower limit of the interval, which a shorter `--interval` lowers.
const AGENT_MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until a signal comes.
pub(crate) fn run(args: &UpArgs, around: &Surroundings<'_>) -> anyhow::Result<ExitCode> {
    let line = OpenLine::default();
    log(args, around, &line)?;
    let reads = Reads::find(args, around)?;
    let dir = dir::choose(args.data_dir.clone(), around)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let ended = runtime.block_on(up(args, &reads, &dir, line));
    // What still blocks then has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map(|()| ExitCode::SUCCESS)
}

/// Logs go to standard error, so that standard output stays a table.
fn log(args: &UpArgs, around: &Surroundings<'_>, line: &OpenLine) -> anyhow::Result<()> {
    let filter = args.log.clone().or_else(|| (around.env)("ROWCALL_LOG"));
    let filter = filter.unwrap_or_else(|| "warn".to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| {
        ClientError::Usage(format!(
            "{filter:?} is no log filter: {error}; write for instance info or rowcall_agent=debug"
        ))
    })?;
    let line = line.clone();
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(move || line.log_writer());
    log.try_init().map_err(|error| anyhow!("start logging: {error}"))
}

async fn up(args: &UpArgs, reads: &Reads, dir: &Path, line: OpenLine) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    let stop = signals::watch(SharedClock::clone(&clock))?;
    let mut steps = Steps::new(SharedClock::clone(&clock), line);
    steps.title(dir);

    steps.begin("PostgreSQL");
    let database = Database::start(dir, DATABASE).await?;
    steps.done(&database.describe());
    // From here on a failure, too, stops what was started.
    let ended = with_database(args, reads, &stop, &clock, &mut steps, &database).await;
    steps.begin("PostgreSQL");
    let stopped = database.stop().await;
    if stopped.is_ok() {
        steps.done("stopped");
    }
    ended.and(stopped)
}

async fn with_database(
    args: &UpArgs,
    reads: &Reads,
    stop: &CancellationToken,
    clock: &SharedClock,
    steps: &mut Steps,
    database: &Database,
) -> anyhow::Result<()> {
    let dir = Dir::open(database.dir())?;
    let host = dir.host_name()?;
    steps.begin("certificates");
    let choices = Choices::new(args, &dir.listen());
    let pki = Pki::prepare(&dir, &host, &choices.addresses(), clock.wall())?;
    steps.done(pki.describe());
    if stop.is_cancelled() {
        steps.stopping();
        return Ok(());
    }

    steps.begin("aggregator");
    let url = database.url(DATABASE);
    let server = listen::bind(choices, args.interval, &dir, &pki, clock, url).await?;
    let listens = server.local_addr();
    let (mut handle, address) = (server.handle(), reachable(listens));
    let mut samples = handle.samples();
    let end_aggregator = CancellationToken::new();
    let mut aggregator = tokio::spawn(server.run(end_aggregator.clone()));
    let ready = await_ready(&mut handle, &mut aggregator, stop).await;
    if ready.as_ref().is_ok_and(|ready| *ready) {
        steps.done(&format!("{listens}, database migrated"));
    } else {
        // Not ready: it failed, or somebody has no patience.
        if ready.is_ok() {
            steps.stopping();
        }
        end_aggregator.cancel();
        if !aggregator.is_finished() {
            drop(aggregator.await);
        }
        return ready.map(|_| ());
    }
    let enroll = handle.enroll_addr();
    dir.write_client_file(
        address,
        enroll.map(|enroll| advice::enroll_server(enroll, &host)),
        &pki,
    )?;
    let _renewing = AbortOnDrop(tokio::spawn(renewing(pki.clone(), SharedClock::clone(clock))));

    steps.begin("agent");
    let end_agent = CancellationToken::new();
    let mut agent = agent(args, reads, address, &dir, &pki, clock, &end_agent)?;
    let (every, devices) = (text::span(args.interval), reads.describe(args.interval));
    steps.done(&format!("{host}, one sample every {every}, {devices}"));
    let next = advice::Next {
        dir: &dir,
        pki: &pki,
        host: &host,
        address,
        listens,
        http: handle.http_addr(),
        enroll,
        psql: &database.psql_line(DATABASE),
        interval: args.interval,
        reads,
    };
    steps.say(&next.words()?);

    let mut table = Samples::new(&host, args.interval, args.tz.clone());
    steps.say(&table.titles());
    let over = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break Over::Asked,
            ended = &mut aggregator => break Over::Aggregator(aggregator_ended(ended)),
            ended = &mut agent => break Over::Agent(agent_ended(ended)),
            sample = samples.recv() => match sample {
                Ok(sample) => steps.say(&table.line(&sample)),
                Err(RecvError::Lagged(number)) => steps.say(&table.lagged(number)),
                // The aggregator's own end says why.
                Err(RecvError::Closed) => {
                    break Over::Aggregator(aggregator_ended((&mut aggregator).await));
                }
            },
            () = database.watch() => {}
        }
        if steps.reader_gone() {
            tracing::warn!("nobody reads standard output any more; stopping");
            break Over::Asked;
        }
    };

    steps.stopping();
    end_agent.cancel();
    if !matches!(over, Over::Agent(_)) {
        steps.begin("agent");
        match timeout(AGENT_END, &mut agent).await {
            Ok(Ok(Ok(Ok(())))) => steps.done("said goodbye"),
            Ok(ended) => steps.done(&format!("{:#}", agent_ended(ended))),
            Err(_) => steps.done("does not end; going on without it"),
        }
    }
    end_aggregator.cancel();
    if !matches!(over, Over::Aggregator(_)) {
        steps.begin("aggregator");
        match aggregator.await {
            Ok(Ok(Stopped::InOrder)) => steps.done("everything received is committed"),
            Ok(Ok(Stopped::Uncommitted { records })) => steps.done(&format!(
                "the database did not take {records} records; the agent keeps them and sends \
                 them at the next start"
            )),
            Ok(Ok(Stopped::AtDeadline)) => steps.done("stopped at its deadline"),
            ended => steps.done(&format!("{:#}", aggregator_ended(ended))),
        }
    }
    match over {
        Over::Asked => Ok(()),
        Over::Agent(error) | Over::Aggregator(error) => Err(error),
    }
}

/// Renews certificates that are nearly over, as long as it is not stopped.
async fn renewing(pki: Pki, clock: SharedClock) {
    loop {
        tokio::time::sleep(RENEW_LOOK).await;
        let (pki, now) = (pki.clone(), clock.wall());
        match tokio::task::spawn_blocking(move || pki.renew(now)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(number)) => tracing::info!(number, "certificates renewed"),
            // Tried again at the next look, long before the end.
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "cannot renew certificates");
            }
            Err(error) => tracing::error!(%error, "cannot renew certificates"),
        }
    }
}

/// A task that ends with who started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why it is over.
enum Over {
    /// A signal came.
    Asked,
    /// The agent has ended, which it never should.
    Agent(anyhow::Error),
    /// So has the aggregator.
    Aggregator(anyhow::Error),
}

/// Where a server that listens there is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

type Aggregator = JoinHandle<Result<Stopped, rowcall_aggregator::Error>>;
type Agent = JoinHandle<std::thread::Result<Result<(), rowcall_agent::Error>>>;

/// True when agents are welcome, false when we are to stop before that.
async fn await_ready(
    handle: &mut Handle,
    aggregator: &mut Aggregator,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(false),
        ended = &mut *aggregator => Err(aggregator_ended(ended)),
        ready = handle.ready() => {
            if ready { Ok(true) } else { Err(aggregator_ended(aggregator.await)) }
        }
    }
}

fn aggregator_ended(
    ended: Result<Result<Stopped, rowcall_aggregator::Error>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(_)) => anyhow!("the aggregator has ended by itself"),
        Ok(Err(error)) => anyhow::Error::from(error).context("the aggregator has ended"),
        Err(error) => anyhow::Error::from(error).context("the aggregator has ended; this is a bug"),
    }
}

/// Starts the agent on a thread of its own.
fn agent(
    args: &UpArgs,
    reads: &Reads,
    address: SocketAddr,
    dir: &Dir,
    pki: &Pki,
    clock: &SharedClock,
    end: &CancellationToken,
) -> anyhow::Result<Agent> {
    let aggregator =
        rowcall_agent::config::Endpoint::parse(&address.to_string()).map_err(|e| anyhow!(e))?;
    let mut config = rowcall_agent::config::Config::new(aggregator, pki.agent());
    config.min_interval = args.interval.min(AGENT_MIN_INTERVAL);
    config.collect = reads.collect(args.interval);
    config.backoff_max = AGENT_BACKOFF_MAX;
    config.refused_wait = AGENT_REFUSED_WAIT;
    config.spool.dir = dir.path().join(AGENT_SPOOL);
    let thread = rowcall_agent::spawn_thread(config, SharedClock::clone(clock), end.clone());
    let thread = thread.context("start the agent's thread")?;
    Ok(tokio::task::spawn_blocking(move || thread.join()))
}

fn agent_ended(
    ended: Result<std::thread::Result<Result<(), rowcall_agent::Error>>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(Err(error))) => anyhow::Error::from(error).context("the agent has ended"),
        Ok(Ok(Ok(()))) => anyhow!("the agent has ended by itself"),
        Ok(Err(_)) | Err(_) => anyhow!("the agent has panicked; this is a bug"),
    }
}
