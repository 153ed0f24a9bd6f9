//! What is remembered of each process, in little room.

use std::num::NonZeroU64;
use std::time::Duration;

use super::stat::Stat;

/// Room that a table begins with. An allocator as glibc's maps what is this large by itself, and
/// that table stays apart however it shrinks and grows: it leaves no holes among other things, and
/// gives back each page that it no longer needs. Pages that are not used take no memory.
const FIRST_BYTES: usize = 160 * 1024;

/// An empty table.
pub(super) fn table<T>() -> Vec<T> {
    Vec::with_capacity(FIRST_BYTES / size_of::<T>())
}

/// A table with room for more than this many times what it holds gives room back, once it is this
/// large: what thousands of processes took is not kept after they are gone.
const SPARE: usize = 2;
const SPARE_FROM: usize = 1024;

/// What is remembered of a process. Small: there is one for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) started: u32,
    pub(super) cpu_ticks: u64,
    pub(super) io: SeenIo,
}

/// The low bits of when a process was started tell it from another one of its pid.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
pub(super) fn started(stat: &Stat<'_>) -> u32 {
    stat.started_ticks as u32
}

/// [`Io`] in 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenIo {
    read: u64,
    written: u64,
    /// Microseconds since boot; none where it was refused.
    at: Option<NonZeroU64>,
}

impl From<Io> for SeenIo {
    fn from(io: Io) -> Self {
        match io {
            Io::Refused => Self { read: 0, written: 0, at: None },
            Io::Read { read, written, at } => {
                Self { read, written, at: NonZeroU64::new(micros(at)).or(Some(NonZeroU64::MIN)) }
            }
        }
    }
}

impl From<SeenIo> for Io {
    fn from(SeenIo { read, written, at }: SeenIo) -> Self {
        let read_at = |at: NonZeroU64| Duration::from_micros(at.get());
        at.map_or(Self::Refused, |at| Self::Read { read, written, at: read_at(at) })
    }
}

/// What is known of a process's I/O.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Io {
    /// The kernel does not let us.
    Refused,
    /// Bytes read and written, and the time since boot at which they were.
    Read { read: u64, written: u64, at: Duration },
}

/// As a table keeps it, and so a pass.
pub(super) fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

/// Leaves a table no more room than is worth keeping.
pub(super) fn give_back<T>(table: &mut Vec<T>) {
    if table.capacity() > (table.len() * SPARE).max(SPARE_FROM) {
        table.shrink_to_fit();
    }
}
