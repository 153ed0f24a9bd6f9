//! Records that are put aside before the database sees them, and what the log says of those that it
//! did not take: the first with its reason, then a number every ten seconds. `rowcall.quarantine`
//! has the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::clock::SharedClock;
use rowcall_core::throttle::Throttle;

use super::{Incoming, Item, has_own_time, is_sample};

/// Why a sample is put aside that would be lost without a word: rows have a host's and a time.
const EQUAL_TIMES: &str = "another sample of this host has the same time";
/// The same of a reading of devices.
const EQUAL_TIMES_OF_DEVICES: &str = "another reading of this host's devices has the same time";

/// Refuses the samples, and the readings of devices, of an epoch whose time an earlier sequence has.
/// The same sequence twice is one that came again.
pub(super) fn of_equal_times(items: &mut [Item<'_>]) {
    let mut first = HashMap::with_capacity(items.len());
    for item in items.iter_mut().filter(|item| has_own_time(item)) {
        let record = &item.incoming.record;
        let of_sample = is_sample(item);
        match first.entry((item.key(), record.time, of_sample)) {
            Entry::Vacant(entry) => {
                entry.insert(record.sequence);
            }
            Entry::Occupied(entry) if *entry.get() != record.sequence => {
                item.refused = Some(if of_sample { EQUAL_TIMES } else { EQUAL_TIMES_OF_DEVICES });
            }
            Entry::Occupied(_) => {}
        }
    }
}

/// The log line of records put aside. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PutAside {
    clock: SharedClock,
    throttle: Arc<Mutex<Throttle>>,
}

impl PutAside {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, throttle: Arc::default() }
    }

    /// A record is put aside.
    pub(super) fn log(&self, incoming: &Incoming, reason: &str) {
        let Some(held_back) = self.ask(Throttle::happened) else { return };
        tracing::warn!(
            host_id = incoming.host_id.0,
            sequence = incoming.record.sequence.as_i64(),
            reason,
            held_back,
            "record put aside, see rowcall.quarantine"
        );
    }

    /// To be called regularly: says how many there were, when no other record follows.
    pub(super) fn log_rest(&self) {
        let Some(held_back) = self.ask(Throttle::rest) else { return };
        tracing::warn!(held_back, "more records put aside, see rowcall.quarantine");
    }

    fn ask<T>(&self, what: impl FnOnce(&mut Throttle, std::time::Duration) -> T) -> T {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut throttle, self.clock.monotonic())
    }
}
