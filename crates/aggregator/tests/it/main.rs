//! The aggregator with a real PostgreSQL and real mutual TLS, in this process.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod access;
mod audit;
mod clones;
mod deadman;
mod farewells;
mod faults;
mod hostile;
mod hosts;
mod http;
mod metrics;
mod notify;
mod process;
mod reports;
mod revocation;
mod rig;
mod schema;
mod spans;
mod stalls;
mod stop;
mod stream;
mod turns;
mod went_back;
