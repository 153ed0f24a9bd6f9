//! Whole machines, made of files: what an agent reads of each, what it makes of damaged files, and
//! of counters and devices that come, go, and begin anew.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod damage;
mod golden;
mod kernel;
mod machine;
mod machines;
mod observed;
mod times;
