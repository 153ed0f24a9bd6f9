use super::*;
use std::fs;

const SPAN: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(2500);

/// A machine whose disks a test writes down.
struct Tree {
    root: tempfile::TempDir,
    disks: Disks,
    buffer: Buffer,
    now: Duration,
    sampled: Option<Duration>,
}

impl Tree {
    fn with_disks(names: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::create_dir_all(root.path().join("sys/block")).unwrap();
        for name in names {
            fs::create_dir_all(root.path().join("sys/block").join(name).join("device")).unwrap();
        }
        let disks = Disks::new(root.path());
        Self {
            root,
            disks,
            buffer: Buffer::default(),
            now: Duration::from_secs(1000),
            sampled: None,
        }
    }

    fn write(&self, diskstats: &str) {
        fs::write(self.root.path().join("proc/diskstats"), diskstats).unwrap();
    }

    /// A sample some time after the previous reading.
    fn sample_after(&mut self, time: Duration, diskstats: &str) -> Option<Activity> {
        self.write(diskstats);
        self.now += time;
        let elapsed = self.sampled.replace(self.now).map(|sampled| self.now - sampled);
        self.disks.sample(&mut self.buffer, self.now, elapsed, SHORTEST)
    }

    fn sample(&mut self, diskstats: &str) -> Option<Activity> {
        self.sample_after(SPAN, diskstats)
    }

    /// A reading for peaks some time after the previous reading.
    fn peak_after(&mut self, time: Duration, diskstats: &str) {
        self.write(diskstats);
        self.now += time;
        self.disks.peak(&mut self.buffer, self.now, SHORTEST);
    }

    fn requests(&mut self, diskstats: &str) -> Option<u64> {
        self.sample(diskstats).map(|activity| activity.requests)
    }
}

fn line(minor: u32, name: &str, reads: u64, writes: u64) -> String {
    format!("   8      {minor} {name} {reads} 7 7 7 {writes} 7 7 7 0 7 7\n")
}

fn busy(name: &str, busy_ms: u64) -> String {
    format!("   8      0 {name} 10 0 80 5 20 0 160 9 1 {busy_ms} 99\n")
}

#[test]
fn only_whole_disks_count() {
    let mut tree = Tree::with_disks(&["sda", "cciss!c0d0"]);
    let lines = |n| {
        line(0, "sda", n, n)
            + &line(1, "sda1", n, n)
            + &line(2, "dm-0", n, n)
            + &line(3, "cciss/c0d0", n, 0)
    };
    assert_eq!(tree.requests(&lines(10)), None, "nothing to compare with");
    assert_eq!(tree.requests(&lines(15)), Some(5 + 5 + 5));
}

#[test]
fn disks_that_come_or_go_count_from_their_second_reading() {
    let mut tree = Tree::with_disks(&["sda", "sdb", "sdc"]);
    tree.requests(&(line(0, "sda", 1, 1) + &line(1, "sdb", 500, 500)));
    assert_eq!(tree.requests(&(line(0, "sda", 2, 3) + &line(2, "sdc", 900, 900))), Some(3));
    assert_eq!(tree.requests(&(line(0, "sda", 2, 3) + &line(2, "sdc", 901, 900))), Some(1));
    assert_eq!(tree.disks.known.len(), 2, "nothing is kept of what is gone");
}

#[test]
fn a_disk_whose_counters_were_reset_or_that_was_exchanged_is_left_out() {
    let mut tree = Tree::with_disks(&["sda", "sdb"]);
    tree.requests(&(line(0, "sda", 100, 100) + &line(1, "sdb", 5, 5)));
    assert_eq!(tree.requests(&(line(0, "sda", 1, 500) + &line(1, "sdb", 6, 6))), Some(2));
    assert_eq!(tree.requests(&(line(16, "sda", 9, 900) + &line(1, "sdb", 6, 7))), Some(1));
}

#[test]
fn what_was_unreadable_once_spans_no_two_intervals() {
    let mut tree = Tree::with_disks(&["sda"]);
    tree.requests(&line(0, "sda", 1, 1));
    assert_eq!(tree.requests("8 0 sda one\n"), None);
    assert_eq!(tree.requests(&line(0, "sda", 50, 50)), None);
    assert!(tree.disks.take_peaks().is_empty(), "nor does a peak");
    assert_eq!(tree.requests(&line(0, "sda", 50, 51)), Some(1));

    let mut nowhere = Disks::new(Path::new("/nonexistent"));
    assert_eq!(nowhere.sample(&mut Buffer::default(), SPAN, None, SHORTEST), None);
}

#[test]
fn a_machine_without_disks_completes_nothing_and_none_of_them_is_busy() {
    let mut tree = Tree::with_disks(&[]);
    tree.sample("");
    let mut vitals = Vitals::default();
    let none = tree.sample("").unwrap();
    none.tell(&mut vitals);
    assert_eq!(none.requests, 0);
    assert_eq!((vitals.disk_read_kib, vitals.disk_busy_percent), (Some(0), None));
}

#[test]
fn an_old_kernel_with_fourteen_columns_and_virtual_disks_is_read() {
    let mut tree = Tree::with_disks(&["vda", "sr0"]);
    let lines = |vda: &str| {
        format!(
            "   2       0 fd0 0 0 0 0 0 0 0 0 0 0 0\n  11       0 sr0 1 0 8 1 0 0 0 0 0 1 1\n 253       0 vda {vda} 77 88\n 253       1 vda1 5000 2 300 9 712 3 99 8 4294967295 77 88\n 253       0 dm-0 1 0 1 1 1 0 1 1 0 1 1\n"
        )
    };
    tree.sample(&lines("5021 2 300 9 712 3 98 8 0"));
    let activity = tree.sample(&lines("5022 2 316 9 714 3 138 8 0")).unwrap();
    assert_eq!((activity.requests, activity.read_sectors, activity.written_sectors), (3, 16, 40));
}

#[test]
fn newer_kernels_with_discards_and_flushes_are_read() {
    let mut tree = Tree::with_disks(&["nvme0n1"]);
    tree.sample(" 259 0 nvme0n1 11 0 1 1 22 0 1 1 0 1 1 4 0 1 1 5 1\n");
    let now = " 259 0 nvme0n1 12 0 9 1 24 0 17 1 0 5001 1 4 0 1 1 5 1\n";
    let mut vitals = Vitals::default();
    let activity = tree.sample(now).unwrap();
    activity.tell(&mut vitals);
    assert_eq!(activity.requests, 3);
    assert_eq!((vitals.disk_read_kib, vitals.disk_written_kib), (Some(4), Some(8)));
    assert_eq!(vitals.disk_busy_percent, Some(50.0));
}

#[test]
fn the_busiest_disk_is_told_and_never_more_than_always_busy() {
    let mut tree = Tree::with_disks(&["sda", "sdb"]);
    tree.sample(&(busy("sda", 0) + &busy("sdb", 1000)));
    let busiest = tree.sample(&(busy("sda", 2_000) + &busy("sdb", 4_000))).unwrap();
    assert_eq!((busiest.busy, busiest.busiest), (Some(30.0), Some(30.0)));
    let late = tree.sample(&(busy("sda", 12_100) + &busy("sdb", 4_000))).unwrap();
    assert_eq!(late.busy, Some(100.0));
}

#[test]
fn of_a_name_that_stands_twice_the_first_line_counts() {
    let mut tree = Tree::with_disks(&["sda"]);
    let both = |n: u64| line(0, "sda", 100 + n, 0) + &line(0, "sda", 200 + n, 0);
    tree.sample(&both(0));
    assert_eq!(tree.requests(&both(1)), Some(1));
}

#[test]
fn a_counter_that_wrapped_takes_only_itself() {
    let mut tree = Tree::with_disks(&["sda"]);
    tree.sample(" 8 0 sda 10 0 4294967290 1 20 0 40 1 0 4294967000 1\n");
    let activity = tree.sample(" 8 0 sda 11 0 6 1 25 0 60 1 0 200 1\n").unwrap();
    assert_eq!((activity.requests, activity.written_sectors), (6, 20));
    assert_eq!((activity.read_sectors, activity.busy), (0, None));
}

#[test]
fn a_spike_between_two_samples_shows_in_the_sample_and_in_the_disks_peak() {
    let mut tree = Tree::with_disks(&["sda", "sdb"]);
    let both = |sda, sdb| busy("sda", sda) + &busy("sdb", sdb);
    tree.sample(&both(0, 0));
    tree.peak_after(SPAN, &both(1_000, 0));
    tree.peak_after(SPAN, &both(9_000, 100));
    let activity = tree.sample(&both(9_000, 200)).unwrap();
    assert_eq!((activity.busy, activity.busiest), (Some(30.0), Some(80.0)));
    let next = tree.sample(&both(10_000, 300)).unwrap();
    assert_eq!(next.busiest, Some(10.0), "the spike was of the interval before");
    let peaks = tree.disks.take_peaks();
    assert_eq!(peaks.get("sda"), Some(&80.0));
    assert_eq!(peaks.get("sdb"), Some(&1.0));
    assert!(tree.disks.take_peaks().is_empty(), "taken");
}

#[test]
fn a_span_of_a_moment_is_no_peak() {
    let mut tree = Tree::with_disks(&["sda"]);
    tree.sample(&busy("sda", 0));
    tree.peak_after(SPAN, &busy("sda", 1_000));
    let activity = tree.sample_after(Duration::from_millis(100), &busy("sda", 1_100)).unwrap();
    let (over_all, busiest) = (activity.busy.unwrap(), activity.busiest.unwrap());
    assert!((over_all - 100.0 * 1.1 / 10.1).abs() < 1e-9, "{over_all}");
    assert_eq!(busiest, over_all.max(10.0), "and not 100");
}

#[test]
fn a_reading_for_peaks_that_fails_takes_nothing_from_the_sample() {
    let mut tree = Tree::with_disks(&["sda"]);
    tree.sample(&busy("sda", 0));
    tree.peak_after(SPAN, "8 0 sda broken\n");
    tree.peak_after(SPAN, &busy("sda", 9_000));
    let activity = tree.sample(&busy("sda", 9_000)).unwrap();
    assert_eq!(
        (activity.busy, activity.busiest),
        (Some(30.0), Some(30.0)),
        "nothing spans the hole"
    );
}

#[test]
fn what_becomes_a_whole_disk_is_noticed() {
    let mut tree = Tree::with_disks(&["sda"]);
    let both = |n| line(0, "sda", n, 0) + &line(16, "sdb", n, 0);
    tree.sample(&both(1));
    fs::create_dir_all(tree.root.path().join("sys/block/sdb/device")).unwrap();
    assert_eq!(tree.requests(&both(2)), Some(1), "not looked up each time");
    tree.sample_after(LOOK_AGAIN_EVERY, &both(3));
    assert_eq!(tree.requests(&both(4)), Some(2));
}
