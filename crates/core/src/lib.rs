//! Rowcall's words and rules, without sockets, SQL or system calls beyond the clock.
//!
//! - [`id`], [`record`], [`vitals`], [`devices`]: what things are called and what a record carries,
//!   in checked types
//! - [`convert`]: the only place where wire messages become those types and back
//! - [`session`]: both ends of the stream as state machines (events in, actions out)
//! - [`schedule`], [`backoff`], [`version`], [`clock`]: when to sample, when to come back, which
//!   protocol to speak, and what time it is
//! - [`throttle`]: one log line for many of a kind
//! - [`token`]: the join token that a node trades for its certificate

pub mod backoff;
pub mod clock;
pub mod convert;
pub mod devices;
pub mod id;
pub mod record;
pub mod schedule;
pub mod session;
pub mod throttle;
pub mod token;
pub mod version;
pub mod vitals;

pub use rowcall_proto as proto;
