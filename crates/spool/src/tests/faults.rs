//! Full and failing disks, limits, clocks.

use std::collections::BTreeSet;

use rowcall_core::record::{EpochOrigin, GapCause, HostFacts};

use super::*;
use crate::Fault;
use crate::disk::sim::{Dice, Faults};
use crate::state::TAIL_BYTES;

const SEGMENT: u64 = 16 * 1024;

#[test]
fn what_is_synced_survives_a_crash_and_the_test_sees_when_it_does_not() {
    for lies in [false, true] {
        let mut rig = Rig::new(SEGMENT, 8);
        rig.disk.set_faults(Faults { sync_lies: lies, ..Faults::default() });
        let mut lost = false;
        for seed in 1..40 {
            let next = rig.spool.next().as_i64();
            rig.samples(next..=next + 9);
            let disk = rig.disk.crash(&mut Dice(seed * 7919));
            disk.set_faults(Faults { sync_lies: lies, ..Faults::default() });
            rig.reopen(disk);
            let frees: Vec<_> = rig.held().iter().filter_map(free).collect();
            lost |= frees != (1..=next + 9).collect::<Vec<_>>();
            if lost {
                break;
            }
        }
        assert_eq!(lost, lies, "lost only where syncing is switched off");
    }
}

#[test]
fn a_full_disk_leaves_the_room_that_it_has() {
    let rig = Rig::new(SEGMENT, 16);
    rig.samples(1..=100);
    rig.spool.release(sequence(60));
    rig.disk.set_faults(Faults { full: true, ..Faults::default() });
    let room = rig.disk.used();
    for free in 101..=2000 {
        rig.sample(free);
        assert!(rig.spool.flush(PATIENCE), "the oldest segment is used again");
        assert!(rig.disk.used() <= room);
    }
    let status = rig.spool.status();
    assert_eq!(status.fault, Some(Fault::NoSpace));
    let held = rig.held();
    assert_eq!(check_dense(rig.spool.oldest(), rig.spool.due_before_oldest(), &held), 2000);
    let first = gap(&held[0]).unwrap();
    assert_eq!((first.state, first.cause), (GapState::Dropped, GapCause::Storage));
    assert_eq!(held[0].sequence, sequence(61), "what was acknowledged went first");
    rig.disk.set_faults(Faults::default());
    rig.samples(2001..=2002);
    assert_eq!(rig.spool.status().fault, None);
}

#[test]
fn without_any_room_it_lives_in_bounded_memory_and_writes_when_there_is_some() {
    let disk = SimDisk::new();
    disk.set_room(Some(0));
    let mut rig = Rig::on(disk, Limits::in_segments(64 * SEGMENT, WEEK, SEGMENT));
    for free in 1..=5000 {
        rig.sample(free);
    }
    assert!(!rig.spool.flush(PATIENCE), "there is no room");
    assert_eq!(rig.spool.status().fault, Some(Fault::NoSpace));
    assert!(rig.spool.tail_bytes() <= TAIL_BYTES);
    let held = rig.held();
    assert_eq!(rig.spool.next(), sequence(5001), "it is sent all the same");
    assert_eq!(check_dense(Sequence::FIRST, 0, &held), 5000);
    assert_eq!(free(held.last().unwrap()), Some(5000));

    rig.disk.set_room(None);
    rig.samples(5001..=5001);
    assert_eq!(rig.spool.status().fault, None);
    let first = gap(&rig.held()[0]).unwrap().clone();
    assert_eq!((first.state, first.cause), (GapState::Dropped, GapCause::Storage));
    rig.reopen(rig.disk.crash(&mut Dice(3)));
    let held = rig.held();
    assert_eq!(check_dense(Sequence::FIRST, 0, &held), 5001);
    assert_eq!(gap(&held[0]), Some(&first), "the gap is kept like a record");
    assert_eq!(rig.spool.status().dropped_records, first.through.as_u64());
}

#[test]
fn what_is_acknowledged_while_the_disk_is_full_stands_after_a_kill() {
    let disk = SimDisk::new();
    disk.set_room(Some(2 * 4096));
    let mut rig = Rig::on(disk, Limits::in_segments(64 * SEGMENT, WEEK, SEGMENT));
    for free in 1..=20 {
        rig.sample(free);
    }
    assert!(!rig.spool.flush(PATIENCE), "there is room for the positions only");
    rig.spool.release(sequence(15));
    assert!(!rig.spool.flush(PATIENCE));
    rig.reopen(rig.disk.kill());
    assert!(!rig.opened.epoch_is_new);
    let status = rig.spool.status();
    assert_eq!((status.epoch.as_u64(), status.next), (1, sequence(21)));
    assert_eq!(status.acknowledged.map(|(through, _)| through), Some(sequence(15)));
    let left = rig.spool.read_from(sequence(16), usize::MAX);
    assert_eq!(check_dense(sequence(16), 15, &left), 20, "what was in memory only is a gap");
}

#[test]
fn acknowledgements_are_stored_at_once_between_two_tries_of_a_full_disk() {
    let disk = SimDisk::new();
    disk.set_room(Some(2 * 4096));
    let mut rig = Rig::on(disk, Limits::in_segments(64 * SEGMENT, WEEK, SEGMENT));
    let (sender, receiver) = std::sync::mpsc::channel();
    rig.sample(1);
    assert!(!rig.spool.flush(PATIENCE));
    rig.spool.on_sendable(Box::new(move || sender.send(()).unwrap_or(())));
    rig.spool.release(Sequence::FIRST);
    rig.sample(2);
    // It is sent from memory in a round that does not try the disk.
    receiver.recv_timeout(PATIENCE).expect("it is called");
    rig.reopen(rig.disk.kill());
    let status = rig.spool.status();
    assert_eq!((status.epoch.as_u64(), status.next), (1, sequence(3)));
    assert_eq!(status.acknowledged.map(|(through, _)| through), Some(Sequence::FIRST));
}

#[test]
fn a_failed_sync_counts_as_not_written_and_another_file_is_taken() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=5);
    rig.disk.set_faults(Faults { sync_once: true, ..Faults::default() });
    rig.samples(6..=8);
    let status = rig.spool.status();
    assert_eq!((status.write_failures, status.fault), (1, None));
    assert_eq!(crate::recover::firsts(rig.disk.as_ref()), [1, 6]);
    rig.reopen(rig.disk.crash(&mut Dice(11)));
    let frees: Vec<_> = rig.held().iter().filter_map(free).collect();
    assert_eq!(frees, (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_cannot_be_written_holds_nothing_up_and_heals() {
    let rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=5);
    rig.disk.set_faults(Faults { write: true, ..Faults::default() });
    for free in 6..=20 {
        rig.sample(free);
    }
    assert!(!rig.spool.flush(PATIENCE));
    let status = rig.spool.status();
    assert_eq!(status.fault, Some(Fault::Io));
    assert!(status.write_failures > 0);
    assert_eq!(rig.held().len(), 20, "sent from memory");
    rig.spool.release(sequence(18));
    rig.disk.set_faults(Faults::default());
    assert!(rig.spool.flush(PATIENCE));
    assert_eq!((rig.spool.status().fault, rig.held().len()), (None, 20));
}

#[test]
fn a_deleted_folder_is_made_anew_and_what_was_in_it_is_told_as_a_gap() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=30);
    rig.spool.release(sequence(10));
    rig.disk.delete_all();
    rig.samples(31..=40);
    let held = rig.held();
    assert_eq!(check_dense(Sequence::FIRST, 0, &held), 40);
    assert!(is_corrupt(&held[0]));
    assert_eq!((held[0].through(), held.len()), (sequence(30), 11));
    assert_eq!(rig.spool.status().damaged_records, 30);
    rig.reopen(rig.disk.crash(&mut Dice(5)));
    assert_eq!(rig.spool.epoch().as_u64(), 1);
    assert_eq!(rig.held(), held);
}

#[test]
fn what_is_too_old_goes_and_a_clock_that_is_set_makes_nothing_old() {
    let rig = Rig::new(64 * 1024, 16);
    rig.samples(1..=10);
    rig.clock.set_wall(START.plus_micros(10 * 365 * 86_400_000_000));
    rig.samples(11..=12);
    assert_eq!(rig.held().len(), 12);
    rig.spool.release(sequence(5));
    rig.clock.suspend(WEEK + MINUTE);
    rig.samples(13..=13);
    let held = rig.held();
    assert_eq!(check_dense(sequence(6), 5, &held), 13);
    let gap = gap(&held[0]).unwrap();
    assert_eq!((gap.ticks, gap.cause, gap.state), (7, GapCause::Age, GapState::Dropped));
    assert_eq!(free(&held[1]), Some(13));
}

#[test]
fn age_goes_on_over_a_reboot_by_the_wall_clock() {
    for (asleep, kept) in [(WEEK / 2, 10), (WEEK * 2, 1)] {
        let mut rig = Rig::new(64 * 1024, 16);
        rig.samples(1..=10);
        assert!(rig.spool.close(PATIENCE));
        let clock = Arc::new(TestClock::at(rig.clock.wall()));
        clock.advance(asleep);
        rig.clock = clock;
        rig.boot = 2;
        rig.reopen(rig.disk.kill());
        assert!(rig.spool.flush(PATIENCE));
        assert_eq!(rig.held().len(), kept, "records, or one gap");
        assert_eq!(rig.opened.last.unwrap().since_boot, None, "of another boot");
    }
}

#[test]
fn no_two_records_have_the_same_time() {
    let rig = Rig::new(SEGMENT, 64);
    rig.samples(1..=200);
    rig.clock.set_wall(START);
    rig.samples(201..=350);
    rig.clock.set_wall(START.plus_micros(60_000_000));
    for free in 351..=400 {
        rig.append(sample(free));
    }
    assert!(rig.spool.flush(PATIENCE));
    let held = rig.held();
    let times: BTreeSet<_> = held.iter().map(|record| record.time).collect();
    assert_eq!((held.len(), times.len()), (400, 400));
    assert_eq!(held[200].time, held[0].time.plus_micros(1), "moved by no more than needed");
}

#[test]
fn what_was_read_before_the_clock_was_set_waits_and_is_moved() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=3);
    let boot = UnixMicros(7_000_000);
    rig.clock.set_wall(boot);
    for free in 4..=6 {
        rig.sample(free);
    }
    let (wall, since_boot) = (START.plus_micros(5_000_000_000), rig.clock.since_boot());
    rig.clock.set_wall(wall);
    assert!(rig.spool.flush(PATIENCE));
    rig.samples(7..=7);
    assert_eq!(rig.spool.next(), sequence(4), "held back with all that follows");
    assert_eq!(rig.held().len(), 3);
    rig.reopen(rig.disk.kill());
    assert_eq!(rig.spool.next(), sequence(4), "after a restart as well");
    rig.spool.clock_is(boot, since_boot);
    assert!(rig.spool.flush(PATIENCE));
    assert_eq!(rig.spool.next(), sequence(4), "a clock that is not set tells nothing");
    rig.spool.clock_is(wall, since_boot);
    assert!(rig.spool.flush(PATIENCE));
    let held = rig.held();
    assert_eq!(held.len(), 7);
    let times: Vec<_> = held[3..].iter().map(|record| record.time.since(wall)).collect();
    assert_eq!(times, [-120_000_000, -60_000_000, 0, 60_000_000]);
    let shift = |record: &Record| match &record.body {
        Body::Sample(sample) => sample.clock_shift_us,
        _ => None,
    };
    assert_eq!(shift(&held[5]), Some(wall.since(boot) - 180_000_000));
    assert_eq!((shift(&held[2]), shift(&held[6])), (None, None));
    // What was sent keeps its time, whoever asks when.
    rig.reopen(rig.disk.crash(&mut Dice(9)));
    assert_eq!(rig.held(), held);
    assert_eq!(rig.spool.time_at(sequence(5)), Some(held[4].time));
    rig.boot = 2;
    rig.reopen(rig.disk.kill());
    assert_eq!(rig.held(), held, "and in the next boot");
}

#[test]
fn records_that_a_clock_gives_their_times_are_written_once_that_clock_is() {
    for heals in [false, true] {
        let mut rig = Rig::new(SEGMENT, 8);
        rig.samples(1..=3);
        rig.spool.clock_is(rig.clock.wall(), rig.clock.since_boot());
        rig.clock.set_wall(UnixMicros(7_000_000));
        // The positions fail and there is no room to make them anew; the segment takes more.
        rig.disk.set_faults(Faults { sync_once: true, full: true, ..Faults::default() });
        rig.append(sample(4));
        rig.append(sample(5));
        assert!(!rig.spool.flush(PATIENCE));
        let sent = rig.held();
        assert_eq!(sent.len(), 5, "sent from memory");
        if heals {
            rig.disk.set_faults(Faults::default());
            assert!(rig.spool.flush(PATIENCE));
        }
        rig.boot = 2;
        rig.reopen(rig.disk.crash(&mut Dice(5)));
        let held = rig.held();
        let times: BTreeSet<_> = held.iter().map(|record| record.time).collect();
        assert_eq!(times.len(), held.len(), "no two have the same time");
        assert_eq!(held, if heals { &sent } else { &sent[..3] });
    }
}

#[test]
fn records_of_an_earlier_boot_without_a_clock_are_offered_as_they_are() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.clock.set_wall(UnixMicros(1_000_000));
    for free in 1..=3 {
        rig.sample(free);
    }
    assert!(rig.spool.flush(PATIENCE));
    rig.boot = 2;
    rig.reopen(rig.disk.kill());
    assert_eq!(rig.held().len(), 3);
    assert_eq!(rig.held()[0].time, UnixMicros(61_000_000));
}

#[test]
fn a_new_epoch_numbers_what_is_unacknowledged_from_one() {
    let mut rig = Rig::new(SEGMENT, 4);
    rig.samples(1..=1000);
    let oldest = rig.spool.oldest();
    assert_eq!(oldest, Sequence::FIRST, "a gap");
    let dropped = rig.held()[0].through();
    let half = sequence(dropped.as_u64() / 2);
    rig.spool.release(half);
    let epoch = Epoch::new(77).unwrap();
    rig.spool.new_epoch(epoch, EpochOrigin::RolledBack);
    let half = half.as_i64();
    assert_eq!(check_dense(Sequence::FIRST, 0, &rig.held()), 1000 - half);
    assert_eq!(rig.spool.next().as_i64(), 1001 - half);
    rig.reopen(rig.disk.crash(&mut Dice(5)));
    let status = rig.spool.status();
    assert_eq!((status.epoch, status.origin), (epoch, EpochOrigin::RolledBack));
    assert_eq!(i64::try_from(status.dropped_records).unwrap(), dropped.as_i64() - half);
    assert_eq!(check_dense(Sequence::FIRST, 0, &rig.held()), 1000 - half);
}

#[test]
fn facts_too_long_to_be_kept_are_cut() {
    let rig = Rig::new(64 * 1024, 4);
    let os = Some("é".repeat(100_000));
    rig.append(Body::HostFacts(Box::new(HostFacts {
        os,
        cpu_number: Some(4),
        ..HostFacts::default()
    })));
    rig.samples(1..=1);
    let held = rig.held();
    let Body::HostFacts(facts) = &held[0].body else { panic!("no facts") };
    assert_eq!((facts.cpu_number, facts.os.as_ref().map(String::len)), (Some(4), Some(256)));
    assert_eq!(held[1].due_ticks, 1);
}

#[test]
fn a_callback_is_told_when_there_is_more_to_send() {
    let rig = Rig::new(SEGMENT, 8);
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let seen = Arc::new(std::sync::Mutex::new(()));
    rig.spool.on_sendable(Box::new(move || {
        let _seen = seen.lock();
        sender.try_send(()).ok();
    }));
    rig.sample(1);
    receiver.recv_timeout(PATIENCE).expect("it is called");
    assert_eq!(rig.spool.next(), sequence(2));
}
