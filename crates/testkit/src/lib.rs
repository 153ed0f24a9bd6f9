//! For tests only: certificates, databases, programs, a proxy that cuts, and waiting for conditions.
//!
//! Nothing here takes a fixed port, path or time, so that test runs don't meet on one machine.

pub mod ca;
pub mod database;
#[cfg(target_os = "linux")]
pub mod hung_mount;
pub mod log;
pub mod pki;
pub mod poll;
pub mod process;
pub mod proxy;
pub mod remote;
pub mod server;
