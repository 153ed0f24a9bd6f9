//! On the real filesystem, whatever it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::TestClock;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, EpochOrigin, Record, Sample};
use rowcall_core::session::agent::Holdings as _;
use rowcall_spool::{InspectError, OpenError, Opened, Settings, Spool, check, inspect};

const START: UnixMicros = UnixMicros(1_800_000_000_000_000);
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const OWNER: &str = "here.example";

pub(super) fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(START))
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch::new(number).unwrap()
}

pub(super) fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        max_bytes: 1024 * 1024,
        max_age: Duration::from_secs(7 * 86_400),
        owner: OWNER.into(),
    }
}

pub(super) fn open(dir: &Path, clock: &Arc<TestClock>) -> (Spool, Opened) {
    let clock: Arc<TestClock> = Arc::clone(clock);
    Spool::open(settings(dir), clock, "boot", Epoch::from_random(14)).unwrap()
}

pub(super) fn sample(free: i64) -> Body {
    Body::Sample(Sample { memory_free_kib: Some(free), ..Sample::default() })
}

pub(super) fn append(spool: &Spool, clock: &TestClock, body: Body) -> Sequence {
    use rowcall_core::clock::Clock as _;
    clock.advance(Duration::from_secs(60));
    spool.append(clock.wall(), clock.since_boot(), body)
}

pub(super) fn free(record: &Record) -> i64 {
    match &record.body {
        Body::Sample(sample) => sample.memory_free_kib.unwrap(),
        body => panic!("no sample but {body:?}"),
    }
}

#[test]
fn what_is_synced_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state/spool");
    let clock = clock();
    let (spool, opened) = open(&dir, &clock);
    assert!(opened.epoch_is_new && opened.last.is_none() && opened.records == 0);
    spool.set_interval(Duration::from_secs(60));
    for free in 1..=1000 {
        append(&spool, &clock, sample(free));
    }
    assert!(spool.flush(PATIENCE));
    assert_eq!(spool.next().as_u64(), 1001);
    spool.release(Sequence::new(400).unwrap());
    assert!(spool.close(PATIENCE));
    drop(spool);

    let (spool, opened) = open(&dir, &clock);
    assert_eq!((opened.records, opened.unacknowledged_records), (1000, 600));
    assert_eq!((opened.damaged_records, opened.epoch_is_new), (0, false));
    let last = opened.last.unwrap();
    assert_eq!(last.time, START.plus_micros(60_000_000_000));
    assert_eq!(last.interval, Some(Duration::from_secs(60)));
    assert_eq!((spool.epoch(), spool.status().origin), (Epoch::from_random(14), EpochOrigin::New));
    let records = spool.read_from(Sequence::FIRST, usize::MAX);
    assert_eq!(records.len(), 1000);
    for (number, record) in (1..).zip(&records) {
        assert_eq!((record.sequence.as_i64(), record.due_ticks), (number, number));
        assert_eq!(free(record), number);
        assert_eq!(spool.time_at(record.sequence), Some(record.time));
    }
    assert_eq!(append(&spool, &clock, sample(7)).as_u64(), 1001);
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let (spool, _) = open(dir.path(), &clock);
    let error =
        Spool::open(settings(dir.path()), clock, "boot", Epoch::from_random(2)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { pid: Some(_), .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(spool);
}

#[test]
fn a_path_that_is_no_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = Spool::open(settings(&place), clock(), "boot", epoch(2)).unwrap_err();
        assert!(matches!(error, OpenError::NotAFolder { .. }), "{error:?}");
        assert!(matches!(check(&place, OWNER).unwrap_err(), OpenError::NotAFolder { .. }));
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "text");
}

#[test]
fn root_does_not_write_into_the_folder_of_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spool");
    std::fs::create_dir(&place).unwrap();
    if std::os::unix::fs::chown(&place, Some(12_345), None).is_err() {
        println!("SKIPPED: chown is not permitted here");
        return;
    }
    let error = Spool::open(settings(&place), clock(), "boot", epoch(2)).unwrap_err();
    assert!(matches!(error, OpenError::OtherOwner { owner: 12_345, .. }), "{error:?}");
    assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    assert!(matches!(check(&place, OWNER).unwrap_err(), OpenError::OtherOwner { .. }));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing is made");
}

#[test]
fn a_folder_deleted_while_running_is_made_anew_and_locked() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spool");
    let clock = clock();
    let (spool, _) = open(&place, &clock);
    for free in 1..=10 {
        append(&spool, &clock, sample(free));
    }
    assert!(spool.flush(PATIENCE));
    std::fs::remove_dir_all(&place).unwrap();
    append(&spool, &clock, sample(11));
    assert!(spool.flush(PATIENCE));
    let error = Spool::open(settings(&place), Arc::<TestClock>::clone(&clock), "boot", epoch(2))
        .unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(spool.close(PATIENCE));
    drop(spool);
    let (spool, opened) = open(&place, &clock);
    assert_eq!((opened.damaged_records, spool.epoch()), (10, Epoch::from_random(14)));
    let records = spool.read_from(Sequence::FIRST, usize::MAX);
    assert_eq!((records.len(), records[1].due_ticks), (2, 11));
}

#[test]
fn it_can_be_looked_at_while_it_runs_and_when_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("spool");
    assert!(matches!(inspect(&place).unwrap_err(), InspectError::Missing { .. }));
    check(&place, OWNER).unwrap();
    assert!(!place.exists(), "checking makes nothing");
    let clock = clock();
    let (spool, _) = open(&place, &clock);
    for free in 1..=10 {
        append(&spool, &clock, sample(free));
    }
    spool.release(Sequence::FIRST);
    assert!(spool.flush(PATIENCE));
    spool.release(Sequence::new(4).unwrap());
    assert!(spool.flush(PATIENCE));
    let seen = inspect(&place).unwrap();
    assert_eq!(seen.held_by, Some(std::process::id()));
    let status = spool.status();
    assert_eq!((seen.status.epoch, seen.status.next), (status.epoch, status.next));
    assert_eq!(
        (seen.status.oldest, seen.status.acknowledged),
        (status.oldest, status.acknowledged)
    );
    assert_eq!((seen.status.unacknowledged_records, seen.status.due_ticks), (6, 10));
    assert!(matches!(check(&place, OWNER).unwrap_err(), OpenError::InUse { .. }));
    assert!(spool.close(PATIENCE));
    drop(spool);
    assert_eq!(inspect(&place).unwrap().held_by, None);
    check(&place, OWNER).unwrap();
}
