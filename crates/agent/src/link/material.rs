//! Certificate, key and authorities, as they are on disk at each connect.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rowcall_core::clock::SharedClock;
use rowcall_core::id::{HostName, UnixMicros};
use rowcall_tls::certificate::list_sha256;
use rowcall_tls::config::client_config;
use rowcall_tls::identity::Role;
use rowcall_tls::load::Material;
use rustls::ClientConfig;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::journal::Journal;
use crate::Error;
use crate::config::Source;
use crate::identity::{self, Held};

/// Time to read the files again; then what is in use stays.
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// How often it is looked for another identity while there is no stream.
const LOOK: Duration = Duration::from_secs(2);

/// What the files gave last, and where they are.
#[derive(Debug)]
pub(super) struct Renewing {
    pub(super) tls: Arc<ArcSwap<ClientConfig>>,
    pub(super) name: HostName,
    pub(super) expiry: Arc<Expiry>,
    pub(super) reload_deadline: Duration,
    source: Source,
    /// What enrolment or renewal told, and whose servers are believed; nothing for own files.
    enrolled: Mutex<Option<Arc<Enrolled>>>,
    pub(super) clock: SharedClock,
    reload: AsyncMutex<Reload>,
}

/// The identity in use.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) held: Held,
    /// SHA-256 over the authorities held, one after the other.
    pub(super) authorities_sha256: [u8; 32],
    /// From the certificate's first second to its last one.
    pub(super) life: Duration,
}

/// When the certificate in use ends.
#[derive(Debug)]
pub(crate) struct Expiry(AtomicI64);

/// Reading the files again, which hangs with their file system: never twice at a time.
#[derive(Debug, Default)]
struct Reload {
    running: Option<JoinHandle<Result<Loaded, Error>>>,
    journal: Journal,
}

/// What the files gave.
#[derive(Debug)]
struct Loaded {
    name: HostName,
    not_after: UnixMicros,
    tls: ClientConfig,
    enrolled: Option<Arc<Enrolled>>,
    /// What people should know and that stops nothing.
    warnings: Vec<String>,
}

impl Expiry {
    /// Ends then.
    pub(crate) fn at(not_after: UnixMicros) -> Self {
        Self(AtomicI64::new(not_after.0))
    }

    /// When it ends.
    pub(crate) fn get(&self) -> UnixMicros {
        UnixMicros(self.0.load(Ordering::Relaxed))
    }
}

impl Renewing {
    /// Loads the certificate, which must name an agent. Blocks for three small files.
    pub(super) fn load(source: &Source, clock: SharedClock) -> Result<Self, Error> {
        let Loaded { name, not_after, tls, enrolled, warnings } = load(source, &clock)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(Self {
            tls: Arc::new(ArcSwap::from_pointee(tls)),
            source: source.clone(),
            name,
            expiry: Arc::new(Expiry::at(not_after)),
            reload_deadline: RELOAD_DEADLINE,
            enrolled: Mutex::new(enrolled),
            clock,
            reload: AsyncMutex::default(),
        })
    }

    /// The identity in use; none for files of one's own.
    pub(super) fn enrolled(&self) -> Option<Arc<Enrolled>> {
        self.enrolled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Our certificate and the CA file, as messages name them.
    pub(super) fn places(&self) -> (String, String) {
        match &self.source {
            Source::Files(files) => {
                (files.certificate.display().to_string(), files.authorities.display().to_string())
            }
            Source::Enrolled(dir) => {
                let place = |name: &str| dir.join("current").join(name).display().to_string();
                (place("agent.pem"), place("ca.pem"))
            }
        }
    }

    /// Ends when there is another identity than at the call. Never for files of one's own, which
    /// have no link to look at.
    pub(super) async fn replaced(&self) {
        let Source::Enrolled(dir) = &self.source else { return std::future::pending().await };
        let mut before = None;
        loop {
            let dir = dir.clone();
            // Where that hangs or fails there is nothing new.
            let linked = tokio::task::spawn_blocking(move || identity::generation(&dir)).await;
            if let Ok(Some(linked)) = linked
                && before.get_or_insert_with(|| linked.clone()) != &linked
            {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Keeps what it has when the files are unreadable or name another host.
    pub(super) async fn reload(&self) {
        let mut reload = self.reload.lock().await;
        let mut running = reload.running.take().unwrap_or_else(|| {
            let (source, clock) = (self.source.clone(), Arc::clone(&self.clock));
            tokio::task::spawn_blocking(move || load(&source, &clock))
        });
        let (certificate, _) = self.places();
        let Ok(loaded) = timeout(self.reload_deadline, &mut running).await else {
            reload.running = Some(running);
            return reload.warn(format!(
                "reading {certificate} and the files beside it again hangs, the certificate in use \
                 stays; check that file system"
            ));
        };
        match loaded {
            Ok(Ok(loaded)) if loaded.name == self.name => {
                self.tls.store(Arc::new(loaded.tls));
                self.expiry.0.store(loaded.not_after.0, Ordering::Relaxed);
                *self.enrolled.lock().unwrap_or_else(PoisonError::into_inner) = loaded.enrolled;
                loaded.warnings.into_iter().for_each(|warning| reload.warn(warning));
            }
            Ok(Ok(Loaded { name, .. })) => reload.warn(format!(
                "the certificate in {certificate} now names host {name}, this agent runs as {}; \
                 restart it to use that",
                self.name
            )),
            Ok(Err(error)) => reload.warn(format!("the certificate in use stays: {error}")),
            Err(error) => tracing::error!(%error, "reading the certificate failed"),
        }
    }
}

impl Reload {
    fn warn(&mut self, text: String) {
        if let Some(repeated) = self.journal.note(&text, Instant::now()) {
            tracing::warn!("{text}{repeated}");
        }
    }
}

fn load(source: &Source, clock: &SharedClock) -> Result<Loaded, Error> {
    let (files, material, held) = match source {
        Source::Files(files) => (files.clone(), Material::load(files)?, None),
        Source::Enrolled(dir) => {
            let (held, material) =
                identity::load(dir)?.ok_or_else(|| Error::NotEnrolled(dir.clone()))?;
            (held.files.clone(), material, Some(held))
        }
    };
    let identity = material.identity()?;
    if identity.role != Role::Agent {
        let path = files.certificate;
        return Err(Error::Role { role: identity.role.as_str(), path });
    }
    let mut warnings = Vec::new();
    if let Err(error) = material.check_dates(clock.wall()) {
        warnings.push(format!("the certificate is not valid now: {error}"));
    }
    warnings.extend(open_to_all(&files.key));
    let not_after = material.validity().not_after;
    let micros = not_after.since(material.validity().not_before);
    let life = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let authorities_sha256 = list_sha256(material.authorities().certificates());
    let enrolled = held.map(|held| Arc::new(Enrolled { held, authorities_sha256, life }));
    let tls = client_config(&material)?;
    Ok(Loaded { name: identity.name, not_after, tls, enrolled, warnings })
}

/// Warns of a key that every user of this machine may read or replace. It is no reason to fall
/// silent: a node that stops being watched is the greater harm.
pub(crate) fn open_to_all(key: &Path) -> Option<String> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    let may = match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (false, false) => return None,
        (true, false) => "read",
        (false, true) => "write to",
        (true, true) => "read and write to",
    };
    let path = key.display();
    Some(format!(
        "every user of this machine may {may} the private key {path} (mode {:04o}) and so speak \
         as this host; run `chmod o= {path}`, and issue a new certificate where users are not \
         trusted",
        mode & 0o7777
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_all_may_read_is_warned_of_and_one_for_a_group_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("agent-key.pem");
        std::fs::write(&key, "").unwrap();
        let warning = |mode| {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            open_to_all(&key)
        };
        for good in [0o400, 0o440, 0o600, 0o640] {
            assert_eq!(warning(good), None, "{good:o}");
        }
        for (bad, said) in [(0o644, "may read the"), (0o602, "may write to"), (0o666, "read and")] {
            let warning = warning(bad).unwrap();
            assert!(warning.contains(said) && warning.contains("chmod o= "), "{warning}");
            assert!(warning.contains(&format!("mode {bad:04o}")), "{warning}");
        }
    }
}
