//! What the host is, as last read, and the records of its changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::record::{Body, HostFacts};
use tokio::time::timeout;

use crate::queue::Queue;
use crate::sample::Reader;

/// They are read again on every connect, and this often.
pub(crate) const FACTS_EVERY: Duration = Duration::from_secs(600);

/// A Hello waits no longer than this for fresh facts; then it tells the last ones known.
pub(crate) const FACTS_DEADLINE: Duration = Duration::from_secs(5);

/// What the host is, as last read.
#[derive(Debug)]
pub(crate) struct Facts {
    reader: Reader,
    queue: Arc<Queue>,
    clock: SharedClock,
    last: Mutex<HostFacts>,
    /// The host was booted since the spool was last in use, and no record says so yet.
    boot_is_new: Mutex<bool>,
}

impl Facts {
    /// Reads them for the first time. They become a record where the host was booted since the
    /// spool was last in use: the Hello that would tell so may come only after the next boot.
    pub(crate) async fn start(
        reader: Reader,
        queue: Arc<Queue>,
        clock: SharedClock,
        boot_is_new: bool,
    ) -> Self {
        let facts = Self {
            reader,
            queue,
            clock,
            last: Mutex::default(),
            boot_is_new: Mutex::new(boot_is_new),
        };
        facts.read(|_, _| false).await;
        facts
    }

    /// Reads them again. A change becomes a record, which keeps its place in time.
    pub(crate) async fn refresh(&self) -> HostFacts {
        self.read(|now, last| {
            let differ = now.differ_from(last);
            if differ {
                tracing::info!("the host's hardware or system changed");
            }
            differ
        })
        .await
    }

    async fn read(&self, is_news: impl FnOnce(&HostFacts, &HostFacts) -> bool) -> HostFacts {
        let now = match timeout(FACTS_DEADLINE, self.reader.facts()).await {
            Ok(Ok(facts)) => Some(facts),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the host's facts could not be read in time");
                None
            }
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = now {
            let mut boot_is_new = self.boot_is_new.lock().unwrap_or_else(PoisonError::into_inner);
            if is_news(&now, &last) | std::mem::take(&mut *boot_is_new) {
                let (wall, since_boot) = (self.clock.wall(), self.clock.since_boot());
                self.queue.spool.append(wall, since_boot, Body::HostFacts(Box::new(now.clone())));
            }
            *last = now;
        }
        last.clone()
    }
}
