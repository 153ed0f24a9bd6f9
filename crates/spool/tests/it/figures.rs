//! What it costs: `cargo test --release -p rowcall-spool --test it figures -- --ignored --nocapture`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcall_core::clock::{Clock as _, TestClock};
use rowcall_core::id::{Epoch, UnixMicros};
use rowcall_core::record::{Body, Sample};
use rowcall_core::session::agent::Holdings as _;
use rowcall_spool::{Settings, Spool};

use super::real::OWNER;

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn sample(n: i64) -> Body {
    Body::Sample(Sample {
        elapsed_us: Some(60_000_123),
        uptime_us: Some(1_234_567_890 + n),
        memory_free_kib: Some(12_345_678),
        memory_available_kib: Some(23_456_789),
        cpu_idle_percent: Some(93.123),
        cpu_kernel_percent: Some(1.5),
        disk_io: Some(1234),
        disk_available_kib: Some(123_456_789),
        clock_shift_us: None,
        vitals: None,
    })
}

fn open(dir: &Path, clock: &Arc<TestClock>) -> Spool {
    let max_age = Duration::from_secs(3650 * 86_400);
    let settings =
        Settings { dir: dir.to_owned(), max_bytes: 64 << 20, max_age, owner: OWNER.into() };
    let clock: Arc<TestClock> = Arc::clone(clock);
    Spool::open(settings, clock, "boot", Epoch::from_random(8)).unwrap().0
}

#[test]
#[ignore = "prints figures of this machine"]
fn figures() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Arc::new(TestClock::at(UnixMicros(1_800_000_000_000_000)));
    let spool = open(dir.path(), &clock);
    println!("empty: {} KiB resident", resident_kib());
    let append = |n| {
        clock.advance(Duration::from_secs(60));
        spool.append(clock.wall(), clock.since_boot(), sample(n));
    };
    let started = Instant::now();
    for n in 0..500 {
        append(n);
        assert!(spool.flush(Duration::from_secs(60)));
    }
    println!("append and fsync, one at a time: {:?} each", started.elapsed() / 500);
    let before = spool.status();
    let started = Instant::now();
    let mut n = 500;
    while spool.status().dropped_records == 0 {
        for _ in 0..1000 {
            append(n);
            n += 1;
        }
        assert!(spool.flush(Duration::from_secs(60)));
    }
    let took = started.elapsed();
    let status = spool.status();
    println!(
        "filled with {} records of {:.1} bytes in {took:?}: {:.0}/s",
        status.unacknowledged_records,
        f64::from(u32::try_from(status.size_bytes).unwrap())
            / f64::from(u32::try_from(status.unacknowledged_records).unwrap()),
        f64::from(u32::try_from(n).unwrap()) / took.as_secs_f64()
    );
    println!(
        "full: {} KiB resident; {} bytes; before {}",
        resident_kib(),
        status.size_bytes,
        before.size_bytes
    );
    assert!(spool.close(Duration::from_secs(60)));
    drop(spool);
    for _ in 0..5 {
        let started = Instant::now();
        let spool = open(dir.path(), &clock);
        println!("opened in {:?}; {} KiB resident", started.elapsed(), resident_kib());
        assert!(spool.close(Duration::from_secs(60)));
    }
    let spool = open(dir.path(), &clock);
    let started = Instant::now();
    let mut from = spool.oldest();
    let mut read = 0;
    while from < spool.next() {
        let records = spool.read_from(from, 200 * 1024);
        from = records.last().unwrap().through().next();
        read += records.len();
    }
    println!("{read} records read in {:?}; {} KiB resident", started.elapsed(), resident_kib());
}
