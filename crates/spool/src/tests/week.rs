//! Seven days of a node without an aggregator, with a clock that is moved.

use super::*;
use crate::disk::sim::Faults;

#[test]
fn a_week_with_an_hour_of_full_disk_adds_up_to_the_tick() {
    // 7 days of samples are some 700 KiB here: there is room for about two thirds of them.
    let mut rig = Rig::new(32 * 1024, 16);
    let (minutes, full) = (7 * 1440, 3000..3060);
    for minute in 0..minutes {
        if minute == full.start {
            rig.disk.set_faults(Faults { full: true, ..Faults::default() });
        }
        if minute == full.end {
            rig.disk.set_faults(Faults::default());
        }
        rig.sample(minute);
        assert!(rig.spool.flush(PATIENCE), "there is always room in what it has");
        // Once a day the host crashes.
        if minute % 1440 == 700 {
            let mut dice = crate::disk::sim::Dice(u64::try_from(minute).unwrap());
            let disk = rig.disk.crash(&mut dice);
            let faults = rig.disk.faults();
            disk.set_faults(faults);
            rig.reopen(disk);
        }
        assert!(rig.disk.most_used() <= rig.limits.bytes);
    }
    let held = rig.held();
    assert_eq!(check_dense(rig.spool.oldest(), rig.spool.due_before_oldest(), &held), minutes);
    let dropped = gap(&held[0]).expect("what had no room is told as a gap").clone();
    assert_eq!(dropped.state, GapState::Dropped);
    assert_eq!(dropped.from, START.plus_micros(60_000_000), "from the first");
    let frees: Vec<_> = held[1..].iter().filter_map(free).collect();
    assert_eq!(frees, (dropped.ticks..minutes).collect::<Vec<_>>(), "the rest is the newest");
    let status = rig.spool.status();
    assert_eq!(status.dropped_records, u64::try_from(dropped.ticks).unwrap());
    assert_eq!((status.damaged_records, status.due_ticks), (0, minutes));
    // The aggregator is back.
    rig.spool.release(held.last().unwrap().sequence);
    assert_eq!(rig.spool.status().unacknowledged_records, 0);
}
