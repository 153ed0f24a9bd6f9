//! Looks at the files from time to time, and puts what is good in force.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rowcall_core::throttle::Throttle;
use rowcall_tls::reload::{Look, Watcher};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use super::{Certificates, EVERY, load};
use crate::connections::{Connections, Visit};

/// After a change of whom to believe, handshakes that began before it may still end for so long.
const OLD_HANDSHAKES: Duration = Duration::from_secs(60);

/// A look that lasts longer hangs.
const LATE: Duration = Duration::from_secs(30);

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
            match this.looked(LATE).await {
                None | Some(Look::Same) => {}
                Some(Look::New(loaded)) => self.replace(loaded, &connections).await,
                Some(Look::Bad(error)) => self.keep(error, &mut line),
            }
        }
    }

    /// One look, without an end where the file system hangs; says so when it lasts this long. That
    /// holds up this task and no other.
    pub(super) async fn looked(
        self: Arc<Self>,
        late: Duration,
    ) -> Option<Look<load::Loaded, String>> {
        let this = Arc::clone(&self);
        let mut look = spawn_blocking(move || this.look());
        if let Ok(look) = timeout(late, &mut look).await {
            return look.ok();
        }
        let folders = load::paths(&self.config);
        let folders: BTreeSet<_> = folders.iter().filter_map(|path| path.parent()).collect();
        let folders: Vec<_> = folders.iter().map(|path| path.display().to_string()).collect();
        let error = format!(
            "reading the certificate files in {} has not ended for {} s: no change of them, \
             revocation lists among them, comes into force; check that file system",
            folders.join(", "),
            late.as_secs()
        );
        warn!(error, "a look at the certificate files hangs");
        *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        let look = look.await.ok();
        *self.hangs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        info!("the certificate files can be read again");
        look
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
            let Some(lists) = &self.config.revocations else { return Ok(loaded) };
            let path = lists.path.display();
            if had_lists && loaded.material.revocations_until().is_none() {
                return Err(format!(
                    "{path} is gone, its revocation lists stay in force; put it back"
                ));
            }
            let in_force = self.loaded.load();
            let now = self.clock.wall();
            match loaded.material.revocations_go_back(&in_force.material, now) {
                Some(why) => Err(format!("{path}: {why}")),
                None => Ok(loaded),
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rowcall_core::clock::{SharedClock, TestClock};
    use rowcall_testkit::pki::{Pki, now};
    use rowcall_testkit::poll::wait_for;

    use super::*;
    use crate::config::from_file_text;

    #[tokio::test]
    async fn a_look_that_hangs_is_told_until_it_ends() {
        let pki = Pki::create().unwrap();
        let config = format!("database = 'embedded'\npki_dir = '{}'\n", pki.dir().display());
        let clock: SharedClock = Arc::new(TestClock::at(now()));
        let certificates = Certificates::load(&from_file_text(&config).unwrap(), &clock).unwrap();
        assert_eq!(certificates.error(), None);
        // As long as this has the watcher, no look ends.
        let (held, holds) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let holder = Arc::clone(&certificates);
        let thread = std::thread::spawn(move || {
            let _watcher = holder.watcher.lock().unwrap();
            held.send(()).unwrap();
            assert!(ends.recv().is_err());
        });
        holds.recv().unwrap();
        let look = tokio::spawn(Arc::clone(&certificates).looked(Duration::ZERO));
        let told = async || certificates.error();
        let error = wait_for("the error", Duration::from_secs(60), told).await;
        let folder = pki.dir().display().to_string();
        assert!(error.contains(&folder) && error.contains("has not ended"), "{error}");
        drop(end);
        assert!(matches!(look.await.unwrap(), Some(Look::Same)));
        assert_eq!(certificates.error(), None);
        thread.join().unwrap();
    }
}
