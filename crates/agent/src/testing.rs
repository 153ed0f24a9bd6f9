//! A spool of a test's own.

use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::SharedClock;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::Record;
use rowcall_spool::{Settings, Spool};
use tempfile::TempDir;

use crate::queue::Queue;

/// A moment at which every clock is set.
pub(crate) const START: UnixMicros = UnixMicros(1_800_000_000_000_000);

/// So many microseconds after [`START`].
pub(crate) fn at(micros: i64) -> UnixMicros {
    START.plus_micros(micros)
}

/// A queue on a spool that takes at most so many bytes, and its folder.
pub(crate) fn queue(clock: SharedClock, max_bytes: u64) -> (Arc<Queue>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        dir: folder.path().join("spool"),
        max_bytes,
        max_age: Duration::from_secs(7 * 86_400),
        owner: "node1".into(),
    };
    let epoch = Epoch::from_random(77 << 1);
    let (spool, _) = Spool::open(settings, clock, "this boot", epoch).unwrap();
    (Arc::new(Queue::new(spool)), folder)
}

/// Everything that may be sent, once all is on disk.
pub(crate) fn records(queue: &Queue) -> Vec<Record> {
    assert!(queue.spool.flush(Duration::from_secs(60)), "not written");
    queue.spool.read_from(Sequence::FIRST, usize::MAX)
}
