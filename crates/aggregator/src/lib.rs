//! rowcall-aggregator: takes the streams of all agents, writes them to PostgreSQL, answers with
//! reports.
//!
//! - [`config`]: settings, and what is wrong with them
//! - `server`: life of the process: start, wait for the database, serve, ordered stop
//! - `telemetry`: one task per stream, one writer for all
//! - `connections`, `connection`: how many there may be, and for how long; `access`: who may call
//!   what; `refusals`: who was not served, counted and logged
//! - `certificates`: what is served and believed, reloaded while it runs; `enrollment`: what is
//!   issued to nodes
//! - `registry`: which hosts are connected, what is committed of each, what they told of spool and
//!   clock
//! - `summary`, `admin`: what people ask; `http`, `metrics`: what machines ask
//! - `upkeep`: days made ahead and dropped, a lost schema, a database that went back in time
//! - `spans`, `farewells`, `clocks`: when this process observed, which agents were stopped, whose
//!   clock is off, all on a connection beside those for what agents send
//! - `leases`, `revocation`, `audit`: who has a host's session among all aggregators, who may not go
//!   on, and the changes that were refused
//! - `deadman`: a URL called while rows are committed; `notify`, `pulse`: the service manager
//!
//! Invariants: an acknowledgement is sent only after COMMIT; a stream writes only the host that
//! its certificate names; what is unacknowledged may be thrown away at any moment. Bounds:
//! [`QUEUE_RECORDS`] records wait for the writer, each stream holds one batch more and at most
//! 1 MiB unacknowledged, [`MAX_CELLS`] cells make a Summary.

mod access;
mod admin;
mod audit;
mod certificates;
mod cli;
mod clocks;
pub mod config;
mod connection;
mod connections;
mod database;
mod deadman;
mod enrollment;
mod farewells;
mod flood;
mod http;
mod leases;
mod metrics;
mod notify;
mod pulse;
mod refusals;
mod registry;
mod revocation;
mod server;
mod spans;
mod summary;
mod tasks;
mod telemetry;
mod upkeep;

use rowcall_core::id::{HostName, UnixMicros};
use rowcall_core::record::Record;

pub use cli::command;
pub use config::Config;
pub use rowcall_store::reports::WAY_BACK;
pub use server::{Handle, Server, Stopped, check, migrate, serve};
pub use summary::{MAX_CELLS, MAX_STREAM_CELLS};
pub use telemetry::queue::QUEUE_RECORDS;

/// Why an aggregator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings.
    #[error(transparent)]
    Config(#[from] config::Problems),
    /// Certificate, key or authorities.
    #[error("{0}")]
    Certificates(String),
    /// The address is taken, or not ours.
    #[error("{setting}: cannot listen on {address}: {error}{}", listen_advice(setting, error))]
    Listen {
        /// Which setting says so.
        setting: &'static str,
        /// From the settings.
        address: std::net::SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The embedded server.
    #[error("embedded database: {0}")]
    Embedded(#[from] rowcall_postgres::Error),
    /// The database, in a way that waiting does not cure.
    #[error(transparent)]
    Database(#[from] rowcall_store::Error),
    /// A task ended that never should.
    #[error("the {0} task ended by itself; this is a bug")]
    Task(&'static str),
}

fn listen_advice(setting: &str, error: &std::io::Error) -> String {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let flag = setting.replace('_', "-");
            return format!("; another program has the port, choose another with --{flag}");
        }
        std::io::ErrorKind::AddrNotAvailable => "; no interface of this machine has the address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    advice.to_owned()
}

/// A record that was committed, for whoever watches inside this process.
#[derive(Clone, Debug)]
pub struct CommittedSample {
    /// What the host is called now.
    pub host_name: HostName,
    /// What it sent.
    pub record: Record,
}

/// An instant for a report.
pub(crate) fn timestamp(time: UnixMicros) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: i32::try_from(time.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}

/// A random number from 0 up to 1, for jitter. Without a source of randomness it is a half.
pub(crate) fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}
