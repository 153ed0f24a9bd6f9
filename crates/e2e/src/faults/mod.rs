//! Ways to break things. Each takes its size, does its harm to real programs, and hands what is
//! left to the oracle.

pub mod agents;
pub mod aggregators;
pub mod backlog;
pub mod databases;
pub mod limits;
pub mod links;
pub mod slow;
pub mod spools;
