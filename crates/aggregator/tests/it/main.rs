//! The aggregator with a real PostgreSQL and real mutual TLS, in this process.

mod access;
mod faults;
mod reports;
mod rig;
mod stop;
mod stream;
