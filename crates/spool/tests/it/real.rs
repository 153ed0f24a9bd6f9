//! On the real filesystem.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rowcall_core::clock::TestClock;
use rowcall_core::id::{Epoch, Sequence, UnixMicros};
use rowcall_core::record::{Body, EpochOrigin, Record, Sample};
use rowcall_core::session::agent::Holdings as _;
use rowcall_spool::{OpenError, Opened, Settings, Spool};

const START: UnixMicros = UnixMicros(1_800_000_000_000_000);
const PATIENCE: Duration = Duration::from_secs(30);

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(START))
}

fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        max_bytes: 1024 * 1024,
        max_age: Duration::from_secs(7 * 86_400),
    }
}

fn open(dir: &Path, clock: &Arc<TestClock>) -> (Spool, Opened) {
    let clock: Arc<TestClock> = Arc::clone(clock);
    Spool::open(settings(dir), clock, "boot", Epoch::from_random(14)).unwrap()
}

fn sample(free: i64) -> Body {
    Body::Sample(Sample { memory_free_kib: Some(free), ..Sample::default() })
}

fn append(spool: &Spool, clock: &TestClock, body: Body) -> Sequence {
    use rowcall_core::clock::Clock as _;
    clock.advance(Duration::from_secs(60));
    spool.append(clock.wall(), clock.since_boot(), body)
}

fn free(record: &Record) -> i64 {
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
