//! The reports on hand-made data whose right answers are written in the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod balance;
mod defaults;
mod duplicates;
mod excuses;
mod facts;
mod hardware;
mod history;
mod integrity;
mod ledger;
mod memory;
mod pressure;
mod restarts;
mod roll;
mod selector;
mod skew;
mod streams;
mod unobserved;
mod waits;
mod world;
mod zones;
