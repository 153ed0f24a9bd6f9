//! What hangs for real: a pipe that nobody writes to, a filesystem whose server never answers.

use std::fs::OpenOptions;
use std::time::Duration;

use rowcall_core::devices::{Devices, SkipReason};
use rowcall_testkit::hung_mount::HungMount;

use super::{Tree, skipped};
use crate::collect::{Collect, Collector};
use crate::devices::{DeviceReader, Peaks};

fn reader(tree: &Tree, wanted: &[Collector]) -> DeviceReader {
    let off = Collector::ALL.into_iter().filter(|it| !wanted.contains(it)).collect();
    let deadline = Duration::from_millis(300);
    DeviceReader::new(tree.path(""), Collect { off, deadline, ..Collect::default() })
}

/// Reads until something is as it should be.
async fn until(reader: &mut DeviceReader, is_there: impl Fn(&Devices) -> bool) -> Devices {
    loop {
        let devices = reader.read(Peaks::default()).await;
        if is_there(&devices) {
            return devices;
        }
        tokio::task::yield_now().await;
    }
}

fn hung(devices: &Devices) -> Vec<(&str, Option<&str>)> {
    let hung = devices.skipped.iter().filter(|it| it.reason == SkipReason::Hung);
    hung.map(|it| (it.collector.as_str(), it.item.as_deref())).collect()
}

#[tokio::test]
async fn a_file_that_hangs_costs_its_collector_alone_until_it_answers() {
    let tree = Tree::new()
        .with("proc/diskstats", "8 0 sda 1 1 1 1 1 1 1 1 1 1 1\n")
        .with_dir("sys/block/sda/device");
    tree.add_fifo("proc/mdstat");
    let mut reader = reader(&tree, &[Collector::MdArrays, Collector::Disks]);
    for _ in 0..2 {
        let devices = until(&mut reader, |it| !it.disks.is_empty()).await;
        assert_eq!(hung(&devices), [("md_arrays", None)]);
    }
    // Who opened it to read goes on when somebody opens it to write.
    drop(OpenOptions::new().write(true).open(tree.path("proc/mdstat")).unwrap());
    std::fs::remove_file(tree.path("proc/mdstat")).unwrap();
    tree.add("proc/mdstat", "md0 : active raid1 a[0] b[1]\n 1 blocks [2/2] [UU]\n");
    let devices = until(&mut reader, |it| hung(it).is_empty()).await;
    assert_eq!((devices.md_arrays.len(), devices.disks.len()), (1, 1));
}

/// Without the right to mount one there is nothing to see.
#[tokio::test]
async fn a_mount_that_hangs_costs_its_own_numbers_alone_until_it_answers() {
    if !HungMount::possible() {
        return;
    }
    let tree = Tree::new().with_dir("hung").with_dir("zzz-after");
    tree.add(
        "proc/1/mountinfo",
        "1 1 8:1 / / rw - ext4 a rw\n2 1 0:99 / /hung rw - fuse nowhere rw\n3 1 8:2 / /zzz-after rw - ext4 b rw\n",
    );
    let mut mount = HungMount::new(&tree.path("hung"), "nowhere", "fuse").unwrap();
    let mut reader = reader(&tree, &[Collector::Filesystems]);
    for _ in 0..2 {
        let devices = until(&mut reader, |it| it.filesystems.len() == 2).await;
        assert_eq!(hung(&devices), [("filesystems", Some("/hung"))]);
    }
    mount.give_up();
    let devices = until(&mut reader, |it| hung(it).is_empty()).await;
    assert_eq!(devices.filesystems.len(), 2);
    let gone = "filesystems /hung: transport endpoint is not connected unreadable 1";
    assert_eq!(skipped(&devices), [gone]);
    drop(mount);
    let devices = until(&mut reader, |it| it.filesystems.len() == 3).await;
    assert!(devices.skipped.is_empty());
}

/// Without the right to mount one there is nothing to see.
#[tokio::test]
async fn mounts_that_answer_are_read_while_more_hang_than_there_are_threads() {
    if !HungMount::possible() {
        return;
    }
    let tree = Tree::new().with_dir("zzz-after");
    let mut table = "1 1 8:1 / / rw - ext4 a rw\n3 1 8:2 / /zzz-after rw - ext4 b rw\n".to_owned();
    tree.add("proc/1/mountinfo", &table);
    let mut reader = reader(&tree, &[Collector::Filesystems]);
    until(&mut reader, |it| it.filesystems.len() == 2).await;
    let mut mounts = Vec::new();
    for n in 0..9 {
        tree.add_dir(&format!("h{n}"));
        mounts.push(HungMount::new(&tree.path(&format!("h{n}")), "nowhere", "fuse").unwrap());
        table += &format!("{n} 1 0:{n} / /h{n} rw - fuse nowhere rw\n");
    }
    tree.add("proc/1/mountinfo", &table);
    for _ in 0..3 {
        let is_whole = |it: &Devices| it.filesystems.len() == 2 && hung(it).len() == 5;
        let devices = until(&mut reader, is_whole).await;
        assert_eq!(devices.skipped.len(), 9, "{:?}", devices.skipped);
        let not_asked = |it: &String| it.contains(": not asked, others hang unreadable");
        assert_eq!(skipped(&devices).iter().filter(|it| not_asked(it)).count(), 4);
    }
    drop(mounts);
    let devices = until(&mut reader, |it| it.filesystems.len() == 11).await;
    assert!(devices.skipped.is_empty());
}
