//! Reads and writes completed by whole disks, from /proc/diskstats.
//!
//! A whole disk is what has a `device` link in /sys/block: so no partition, loop, ram, device
//! mapper or md device, which would count the same request again.

use std::collections::HashMap;
use std::path::Path;

use procfs::{DiskStats, FromRead};

/// What each whole disk has completed since it appeared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(HashMap<Device, Completed>);

/// A disk. The numbers are part of its name: another disk may come back under the same letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    major: i32,
    minor: i32,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Completed {
    reads: u64,
    writes: u64,
}

impl Counts {
    /// Reads `<root>/proc/diskstats`; `None` when it cannot be read or understood.
    pub(super) fn read(root: &Path) -> Option<Self> {
        let sys_block = root.join("sys/block");
        if !sys_block.is_dir() {
            return None;
        }
        let stats = DiskStats::from_file(root.join("proc/diskstats")).ok()?;
        let whole = stats.0.into_iter().filter(|stat| {
            // sysfs writes '!' where a device's name has '/'.
            let name = stat.name.replace('/', "!");
            sys_block.join(name).join("device").symlink_metadata().is_ok()
        });
        Some(Self(
            whole
                .map(|stat| {
                    let device = Device { major: stat.major, minor: stat.minor, name: stat.name };
                    (device, Completed { reads: stat.reads, writes: stat.writes })
                })
                .collect(),
        ))
    }

    /// Requests completed from `earlier` to here, by the disks that are in both. A disk whose
    /// counters went back was replaced and counts nothing.
    pub(super) fn completed_since(&self, earlier: &Self) -> u64 {
        self.0
            .iter()
            .filter_map(|(device, now)| {
                let before = earlier.0.get(device)?;
                let reads = now.reads.checked_sub(before.reads)?;
                let writes = now.writes.checked_sub(before.writes)?;
                Some(reads.saturating_add(writes))
            })
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn with_disks(names: &[&str]) -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("proc")).unwrap();
            fs::create_dir_all(root.path().join("sys/block")).unwrap();
            for name in names {
                fs::create_dir_all(root.path().join("sys/block").join(name).join("device"))
                    .unwrap();
            }
            Self(root)
        }

        fn counts(&self, diskstats: &str) -> Option<Counts> {
            fs::write(self.0.path().join("proc/diskstats"), diskstats).unwrap();
            Counts::read(self.0.path())
        }
    }

    fn line(minor: u32, name: &str, reads: u64, writes: u64) -> String {
        format!("   8      {minor} {name} {reads} 7 7 7 {writes} 7 7 7 0 7 7\n")
    }

    #[test]
    fn only_whole_disks_count() {
        let tree = Tree::with_disks(&["sda", "cciss!c0d0"]);
        let lines = |n| {
            line(0, "sda", n, n)
                + &line(1, "sda1", n, n)
                + &line(2, "dm-0", n, n)
                + &line(3, "cciss/c0d0", n, 0)
        };
        let before = tree.counts(&lines(10)).unwrap();
        assert_eq!(tree.counts(&lines(15)).unwrap().completed_since(&before), 5 + 5 + 5);
    }

    #[test]
    fn disks_that_come_or_go_count_from_their_second_reading() {
        let tree = Tree::with_disks(&["sda", "sdb", "sdc"]);
        let first = tree.counts(&(line(0, "sda", 1, 1) + &line(1, "sdb", 500, 500))).unwrap();
        let second = tree.counts(&(line(0, "sda", 2, 3) + &line(2, "sdc", 900, 900))).unwrap();
        assert_eq!(second.completed_since(&first), 3);
        let third = tree.counts(&(line(0, "sda", 2, 3) + &line(2, "sdc", 901, 900))).unwrap();
        assert_eq!(third.completed_since(&second), 1);
    }

    #[test]
    fn a_disk_whose_counters_were_reset_is_left_out() {
        let tree = Tree::with_disks(&["sda", "sdb"]);
        let before = tree.counts(&(line(0, "sda", 100, 100) + &line(1, "sdb", 5, 5))).unwrap();
        let after = tree.counts(&(line(0, "sda", 1, 500) + &line(1, "sdb", 6, 6))).unwrap();
        assert_eq!(after.completed_since(&before), 2);
    }

    #[test]
    fn a_machine_without_disks_completes_nothing_and_a_broken_file_is_unknown() {
        let tree = Tree::with_disks(&[]);
        let none = tree.counts("").unwrap();
        assert_eq!(none.completed_since(&none), 0);
        assert_eq!(tree.counts("8 0 sda one\n"), None);
        assert_eq!(Counts::read(Path::new("/nonexistent")), None);
    }

    #[test]
    fn an_old_kernel_with_fourteen_columns_and_virtual_disks_is_read() {
        let tree = Tree::with_disks(&["vda", "sr0"]);
        let lines = "   2       0 fd0 0 0 0 0 0 0 0 0 0 0 0\n  11       0 sr0 1 0 8 1 0 0 0 0 0 1 1\n 253       0 vda 5021 2 300 9 712 3 99 8 0 77 88\n 253       1 vda1 5000 2 300 9 712 3 99 8 4294967295 77 88\n 253       0 dm-0 1 0 1 1 1 0 1 1 0 1 1\n";
        let counts = tree.counts(lines).unwrap();
        assert_eq!(counts.0.len(), 2, "{counts:?}");
        let (reads, writes) = counts.0.values().fold((0, 0), |(reads, writes), completed| {
            (reads + completed.reads, writes + completed.writes)
        });
        assert_eq!((reads, writes), (5022, 712));
    }

    #[test]
    fn newer_kernels_with_discards_and_flushes_are_read() {
        let tree = Tree::with_disks(&["nvme0n1"]);
        let line = " 259 0 nvme0n1 11 0 1 1 22 0 1 1 0 1 1 4 0 1 1 5 1\n";
        let counts = tree.counts(line).unwrap();
        assert_eq!(counts.0.values().next().unwrap(), &Completed { reads: 11, writes: 22 });
    }
}
