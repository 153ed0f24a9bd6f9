//! Torn ends, turned bits, lost headers and positions.

use std::sync::Mutex;

use super::*;
use crate::disk::Disk as _;
use crate::format::VERSION;
use crate::open::begin;
use crate::positions::SLOT_BYTES;
use crate::read::Reader;
use crate::state::State;

const FIRST: &str = "00000000000000000001.seg";
const SEGMENT: u64 = 16 * 1024;

/// What is read from a disk that some process left, without a thread.
struct Found {
    state: Mutex<State>,
    reader: Reader,
    opened: Opened,
}

fn look(disk: &Arc<SimDisk>, clock: &TestClock) -> Found {
    let begin = begin(disk.as_ref(), clock, "boot 1", Epoch::new(99).unwrap()).unwrap();
    let disk: Arc<SimDisk> = Arc::clone(disk);
    Found { state: Mutex::new(begin.state), reader: Reader::new(disk), opened: begin.opened }
}

impl Found {
    fn records(&self) -> Vec<Record> {
        self.reader.read(&self.state, Sequence::FIRST, usize::MAX)
    }
}

/// Twenty samples on a disk, as a process that was killed leaves it; with `hint` its positions
/// were stored at the end.
fn twenty(hint: bool) -> (Rig, Vec<Record>) {
    samples(20, SEGMENT, hint)
}

fn samples(most: i64, segment_bytes: u64, hint: bool) -> (Rig, Vec<Record>) {
    let mut rig = Rig::new(segment_bytes, 8);
    rig.samples(1..=most);
    let records = rig.held();
    assert_eq!(check_dense(Sequence::FIRST, 0, &records), most);
    if hint {
        assert!(rig.spool.close(PATIENCE));
    }
    rig.disk = Arc::new(rig.disk.kill());
    (rig, records)
}

/// Where the records of a segment end.
fn ends(content: &[u8]) -> Vec<usize> {
    let mut at = crate::format::HEADER_BYTES;
    let mut ends = vec![at];
    while let Some(length) = crate::format::plausible_length(&content[at..]) {
        at += length;
        ends.push(at);
    }
    ends
}

#[test]
fn a_torn_end_costs_the_torn_record_and_no_other() {
    for hint in [false, true] {
        let (rig, records) = twenty(hint);
        let content = rig.disk.content(FIRST);
        let ends = ends(&content);
        assert_eq!(ends.len(), 21);
        for cut in ends[17]..=ends[20] {
            // A file that ends early, and one whose last bytes were never written.
            for zeros in [false, true] {
                let disk = Arc::new(rig.disk.copy());
                disk.damage(FIRST, |bytes| {
                    bytes.truncate(cut);
                    if zeros {
                        bytes.resize(content.len(), 0);
                    }
                });
                let found = look(&disk, &rig.clock);
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                let read = found.records();
                assert_eq!(read[..whole], records[..whole], "cut at {cut}");
                let lost = if hint { 20 - whole } else { 0 };
                assert_eq!(found.opened.damaged_records, u64::try_from(lost).unwrap());
                let due = check_dense(Sequence::FIRST, 0, &read);
                assert_eq!(due, i64::try_from(whole + lost).unwrap());
                assert!(read[whole..].iter().all(is_corrupt));
            }
        }
    }
}

#[test]
fn any_turned_bit_costs_at_most_the_record_that_it_is_in() {
    let (rig, records) = samples(50, 5 * 1024, true);
    let disk = Arc::new(rig.disk.copy());
    let mut skipped = 0;
    for bit in 0..4096 * 8_usize {
        disk.damage_bit(FIRST, bit);
        let found = look(&disk, &rig.clock);
        let read = found.records();
        check_dense(Sequence::FIRST, 0, &read);
        assert_eq!(read.last().map(Record::through), Some(sequence(50)), "bit {bit}");
        let damaged: Vec<_> = read.iter().filter(|record| is_corrupt(record)).collect();
        assert!(damaged.len() <= 1, "bit {bit}");
        let counted = usize::try_from(found.opened.damaged_records).unwrap();
        assert_eq!(counted, damaged.len(), "bit {bit}");
        for record in read.iter().filter(|record| !is_corrupt(record)) {
            let number = usize::try_from(record.sequence.as_u64()).unwrap();
            assert_eq!(*record, records[number - 1], "bit {bit}: no other record");
        }
        for record in damaged {
            assert_eq!((record.sequence, record.body.ticks()), (record.through(), 1), "one");
            skipped += 1;
        }
        disk.damage_bit(FIRST, bit);
    }
    assert_eq!(skipped, (4096 - crate::format::HEADER_BYTES) * 8, "each bit of each record");
}

#[test]
fn a_segment_without_its_header_is_one_gap_and_what_follows_is_there() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=600);
    let held = rig.held();
    let disk = rig.disk.kill();
    let firsts = crate::recover::firsts(&disk);
    let lost = firsts[1]..firsts[2];
    disk.damage(&crate::segment::name(firsts[1]), |bytes| bytes[..1024].fill(0x55));
    rig.reopen(disk);
    assert_eq!(rig.opened.damaged_records, lost.end - lost.start);
    let read = rig.held();
    assert_eq!(check_dense(Sequence::FIRST, 0, &read), 600);
    let gaps: Vec<_> = read.iter().filter(|record| is_corrupt(record)).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].sequence, gaps[0].through()),
        (sequence(lost.start), sequence(lost.end - 1))
    );
    assert_eq!(rig.spool.time_at(gaps[0].through()), None, "a mark there says nothing");
    assert_eq!(read.iter().filter(|record| held.contains(record)).count() + 1, read.len());
    // It stays as it is over another start, and when more comes.
    let time = gaps[0].time;
    rig.sample(601);
    assert!(rig.spool.close(PATIENCE));
    rig.reopen(rig.disk.kill());
    assert_eq!(rig.held().iter().find(|record| is_corrupt(record)).unwrap().time, time);
}

#[test]
fn one_damaged_slot_of_the_positions_costs_nothing() {
    let (mut rig, records) = twenty(true);
    for slot in 0..2 {
        let disk = rig.disk.copy();
        disk.damage("positions", |bytes| bytes[slot * SLOT_BYTES + 40] ^= 1);
        rig.reopen(disk);
        assert_eq!((rig.spool.epoch(), rig.opened.epoch_is_new), (Epoch::new(1).unwrap(), false));
        assert_eq!(rig.held(), records);
        rig.disk = Arc::new(rig.disk.kill());
    }
}

#[test]
fn without_positions_a_new_epoch_sends_everything_that_is_held() {
    let mut rig = Rig::new(SEGMENT, 8);
    rig.samples(1..=50);
    rig.spool.release(sequence(30));
    assert!(rig.spool.close(PATIENCE));
    let disk = rig.disk.kill();
    disk.damage("positions", |bytes| bytes.fill(0xff));
    rig.reopen(disk);
    assert!(rig.opened.epoch_is_new);
    let status = rig.spool.status();
    assert_eq!(status.origin, rowcall_core::record::EpochOrigin::Damaged);
    assert_eq!((status.epoch.as_u64(), status.unacknowledged_records), (1001, 50));
    let frees: Vec<_> = rig.held().iter().filter_map(free).collect();
    assert_eq!(frees, (1..=50).collect::<Vec<_>>());
}

#[test]
fn what_a_newer_version_wrote_is_not_touched() {
    for name in ["positions", FIRST] {
        let (rig, _) = twenty(true);
        let disk = rig.disk.copy();
        disk.damage(name, |bytes| {
            bytes[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
            if name == FIRST {
                let crc = crc32c::crc32c(&bytes[..60]);
                bytes[60..64].copy_from_slice(&crc.to_le_bytes());
            } else {
                bytes[12..16].fill(0);
                let crc = crc32c::crc32c(&bytes[..SLOT_BYTES]);
                bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            }
        });
        let before: Vec<_> = disk.list().unwrap().iter().map(|name| disk.content(name)).collect();
        let settings =
            Settings { dir: "sim".into(), max_bytes: 1, max_age: WEEK, owner: OWNER.into() };
        let disk = Arc::new(disk);
        let epoch = Epoch::new(5).unwrap();
        let clock: Arc<TestClock> = Arc::clone(&rig.clock);
        let same: Arc<SimDisk> = Arc::clone(&disk);
        let error =
            Spool::open_on(same, &settings, rig.limits, clock, "boot 1", epoch).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("newer version (format 2, this one knows 1)"), "{text}");
        let after: Vec<_> = disk.list().unwrap().iter().map(|name| disk.content(name)).collect();
        assert_eq!(before, after);
    }
}
