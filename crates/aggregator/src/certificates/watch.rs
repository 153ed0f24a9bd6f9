//! Looks at the files from time to time, and puts what is good in force.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rowcall_core::throttle::Throttle;
use rowcall_tls::reload::{Look, Watcher};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{Certificates, EVERY, load};
use crate::connections::{Connections, Visit};

/// After a change of whom to believe, handshakes that began before it may still end for so long.
const OLD_HANDSHAKES: Duration = Duration::from_secs(60);

impl Certificates {
    /// Looks every [`EVERY`] and when asked; without an end. `connections` are those whose peers
    /// have certificates.
    pub(crate) async fn watch(self: Arc<Self>, connections: Arc<Connections>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut line = Throttle::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.asked.notified() => {}
            }
            let this = Arc::clone(&self);
            // A file system that hangs holds up this task and no other.
            let Ok(look) = spawn_blocking(move || this.look()).await else { continue };
            match look {
                Look::Same => {}
                Look::New(loaded) => self.replace(loaded, &connections).await,
                Look::Bad(error) => self.keep(error, &mut line),
            }
        }
    }

    /// Blocks.
    fn look(&self) -> Look<load::Loaded, String> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.look(|| {
            let loaded = load::load(&self.config, &self.clock)?;
            let (was, is) = (self.trust_domain(), &loaded.trust_domain);
            if was != *is {
                return Err(format!(
                    "client_ca is of trust domain {is} now and was of {was}; start the aggregator \
                     anew for that"
                ));
            }
            // Where lists were in force, their file going away must not revoke them.
            let had_lists = self.loaded.load().material.revocations_until().is_some();
            match &self.config.revocations {
                Some(lists) if had_lists && loaded.material.revocations_until().is_none() => {
                    Err(format!(
                        "{} is gone, its revocation lists stay in force; put it back",
                        lists.path.display()
                    ))
                }
                _ => Ok(loaded),
            }
        })
    }

    /// What the files hold cannot be used: what was in force stays.
    fn keep(&self, error: String, line: &mut Throttle) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = bad.as_ref() != Some(&error);
        let due = line.happened(self.clock.monotonic());
        if is_new || due.is_some() {
            warn!(error, "certificates cannot be reloaded; those of before stay in force");
        }
        *bad = Some(error);
    }

    async fn replace(&self, loaded: load::Loaded, connections: &Connections) {
        let trust_changed = self.loaded.load().trust_sha256 != loaded.trust_sha256;
        self.tls.store(Arc::clone(&loaded.tls));
        if let (Some(tls), Some(issuing)) = (&self.enrollment_tls, &loaded.issuing) {
            tls.store(Arc::clone(&issuing.tls));
        }
        self.loaded.store(Arc::new(loaded));
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) = None;
        info!(trust_changed, "certificates are reloaded");
        self.announce();
        if !trust_changed {
            return;
        }
        *self.changed_at.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(self.clock.monotonic());
        // Listed after the new trust is in force: whoever enters from here on is checked there.
        let mut cut = 0_usize;
        for visits in connections.visits().chunks(CHECKED_AT_ONCE) {
            cut += visits.iter().filter(|visit| !self.believes(visit)).count();
            // Each costs a signature's verification.
            tokio::task::yield_now().await;
        }
        if cut > 0 {
            info!(connections = cut, "ended: their certificates are not believed any more");
        }
    }

    /// A connection enters whose handshake may have begun before the last change of whom to
    /// believe.
    pub(crate) fn entered(&self, visit: &Visit) {
        let changed_at = *self.changed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if changed_at.is_some_and(|at| now.saturating_sub(at) < OLD_HANDSHAKES) {
            self.believes(visit);
        }
    }

    /// Whether a peer may stay; if not, it is told why and must go. What it was doing counts it
    /// among the refusals.
    fn believes(&self, visit: &Visit) -> bool {
        let Some(certificate) = &visit.peer.certificate else { return true };
        let checked = self.loaded.load().trust.recheck(certificate, self.clock.wall());
        let Err(error) = checked else { return true };
        let why = error.to_string();
        visit.expel(&why);
        let identity = visit.peer.identity.as_ref().map(ToString::to_string).unwrap_or_default();
        let serial = &certificate.serial;
        debug!(peer = %visit.peer.address, certificate = identity, serial, why, "must go");
        false
    }
}

/// Peers checked before others get their turn.
const CHECKED_AT_ONCE: usize = 16;

/// Watches the files of the settings.
pub(super) fn watcher(config: &crate::config::Config) -> Watcher {
    Watcher::new(load::paths(config))
}
