//! Whole disks, from /proc/diskstats.
//!
//! A whole disk is what has a `device` link in /sys/block: so no partition, loop, ram, device
//! mapper or md device, which would count the same request again.

use std::sync::Arc;

use rowcall_core::convert::clean_text_within;
use rowcall_core::devices::{Disk, MAX_DISKS};

use super::Context;
use super::files::{self, MAX_NAME_BYTES, Table};
use crate::collect::Collector;
use crate::devices::found::{Found, Source, keep_unique};

/// The kernel counts in sectors of this size, whatever those of the disk are.
const SECTOR_BYTES: i64 = 512;

/// Reads disks.
#[derive(Debug)]
pub(super) struct Disks {
    context: Arc<Context>,
    diskstats: Table,
}

impl Disks {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let diskstats = Table::new(context.path("proc/diskstats"));
        Self { context, diskstats }
    }
}

impl Source for Disks {
    fn read(&mut self, found: &mut Found) {
        let Ok(table) = self.diskstats.read() else {
            return found.unreadable(Collector::Disks, None);
        };
        let mut disks = Vec::new();
        for line in String::from_utf8_lossy(table).lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(major), Some(minor), Some(name)) = (words.next(), words.next(), words.next())
            else {
                found.unreadable(Collector::Disks, None);
                continue;
            };
            // sysfs writes '!' where a device's name has '/'.
            let folder = self.context.path("sys/block").join(name.replace('/', "!"));
            if !self.context.collect.disks.takes(name)
                || folder.join("device").symlink_metadata().is_err()
            {
                continue;
            }
            let mut counted_since =
                self.context.counted_since().and(major.as_bytes()).and(minor.as_bytes());
            // Another disk may come under the same numbers; since Linux 5.15 each has its own.
            if let Some(sequence) = files::number(&folder.join("diskseq")) {
                counted_since = counted_since.and_number(sequence);
            }
            match disk(name, counted_since.number(), words) {
                Some(disk) => disks.push(disk),
                None => found.unreadable(
                    Collector::Disks,
                    clean_text_within(name, MAX_NAME_BYTES).as_deref(),
                ),
            }
        }
        // Without sysfs nobody knows what is a whole disk.
        if disks.is_empty() && !self.context.path("sys/block").is_dir() {
            found.unreadable(Collector::Disks, None);
        }
        found.devices.disks =
            keep_unique(Collector::Disks, disks, MAX_DISKS, |disk| &disk.name, found);
    }
}

/// A disk of the counters after its name.
fn disk<'a>(
    name: &str,
    counted_since: u32,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Disk> {
    let mut next = || words.next()?.parse::<u64>().ok();
    let mut counter = || i64::try_from(next()?).ok();
    let (reads, _merged, sectors_read, read_ms) = (counter()?, counter()?, counter()?, counter()?);
    let (writes, _merged, sectors_written, write_ms) =
        (counter()?, counter()?, counter()?, counter()?);
    // The kernel's count of what is in flight may fall below 0, which it then shows as a number
    // near the largest there is.
    let in_flight = next()?.try_into().ok().filter(|n| *n < i64::from(u32::MAX / 2)).unwrap_or(0);
    Some(Disk {
        name: clean_text_within(name, MAX_NAME_BYTES)?,
        counted_since,
        reads,
        writes,
        read_bytes: sectors_read.checked_mul(SECTOR_BYTES)?,
        written_bytes: sectors_written.checked_mul(SECTOR_BYTES)?,
        read_ms,
        write_ms,
        busy_ms: i64::try_from(next()?).ok()?,
        in_flight,
        busy_max_percent: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Collect, Filter};
    use crate::devices::linux::tests::{Tree, read, read_with, skipped};

    const SDA: &str = "   8       0 sda 10 1 200 30 40 2 500 60 7 80 90\n";

    fn names(tree: &Tree) -> Vec<String> {
        read(tree, Collector::Disks).disks.into_iter().map(|disk| disk.name).collect()
    }

    #[test]
    fn a_disk_has_the_counters_of_the_kernel_in_bytes_and_milliseconds() {
        let tree = Tree::new().with("proc/diskstats", SDA).with_dir("sys/block/sda/device");
        let disks = read(&tree, Collector::Disks).disks;
        let expected = Disk {
            name: "sda".into(),
            counted_since: disks[0].counted_since,
            reads: 10,
            writes: 40,
            read_bytes: 200 * 512,
            written_bytes: 500 * 512,
            read_ms: 30,
            write_ms: 60,
            busy_ms: 80,
            in_flight: 7,
            busy_max_percent: None,
        };
        assert_eq!(disks, [expected]);
    }

    #[test]
    fn partitions_and_what_stands_on_other_devices_do_not_count() {
        let line = |name: &str| SDA.replace("sda", name);
        let table = ["sda", "sda1", "dm-0", "md0", "loop0", "cciss/c0d0", "nvme0n1", "mmcblk0"];
        let tree = Tree::new().with("proc/diskstats", &table.map(line).concat());
        for disk in ["sda", "cciss!c0d0", "nvme0n1", "mmcblk0"] {
            tree.add_dir(&format!("sys/block/{disk}/device"));
        }
        assert_eq!(names(&tree), ["sda", "cciss/c0d0", "nvme0n1", "mmcblk0"]);
    }

    #[test]
    fn what_resets_the_counters_changes_the_number_they_are_counted_since() {
        let tree = Tree::new()
            .with("proc/diskstats", SDA)
            .with("sys/block/sda/diskseq", "3\n")
            .with_dir("sys/block/sda/device");
        let since = |tree: &Tree| read(tree, Collector::Disks).disks[0].counted_since;
        let first = since(&tree);
        assert_eq!(since(&tree), first, "another agent says the same");
        tree.add("proc/diskstats", &SDA.replace("10 1 200", "99 1 999"));
        assert_eq!(since(&tree), first);
        tree.add("sys/block/sda/diskseq", "4\n");
        assert_ne!(since(&tree), first, "another disk in its place");
        tree.add("sys/block/sda/diskseq", "3\n");
        tree.add("proc/sys/kernel/random/boot_id", "other\n");
        assert_ne!(since(&tree), first, "another boot");
        // A kernel that has no such number: the device's own tell.
        tree.remove("sys/block/sda");
        tree.add_dir("sys/block/sda/device");
        let numbers = ["   8       0 ", "   8      16 ", "  65       0 "];
        let mut told = numbers.map(|numbers| {
            tree.add("proc/diskstats", &SDA.replace("   8       0 ", numbers));
            since(&tree)
        });
        told.sort_unstable();
        assert!(told[0] < told[1] && told[1] < told[2], "{told:?}");
    }

    #[test]
    fn newer_and_older_kernels_and_counts_below_zero_are_understood() {
        let lines = " 259 0 nvme0n1 11 0 1 1 22 0 1 1 18446744073709551615 1 1 4 0 1 1 5 1\n   8 0 sda 1 1 1 1 1 1 1 1 4294967295 1 1\n";
        let tree = Tree::new()
            .with("proc/diskstats", lines)
            .with_dir("sys/block/nvme0n1/device")
            .with_dir("sys/block/sda/device");
        let disks = read(&tree, Collector::Disks).disks;
        assert_eq!(disks.iter().map(|it| it.in_flight).collect::<Vec<_>>(), [0, 0]);
    }

    #[test]
    fn patterns_choose_and_many_disks_are_counted_beyond_the_bound() {
        let tree = Tree::new();
        let mut table = String::new();
        for n in 0..515 {
            table += &format!("8 {n} sd{n} 1 1 1 1 1 1 1 1 1 1 1\n");
            tree.add_dir(&format!("sys/block/sd{n}/device"));
        }
        tree.add("proc/diskstats", &table);
        let all = read(&tree, Collector::Disks);
        assert_eq!(all.disks.len(), MAX_DISKS);
        assert_eq!(skipped(&all), ["disks limit 3"]);
        let disks = Filter { include: vec!["sd1?".into()], exclude: vec!["sd11".into()] };
        let some = read_with(&tree, Collector::Disks, Collect { disks, ..Collect::default() });
        assert_eq!(some.disks.len(), 9);
    }

    #[test]
    fn what_makes_no_sense_is_named_and_the_rest_is_read() {
        let hostile = b"\xff\xfe\n8 0 sda -1 1 1 1 1 1 1 1 1 1 1\n8 1 sdb 99999999999999999999 1 1 1 1 1 1 1 1 1 1\n8 2 sdc 1 1 18446744073709551615 1 1 1 1 1 1 1 1\n8 3 sdd 1 1\n8 4 sde 1 1 1 1 1 1 1 1 1 1 1\n8 4 sde 1 1 1 1 1 1 1 1 1 1 1\n";
        let tree = Tree::new();
        tree.add_bytes("proc/diskstats", hostile);
        for disk in ["sda", "sdb", "sdc", "sdd", "sde"] {
            tree.add_dir(&format!("sys/block/{disk}/device"));
        }
        let devices = read(&tree, Collector::Disks);
        assert_eq!(devices.disks.len(), 1);
        let mut said = skipped(&devices);
        said.sort();
        assert_eq!(
            said,
            [
                "disks sda unreadable 1",
                "disks sdb unreadable 1",
                "disks sdc unreadable 1",
                "disks sdd unreadable 1",
                "disks sde: another one has this name unreadable 1",
                "disks unreadable 1",
            ]
        );
        assert_eq!(skipped(&read(&Tree::new(), Collector::Disks)), ["disks unreadable 1"]);
        let without_sysfs = Tree::new().with("proc/diskstats", SDA);
        assert_eq!(skipped(&read(&without_sysfs, Collector::Disks)), ["disks unreadable 1"]);
    }
}
