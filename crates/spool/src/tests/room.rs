//! The limit of bytes holds at every moment, whatever fails.

use super::*;
use crate::Fault;
use crate::disk::Disk as _;
use crate::disk::sim::{Dice, Faults};
use crate::slots::MADE;
use crate::state::FIXED_BYTES;

const SEGMENT: u64 = 8192;

/// Room for four segments and not a byte more.
fn tight() -> Rig {
    let limits = Limits::in_segments(4 * SEGMENT + FIXED_BYTES, WEEK, SEGMENT);
    Rig::on(SimDisk::new(), limits)
}

fn check(rig: &Rig, ticks: i64) {
    let (most, limit) = (rig.disk.most_used(), rig.limits.bytes);
    assert!(most <= limit, "{most} bytes at one moment, the limit is {limit}");
    let held = rig.held();
    assert_eq!(check_dense(rig.spool.oldest(), rig.spool.due_before_oldest(), &held), ticks);
    assert_eq!(held.last().and_then(free), Some(ticks), "the newest is there");
}

#[test]
fn what_waited_in_memory_for_a_disk_takes_no_more_than_the_limit_when_it_is_written() {
    let rig = tight();
    rig.samples(1..=600);
    rig.disk.set_faults(Faults { write: true, ..Faults::default() });
    for free in 601..=1500 {
        rig.sample(free);
    }
    assert!(!rig.spool.flush(PATIENCE));
    rig.disk.set_faults(Faults::default());
    assert!(rig.spool.flush(PATIENCE), "many segments in one round");
    check(&rig, 1500);
}

#[test]
fn what_cannot_be_removed_counts_and_goes_later() {
    for faults in
        [Faults { remove: true, ..Faults::default() }, Faults { names: true, ..Faults::default() }]
    {
        let rig = tight();
        rig.samples(1..=600);
        rig.disk.set_faults(faults);
        let mut all_safe = true;
        for free in 601..=1000 {
            rig.sample(free);
            // While the last segment has room for it, it is safe all the same.
            all_safe &= rig.spool.flush(PATIENCE);
        }
        assert_eq!((all_safe, rig.spool.status().fault), (false, Some(Fault::Io)), "{faults:?}");
        check(&rig, 1000);
        rig.disk.set_faults(Faults::default());
        rig.samples(1001..=1500);
        check(&rig, 1500);
    }
}

#[test]
fn positions_that_never_got_their_name_go_at_the_next_start() {
    let mut rig = tight();
    rig.samples(1..=600);
    let disk = rig.disk.kill();
    disk.create(MADE, 8192).unwrap();
    rig.reopen(disk);
    assert!(!rig.disk.list().unwrap().contains(&MADE.to_owned()));
    rig.samples(601..=1000);
    check(&rig, 1000);
}

#[test]
fn positions_are_made_anew_beside_the_old_ones_within_the_limit() {
    let rig = tight();
    rig.samples(1..=600);
    for free in 601..=660 {
        // A sync fails, whose ever it is.
        rig.disk.set_faults(Faults { sync_once: true, ..Faults::default() });
        rig.spool.release(sequence(u64::try_from(free - 5).unwrap()));
        rig.samples(free..=free);
    }
    check(&rig, 660);
}

#[test]
fn a_segment_that_was_cut_is_no_longer_after_a_crash() {
    for seed in 1..20 {
        let mut rig = tight();
        rig.samples(1..=5);
        for free in 6..=30 {
            // A new segment for each.
            rig.clock.suspend(WEEK / 10);
            rig.samples(free..=free);
        }
        rig.samples(31..=500);
        rig.reopen(rig.disk.crash(&mut Dice(seed * 7919)));
        check(&rig, 500);
    }
}

#[test]
fn a_limit_that_is_lowered_holds_after_the_start() {
    let mut rig = Rig::new(64 * SEGMENT, 8);
    rig.samples(1..=5);
    let disk = rig.disk.kill();
    rig.limits = Limits::in_segments(4 * SEGMENT + FIXED_BYTES, WEEK, SEGMENT);
    rig.reopen(disk);
    assert!(rig.disk.used() <= rig.limits.bytes, "{} bytes", rig.disk.used());
    assert_eq!(rig.held().len(), 5, "what was not used of it goes, and no record");
    rig.samples(6..=1500);
    assert!(rig.disk.used() <= rig.limits.bytes);
    assert_eq!(check_dense(Sequence::FIRST, 0, &rig.held()), 1500);
}
