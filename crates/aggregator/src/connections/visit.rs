//! One connection: whose it is, which calls go on there, and when it is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rowcall_tls::accept::PeerInfo;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::{Holder, IDLE_AGENT, MAX_OF_PERSON};

/// A peer that was expelled or refused has so long to read why, once its calls have ended; and, if it
/// was expelled, so long at all.
pub(super) const READS_WHY: Duration = Duration::from_secs(1);
pub(super) const EXPELLED_AT_LAST: Duration = Duration::from_secs(5);

/// One connection, and what goes on there.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) peer: Arc<PeerInfo>,
    pub(super) first_call: Duration,
    idle_limit: Duration,
    is_turned_away: bool,
    welcomed: AtomicBool,
    expelled: OnceLock<Expelled>,
    expulsion: Notify,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct Expelled {
    why: String,
    at: Instant,
}

#[derive(Debug)]
struct State {
    calls: usize,
    had_a_call: bool,
    idle_since: Instant,
    evicted: bool,
    /// Its stream was refused before it began.
    refused: bool,
}

/// Why a connection ends before its peer wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// No call came in time.
    NoCall,
    /// It was idle for too long after its last call.
    Idle,
    /// A newer connection of the same certificate takes its place.
    Evicted,
    /// Its certificate is not good any more.
    Expelled,
}

impl Visit {
    pub(super) fn new(
        peer: Arc<PeerInfo>,
        holder: &Holder,
        first_call: Duration,
        is_turned_away: bool,
    ) -> Self {
        let idle_since = Instant::now();
        Self {
            peer,
            first_call,
            // Whoever is turned away goes when its answer is read.
            idle_limit: if is_turned_away { IDLE_AGENT } else { holder.idle() },
            is_turned_away,
            welcomed: AtomicBool::new(false),
            expelled: OnceLock::new(),
            expulsion: Notify::new(),
            state: Mutex::new(State {
                calls: 0,
                had_a_call: false,
                idle_since,
                evicted: false,
                refused: false,
            }),
            changed: Notify::new(),
        }
    }

    /// One that nobody counts.
    #[cfg(test)]
    pub(crate) fn alone(peer: Arc<PeerInfo>) -> Arc<Self> {
        let holder = Holder::of(&peer);
        Arc::new(Self::new(peer, &holder, IDLE_AGENT, false))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call began; it lasts until the value is dropped.
    pub(crate) fn call(self: &Arc<Self>) -> Call {
        let mut state = self.lock();
        state.calls += 1;
        state.had_a_call = true;
        drop(state);
        self.changed.notify_one();
        Call(Arc::clone(self))
    }

    /// Why calls on this connection are not served, if they aren't.
    pub(crate) fn check(&self) -> Result<(), Status> {
        if let Some(expelled) = self.expelled.get() {
            return Err(Status::permission_denied(expelled.why.as_str()));
        }
        if self.is_turned_away {
            return Err(Status::resource_exhausted(format!(
                "this certificate has {MAX_OF_PERSON} connections open and all are busy, which is \
                 the most for one certificate; close some, or use a certificate of its own for \
                 each program"
            )));
        }
        Ok(())
    }

    /// Its certificate is not good any more: its streams end, its calls are refused, and the
    /// connection is closed. The first reason stays.
    pub(crate) fn expel(&self, why: &str) {
        let expelled = Expelled { why: why.to_owned(), at: Instant::now() };
        if self.expelled.set(expelled).is_ok() {
            self.expulsion.notify_waiters();
            self.changed.notify_one();
        }
    }

    pub(crate) fn is_expelled(&self) -> bool {
        self.expelled.get().is_some()
    }

    /// Waits until it is expelled; why.
    pub(crate) async fn expelled(&self) -> &str {
        loop {
            // Made before the look, so that none in between is missed.
            let expulsion = self.expulsion.notified();
            if let Some(expelled) = self.expelled.get() {
                return &expelled.why;
            }
            expulsion.await;
        }
    }

    /// Its stream was welcomed, and is the host's session until the value is dropped.
    pub(crate) fn welcome(self: &Arc<Self>) -> Welcomed {
        self.welcomed.store(true, Ordering::Relaxed);
        Welcomed(Arc::clone(self))
    }

    pub(super) fn is_welcomed(&self) -> bool {
        self.welcomed.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().calls == 0
    }

    /// Its stream was refused: an agent has nothing else to do here, so the connection is over as
    /// soon as it can have read why.
    pub(crate) fn refuse(&self) {
        self.lock().refused = true;
        self.changed.notify_one();
    }

    #[cfg(test)]
    pub(super) fn is_evicted(&self) -> bool {
        self.lock().evicted
    }

    pub(super) fn evict(&self) {
        self.lock().evicted = true;
        self.changed.notify_one();
    }

    /// Waits until it must end.
    pub(crate) async fn over(&self) -> Over {
        loop {
            let ends = {
                let state = self.lock();
                if state.evicted {
                    return Over::Evicted;
                }
                let is_idle = state.calls == 0;
                if let Some(Expelled { at, .. }) = self.expelled.get() {
                    let latest = *at + EXPELLED_AT_LAST;
                    let read = state.idle_since.max(*at) + READS_WHY;
                    Some((if is_idle { read.min(latest) } else { latest }, Over::Expelled))
                } else {
                    let (limit, why) = if state.refused {
                        (READS_WHY, Over::Idle)
                    } else if state.had_a_call {
                        (self.idle_limit, Over::Idle)
                    } else {
                        (self.first_call, Over::NoCall)
                    };
                    is_idle.then_some((state.idle_since + limit, why))
                }
            };
            let Some((at, why)) = ends else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep_until(at) => return why,
            }
        }
    }
}

/// A call that goes on.
#[derive(Debug)]
pub(crate) struct Call(Arc<Visit>);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls = state.calls.saturating_sub(1);
        state.idle_since = Instant::now();
        let is_idle = state.calls == 0;
        drop(state);
        if is_idle {
            self.0.changed.notify_one();
        }
    }
}

/// The host's session is on this connection.
#[derive(Debug)]
pub(crate) struct Welcomed(Arc<Visit>);

impl Drop for Welcomed {
    fn drop(&mut self) {
        self.0.welcomed.store(false, Ordering::Relaxed);
    }
}
