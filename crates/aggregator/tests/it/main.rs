//! The aggregator with a real PostgreSQL and real mutual TLS, in this process.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod access;
mod faults;
mod hostile;
mod hosts;
mod http;
mod metrics;
mod notify;
mod process;
mod reports;
mod rig;
mod schema;
mod stop;
mod stream;
