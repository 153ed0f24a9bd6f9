//! Readings of devices are second to samples: they are left out while they would take the room that
//! samples need, in the spool and in memory. It is said once when that begins and once when it ends,
//! counted for the metrics, and told in the first reading after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::devices::{Devices, SkipReason, Skipped};
use rowcall_core::id::UnixMicros;
use rowcall_core::record::Body;
use tokio::time::Instant as Now;

use crate::devices::parts;
use crate::queue::Queue;
use crate::service::Health;
use crate::ticks::Instant;

/// Where room comes and goes, it is said no more often that there is none.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What is said to be skipped where the spool had no room.
pub(super) const DEVICES: &str = "devices";
pub(super) const NO_ROOM: &str = "readings left out for want of room in the spool";

/// Puts readings into the spool, as far as there is room.
#[derive(Debug)]
pub(super) struct Second {
    queue: Arc<Queue>,
    health: Arc<Health>,
    /// Readings left out since the last one that was not.
    left_out: i32,
    /// And since it was said that they are, until it is said that they are not; and when that was.
    said: Option<u64>,
    said_at: Option<Now>,
    /// Records of a reading that wait for room in memory.
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    time: UnixMicros,
    since_boot: Duration,
    devices: Devices,
}

impl Second {
    pub(super) fn new(queue: Arc<Queue>, health: Arc<Health>) -> Self {
        Self { queue, health, left_out: 0, said: None, said_at: None, parts: VecDeque::new() }
    }

    /// A reading is due: whether it may begin. One that may not is counted.
    pub(super) fn may_begin(&mut self) -> bool {
        let why_not = if !self.queue.spool.has_room() {
            "samples that wait need the rest of the spool"
        } else if self.has_parts() {
            "the spool's disk has not taken what was read before"
        } else {
            self.health.reads_devices();
            if let Some(left_out) = self.said.take() {
                tracing::info!(left_out, "devices are read again");
            }
            return true;
        };
        self.left_out = self.left_out.saturating_add(1);
        self.health.leaves_out_devices();
        if let Some(left_out) = &mut self.said {
            *left_out += 1;
        } else if self.said_at.is_none_or(|at| at.elapsed() >= SAID_AGAIN_AFTER) {
            (self.said, self.said_at) = (Some(1), Some(Now::now()));
            tracing::warn!("devices are not read: {why_not}");
        }
        false
    }

    /// A reading, as records of the time when it began: the parts of one that is too large for one
    /// record each have their own, and the spool moves what has another record's.
    pub(super) fn take(&mut self, began: Instant, mut devices: Devices) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            devices.skipped.push(skipped(Some(NO_ROOM), left_out));
        }
        let mut parts = parts(devices);
        cut(&mut parts, self.queue.spool.most_records());
        parts.retain(|part| *part != Devices::default());
        for (micros, devices) in (0_u32..).zip(parts) {
            let time = began.wall.plus_micros(micros.into());
            let since_boot = began.since_boot + Duration::from_micros(micros.into());
            self.parts.push_back(Part { time, since_boot, devices });
        }
        self.append();
    }

    /// Whether records wait for room.
    pub(super) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Appends what waits, as far as there is room now.
    pub(super) fn append(&mut self) {
        while self.queue.spool.has_room_in_memory() {
            let Some(Part { time, since_boot, devices }) = self.parts.pop_front() else { return };
            self.queue.spool.append(time, since_boot, Body::Devices(Box::new(devices)));
        }
    }
}

fn skipped(item: Option<&str>, count: i32) -> Skipped {
    let (collector, item) = (DEVICES.to_owned(), item.map(str::to_owned));
    Skipped { collector, item, reason: SkipReason::Limit, count }
}

/// Leaves a reading no more parts than a spool of this size can hold beside its samples. What is in
/// the others is counted.
fn cut(parts: &mut Vec<Devices>, most: usize) {
    if parts.len() <= most {
        return;
    }
    let cut = parts.split_off(most.saturating_sub(1));
    let count = i32::try_from(cut.iter().map(things).sum::<usize>()).unwrap_or(i32::MAX);
    let mut last: Vec<_> = cut.into_iter().flat_map(|part| part.skipped).collect();
    last.push(skipped(None, count));
    parts.push(Devices { skipped: last, ..Devices::default() });
}

/// How many devices and values these are.
fn things(devices: &Devices) -> usize {
    let Devices {
        filesystems,
        disks,
        interfaces,
        sensors,
        md_arrays,
        memory_controllers,
        cgroups,
        processes,
        metrics,
        skipped: _,
    } = devices;
    [
        filesystems.len(),
        disks.len(),
        interfaces.len(),
        sensors.len(),
        md_arrays.len(),
        memory_controllers.len(),
        cgroups.len(),
        processes.len(),
        metrics.len(),
    ]
    .iter()
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, queue, records};
    use rowcall_core::clock::TestClock;

    #[test]
    fn a_reading_waits_for_the_one_before_to_be_in_the_spool() {
        let clock = Arc::new(TestClock::at(START));
        let (queue, _folder) = queue(clock, 8 << 20);
        let mut second = Second::new(Arc::clone(&queue), Arc::default());
        let devices = Devices { skipped: vec![skipped(None, 1)], ..Devices::default() };
        second.parts.push_back(Part { time: START, since_boot: Duration::ZERO, devices });
        assert!(queue.spool.has_room() && !second.may_begin());
        second.append();
        assert!(second.may_begin() && second.left_out == 1);
        assert_eq!(records(&queue).len(), 1);
    }
}
