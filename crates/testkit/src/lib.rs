//! For tests only: a certificate authority, databases, and waiting for conditions.
//!
//! Nothing here takes a fixed port, path or time, so that test runs don't meet on one machine.

pub mod ca;
pub mod database;
pub mod poll;
