//! A spike within the interval shows in the sample.

use super::*;

const SPAN: Duration = Duration::from_secs(10);

/// A machine with a clock, at its first reading.
struct Host {
    tree: Tree,
    clock: TestClock,
    sampler: Sampler,
    ticks: u64,
    busy_ticks: u64,
}

impl Host {
    fn new() -> Self {
        let tree = Tree::new();
        let sampler = Sampler::new(tree.root(), &Collect::default());
        let clock = TestClock::at(UnixMicros(0));
        let mut host = Self { tree, clock, sampler, ticks: 0, busy_ticks: 0 };
        host.passes(Duration::ZERO, 0, 100);
        host.sampler.prime(&host.clock);
        host
    }

    /// Time passes; the CPU is busy for so much of it, and so much memory is in use at its end.
    fn passes(&mut self, time: Duration, busy_percent: u64, used_kib: u64) {
        let ticks = u64::try_from(time.as_millis()).unwrap() / 10;
        self.ticks += ticks;
        self.busy_ticks += ticks * busy_percent / 100;
        let idle = self.ticks - self.busy_ticks;
        self.tree.cpu(&format!("{} 0 0 {idle} 0 0 0 0", self.busy_ticks));
        self.tree.memory(1_000, 1_000 - used_kib);
        self.tree.disk(1, self.busy_ticks * 10);
        self.clock.advance(time);
    }

    fn sample(&mut self) -> Box<rowcall_core::vitals::Vitals> {
        self.sampler.sample(&self.clock).sample.vitals.unwrap()
    }
}

#[test]
fn a_spike_of_ten_seconds_shows_in_the_row_of_its_minute_and_in_no_other() {
    let mut host = Host::new();
    for (busy, used) in [(10, 200), (90, 200), (10, 900), (10, 200), (10, 200)] {
        host.passes(SPAN, busy, used);
        host.sampler.peak(&host.clock);
    }
    host.passes(SPAN, 10, 300);
    let vitals = host.sample();
    assert_eq!(vitals.cpu_busy_max_percent, Some(90.0));
    assert_eq!(vitals.cpu_user_percent, Some(140.0 / 6.0));
    assert_eq!(vitals.memory_used_max_kib, Some(900));
    assert_eq!(vitals.disk_busy_max_percent, Some(90.0));
    assert_eq!(vitals.disk_busy_percent, Some(140.0 / 6.0));
    host.passes(TICK, 5, 250);
    let vitals = host.sample();
    assert_eq!(vitals.cpu_busy_max_percent, Some(5.0));
    assert_eq!(vitals.memory_used_max_kib, Some(250));
    assert_eq!(vitals.disk_busy_max_percent, Some(5.0));
}

#[test]
fn without_readings_between_them_a_sample_is_its_own_peak() {
    let mut host = Host::new();
    host.passes(Duration::from_millis(100), 50, 400);
    let vitals = host.sample();
    assert_eq!(vitals.cpu_busy_max_percent, Some(50.0));
    assert_eq!(vitals.memory_used_max_kib, Some(400));
    assert_eq!(vitals.disk_busy_max_percent, Some(50.0));
    assert_eq!(host.sampler.take_peaks().disks.get("sda"), Some(&50.0));
}

#[test]
fn the_moment_between_a_reading_for_peaks_and_the_sample_is_no_peak() {
    let mut host = Host::new();
    host.passes(SPAN, 20, 100);
    host.sampler.peak(&host.clock);
    host.passes(Duration::from_millis(100), 100, 100);
    let vitals = host.sample();
    let over_all = 100.0 * (2.0 + 0.1) / 10.1;
    let told = vitals.cpu_busy_max_percent.unwrap();
    assert!((f64::from(told) - over_all).abs() < 0.001, "{told}");
}

#[test]
fn the_next_reading_for_peaks_is_due_some_time_after_any_other() {
    let clock = TestClock::at(UnixMicros(0));
    let mut sampler = Sampler::new("/nonexistent", &Collect::default());
    assert_eq!(sampler.peak_due(), None, "nothing was asked for yet");
    sampler.prime(&clock);
    assert_eq!(sampler.peak_due(), Some(clock.monotonic() + SPAN));
    clock.advance(Duration::from_secs(7));
    let _reading = sampler.sample(&clock);
    assert_eq!(sampler.peak_due(), Some(clock.monotonic() + SPAN));
    clock.advance(SPAN);
    clock.suspend(TICK);
    sampler.peak(&clock);
    assert_eq!(sampler.peak_due(), Some(clock.monotonic() + SPAN), "by a clock that sleep stops");
    let hasty = Collect { peaks_every: Duration::ZERO, ..Collect::default() };
    let mut sampler = Sampler::new("/nonexistent", &hasty);
    sampler.prime(&clock);
    assert_eq!(sampler.peak_due(), Some(clock.monotonic() + MIN_PEAKS_EVERY));
}

/// The thread needs no request for it.
#[tokio::test]
async fn the_reading_thread_reads_for_peaks_by_itself() {
    let tree = Tree::new();
    let clock = std::sync::Arc::new(TestClock::at(UnixMicros(0)));
    let shared: rowcall_core::clock::SharedClock = std::sync::Arc::<TestClock>::clone(&clock);
    tree.disk(1, 0);
    let reader = Reader::start(tree.root(), &Collect::default(), shared).unwrap();
    reader.prime().await.unwrap();
    tree.disk(1, 9_000);
    clock.advance(SPAN);
    // Each answer makes the thread look at the clock again, which real time would do alone.
    let read = async {
        loop {
            let peaks = reader.peaks().await.unwrap();
            if !peaks.disks.is_empty() {
                return peaks;
            }
            tokio::task::yield_now().await;
        }
    };
    let peaks = tokio::time::timeout(TICK / 2, read).await.unwrap();
    assert_eq!(peaks.disks.get("sda"), Some(&90.0));
    clock.advance(SPAN);
    let vitals = reader.sample().await.unwrap().sample.vitals.unwrap();
    assert_eq!(vitals.disk_busy_percent, Some(45.0));
    assert_eq!(vitals.disk_busy_max_percent, Some(90.0), "taking them leaves the sample's own");
}
