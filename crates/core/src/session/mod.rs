//! Both ends of the telemetry stream as state machines: events in, actions out, no I/O.
//!
//! [`agent`] decides what to send after Welcome and what an Ack releases; [`aggregator`] decides
//! whom to welcome, which batches to take and when a silent peer is dropped. Together they keep:
//!
//! - INV-1: nothing is released unless an Ack on the present stream covers what was sent on it
//! - INV-2: a mark never passes a hole in the sequences
//! - INV-3: a mark in Welcome moves an agent only backwards; it releases nothing

pub mod agent;
pub mod aggregator;
#[cfg(test)]
mod tests;
