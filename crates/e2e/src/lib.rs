//! What the end-to-end tests and `make chaos` stand on: real programs on free ports, faults, and an
//! oracle that knows what must be in the database after them.
//!
//! [`oracle`] reads the agents' own logs, in which each record that a spool keeps and each
//! acknowledgement stands, and compares them with the tables. [`faults`] are the ways to break
//! things; each takes its size, so that a test does in seconds what `make chaos` does in minutes.

pub mod cluster;
pub mod dice;
pub mod faults;
pub mod host;
pub mod oracle;
pub mod room;
pub mod scene;
pub mod stack;
