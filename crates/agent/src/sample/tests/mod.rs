//! Whole samples, on recorded machines and on this one.

mod hostile;
mod kernels;
mod peaks;
mod tree;

use super::*;
use rowcall_core::clock::{SystemClock, TestClock};
use tree::Tree;

const TICK: Duration = Duration::from_secs(60);

fn classic() -> Collect {
    Collect::of(crate::collect::Profile::Classic)
}

#[test]
fn differences_span_the_time_since_the_previous_reading() {
    let tree = Tree::new();
    let clock = TestClock::at(UnixMicros(1_000_000));
    let mut sampler = Sampler::new(tree.root(), &classic());
    tree.cpu("0 0 0 100 0 0 0 0");
    tree.disk(7, 0);
    sampler.prime(&clock);
    clock.advance(Duration::from_secs(2));
    tree.cpu("25 0 25 250 0 0 0 0");
    tree.disk(10, 0);
    let reading = sampler.sample(&clock);
    assert_eq!(reading.time, UnixMicros(3_000_000));
    assert_eq!(reading.sample.elapsed_us, Some(2_000_000));
    assert_eq!(reading.sample.uptime_us, Some(3_602_000_000));
    assert_eq!(reading.sample.cpu_idle_percent, Some(75.0));
    assert_eq!(reading.sample.cpu_kernel_percent, Some(12.5));
    assert_eq!(reading.sample.disk_io, Some(3));
}

#[test]
fn without_a_reading_before_it_a_sample_has_no_differences() {
    let tree = Tree::centos_7();
    let mut sampler = Sampler::new(tree.root(), &Collect::default());
    let sample = sampler.sample(&TestClock::at(UnixMicros(0))).sample;
    assert_eq!((sample.elapsed_us, sample.cpu_idle_percent, sample.disk_io), (None, None, None));
    assert!(sample.memory_free_kib.is_some());
    let vitals = sample.vitals.unwrap();
    assert!(vitals.load_1.is_some() && vitals.tcp_established.is_some());
    for (name, value) in vitals.values() {
        let is_difference = [
            "cpu_",
            "context_",
            "forks",
            "swap_in",
            "swap_out",
            "major_",
            "oom_",
            "pressure_",
            "disk_",
            "net_",
            "tcp_retrans",
            "tcp_listen",
        ];
        if is_difference.iter().any(|start| name.starts_with(start)) {
            assert_eq!(value, None, "{name}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_unknown_and_the_rest_still_comes() {
    let tree = Tree::new();
    let clock = TestClock::at(UnixMicros(0));
    let mut sampler = Sampler::new(tree.root(), &Collect::default());
    sampler.prime(&clock);
    clock.advance(Duration::from_secs(1));
    let sample = sampler.sample(&clock).sample;
    assert_eq!((sample.cpu_idle_percent, sample.disk_io), (None, None));
    assert_eq!((sample.memory_free_kib, sample.memory_available_kib), (None, None));
    assert_eq!(sample.elapsed_us, Some(1_000_000));
    assert!(sample.disk_available_kib.is_some());
    assert_eq!(sample.vitals.unwrap().known(), 0);
}

#[test]
fn the_classic_profile_opens_no_more_files_than_its_columns_need() {
    let tree = Tree::centos_7();
    let open = |collect: &Collect| {
        let mut sampler = Sampler::new(tree.root(), collect);
        sampler.prime(&TestClock::at(UnixMicros(0)));
        let below = tree.root().canonicalize().unwrap();
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let mut names: Vec<_> = targets
            .filter_map(|target| {
                target.strip_prefix(&below).ok().map(|path| path.display().to_string())
            })
            .collect();
        names.sort();
        (names, sampler.peak_due().is_some(), sampler.sample(&TestClock::at(UnixMicros(0))))
    };
    let (files, peaks, reading) = open(&classic());
    assert_eq!(files, ["proc/diskstats", "proc/meminfo", "proc/stat"]);
    assert!(!peaks && reading.sample.vitals.is_none());
    let (files, peaks, reading) = open(&Collect::default());
    assert_eq!(files, tree::FILES, "each stays open, once");
    assert!(peaks && reading.sample.vitals.is_some());
    let (files, peaks, _) = open(&Collect { devices_every: Some(TICK), ..classic() });
    assert!(peaks && files.contains(&"proc/net/dev".to_owned()), "devices have peaks, too");
}

#[test]
fn this_machine_gives_sane_values() {
    let mut sampler = Sampler::new("/", &Collect::default());
    sampler.prime(&SystemClock);
    // Enough work that the kernel's clock ticks.
    let until = SystemClock.monotonic() + Duration::from_millis(50);
    while SystemClock.monotonic() < until {}
    sampler.peak(&SystemClock);
    let reading = sampler.sample(&SystemClock);
    let sample = reading.sample;
    let (idle, kernel) = (sample.cpu_idle_percent.unwrap(), sample.cpu_kernel_percent.unwrap());
    assert!((0.0..=100.0).contains(&idle) && (0.0..=100.0).contains(&kernel));
    assert!(idle + kernel <= 100.0 + 1e-9, "{idle} + {kernel}");
    assert!(sample.elapsed_us.unwrap() >= 50_000);
    assert!(sample.disk_io.unwrap() >= 0);
    assert!(sample.disk_available_kib.unwrap() >= 0);
    assert!(sample.memory_available_kib.unwrap() > 0);
    assert!(reading.time.0 > 1_600_000_000_000_000);
    let vitals = sample.vitals.unwrap();
    hostile::check_sane(&vitals);
    let cpu = [
        vitals.cpu_user_percent,
        vitals.cpu_nice_percent,
        vitals.cpu_system_percent,
        vitals.cpu_iowait_percent,
        vitals.cpu_irq_percent,
        vitals.cpu_softirq_percent,
        vitals.cpu_steal_percent,
    ];
    let whole: f64 = cpu.iter().map(|share| f64::from(share.unwrap())).sum::<f64>() + idle;
    assert!((whole - 100.0).abs() < 0.01, "all modes are the whole: {whole}");
    assert!(vitals.cpu_busy_max_percent.unwrap() > 0.0);
    assert!(vitals.load_1.is_some() && vitals.processes_running.unwrap() >= 1);
    assert!(vitals.forks.is_some() && vitals.context_switches.unwrap() > 0);
    assert!(vitals.processes.unwrap() >= 1);
    assert!(vitals.memory_used_max_kib.unwrap() > 0 && vitals.memory_cached_kib.unwrap() > 0);
    assert!(vitals.major_faults.is_some() && vitals.swap_used_kib.is_some());
    assert!(vitals.net_rx_bytes.is_some() && vitals.tcp_established.is_some());
    assert!(vitals.file_handles.unwrap() > 0);
    assert_eq!(vitals.clock_offset_us, None, "the link knows it");
    if std::path::Path::new("/proc/pressure/cpu").exists() {
        assert!(vitals.pressure_cpu_some_percent.is_some());
    }
}

#[test]
fn descriptors_and_memory_stay_as_they_are_over_many_samples() {
    let tree = Tree::centos_7();
    let clock = TestClock::at(UnixMicros(0));
    let mut sampler = Sampler::new(tree.root(), &Collect::default());
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let below = tree.root().canonicalize().unwrap();
    let count = || {
        open()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.starts_with(&below))
            .count()
    };
    sampler.prime(&clock);
    let first = count();
    for _ in 0..1000 {
        clock.advance(TICK);
        sampler.peak(&clock);
        let _reading = sampler.sample(&clock);
        let _peaks = sampler.take_peaks();
    }
    assert_eq!(count(), first);
}
