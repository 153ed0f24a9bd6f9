//! From what was found in a folder to a spool that goes on with it.

use std::time::Duration;

use rowcall_core::clock::{Clock, NOT_SET_BEFORE};
use rowcall_core::id::{Epoch, UnixMicros};
use rowcall_core::record::EpochOrigin;

use crate::disk::Disk;
use crate::positions::{Moment, Positions};
use crate::recover::{self, Found, Newer, Slots};
use crate::slots::MADE;
use crate::state::{Orders, State};
use crate::{Last, Opened};

/// A spool as it was found.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) state: State,
    pub(crate) opened: Opened,
    pub(crate) slots: Slots,
    /// Something stands behind the last record.
    pub(crate) wipe: bool,
    /// There was something.
    pub(crate) is_there: bool,
}

/// Reads a folder; `epoch` is for one that does not know its own.
pub(crate) fn begin(
    disk: &dyn Disk,
    clock: &dyn Clock,
    boot_id: &str,
    epoch: Epoch,
) -> Result<Begin, Newer> {
    let mut slots = recover::slots(disk)?;
    let mut firsts = recover::firsts(disk);
    let known = slots.positions.take();
    let is_there = slots.file.is_some() || !firsts.is_empty();
    let gone = known.as_ref().map_or(0, |known| firsts.partition_point(|n| *n < known.floor));
    let leftover = leftover(disk, firsts.drain(..gone).map(crate::segment::name));
    let same_boot = |known: &&Positions| !boot_id.is_empty() && known.boot_id == boot_id;
    let this_boot = known.as_ref().filter(same_boot).map(|known| known.boot);
    let found = recover::segments(disk, &firsts, known.as_ref(), this_boot)?;
    let epoch_is_new = known.is_none();
    let boot_is_new = !boot_id.is_empty() && this_boot.is_none() && !epoch_is_new;
    let mut positions = known.unwrap_or_else(|| {
        let origin = if is_there { EpochOrigin::Damaged } else { EpochOrigin::New };
        let front = found.segments.front();
        let (first, due) = front.map_or((1, 0), |segment| (segment.first, segment.due_before));
        Positions::new(epoch, origin, first, due)
    });
    let clock_now = clock_now(&positions, &found, this_boot, clock);
    positions.boot = this_boot.unwrap_or_else(|| {
        positions.boot.max(found.stamp.map_or(0, |(_, boot, _)| boot)).saturating_add(1)
    });
    boot_id.clone_into(&mut positions.boot_id);
    positions.newest = found.newest;
    let last = found.newest.map(|newest| Last {
        time: positions.time(newest.time, newest.boot, newest.since_boot).0,
        since_boot: (newest.boot == positions.boot)
            .then(|| Duration::from_micros(newest.since_boot)),
        interval: (positions.interval_us > 0).then(|| Duration::from_micros(positions.interval_us)),
    });
    let held_back = found.unset.filter(|_| positions.shift(positions.boot).is_none());
    let next = found.end.next.max(positions.base.saturating_add(1));
    let state = State {
        positions,
        positions_changed: true,
        positions_urgent: true,
        segments: found.segments,
        spare_bytes: 0,
        leftover,
        drops: 0,
        tail_hole: None,
        tail: std::collections::VecDeque::new(),
        tail_bytes: 0,
        next,
        due: found.end.due,
        offered: next,
        offered_due: found.end.due,
        held_back,
        told_clock: None,
        latest_time: found.latest_time,
        latest_since_boot: found.latest_since_boot,
        clock: clock_now,
        fault: None,
        not_durable: !disk.is_durable(),
        write_failures: 0,
        orders: Orders { work: true, force: true, ..Orders::default() },
    };
    let opened = Opened {
        last,
        records: next.saturating_sub(state.positions.floor),
        unacknowledged_records: state.unacknowledged(),
        damaged_records: state.damaged(),
        epoch_is_new,
        boot_is_new,
    };
    Ok(Begin { state, opened, slots, wipe: found.wipe, is_there })
}

/// Files that a process left when it ended: segments that were dropped already, and positions that
/// never got their name.
fn leftover(disk: &dyn Disk, dropped: impl Iterator<Item = String>) -> Vec<(String, u64)> {
    let bytes = |name: &String| disk.open(name).and_then(|file| file.len()).ok();
    let names = dropped.chain([MADE.to_owned()]);
    names.filter_map(|name| bytes(&name).map(|bytes| (name, bytes))).collect()
}

/// The spool's clock now: within one boot by the time since boot, from one boot to the next by the
/// wall clock, where that was set and went forward.
fn clock_now(
    positions: &Positions,
    found: &Found,
    this_boot: Option<u32>,
    clock: &dyn Clock,
) -> Moment {
    let since_boot = u64::try_from(clock.since_boot().as_micros()).unwrap_or(u64::MAX);
    let wall = clock.wall();
    let across = |then: i64| {
        let is_known = UnixMicros(then) >= NOT_SET_BEFORE && wall >= NOT_SET_BEFORE;
        if is_known { u64::try_from(wall.0.saturating_sub(then)).unwrap_or(0) } else { 0 }
    };
    let moment = positions.moment;
    let by_positions = moment.stamp.saturating_add(match this_boot {
        Some(_) => since_boot.saturating_sub(moment.since_boot),
        None => across(moment.wall),
    });
    let by_record = found.stamp.map_or(0, |(stamp, boot, then)| {
        stamp.saturating_add(match this_boot {
            Some(this) if this == boot => since_boot.saturating_sub(then),
            _ => 0,
        })
    });
    Moment { stamp: by_positions.max(by_record), since_boot, wall: wall.0 }
}
