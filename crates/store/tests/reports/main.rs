//! The reports on hand-made data whose right answers are written in the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod balance;
mod defaults;
mod hardware;
mod integrity;
mod memory;
mod roll;
mod selector;
mod streams;
mod world;
mod zones;
