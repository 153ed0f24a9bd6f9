//! What the log says of records that the database did not take: the first with its reason, then a
//! number every ten seconds. `rowcall.quarantine` has the others.

use std::sync::{Arc, Mutex, PoisonError};

use rowcall_core::clock::SharedClock;
use rowcall_core::throttle::Throttle;

use super::Incoming;

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
