//! Peers with a valid certificate and bad manners.

mod connections;
mod fairness;
mod frames;
mod http2;
mod readers;
mod values;
