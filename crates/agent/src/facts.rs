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
        let facts =
            Self { boot_is_new: Mutex::new(boot_is_new), ..Self::unread(reader, queue, clock) };
        facts.read(|_, _| false).await;
        facts
    }

    /// Before they were read.
    pub(crate) fn unread(reader: Reader, queue: Arc<Queue>, clock: SharedClock) -> Self {
        let (last, boot_is_new) = (Mutex::default(), Mutex::new(false));
        Self { reader, queue, clock, last, boot_is_new }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Collect;
    use crate::testing::{START, queue, records};
    use rowcall_core::clock::TestClock;

    /// A host of files, whose facts the test changes.
    struct Host {
        root: tempfile::TempDir,
        queue: Arc<Queue>,
        clock: SharedClock,
        reader: Reader,
        _folder: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            let clock: SharedClock = Arc::new(TestClock::at(START));
            let (queue, folder) = queue(Arc::clone(&clock), 8 << 20);
            let root = tempfile::tempdir().unwrap();
            let reader = Reader::start(root.path(), &Collect::default(), Arc::clone(&clock));
            let host = Self { root, queue, clock, reader: reader.unwrap(), _folder: folder };
            host.write("proc/sys/kernel/random/boot_id", "boot 1\n");
            host.write("proc/sys/kernel/osrelease", "6.1.0\n");
            host
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        async fn facts(&self, boot_is_new: bool) -> Facts {
            let (queue, clock) = (Arc::clone(&self.queue), Arc::clone(&self.clock));
            Facts::start(self.reader.clone(), queue, clock, boot_is_new).await
        }

        /// Boot id and kernel of each record.
        fn told(&self) -> Vec<(String, String)> {
            let facts = records(&self.queue).into_iter().map(|record| match record.body {
                Body::HostFacts(facts) => (facts.boot_id.unwrap(), facts.kernel.unwrap()),
                body => panic!("no facts but {body:?}"),
            });
            facts.collect()
        }
    }

    #[tokio::test]
    async fn a_change_of_the_host_becomes_a_record_and_the_first_reading_none() {
        let host = Host::new();
        let facts = host.facts(false).await;
        facts.refresh().await;
        assert_eq!(host.told(), [], "nothing is new");
        host.write("proc/sys/kernel/osrelease", "6.2.0\n");
        assert_eq!(facts.refresh().await.kernel.as_deref(), Some("6.2.0"));
        facts.refresh().await;
        assert_eq!(host.told(), [("boot 1".into(), "6.2.0".into())], "told once");
    }

    #[tokio::test]
    async fn a_boot_that_the_spool_does_not_know_is_told_though_nothing_else_changed() {
        let host = Host::new();
        let facts = host.facts(true).await;
        facts.refresh().await;
        assert_eq!(host.told(), [("boot 1".into(), "6.1.0".into())], "told once");
    }
}
