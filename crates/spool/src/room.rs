//! Room for what is second. A sample must not be lost; another reading, of devices, may be left out.
//! So whoever reads these asks here first, and what waits for its acknowledgement leaves the samples
//! half of the spool, on the disk and in memory.

use crate::scan::offset;
use crate::state::{State, TAIL_BYTES};
use crate::{Fault, Spool, Status};

/// What is second is begun while what waits takes less than one part in this many.
const HALF: u64 = 2;

/// What is second is appended while less than this waits in memory to be written.
const MEMORY_BYTES: usize = TAIL_BYTES / 2;

/// One reading takes at most one part in this many.
const READING_PARTS: u64 = 4;

/// A record's share of that: the largest that is held.
const RECORD_BYTES: u64 = 16 * 1024;

impl Status {
    /// Whether a spool that may hold `max_bytes` has room for what is second.
    #[must_use]
    pub fn has_room(&self, max_bytes: u64) -> bool {
        is_below_half(self.waiting_bytes, max_bytes)
    }
}

impl Spool {
    /// Whether there is room for a reading that is second, to be asked before it is begun. What is
    /// acknowledged takes none, since it goes first. On a full disk the room is what the spool has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.state();
        let limit = if state.fault == Some(Fault::NoSpace) {
            self.max_bytes().min(state.records_bytes())
        } else {
            self.max_bytes()
        };
        is_below_half(state.waiting_bytes(), limit)
    }

    /// Whether a record of such a reading may be appended now: more memory is for samples. It grows
    /// again when something is written.
    #[must_use]
    pub fn has_room_in_memory(&self) -> bool {
        self.state().tail_bytes < MEMORY_BYTES
    }

    /// Most records of one such reading.
    #[must_use]
    pub fn most_records(&self) -> usize {
        let most = (self.max_bytes() / READING_PARTS / RECORD_BYTES).max(1);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

impl State {
    /// Bytes of what cannot go without being lost, in whole segments.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let acknowledged = self.positions.acknowledged;
        let mut newest_first =
            self.segments.iter().rev().take_while(|segment| segment.last > acknowledged);
        // The newest has room left.
        let newest = newest_first.next().map_or(0, |segment| segment.data_end);
        let others: u64 = newest_first.map(|segment| segment.len).sum();
        newest + others + offset(self.tail_bytes)
    }
}

fn is_below_half(bytes: u64, limit: u64) -> bool {
    bytes < limit / HALF
}
