//! What is told of records that are lost: how many ticks, when, and whose.

use rowcall_core::record::{EpochOrigin, GapCause};

use super::*;
use crate::OpenError;
use crate::disk::Disk as _;
use crate::positions::{MAX_NUMBER, Positions, Slot};

const SEGMENT: u64 = 16 * 1024;

fn missed(rig: &Rig, ticks: i64) {
    rig.clock.advance(MINUTE);
    let now = rig.clock.wall();
    let (state, cause) = (GapState::Missed, GapCause::Suspended);
    let through = Sequence::FIRST;
    rig.append(Body::Gap(Gap { through, ticks, state, cause, from: now, to: now }));
}

/// Ten records that stand for 208 ticks, of which the first five stand for 54 and are acknowledged.
fn uneven() -> Rig {
    let rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=2);
    missed(&rig, 50);
    rig.samples(4..=6);
    missed(&rig, 150);
    rig.samples(8..=10);
    rig.spool.release(sequence(5));
    assert!(rig.spool.flush(PATIENCE));
    rig
}

fn check_uneven(rig: &Rig, last: u64) {
    let left = rig.spool.read_from(sequence(6), usize::MAX);
    let due = check_dense(sequence(6), 54, &left);
    assert_eq!(due, 208 + i64::try_from(last).unwrap() - 10);
    let gap = gap(&left[0]).unwrap();
    assert_eq!(gap.cause, GapCause::Storage);
    assert_eq!((left[0].sequence, gap.ticks), (sequence(6), 154));
    assert_eq!(gap.from, START.plus_micros(5 * 60_000_000), "the acknowledged record's time");
    assert_eq!(left.last().unwrap().through(), sequence(last));
}

#[test]
fn the_ticks_of_what_was_acknowledged_are_known_when_the_folder_is_deleted() {
    let mut rig = uneven();
    rig.disk.delete_all();
    rig.samples(11..=12);
    check_uneven(&rig, 12);
    rig.reopen(rig.disk.kill());
    check_uneven(&rig, 12);
    let epoch = Epoch::new(7).unwrap();
    rig.spool.new_epoch(epoch, EpochOrigin::RolledBack);
    assert_eq!(check_dense(Sequence::FIRST, 0, &rig.held()), 210 - 54);
}

#[test]
fn the_ticks_of_what_was_acknowledged_are_known_when_a_segment_is_lost() {
    for only_header in [false, true] {
        let mut rig = uneven();
        let name = crate::segment::name(1);
        assert!(rig.spool.close(PATIENCE));
        let disk = rig.disk.kill();
        if only_header {
            disk.damage(&name, |bytes| bytes[..1024].fill(0x55));
        } else {
            disk.remove(&name).unwrap();
        }
        rig.reopen(disk);
        check_uneven(&rig, 10);
        rig.samples(11..=11);
        check_uneven(&rig, 11);
    }
}

#[test]
fn an_acknowledgement_inside_a_segment_is_found_by_reading_on() {
    let rig = Rig::new(256 * 1024, 4);
    for number in 1..=300 {
        if number % 7 == 0 {
            missed(&rig, number);
        } else {
            rig.sample(number);
        }
    }
    assert!(rig.spool.flush(PATIENCE));
    let held = rig.held();
    for through in [3, 14, 15, 140, 299, 300] {
        rig.spool.release(sequence(through));
        assert!(rig.spool.flush(PATIENCE));
        let slots = crate::recover::slots(rig.disk.as_ref()).unwrap();
        let known = slots.positions.unwrap().known.unwrap();
        let record = &held[usize::try_from(through).unwrap() - 1];
        assert_eq!((known.number, known.due), (through, record.due_ticks));
        assert_eq!(known.time, Some(record.time));
    }
}

#[test]
fn gaps_of_neighbours_that_are_lost_span_the_time_between_what_is_left() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=800);
    let held = rig.held();
    assert!(rig.spool.close(PATIENCE));
    let disk = rig.disk.kill();
    let firsts = crate::recover::firsts(&disk);
    for first in &firsts[1..=2] {
        disk.damage(&crate::segment::name(*first), |bytes| bytes[..1024].fill(0x55));
    }
    rig.reopen(disk);
    let read = rig.held();
    assert_eq!(check_dense(Sequence::FIRST, 0, &read), 800);
    let gaps: Vec<_> = read.iter().filter_map(gap).collect();
    let time = |number: u64| held[usize::try_from(number).unwrap() - 1].time;
    assert_eq!(gaps.len(), 2);
    for gap in gaps {
        assert_eq!((gap.from, gap.to), (time(firsts[1] - 1), time(firsts[3])));
    }
}

#[test]
fn a_file_whose_name_nothing_confirms_does_not_decide_what_comes_next() {
    for number in [u64::MAX, 1 << 62, 1 << 40] {
        for header in [false, true] {
            let mut rig = Rig::new(SEGMENT, 8);
            rig.samples(1..=20);
            assert!(rig.spool.close(PATIENCE));
            let held = rig.held();
            let disk = rig.disk.kill();
            let first = disk.content(&crate::segment::name(1));
            let file = disk.create(&crate::segment::name(number), SEGMENT).unwrap();
            if header {
                file.write_at(&first, 0).unwrap();
            }
            rig.reopen(disk);
            assert_eq!(rig.held(), held);
            assert_eq!(rig.spool.next(), sequence(21), "{number} is no number of this spool");
            assert_eq!(rig.opened.damaged_records, 0);
            rig.samples(21..=22);
            assert_eq!(rig.spool.next(), sequence(23));
            assert!(!rig.disk.content(&crate::segment::name(number)).is_empty());
        }
    }
}

#[test]
fn positions_with_numbers_that_no_spool_comes_to_are_damaged() {
    let of = |first| {
        let positions = Positions::new(Epoch::new(3).unwrap(), EpochOrigin::New, first, 0);
        Positions::decode(&positions.encode(1))
    };
    assert!(matches!(of(MAX_NUMBER), Slot::Ok(1, _)));
    assert_eq!(of(MAX_NUMBER + 1), Slot::Damaged);
    assert_eq!(of(u64::MAX), Slot::Damaged);
}

#[test]
fn a_spool_of_another_host_is_not_opened_and_not_touched() {
    let rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=5);
    assert!(rig.spool.close(PATIENCE));
    let disk = Arc::new(rig.disk.kill());
    let contents =
        || -> Vec<_> { disk.list().unwrap().iter().map(|name| disk.content(name)).collect() };
    let before = contents();
    let open = |owner: &str| {
        let settings = Settings {
            dir: "/spool".into(),
            max_bytes: rig.limits.bytes,
            max_age: WEEK,
            owner: owner.into(),
        };
        let same: Arc<SimDisk> = Arc::clone(&disk);
        let clock: Arc<TestClock> = Arc::clone(&rig.clock);
        let epoch = Epoch::new(5).unwrap();
        Spool::open_on(same, &settings, rig.limits, clock, "boot 1", epoch).map(|(spool, _)| spool)
    };
    let error = open("there.example").unwrap_err();
    assert!(matches!(error, OpenError::OtherHost { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with(
            "the spool /spool belongs to host here.example, and this agent's certificate names \
             there.example:"
        ),
        "{text}"
    );
    assert!(text.contains("move the folder away") && text.contains("spool_dir"), "{text}");
    assert_eq!(contents(), before);
    for owner in ["", OWNER] {
        let spool = open(owner).unwrap();
        assert_eq!(spool.next(), sequence(6));
        assert!(spool.close(PATIENCE));
        assert!(matches!(open("there.example").unwrap_err(), OpenError::OtherHost { .. }));
    }
}
