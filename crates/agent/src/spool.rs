//! Opening the spool, and what is said of it.

use std::path::Path;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, HostName};
use rowcall_spool::{Fault, OpenError, Opened, Settings, Spool};

use crate::{Error, random};

/// Opens it, on a thread of its own: a disk may hang.
pub(crate) async fn open(
    settings: Settings,
    clock: SharedClock,
    boot_id: String,
) -> Result<(Spool, Opened), Error> {
    let dir = settings.dir.clone();
    let epoch = Epoch::from_random(random::bits());
    let opening = move || Spool::open(settings, clock, &boot_id, epoch);
    let opened = tokio::task::spawn_blocking(opening).await;
    let (spool, opened) = opened.map_err(|error| Error::Thread(std::io::Error::other(error)))??;
    let dir = dir.display();
    if opened.damaged_records > 0 {
        let damaged_records = opened.damaged_records;
        tracing::warn!(%dir, damaged_records, "the spool has damaged records, which are skipped");
    }
    Ok((spool, opened))
}

/// Whether this host could use it, without changing anything. Settings are checked before a restart, and
/// by root: that an agent runs on it, as a user of its own, is nothing wrong.
pub(crate) fn check(dir: &Path, host: &HostName) -> Result<(), Error> {
    match rowcall_spool::check(dir, host.as_str()) {
        Ok(None) | Err(OpenError::InUse { .. } | OpenError::OtherOwner { .. }) => Ok(()),
        Ok(Some(fault)) => {
            tracing::warn!("spool_dir {}: {}", dir.display(), in_words(fault));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// What keeps it from being safe from a crash.
pub(crate) fn in_words(fault: Fault) -> &'static str {
    match fault {
        Fault::NotDurable => {
            "the spool lies in memory or on a network: what is in it does not survive a crash of \
             this machine; name a folder on a disk of this machine as spool_dir"
        }
        Fault::NoSpace => "no room on its disk: free some, the oldest samples are dropped first",
        Fault::Io => "it cannot be written: check its disk and folder",
    }
}
