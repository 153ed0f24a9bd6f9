//! The aggregator with a real PostgreSQL and real mutual TLS, in this process.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod access;
mod audit;
mod breadth;
mod check;
mod checked;
mod clones;
mod deadman;
mod doors;
mod enrol;
mod farewells;
mod faults;
mod hostile;
mod hosts;
mod http;
mod issuing;
mod metrics;
mod notify;
mod process;
mod proxied;
mod reload;
mod renamed;
mod renew;
mod reports;
mod revocation;
mod rig;
mod schema;
mod spans;
mod stalls;
mod stop;
mod stream;
mod tokens;
mod turns;
mod went_back;
